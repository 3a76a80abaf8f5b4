"""FastStream's own way, without a database: a typed handler that returns what its publisher sends."""

from typing import Any
from unittest import mock
from uuid import UUID

import uvloop
from faststream import FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from faststream.rabbit.message import RabbitMessage
from pydantic import BaseModel

from bench.stopwatch import Job, Stopwatch

PREFETCH = 100


class Query(BaseModel):
    id: UUID
    session_id: UUID
    text: str
    metadata: dict[str, Any]


def main() -> None:
    job = Job.read()
    watch = Stopwatch(job)
    broker = RabbitBroker(job.rabbitmq_url, default_channel=Channel(prefetch_count=PREFETCH), logger=None)
    app = FastStream(broker, logger=None)

    @broker.subscriber(RabbitQueue(job.requests, queue_type=QueueType.QUORUM, durable=True))
    @broker.publisher(RabbitQueue(job.results, queue_type=QueueType.QUORUM, durable=True), persist=True)
    async def echo(query: Query) -> Query:
        watch.start()
        return query

    with settling(app, watch):
        uvloop.run(app.run())
    watch.report()


def settling(app: FastStream, watch: Stopwatch) -> Any:
    """FastStream acks after the handler has returned and its result is confirmed: the watch must see that."""
    ack = RabbitMessage.ack

    async def settle(self: RabbitMessage, **options: Any) -> None:
        await ack(self, **options)
        if watch.settle():
            app.exit()

    return mock.patch.object(RabbitMessage, "ack", settle)


if __name__ == "__main__":
    main()
