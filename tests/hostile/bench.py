"""The service beside a raw connection, and what the service has sent to whom."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiormq.abc import AbstractConnection, ChannelFrame, FrameType
from aiormq.channel import Channel
from pamqp.body import ContentBody
from pamqp.commands import Basic

from src.amqp import connections
from src.client import Client
from src.service import Service
from tests.support import harness
from tests.support.marshalled import Header, Publish, payload
from tests.support.requester import Collected, Message

SECRET = "xyzzy"
"""Is in every hostile payload, and must be in no log record."""
CREATE = b'{"title": "xyzzy"}'
MEBIBYTE = 1024 * 1024
PIECE = 128 * 1024 - 8  # bytes of a body that fit into a frame

type MessageProperties = dict[str, Any]


@dataclass
class Bench:
    """A service, a raw connection beside it, and what the service has sent to whom."""

    service: Service
    connection: AbstractConnection
    channel: Channel
    client: Client
    address: str
    replies: Collected
    letters: Collected

    async def send(
        self, operation: str | bytes, body: bytes, pieces: Mapping[str, Any] | None = None, exchange: str | None = None
    ) -> None:
        """Publish, with the properties given: bytes go out as they are."""
        exchange = harness.names(self.service.settings).requests if exchange is None else exchange
        marshalled = {
            name: value if isinstance(value, bytes) else Basic.Properties().encode_property(name, value)
            for name, value in (pieces or {}).items()
        }
        frames: list[FrameType] = [
            Publish(exchange, operation.encode() if isinstance(operation, str) else operation),
            Header(payload(marshalled, len(body))),
            *(ContentBody(body[begin : begin + PIECE]) for begin in range(0, len(body), PIECE)),
        ]
        await self.connection.write_queue.put(ChannelFrame.marshall(self.channel.number, frames))

    async def good(self) -> str:
        """A good request's correlation id; its answer is known by it."""
        name = str(uuid.uuid4())
        pieces = {"correlation_id": name, "message_id": name, "reply_to": self.address}
        await self.send("session.create", b'{"title": "good"}', pieces)
        return name

    async def rows(self) -> int:
        tables = "(SELECT count(*) FROM sessions) + (SELECT count(*) FROM users) + (SELECT count(*) FROM queries)"
        return int((await harness.fetch(self.service.settings.dsn, f"SELECT {tables}"))[0][0])

    async def answer(self, name: str) -> Message:
        """The one reply to the request of this correlation id; a second one would come before later ones."""
        await self.replies.reach(lambda: self.replies.of(name))
        (reply,) = self.replies.of(name)
        return reply

    async def fence(self) -> None:
        """Return when all that was sent before has been answered, by writes, reads and the unrouted."""
        for operation, body in (("session.create", b"{}"), ("session.count", b"{}"), ("nothing.known", b"{}")):
            name = f"fence {uuid.uuid4()}"
            await self.send(operation, body, {"correlation_id": name, "reply_to": self.address, "message_id": name})
            await self.answer(name)

    async def connections(self) -> list[object]:
        """Those of the service, in and out."""
        outbound = (self.service.outbound, self.service.replying)
        return [
            await connections.ready(await self.service.broker.connect()),
            *[await each.ready() for each in outbound],
        ]


async def between_two_good(
    bench: Bench, operation: str | bytes, body: bytes, pieces: MessageProperties, rows: int = 0
) -> None:
    """Send it between two good requests, which are served, and find so many rows of it."""
    had, first = await bench.rows(), await bench.good()
    await bench.send(operation, body, pieces)
    second = await bench.good()
    for name in (first, second):
        assert (await bench.answer(name)).kind == "session.create"
    await bench.fence()
    assert await bench.rows() == had + 2 + 1 + rows  # the fence makes one


async def assert_answered(
    bench: Bench, expected: str, operation: str, body: bytes, pieces: MessageProperties | None = None, rows: int = 0
) -> dict[str, Any]:
    """It gets one answer of the expected kind, and there is no dead letter."""
    name, letters = f"hostile {uuid.uuid4()}", len(bench.letters.all)
    pieces = {"correlation_id": name, "message_id": name, "reply_to": bench.address} | (pieces or {})
    await between_two_good(bench, operation, body, pieces, rows)
    replies = [reply for reply in bench.replies.all if _is_of(reply, name, pieces)]
    assert [reply.kind for reply in replies] == [expected]
    assert len(bench.letters.all) == letters
    assert len(replies[0].body) < MEBIBYTE
    return dict(replies[0].document)


def _is_of(reply: Message, name: str, pieces: MessageProperties) -> bool:
    """A reply whose request's correlation id is undecodable has its message id, or none."""
    given = pieces["correlation_id"] if isinstance(pieces["correlation_id"], str) else name
    return reply.correlation_id == given


async def assert_dead(
    bench: Bench, expected: str, operation: str | bytes, body: bytes, pieces: MessageProperties
) -> None:
    """It cannot be answered, so it becomes one dead letter that says why."""
    letters = len(bench.letters.all)
    await between_two_good(bench, operation, body, pieces)
    assert [letter.reason for letter in bench.letters.all[letters:]] == [expected]
    assert bench.letters.all[-1].body == body
