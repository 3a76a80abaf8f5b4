"""Requests of sound form that make no sense: each gets the problem that it is."""

import json
import uuid
from typing import Any

import pytest

from tests.hostile.bench import MEBIBYTE, SECRET, Bench, assert_answered

NOBODY = str(uuid.uuid4())
TAKEN = str(uuid.uuid4())


@pytest.fixture(scope="module")
async def taken(bench: Bench) -> None:
    """A user named xyzzy, a session and a completed query that have the id TAKEN."""
    await bench.client.call("user.create", {"id": TAKEN, "username": SECRET})
    await bench.client.call("session.create", {"id": TAKEN})
    await bench.client.call("query.create", {"id": TAKEN, "session_id": TAKEN, "text": "?"})
    await bench.client.call("query.complete", {"id": TAKEN, "response": {}})


WHERE = "session.list"
MEANINGLESS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a parent that is not there": ("foreign-key", "query.create", {"session_id": NOBODY, "text": SECRET}),
    "an id taken": ("conflict", "session.create", {"id": TAKEN, "title": SECRET}),
    "a unique value taken": ("conflict", "user.create", {"username": SECRET}),
    "an update of nothing": ("not-found", "session.update", {"id": NOBODY, "title": SECRET}),
    "a delete of nothing": ("not-found", "session.delete", {"id": NOBODY}),
    "a command to nothing": ("not-found", "query.start", {"id": NOBODY}),
    "a wrong version": ("version-mismatch", "session.update", {"id": TAKEN, "title": SECRET, "version": 7}),
    "a version beyond 32 bits": ("invalid", "session.update", {"id": TAKEN, "title": SECRET, "version": 2**31}),
    "a version that is a bool": ("invalid", "session.update", {"id": TAKEN, "title": SECRET, "version": True}),
    "a transition not allowed": ("illegal-transition", "query.start", {"id": TAKEN}),
    "an update of the id's own field": ("invalid", "session.update", {"id": TAKEN, "created_at": "now"}),
    "a get without an id": ("invalid", "session.get", {}),
    "a filter on no field": ("invalid", WHERE, {"where": {"xyzzy": 1}}),
    "a filter on __class__": ("invalid", WHERE, {"where": {"__class__": SECRET}}),
    "a filter on registry": ("invalid", WHERE, {"where": {"registry": SECRET}}),
    "a filter on a relationship": ("invalid", WHERE, {"where": {"user": {"username": SECRET}}}),
    "a filter on JSON": ("invalid", WHERE, {"where": {"metadata": {}}}),
    "a filter of no object": ("invalid", WHERE, {"where": [SECRET]}),
    "an operator that does not exist": ("invalid", WHERE, {"where": {"title": {"xyzzy": 1}}}),
    "like with a megabyte of %": ("invalid", WHERE, {"where": {"title": {"like": "%" * (MEBIBYTE - 100)}}}),
    "in with 26,000 values": ("invalid", WHERE, {"where": {"id": {"in": [NOBODY] * 26_000}}}),
    "an unknown value of an enum": ("invalid", WHERE, {"where": {"status": SECRET}}),
    "a naive time": ("invalid", WHERE, {"where": {"created_at": "xyzzy"}}),
    "a time in the year 0": ("invalid", WHERE, {"where": {"created_at": "0000-01-01T00:00:00Z"}}),
    "a time in the year 10000": ("invalid", WHERE, {"where": {"created_at": "10000-01-01T00:00:00Z"}}),
    "a time before the year 1": ("invalid", WHERE, {"where": {"created_at": "0001-01-01T00:00:00+14:00"}}),
    "a time after the year 9999": ("invalid", WHERE, {"where": {"created_at": "9999-12-31T23:59:59-14:00"}}),
    "a time without an offset": ("invalid", WHERE, {"where": {"created_at": "2026-01-01T00:00:00"}}),
    "an integer beyond the column": ("invalid", WHERE, {"where": {"version": 2**40}}),
    "a sort by SQL": ("invalid", WHERE, {"order": ["id desc; --"]}),
    "a sort by __class__": ("invalid", WHERE, {"order": ["__class__"]}),
    "a sort by 1,000 keys": ("invalid", WHERE, {"order": ["id"] * 1000}),
    "a limit of -1": ("invalid", WHERE, {"limit": -1}),
    "a limit of 0": ("invalid", WHERE, {"limit": 0}),
    "a limit of 10^12": ("invalid", WHERE, {"limit": 10**12}),
    "an offset of 2^63": ("invalid", WHERE, {"offset": 2**63}),
    "an unknown operation": ("unknown-operation", "session.divide", {"title": SECRET}),
    "an unknown entity": ("unknown-operation", "__class__.create", {"title": SECRET}),
    "an operation of 255 characters": ("unknown-operation", "x" * 255, {"title": SECRET}),
    "no operation": ("unknown-operation", "", {"title": SECRET}),
}


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize(("expected", "operation", "body"), MEANINGLESS.values(), ids=MEANINGLESS)
async def test_what_makes_no_sense_is_answered_with_a_problem(
    bench: Bench, expected: str, operation: str, body: dict[str, Any]
) -> None:
    document = await assert_answered(bench, expected, operation, json.dumps(body).encode())
    assert document["detail"]
