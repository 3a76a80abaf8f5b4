"""The tutorial's service with four operations: a handler for each, told apart by the routing key.

It has no rules: a query is completed whatever its status, and what is not there is answered with nothing.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import uvloop
from faststream import FastStream
from faststream.rabbit.message import RabbitMessage
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from bench.peers.faststream_echo import settling
from bench.peers.tutorial import CreateQuery, Query, ReadQuery, connected, queue, sessions
from bench.stopwatch import Job, Stopwatch


class UpdateQuery(BaseModel):
    id: UUID
    meta: dict[str, Any] = Field(alias="metadata")


class CompleteQuery(BaseModel):
    id: UUID
    response: dict[str, Any]


class DeleteQuery(BaseModel):
    id: UUID


class Handlers:
    """One session and one transaction a request."""

    def __init__(self, opened: async_sessionmaker[AsyncSession], watch: Stopwatch) -> None:
        self._opened = opened
        self._watch = watch

    async def create(self, request: CreateQuery) -> ReadQuery:
        self._watch.start()
        async with self._opened() as session:
            query = Query(**request.model_dump())
            session.add(query)
            await session.commit()
            await session.refresh(query)
        return ReadQuery.model_validate(query)

    async def update(self, request: UpdateQuery) -> ReadQuery | None:
        self._watch.start()
        return await self._change(request.id, meta=request.meta)

    async def complete(self, request: CompleteQuery) -> ReadQuery | None:
        self._watch.start()
        return await self._change(request.id, status="completed", response=request.response)

    async def delete(self, request: DeleteQuery) -> ReadQuery | None:
        self._watch.start()
        async with self._opened() as session:
            query = await session.get(Query, request.id)
            if query is None:
                return None
            await session.delete(query)
            await session.commit()
        return ReadQuery.model_validate(query)

    async def _change(self, query_id: UUID, **changed: Any) -> ReadQuery | None:
        async with self._opened() as session:
            query = await session.get(Query, query_id)
            if query is None:
                return None
            for name, value in changed.items():
                setattr(query, name, value)
            await session.commit()
        return ReadQuery.model_validate(query)


def routed(key: str) -> Callable[[RabbitMessage], bool]:
    return lambda message: message.raw_message.routing_key == key


def main() -> None:
    job = Job.read()
    watch, broker = Stopwatch(job), connected(job)
    handlers = Handlers(sessions(job), watch)
    app = FastStream(broker, logger=None)
    subscriber = broker.subscriber(queue(job.requests))
    publisher = broker.publisher(queue(job.results), persist=True)
    for handle in (handlers.create, handlers.update, handlers.complete, handlers.delete):
        subscriber(publisher(handle), filter=routed(f"query.{handle.__name__}"))

    with settling(app, watch):
        uvloop.run(app.run())
    watch.report()


if __name__ == "__main__":
    main()
