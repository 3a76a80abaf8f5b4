"""FastStream and SQLAlchemy as the tutorials join them: one session and one transaction a message.

A message that is delivered twice fails on the primary key, one that fails is lost, and nothing keeps the order.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import uvloop
from faststream import FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import DateTime, func, make_url
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.peers.faststream_echo import settling
from bench.stopwatch import Job, Stopwatch

PREFETCH = 100
POOL_SIZE = 10
MAX_OVERFLOW = 10


class Base(DeclarativeBase):
    pass


class Query(Base):
    __tablename__ = "queries"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID]
    text: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="pending")
    response: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class CreateQuery(BaseModel):
    id: UUID
    session_id: UUID
    text: str
    meta: dict[str, Any] = Field(alias="metadata")


class ReadQuery(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    session_id: UUID
    text: str
    status: str
    response: dict[str, Any] | None
    meta: dict[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime


def sessions(job: Job) -> async_sessionmaker[AsyncSession]:
    url = make_url(job.database_url).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, pool_size=POOL_SIZE, max_overflow=MAX_OVERFLOW)
    return async_sessionmaker(engine, expire_on_commit=False)


def connected(job: Job) -> RabbitBroker:
    return RabbitBroker(job.rabbitmq_url, default_channel=Channel(prefetch_count=PREFETCH), logger=None)


def queue(name: str) -> RabbitQueue:
    return RabbitQueue(name, queue_type=QueueType.QUORUM, durable=True)


def main() -> None:
    job = Job.read()
    watch, opened, broker = Stopwatch(job), sessions(job), connected(job)
    app = FastStream(broker, logger=None)

    @broker.subscriber(queue(job.requests))
    @broker.publisher(queue(job.results), persist=True)
    async def create(request: CreateQuery) -> ReadQuery:
        watch.start()
        async with opened() as session:
            query = Query(**request.model_dump())
            session.add(query)
            await session.commit()
            await session.refresh(query)
        return ReadQuery.model_validate(query)

    with settling(app, watch):
        uvloop.run(app.run())
    watch.report()


if __name__ == "__main__":
    main()
