"""What the demo proves, each check from the facts that it needs."""

import asyncio
from dataclasses import dataclass

import pydantic_core
import sqlalchemy as sa

from examples.demo.play import Asked, Play, Rows
from examples.demo.stage import Stage
from examples.demo.witness import Witness
from src import wire
from src.base import Base
from src.client import Client, Reply
from src.database import Database
from src.errors import PREFIX, Invalid
from src.models.query import Query
from src.models.session import Session
from src.models.user import User

MODELS: dict[str, type[Base]] = {"user": User, "session": Session, "query": Query}
INVALID = ("query.create", {"session_id": "the first one", "text": 42})


@dataclass(frozen=True)
class Check:
    """Something that must hold, and the facts that say whether it does."""

    name: str
    holds: bool
    facts: str


async def rows(stage: Stage) -> Rows:
    """What the database holds, read without the service, in the types of JSON."""
    async with Database(stage.target.database_url).connect() as connection:
        found = {
            entity: (await connection.execute(sa.select(model.__table__))).mappings().all()
            for entity, model in MODELS.items()
        }
    plain = {entity: {str(record["id"]): dict(record) for record in records} for entity, records in found.items()}
    read: Rows = pydantic_core.to_jsonable_python(plain)
    return read


def stored(play: Play, found: Rows) -> list[Check]:
    """The rows are those that were sent, and those that were answered."""
    fields = [
        (found[entity].get(row_id, {}).get(name), value)
        for entity, by_id in play.sent.items()
        for row_id, row in by_id.items()
        for name, value in row.items()
    ]
    wrong = sum(value != sent for value, sent in fields)
    as_many = all(len(found[entity]) == len(play.sent[entity]) for entity in MODELS)
    counts = ", ".join(f"{len(found[entity])} {model.__tablename__}" for entity, model in MODELS.items())
    others = _different(found, play.answered)
    return [
        Check("the rows are what was sent", as_many and not wrong, f"{counts}; {wrong} of {len(fields)} fields differ"),
        Check("the rows are what was answered", not others, f"{others} differ, of {len(play.asked)} writes"),
    ]


async def reads(play: Play, db: Client) -> Check:
    """get, list and count tell of the same rows."""
    users, sessions, queries = (play.answered[entity] for entity in MODELS)
    session_id = next(iter(sessions))
    of_session = [row for row in queries.values() if row["session_id"] == session_id]
    completed = sum(row["status"] == "completed" for row in queries.values())
    got = await asyncio.gather(*(db.call("user.get", {"id": user_id}) for user_id in users))
    listed = await db.call("query.list", {"where": {"session_id": session_id}, "order": ["created_at"]})
    counted = await db.call("query.count", {"where": {"status": "completed"}})
    holds = got == list(users.values()) and listed["items"] == of_session and counted["count"] == completed
    facts = f"{len(got)} users, {len(listed['items'])} queries of a session, {counted['count']} completed queries"
    return Check("get, list and count tell of them", holds, facts)


async def told(play: Play, witness: Witness) -> Check:
    """Every write is told of by its event, once."""
    expected = {asked.message_id: asked.event for asked in play.asked}
    await witness.until(lambda: len(witness.events) >= len(expected))
    came = {event.causation_id: (event.name, event.body.get("id"), event.entity_version) for event in witness.events}
    once = all(times == 1 for times in witness.times().values())
    facts = f"{len(witness.events)} events of {len(expected)} writes, {len(witness.times())} ids"
    return Check("each write has its event, once", came == expected and once, facts)


async def repeated(play: Play, db: Client, witness: Witness, stage: Stage) -> list[Check]:
    """Everything is sent a second time: it is answered and told again, and not done again."""
    before, first = await rows(stage), witness.times()
    again = await asyncio.gather(*(_ask_again(db, asked) for asked in play.asked))
    await witness.until(lambda: witness.times().total() >= 2 * first.total())
    same = sum(_content(reply) == _content(asked.reply) for reply, asked in zip(again, play.asked, strict=True))
    changed, times = _different(before, await rows(stage)), witness.times()
    twice = sum(times[event] == 2 * first[event] for event in first)
    return [
        Check("a duplicate has the same answer", same == len(again), f"{same} of {len(again)} equal, byte for byte"),
        Check("a duplicate changes nothing", not changed, f"{changed} rows differ"),
        Check(
            "its event comes again, under its id",
            twice == len(first) == len(times),
            f"{twice} of {len(first)} came twice, {len(times) - len(first)} ids are new",
        ),
    ]


async def refused(problem: Reply, before: Rows, witness: Witness, stage: Stage) -> Check:
    """What is invalid is answered with the problem, told of as failed, and leaves no row."""
    failed = f"{INVALID[0]}.failed"
    await witness.until(lambda: witness.heard(failed))
    changed = _different(before, await rows(stage))
    is_problem = problem.content_type == wire.PROBLEM and problem.type == PREFIX + Invalid.name()
    told_of = "told of" if witness.heard(failed) else "not told of"
    facts = f"{problem.type}, {told_of} as {failed}; {changed} rows differ"
    return Check("an invalid request is refused", is_problem and witness.heard(failed) and not changed, facts)


def stopped(code: int | None, waiting: dict[str, int]) -> Check:
    """SIGTERM ended the service in order, and no message is left."""
    left = ", ".join(f"{count} in {queue}" for queue, count in waiting.items() if count) or "its queues are empty"
    return Check("the service ends on SIGTERM", code == 0 and not any(waiting.values()), f"exit code {code}; {left}")


def _different(one: Rows, other: Rows) -> int:
    """How many rows are not the same in both."""
    keys = {(entity, row_id) for found in (one, other) for entity, by_id in found.items() for row_id in by_id}
    return sum(one[entity].get(row_id) != other[entity].get(row_id) for entity, row_id in keys)


async def _ask_again(db: Client, asked: Asked) -> Reply:
    return await db.request(asked.operation, asked.body, message_id=asked.message_id, partition_key=asked.partition_key)


def _content(reply: Reply) -> tuple[bytes, str, str]:
    return reply.body, reply.type, reply.content_type
