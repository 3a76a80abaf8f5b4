"""Any bytes that are not a valid request are settled exactly once, with a problem."""

import asyncio
import json
import uuid
from collections.abc import Sequence

import hypothesis
from hypothesis import strategies as st
from pydantic import ValidationError

import config
from src import models
from tests.support import harness, requester
from tests.support.requester import Message

WRITES = {op.key: op for entity in models.entities() for op in entity.operations() if op.writes}

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)
fields = st.sampled_from(["id", "version", "title", "username", "text", "metadata", "session_id", "where"])
objects = st.dictionaries(fields, values, max_size=4).map(lambda value: json.dumps(value).encode())
bodies = st.one_of(st.binary(max_size=60), values.map(lambda value: json.dumps(value).encode()), objects)


def _is_valid(key: str, body: bytes) -> bool:
    try:
        WRITES[key].request.model_validate_json(body)
    except ValidationError:
        return False
    return True


garbage = st.tuples(st.sampled_from(sorted(WRITES)), bodies).filter(lambda pair: not _is_valid(*pair))


async def _answers(settings: config.Settings, given: Sequence[tuple[str, bytes]]) -> list[Message]:
    """Every answer to these requests that comes before that to a sound one after them."""
    async with requester.asking(settings) as db:
        for key, body in given:
            await db.publish(key, body, str(uuid.uuid4()))
        sound = await db.ask("session.create", {})
        assert sound.problem is None
        return [answer for answer in db.answers.all if answer is not sound]


def test_garbage_is_answered_once_with_a_problem(settings: config.Settings) -> None:
    with asyncio.Runner() as runner:
        started = harness.running(settings)
        runner.run(started.__aenter__())

        @hypothesis.given(st.lists(garbage, min_size=1, max_size=20))
        def settled(given: Sequence[tuple[str, bytes]]) -> None:
            answers = runner.run(_answers(settings, given))
            numbers = sorted(int((answer.correlation_id or "").removeprefix("copy-")) for answer in answers)
            assert numbers == list(range(1, len(given) + 1))
            assert {answer.problem for answer in answers} <= {"malformed", "invalid"}

        try:
            settled()
        finally:
            runner.run(started.__aexit__(None, None, None))
            assert runner.run(harness.depth(settings, harness.names(settings).partition(0))) == 0
