"""A session of one's own writes all of what it was told or nothing, whatever goes wrong in between."""

import asyncio
import contextlib
import subprocess
import sys
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncSession

from src import crud
from src.database import Database
from src.errors import Conflict, NotFound, Transient, VersionMismatch
from src.library import User
from src.models.chat import Chat
from src.models.message import Message, Role
from tests.support import harness


async def names(database: Database) -> list[str]:
    async with database.reading() as session:
        return [each.username for each in await crud.list(session, User, {}, ["username"])]


async def rename(database: Database, user: User) -> None:
    """A row that was read earlier, elsewhere."""
    async with database.session() as session:
        session.add(user)
        user.name = "mine"


async def swallow(session: AsyncSession) -> None:
    """Go on as if nothing had been refused."""
    with contextlib.suppress(exc.DBAPIError):
        await take_twice(session)


async def take_twice(session: AsyncSession) -> None:
    """Ask the database for what it refuses."""
    await session.execute(sa.insert(User).values(id=uuid4(), username="ada"))


async def test_an_error_of_the_database_that_is_swallowed_forbids_the_commit(database: Database, ada: UUID) -> None:
    async def go_on() -> None:
        async with database.session() as session:
            await crud.create(session, User, username="before")
            await swallow(session)

    with pytest.raises(Conflict):
        await go_on()
    async with database.session() as session:
        await crud.create(session, User, username="mine")
        await swallow(session)
        with pytest.raises(exc.DBAPIError):
            await session.commit()
        await session.rollback()
        await crud.create(session, User, username="later")
    assert await names(database) == ["ada", "later"]


async def test_what_is_refused_under_a_savepoint_goes_with_it(database: Database, ada: UUID) -> None:
    async def within(session: AsyncSession) -> None:
        async with session.begin_nested():
            await crud.create(session, User, username="within")
            await take_twice(session)

    async def go_on(session: AsyncSession) -> None:
        async with session.begin_nested():
            await swallow(session)
            await crud.create(session, User, username="within")

    async with database.session() as session:
        await crud.create(session, User, username="before")
        for way in (within, go_on):
            with pytest.raises(exc.DBAPIError):
                await way(session)
        async with session.begin_nested():
            await crud.create(session, User, username="after")
    assert await names(database) == ["ada", "after", "before"]


async def test_a_refusal_outside_a_savepoint_does_not_go_with_it(database: Database, ada: UUID) -> None:
    if database.dialect.name == "PostgreSQL":
        pytest.skip("it takes nothing more after a refusal")

    async def go_on() -> None:
        async with database.session() as session:
            await swallow(session)
            savepoint = await session.begin_nested()
            await savepoint.rollback()

    with pytest.raises(Conflict):
        await go_on()
    assert await names(database) == ["ada"]


@pytest.mark.parametrize("way", [AsyncSession.begin_nested, contextlib.nullcontext])
async def test_of_a_deadlock_that_is_swallowed_nothing_stays(database: Database, ada: UUID, way: Any) -> None:
    if database.dialect.name == "SQLite":
        pytest.skip("who writes is alone")
    bob, both = uuid4(), asyncio.Barrier(2)
    async with database.session() as session:
        await crud.create(session, User, id=bob, username="bob")

    async def change(first: UUID, second: UUID, mark: str) -> str | None:
        async with database.session() as session:
            await crud.create(session, User, username=f"{mark} before")
            await crud.update(session, User, first, {"name": mark})
            await session.flush()
            await both.wait()
            with contextlib.suppress(Exception):
                async with way(session):
                    await crud.update(session, User, second, {"name": mark})
            with contextlib.suppress(Exception):
                await crud.create(session, User, username=f"{mark} after")
        return mark

    ended = await asyncio.gather(change(ada, bob, "1"), change(bob, ada, "2"), return_exceptions=True)
    kept = [each for each in ended if isinstance(each, str)]
    assert all(isinstance(each, (str, Transient)) for each in ended)
    made = [f"{mark} {when}" for mark in kept for when in ("after", "before")]
    assert await names(database) == sorted(["ada", "bob", *made])


async def test_a_row_that_is_there_may_come_to_refer_to_a_new_one(database: Database) -> None:
    async with database.session() as session:
        chat = await crud.create(session, Chat, platform="irc", external_id="1")
        old = await crud.create(session, Message, chat_id=chat.id, role=Role.USER, content="old")
    async with database.session() as session:
        new = await crud.create(session, Message, chat_id=chat.id, role=Role.USER, content="new")
        await crud.update(session, Message, old.id, {"reply_to_id": new.id})
    async with database.reading() as session:
        assert (await crud.get(session, Message, old.id)).reply_to_id == new.id


async def test_who_changes_a_row_that_another_has_changed_is_told(database: Database, ada: UUID) -> None:
    async with database.reading() as session:
        early = await session.get_one(User, ada)
    async with database.session() as session:
        await crud.update(session, User, ada, {"name": "theirs"})
    with pytest.raises(VersionMismatch):
        await rename(database, early)
    async with database.reading() as session:
        user = await crud.get(session, User, ada)
    assert (user.name, user.version) == ("theirs", 2)


async def test_who_changes_a_row_that_another_has_deleted_is_told(database: Database, ada: UUID) -> None:
    async with database.reading() as session:
        early = await session.get_one(User, ada)
    async with database.session() as session:
        await crud.delete(session, User, ada)
    with pytest.raises(NotFound):
        await rename(database, early)


async def test_two_who_read_a_row_without_a_lock_do_not_both_change_it(database: Database, ada: UUID) -> None:
    if database.dialect.name == "SQLite":
        pytest.skip("who writes is alone")
    both = asyncio.Barrier(2)

    async def change(name: str) -> None:
        async with database.session() as session:
            user = await session.get_one(User, ada)
            await both.wait()
            user.name = name

    ended = await asyncio.gather(change("a"), change("b"), return_exceptions=True)
    assert [type(each) for each in ended if each] == [VersionMismatch]


async def test_a_savepoint_that_was_never_needed_is_taken_back(database: Database) -> None:
    async with database.session() as session:
        savepoint = await session.begin_nested()
        await savepoint.rollback()


async def test_a_session_that_has_ended_is_used_no_more(database: Database, ada: UUID) -> None:
    async with database.session() as session:
        user = await crud.get(session, User, ada)
    async with database.reading() as reading:
        await crud.get(reading, User, ada)
    user.name = "late"
    for ended in (session, reading):
        with pytest.raises(exc.InvalidRequestError, match="closed"):
            await ended.execute(sa.select(1))
    with pytest.raises(exc.InvalidRequestError, match="closed"):
        await session.commit()
    assert database.pool.in_use == 0


LOOPS = """
import asyncio, sys
import sqlalchemy as sa
from src.database import Database

database = Database(sys.argv[1])

async def use():
    async with database.session() as session:
        await session.execute(sa.select(1))

for _ in range(3):
    asyncio.run(use())
asyncio.run(database.dispose())
"""


def test_a_database_outlives_its_event_loop(made_url: str) -> None:
    ended = subprocess.run([sys.executable, "-c", LOOPS, made_url], cwd=harness.ROOT, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
