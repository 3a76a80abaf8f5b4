"""Any bytes that are not a valid request are settled exactly once, with a problem."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Sequence

import aio_pika
import hypothesis
from hypothesis import strategies as st
from pydantic import ValidationError

import config
from src import errors, models, wire
from tests import harness

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


async def _answers(settings: config.Settings, given: Sequence[tuple[str, bytes]]) -> Counter[tuple[str, str]]:
    """How often each request was answered, by its number and the answer's type; the last is a sound one."""
    sent = [*given, ("session.create", b'{"title": "sound"}')]
    seen: Counter[tuple[str, str]] = Counter()
    done = asyncio.Event()
    async with harness.channel(settings.rabbitmq_url.get_secret_value()) as channel:
        queue = await channel.declare_queue(exclusive=True)

        async def count(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            seen[message.correlation_id or "", message.type or ""] += 1
            if message.correlation_id == str(len(given)):
                done.set()

        await queue.consume(count, no_ack=True)
        exchange = await channel.get_exchange(harness.names(settings).requests, ensure=False)
        for number, (key, body) in enumerate(sent):
            message = aio_pika.Message(
                body, message_id=str(uuid.uuid4()), correlation_id=str(number), reply_to=queue.name
            )
            await exchange.publish(message, key)
        async with asyncio.timeout(harness.DEADLINE):
            await done.wait()
    return seen


def test_garbage_is_answered_once_with_a_problem(settings: config.Settings) -> None:
    with asyncio.Runner() as runner:
        started = harness.running(settings)
        runner.run(started.__aenter__())

        @hypothesis.given(st.lists(garbage, min_size=1, max_size=20))
        def settled(given: Sequence[tuple[str, bytes]]) -> None:
            seen = runner.run(_answers(settings, given))
            problems = {errors.PREFIX + name for name in ("malformed", "invalid")}
            assert sorted(int(number) for number, _ in seen) == list(range(len(given) + 1))
            assert set(seen.values()) == {1}
            assert {kind for number, kind in seen if number != str(len(given))} <= problems

        try:
            settled()
        finally:
            runner.run(started.__aexit__(None, None, None))
            assert runner.run(harness.depth(settings, wire.Names(settings.service_name).partition(0))) == 0
