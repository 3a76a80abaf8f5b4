"""The client against a real broker, and a stand-in for the service that answers as each test wants it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import pydantic_core
import pytest
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from yarl import URL

from src import client, errors, wire
from src.amqp import connections
from src.client import Client, NoReply, NoService

type Answer = Callable[[AbstractIncomingMessage], Awaitable[None]]

SOON = 10.0


@dataclass
class StandIn:
    """Takes the requests of a service of its own, and keeps them; ``answer`` decides what becomes of each."""

    channel: aio_pika.abc.AbstractChannel
    names: wire.Names
    requests: list[AbstractIncomingMessage] = field(default_factory=list)
    arrived: asyncio.Queue[AbstractIncomingMessage] = field(default_factory=asyncio.Queue)
    answer: Answer | None = None

    @property
    def name(self) -> str:
        return self.names.service

    async def start(self) -> None:
        exchange = await self.channel.declare_exchange(self.names.requests, "topic", durable=True)
        await self.channel.declare_exchange(self.names.events, "topic", durable=True)
        queue = await self.channel.declare_queue(self.names.writes, exclusive=True)
        await queue.bind(exchange, "#")
        await queue.consume(self._take)

    async def stop(self) -> None:
        for name in (self.names.requests, self.names.events):
            await self.channel.exchange_delete(name)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        await message.ack()
        self.requests.append(message)
        self.arrived.put_nowait(message)
        if self.answer:
            await self.answer(message)

    async def reply(self, to: AbstractIncomingMessage, body: Any, content_type: str = wire.JSON) -> None:
        reply = aio_pika.Message(
            pydantic_core.to_json(body),
            type=to.routing_key,
            content_type=content_type,
            correlation_id=to.correlation_id,
        )
        with suppress(aio_pika.exceptions.DeliveryError):  # a direct reply-to is never confirmed as routed
            await self.channel.default_exchange.publish(reply, to.reply_to or "")

    async def echo(self, message: AbstractIncomingMessage) -> None:
        await self.reply(message, pydantic_core.from_json(message.body))

    async def announce(self, name: str, body: Any, **properties: Any) -> None:
        exchange = await self.channel.get_exchange(self.names.events, ensure=False)
        event = aio_pika.Message(pydantic_core.to_json(body), **properties)
        await exchange.publish(event, name, mandatory=False)


@dataclass
class Proxy:
    """A TCP proxy before the broker, that can cut every connection through it."""

    target: URL
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    silent: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: the connections stay, and nothing comes through."""
    running: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> URL:
        self.server = await asyncio.start_server(self._connect, "127.0.0.1")
        return self.target.with_host("127.0.0.1").with_port(self.server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    async def stop(self) -> None:
        self.server.close()
        self.cut()
        await asyncio.gather(*self.running, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection(self.target.host, self.target.port or 5672)
        self.writers += [writer, outer]
        for pipe in (self._pipe(reader, outer), self._pipe(inner, writer)):
            task = asyncio.create_task(pipe)
            self.running.add(task)
            task.add_done_callback(self.running.discard)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(2**16):
                if not self.silent.is_set():
                    writer.write(piece)
                    await writer.drain()
        writer.transport.abort()


@pytest.fixture
async def standin(rabbitmq_url: str) -> AsyncIterator[StandIn]:
    async with await aio_pika.connect(rabbitmq_url) as connection:
        standin = StandIn(await connection.channel(), wire.Names(f"db-test-{uuid.uuid4().hex[:12]}"))
        await standin.start()
        yield standin
        await standin.stop()


@pytest.fixture
async def db(rabbitmq_url: str, standin: StandIn) -> AsyncIterator[Client]:
    async with Client(rabbitmq_url, standin.name, timeout=SOON) as db:
        yield db


@pytest.fixture
async def proxy(rabbitmq_url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(URL(rabbitmq_url))
    yield proxy
    await proxy.stop()


@pytest.fixture
async def cut_off(proxy: Proxy, standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client behind the proxy that is fast to come back."""
    monkeypatch.setattr(connections, "RECONNECT_INTERVAL", 0.05)
    async with Client(str(await proxy.start()), standin.name, timeout=SOON) as db:
        yield db


async def test_many_calls_in_flight_each_get_their_own_answer(db: Client, standin: StandIn) -> None:
    calls = [asyncio.create_task(db.call("user.get", {"number": number})) for number in range(300)]
    asked = [await standin.arrived.get() for _ in calls]
    assert db.in_flight == len(calls)
    for message in reversed(asked):
        await standin.echo(message)
    assert [answer["number"] for answer in await asyncio.gather(*calls)] == list(range(300))
    assert db.in_flight == 0


async def test_two_calls_of_one_message_id_in_flight_are_both_answered(db: Client, standin: StandIn) -> None:
    calls = [asyncio.create_task(db.call("user.get", message_id="twice")) for _ in range(2)]
    first, second = [await standin.arrived.get() for _ in calls]
    assert first.message_id == second.message_id == "twice"
    await standin.reply(second, {"copy": 2})
    await standin.reply(first, {"copy": 1})
    assert [answer["copy"] for answer in await asyncio.gather(*calls)] == [1, 2]


async def test_a_request_carries_what_the_service_asks_for(db: Client, standin: StandIn) -> None:
    standin.answer = standin.echo
    key, body = uuid.uuid4(), {"id": uuid.uuid4()}
    answer = await db.call("session.close", body, message_id="m", partition_key=key, dry_run=True)
    message = standin.requests[0]
    assert answer == {"id": str(body["id"])}
    assert (message.routing_key, message.message_id, message.content_type) == ("session.close", "m", wire.JSON)
    assert message.headers == {wire.PARTITION_KEY: str(key), wire.DRY_RUN: True}
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert (message.reply_to or "").startswith(wire.DIRECT_REPLY_TO)


async def test_a_request_without_a_message_id_has_one_of_its_own(db: Client, standin: StandIn) -> None:
    standin.answer = standin.echo
    await asyncio.gather(db.call("user.get"), db.call("user.get"))
    first, second = (uuid.UUID(message.message_id) for message in standin.requests)
    assert first != second


@pytest.mark.parametrize("kind", errors.Problem.__subclasses__())
async def test_a_problem_is_raised_as_its_class(db: Client, standin: StandIn, kind: type[errors.Problem]) -> None:
    sent = kind("It is so.", errors=[{"pointer": "/id", "message": "is taken"}])
    standin.answer = lambda message: standin.reply(message, sent.document(), wire.PROBLEM)
    with pytest.raises(kind) as raised:
        await db.call("user.create")
    assert raised.value.document() == sent.document()


async def test_a_problem_not_known_here_is_a_plain_problem(db: Client, standin: StandIn) -> None:
    document = {"type": "urn:db:problem:of-the-future", "detail": "It is so."}
    standin.answer = lambda message: standin.reply(message, document, wire.PROBLEM)
    with pytest.raises(errors.Problem, match=r"It is so\.") as raised:
        await db.call("user.create")
    assert type(raised.value) is errors.Problem


@pytest.mark.parametrize("kind", [kind for kind in errors.Problem.__subclasses__() if kind.retryable])
async def test_a_problem_that_is_retryable_is_not_repeated(
    db: Client, standin: StandIn, kind: type[errors.Problem]
) -> None:
    standin.answer = lambda message: standin.reply(message, kind().document() | {"version": "9"}, wire.PROBLEM)
    with pytest.raises(kind) as raised:
        await db.call("session.craete")
    assert raised.value.version == "9"
    assert len(standin.requests) == 1


async def test_a_request_returns_a_problem_as_it_came(db: Client, standin: StandIn) -> None:
    standin.answer = lambda message: standin.reply(message, errors.NotFound().document(), wire.PROBLEM)
    reply = await db.request("user.get")
    assert reply.content_type == wire.PROBLEM
    assert reply.body == pydantic_core.to_json(errors.NotFound().document())
    assert reply.correlation_id == standin.requests[0].correlation_id


async def test_a_timeout_names_operation_and_message_id_and_leaves_nothing(db: Client) -> None:
    with pytest.raises(NoReply, match=r"session\.create had no answer within 0\.05 s; .* the-key") as raised:
        await db.call("session.create", message_id="the-key", timeout=0.05)
    assert isinstance(raised.value, TimeoutError)
    assert raised.value.message_id == "the-key"
    assert db.in_flight == 0


async def test_a_cancelled_call_leaves_nothing(db: Client, standin: StandIn) -> None:
    call = asyncio.create_task(db.call("user.get"))
    await standin.arrived.get()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert db.in_flight == 0


async def test_a_reply_that_comes_too_late_is_ignored(db: Client, standin: StandIn) -> None:
    with pytest.raises(NoReply):
        await db.call("user.get", timeout=0.05)
    await standin.reply(await standin.arrived.get(), {"late": True})
    standin.answer = standin.echo
    assert await db.call("user.get", {"late": False}) == {"late": False}


async def test_calls_survive_the_loss_of_their_connection(cut_off: Client, proxy: Proxy, standin: StandIn) -> None:
    calls = [asyncio.create_task(cut_off.call("user.create", {"number": n}, message_id=f"m{n}")) for n in range(20)]
    first = [await standin.arrived.get() for _ in calls]
    standin.answer = standin.echo
    proxy.cut()
    assert [answer["number"] for answer in await asyncio.gather(*calls)] == list(range(20))
    again = [await standin.arrived.get() for _ in calls]
    assert {message.message_id for message in first} == {message.message_id for message in again}


async def test_calls_survive_a_connection_that_ends_by_cancelling_what_waits_for_it(
    db: Client, standin: StandIn
) -> None:
    call = asyncio.create_task(db.call("user.create", {"number": 1}, message_id="m"))
    await standin.arrived.get()
    standin.answer = standin.echo
    transport = db._connection.transport
    assert transport is not None
    await transport.connection.close(asyncio.CancelledError)  # as for a connection found stuck
    assert await call == {"number": 1}
    assert [message.message_id for message in standin.requests] == ["m", "m"]


async def test_calls_begun_while_the_connection_is_away_wait_for_it(
    cut_off: Client, proxy: Proxy, standin: StandIn
) -> None:
    standin.answer = standin.echo
    proxy.cut()
    assert await cut_off.call("user.get", {"number": 1}) == {"number": 1}
    proxy.cut()
    assert await cut_off.send("user.get", message_id="sent") == "sent"
    async with asyncio.timeout(SOON):
        while (await standin.arrived.get()).message_id != "sent":
            pass


async def test_a_call_whose_connection_stays_away_ends_by_its_timeout(
    cut_off: Client, proxy: Proxy, standin: StandIn
) -> None:
    standin.answer = standin.echo
    await cut_off.call("user.get")
    await proxy.stop()
    with pytest.raises(NoReply):
        await cut_off.call("user.get", timeout=0.3)
    assert cut_off.in_flight == 0


async def test_whether_it_serves_is_not_asked_for_longer_than_a_call_would_be(cut_off: Client, proxy: Proxy) -> None:
    await proxy.stop()
    with pytest.raises(ConnectionError, match=r"no answer within 0\.3 s"):
        await cut_off.serving(timeout=0.3)


async def test_a_key_that_no_frame_holds_disturbs_no_other_call(db: Client, standin: StandIn) -> None:
    waiting = asyncio.create_task(db.call("user.create", {"number": 1}))
    request = await standin.arrived.get()
    with pytest.raises(ValueError, match="partition_key"):
        await db.call("user.create", partition_key="k" * 200_000)
    await standin.reply(request, {"number": 1})
    assert await waiting == {"number": 1}
    assert len(standin.requests) == 1


async def test_a_call_in_flight_ends_when_its_client_is_closed(rabbitmq_url: str, standin: StandIn) -> None:
    async with Client(rabbitmq_url, standin.name, timeout=SOON) as db:
        call = asyncio.create_task(db.call("user.get"))
        await standin.arrived.get()
    with pytest.raises(ConnectionError, match="the client is closed"):
        await call
    with pytest.raises(ConnectionError, match="the client is closed"):
        await db.call("user.get")


async def _enter_events(db: Client) -> None:
    async with db.events():
        pass


OPERATIONS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "call": lambda db: db.call("user.get"),
    "send": lambda db: db.send("user.get"),
    "serving": lambda db: db.serving(),
    "events": _enter_events,
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize("moment", ["first", "later"])
async def test_whatever_waits_for_a_silent_broker_ends_when_its_client_is_closed(
    proxy: Proxy, standin: StandIn, operation: Callable[[Client], Awaitable[object]], moment: str
) -> None:
    standin.answer = standin.echo
    db = await Client(str(await proxy.start()), standin.name, timeout=10 * SOON).__aenter__()
    if moment == "later":
        await db.call("user.get")
    proxy.silent.set()
    waiting = [asyncio.ensure_future(operation(db)) for _ in range(5)]
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(db.__aexit__(None, None, None))
    async with asyncio.timeout(SOON):
        ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert not closing.done()  # the broker does not say goodbye
    proxy.cut()
    await closing
    assert [str(error) for error in ended] == ["the client is closed"] * 5
    assert db.in_flight == 0


@pytest.mark.parametrize("turns", range(8))
async def test_calls_that_have_just_begun_end_when_their_client_is_closed(
    rabbitmq_url: str, standin: StandIn, turns: int
) -> None:
    async with Client(rabbitmq_url, standin.name, timeout=10 * SOON) as db:
        calls = [asyncio.ensure_future(db.call("user.get")) for _ in range(50)]
        for _ in range(turns):
            await asyncio.sleep(0)
    async with asyncio.timeout(SOON):
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert {str(error) for error in ended} == {"the client is closed"}


async def test_events_of_a_silent_broker_are_given_up(proxy: Proxy, standin: StandIn) -> None:
    async with Client(str(await proxy.start()), standin.name, timeout=0.3) as db:
        async with db.events():
            proxy.silent.set()  # the block ends all the same
        with pytest.raises(ConnectionError, match=r"no answer within 0\.3 s"):
            await _enter_events(db)
        proxy.cut()


async def test_a_listener_ends_when_its_client_is_closed(rabbitmq_url: str, standin: StandIn) -> None:
    async with Client(rabbitmq_url, standin.name) as db, db.events() as events:
        waiting = asyncio.ensure_future(anext(aiter(events)))
        await asyncio.sleep(0)
    with pytest.raises(ConnectionError):
        async with asyncio.timeout(SOON):
            await waiting


@pytest.mark.parametrize("message_id", ["", "m" * 256, "é" * 128])
async def test_a_message_id_that_amqp_does_not_hold_is_told_at_once(db: Client, message_id: str) -> None:
    with pytest.raises(ValueError, match="a message_id has 1 to 255 bytes"):
        await db.call("user.get", message_id=message_id)


async def test_what_is_sent_is_persistent_and_wants_no_reply(db: Client, standin: StandIn) -> None:
    message_id = await db.send("log.create", {"message": "hello"}, partition_key="p")
    message = await standin.arrived.get()
    assert (message.message_id, message.body, message.reply_to) == (message_id, b'{"message":"hello"}', None)
    assert message.headers == {wire.PARTITION_KEY: "p"}
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT


@pytest.mark.parametrize("url", ["localhost", "amqp://", "http://guest:secret@localhost/"])
def test_what_is_no_url_of_a_broker_is_told_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="must look like amqp://") as raised:
        Client(url)
    assert "secret" not in str(raised.value)


async def test_a_service_that_was_never_started_is_named(rabbitmq_url: str) -> None:
    async with Client(rabbitmq_url, "nowhere", timeout=SOON) as db:
        for use in (db.call, db.send):
            with pytest.raises(NoService, match="no service named 'nowhere' has been started on this broker"):
                await use("user.get")
        with pytest.raises(NoService, match="no service named 'nowhere'"):
            async with db.events():
                pass
        assert db.in_flight == 0


async def test_a_client_goes_on_once_the_service_is_there(rabbitmq_url: str, standin: StandIn) -> None:
    standin.answer = standin.echo
    async with Client(rabbitmq_url, standin.name, timeout=SOON) as db:
        await standin.channel.exchange_delete(standin.names.requests)
        with pytest.raises(NoService):
            await db.call("user.get")
        exchange = await standin.channel.declare_exchange(standin.names.requests, "topic", durable=True)
        queue = await standin.channel.get_queue(standin.names.writes)
        await queue.bind(exchange, "#")
        assert await db.call("user.get", {"number": 1}) == {"number": 1}


async def test_a_request_that_no_queue_takes_is_told(db: Client, standin: StandIn) -> None:
    queue: AbstractQueue = await standin.channel.get_queue(standin.names.writes)
    await queue.unbind(standin.names.requests, "#")
    with pytest.raises(NoService):
        await db.call("user.get")


async def test_no_event_after_entering_is_missed(db: Client, standin: StandIn) -> None:
    async with db.events("session.*") as events:
        for number in range(300):
            await standin.announce("session.created", {"number": number})
            await standin.announce("query.created", {"number": -1})
        seen = [(await anext(events)).body["number"] for _ in range(300)]
    assert seen == list(range(300))


async def test_an_event_says_what_happened(db: Client, standin: StandIn) -> None:
    headers = {
        wire.ENTITY_VERSION: 3,
        wire.CAUSATION_ID: "request",
        wire.CLOUD_EVENT + "time": "2026-01-31T12:00:00Z",
    }
    async with db.events() as events:
        await standin.announce("query.started", {"id": 1}, message_id="e", correlation_id="c", headers=headers)
        event = await anext(events)
    assert event == client.Event("query.started", "e", 3, "request", "c", "2026-01-31T12:00:00Z", {"id": 1})


async def test_events_end_with_their_connection(cut_off: Client, proxy: Proxy, standin: StandIn) -> None:
    async with cut_off.events() as events:
        await standin.announce("user.created", {})
        assert (await anext(events)).name == "user.created"
        proxy.cut()
        with pytest.raises(ConnectionError, match="the connection was lost"):
            await anext(events)
    standin.answer = standin.echo
    await cut_off.call("user.get")
    async with cut_off.events() as events:
        await standin.announce("user.updated", {})
        assert (await anext(events)).name == "user.updated"
