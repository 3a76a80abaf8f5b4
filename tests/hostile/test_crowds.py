"""Many of them, large ones, and what was never a request: nobody else is harmed, and the log stays readable."""

import asyncio
import json
import signal
import uuid

from aio_pika import Message

import config
from src import errors
from tests.hostile.bench import CREATE, SECRET, Bench, assert_answered
from tests.support import harness
from tests.support.harness import Process


async def test_an_answer_larger_than_a_message_may_be_is_a_problem(bench: Bench) -> None:
    title = str(uuid.uuid4())
    for _ in range(5):
        await bench.client.call("session.create", {"title": title, "metadata": {"a": "x" * 1_000_000}})
    body = json.dumps({"where": {"title": title}}).encode()
    await assert_answered(bench, "result-too-large", "session.list", body)
    assert await bench.client.call("session.count", {"where": {"title": title}}) == {"count": 5}


async def test_five_hundred_invalid_requests_among_five_hundred_valid_ones_harm_none(bench: Bench) -> None:
    title = str(uuid.uuid4())
    kinds = [{"title": title}, {"title": 1}, {"title": title}, {"id": str(uuid.uuid4()), "is_admin": True}]
    replies = await asyncio.gather(*(bench.client.request("session.create", kinds[n % 4]) for n in range(1000)))
    types = [reply.type.removeprefix(errors.PREFIX) for reply in replies]
    assert types == ["session.create", "invalid"] * 500
    assert await bench.client.call("session.count", {"where": {"title": title}}) == {"count": 500}


async def test_one_message_id_sent_a_hundred_times_at_once_is_applied_once(bench: Bench) -> None:
    title = str(uuid.uuid4())
    sent = (bench.client.request("session.create", {"title": title}, message_id=title) for _ in range(100))
    assert len({reply.body for reply in await asyncio.gather(*sent)}) == 1
    assert await bench.client.call("session.count", {"where": {"title": title}}) == {"count": 1}


async def test_what_was_never_a_request_to_the_service_ends_as_a_dead_letter(bench: Bench) -> None:
    """Somebody may publish to a queue by its name."""
    letters = len(bench.letters.all)
    for queue in ("writes.0", "reads", "unrouted", "expired"):
        await bench.send(f"{bench.service.settings.service_name}.{queue}", CREATE, exchange="")
    await bench.letters.reach(lambda: len(bench.letters.all) == letters + 4)
    assert {letter.reason for letter in bench.letters.all[letters:]} == {"unknown-operation"}


async def test_the_log_of_a_process_is_one_line_a_record(settings: config.Settings) -> None:
    async with Process(settings) as process:
        await process.consuming()
        async with harness.channel(settings.rabbitmq_url.get_secret_value()) as raw:
            exchange = await raw.get_exchange(harness.names(settings).requests, ensure=False)
            for message_id in ("m\n%s", "m\x1b[31m"):  # is named in the log
                await exchange.publish(Message(b'{"\n%s\x1b": xyzzy}', message_id=message_id), "session.create")
        await process.says("dead letter", times=2)
        process.signal(signal.SIGTERM)
        assert await process.wait() == 0
    for line in process.log:
        assert line.startswith("event=")
        assert line.rstrip("\n").isprintable()
        assert SECRET not in line
