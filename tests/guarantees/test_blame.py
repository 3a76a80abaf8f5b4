"""A bad request among many fails alone, whatever is bad about it, and reaches its requester or the operators."""

import re
from collections import Counter
from typing import Any

import pytest

import config
from src.service import Service
from tests.guarantees.bad import BAD, Bad
from tests.guarantees.held import ask_together
from tests.guarantees.traces import no_more
from tests.guarantees.writes import NOTE, SESSION, WRITES, new_note
from tests.support import harness
from tests.support.requester import Collected, Requester

ALONE = [([bad], 50) for bad in BAD.values()]


@pytest.mark.parametrize(("bad", "many"), [*ALONE, ([*BAD.values()], 200)], ids=[*BAD, "all of these"])
async def test_a_bad_request_among_many_fails_alone(
    bad: list[Bad], many: int, service: Service, db: Requester, events: Collected, settings: config.Settings
) -> None:
    await db.ask("note.create", {"id": NOTE} | new_note(0))
    numbers = range(1, many + 1 - len(bad))
    requests: list[Any] = [("note.create", new_note(number), f"m-{number}") for number in numbers]
    for place, request in enumerate(bad):
        requests.insert(many // 2 - 5 * place, (*request.request, f"m-bad-{place}"))
    answers = await ask_together(service, db, requests)
    told = Counter(event.name for event in await no_more(db, events))
    assert [answer.problem for answer in answers if answer.problem] == [request.problem for request in reversed(bad)]
    assert [answer.document["number"] for answer in answers if not answer.problem] == [*numbers]
    rows = await harness.fetch(settings.dsn, "SELECT number, code, version FROM notes ORDER BY number")
    assert rows == [(number, None, 1) for number in (0, *numbers)]
    failed = Counter(f"{request.operation}.failed" for request in bad if request.problem != "internal")
    assert told == failed + Counter({"note.created": len(numbers) + 1, "user.created": 1})


async def test_copies_on_both_sides_of_a_bad_request_are_one_request(service: Service, db: Requester) -> None:
    copies: list[Any] = [(*WRITES["create"], "m")] * 10
    answers = await ask_together(service, db, [*copies, ("trouble.break", {"id": NOTE}, "n"), *copies])
    assert answers.pop(10).problem == "internal"
    assert answers == [answers[0]] * 20


async def test_a_row_that_no_request_names_is_found_again_after_a_rollback(service: Service, db: Requester) -> None:
    await db.ask("note.create", {"id": NOTE} | new_note(0))
    requests = [("note.retitle", {"id": NOTE, "title": "new"}), ("trouble.break", {"id": NOTE})]
    retitled, broken = await ask_together(service, db, requests)
    assert (retitled.problem, broken.problem) == (None, "internal")
    assert (await db.ask("session.get", {"id": SESSION})).document["title"] == "new"


@pytest.mark.parametrize("operation", ["break_", "change_and_break"])
async def test_a_bug_reaches_the_operators_by_its_type_and_place(
    operation: str, db: Requester, dead_letters: Collected
) -> None:
    await db.ask("note.create", {"id": NOTE} | new_note(0))
    answer = await db.ask(f"trouble.{operation.rstrip('_')}", {"id": NOTE}, "m")
    letter = await dead_letters.one()
    assert (letter.id, letter.name, letter.document) == ("m", f"trouble.{operation.rstrip('_')}", {"id": NOTE})
    assert letter.headers["reason"] == answer.type
    assert re.fullmatch(rf"ZeroDivisionError at .*entities\.py:\d+ in {operation}", letter.headers["detail"])


async def test_what_a_handler_changed_by_a_statement_of_its_own_goes_with_its_refusal(db: Requester) -> None:
    await db.ask("note.create", {"id": NOTE} | new_note(0))
    assert (await db.ask("trouble.bulk_and_refuse", {"id": NOTE})).problem == "illegal-transition"
    assert (await db.ask("note.get", {"id": NOTE})).document["code"] is None


async def test_what_a_handler_made_under_a_savepoint_goes_with_the_savepoint(db: Requester) -> None:
    await db.ask("note.create", {"id": NOTE} | new_note(0))
    assert (await db.ask("trouble.try_to_create", {"id": NOTE})).document["code"] == "filed"
    assert (await db.ask("note.count")).document == {"count": 1}
