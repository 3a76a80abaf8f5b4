"""What a session of one's own changes is counted as the service counts it: once a transaction."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from src import crud
from src.database import Database
from src.errors import Conflict, NotFound, VersionMismatch
from src.library import Chat, Log, Member, Session, Task, User

type Get = Callable[[AsyncSession, UUID], Awaitable[User]]


async def by_crud(session: AsyncSession, user_id: UUID) -> User:
    return await crud.get(session, User, user_id)


async def by_orm(session: AsyncSession, user_id: UUID) -> User:
    return await session.get_one(User, user_id)


@pytest.fixture(params=[by_crud, by_orm])
def get(request: pytest.FixtureRequest) -> Get:
    chosen: Get = request.param
    return chosen


async def stored(database: Database, user_id: UUID) -> tuple[int, datetime, datetime]:
    async with database.reading() as session:
        user = await crud.get(session, User, user_id)
        return user.version, user.created_at, user.updated_at


async def test_a_new_row_has_version_1_whatever_its_transaction_does_to_it(database: Database) -> None:
    async with database.session() as session:
        created = await crud.create(session, User, username="ada")
        added = User(username="bob")
        session.add(added)
        await session.flush()
        created.name = added.name = "somebody"
    for row in (created, added):
        assert (await stored(database, row.id))[0] == row.version == 1


async def test_a_change_counts_when_it_is_written(database: Database, ada: UUID, get: Get) -> None:
    async with database.session() as session:
        user = await get(session, ada)
        before = user.updated_at
        user.name = "Ada"
        await session.flush()
        assert user.version == 2
    version, created, updated = await stored(database, ada)
    assert version == 2
    assert created < before < updated == user.updated_at


async def test_several_changes_of_a_transaction_count_once(database: Database, ada: UUID, get: Get) -> None:
    async with database.session() as session:
        user = await get(session, ada)
        for name in ("A", "B", "C"):
            user.name = name
            await session.flush()
    assert (await stored(database, ada))[0] == 2


async def test_what_is_no_change_counts_nothing(database: Database, ada: UUID, get: Get) -> None:
    before = await stored(database, ada)
    async with database.session() as session:
        user = await get(session, ada)
        user.name, user.username = "other", "ada"
        user.name = None
    assert await stored(database, ada) == before


async def test_whoever_commits_and_goes_on_begins_anew(database: Database, ada: UUID, get: Get) -> None:
    async with database.session() as session:
        user = await get(session, ada)
        user.name = "A"
        await session.commit()
        async with database.session() as other:  # nobody is locked out any more
            (await get(other, ada)).name = "B"
        await session.refresh(user)
        user = await get(session, ada)
        assert (user.name, user.version) == ("B", 3)
        user.name = "C"
    assert (await stored(database, ada))[0] == 4


async def test_each_commit_counts(database: Database, ada: UUID, get: Get) -> None:
    async with database.session() as session:
        user = await get(session, ada)
        for version, name in enumerate(("A", "B", "C"), 2):
            user.name = name
            await session.commit()
            assert user.version == version
    assert (await stored(database, ada))[0] == 4


async def test_crud_reads_again_after_a_commit(database: Database, ada: UUID) -> None:
    async with database.session() as session:
        await crud.get(session, User, ada)
        await session.commit()
        async with database.session() as other:
            await crud.update(other, User, ada, {"name": "B"})
        with pytest.raises(VersionMismatch):
            await crud.update(session, User, ada, {"name": "C"}, version=1)


async def test_what_a_savepoint_takes_back_does_not_count(database: Database, ada: UUID, get: Get) -> None:
    async with database.session() as session:
        user = await get(session, ada)
        async with session.begin_nested() as savepoint:
            user.name = "A"
            bob = await crud.create(session, User, username="bob")
            await session.flush()
            await savepoint.rollback()
        assert bob not in session
        await session.refresh(user)
        assert (user.name, user.version) == (None, 1)
        await crud.create(session, User, username="bob")
        user.name = "B"
    assert (await stored(database, ada))[0] == 2


async def test_what_is_rolled_back_is_forgotten(database: Database, ada: UUID) -> None:
    async with database.session() as session:
        await crud.delete(session, User, ada)
        await crud.create(session, User, username="bob")
        await session.rollback()
        assert (await crud.get(session, User, ada)).version == 1
        with pytest.raises(NotFound):
            await crud.find(session, User, username="bob")


async def delete_by_crud(session: AsyncSession, user_id: UUID) -> None:
    await crud.delete(session, User, user_id)


async def delete_by_orm(session: AsyncSession, user_id: UUID) -> None:
    await session.delete(await session.get_one(User, user_id))


@pytest.mark.parametrize("delete", [delete_by_crud, delete_by_orm])
async def test_what_a_deletion_changes_counts(
    database: Database, ada: UUID, delete: Callable[[AsyncSession, UUID], Awaitable[None]]
) -> None:
    async with database.session() as session:
        kept = await crud.create(session, Session, user_id=ada)
        log = await crud.create(session, Log, user_id=ada, level="info", source="test", message="hello")
        task = await crud.create(session, Task, user_id=ada, title="to do")
        chat = await crud.create(session, Chat, platform="test", external_id="1")
        chat.members = [Member(user_id=ada)]
    async with database.session() as session:
        await delete(session, ada)
        with pytest.raises(NotFound):
            await crud.get(session, User, ada)
        again = await crud.get(session, Session, kept.id)
        assert (again.version, again.user_id) == (2, None)
    async with database.reading() as session:
        for row in (kept, log, chat):
            assert (await crud.get(session, type(row), row.id)).version == 2
        with pytest.raises(NotFound):
            await crud.get(session, Task, task.id)


async def test_a_change_of_members_counts(database: Database, ada: UUID) -> None:
    async with database.session() as session:
        chat_id = (await crud.create(session, Chat, platform="test", external_id="1")).id
    async with database.session() as session:
        chat = await session.get_one(Chat, chat_id)
        chat.members.append(Member(user_id=ada))
    async with database.reading() as session:
        assert (await crud.get(session, Chat, chat_id)).version == 2


async def test_crud_sees_what_the_session_was_given(database: Database, ada: UUID) -> None:
    async with database.session() as session:
        bob = User(username="bob")
        session.add(bob)
        assert await crud.get(session, User, bob.id) is bob
        session.add(User(username="eve"))
        with pytest.raises(Conflict):
            await crud.create(session, User, username="eve")
        (await session.get_one(User, ada)).username = "lovelace"
        await crud.create(session, User, username="ada")
        await session.execute(sa.delete(User).where(User.username == "eve"))
        await crud.create(session, User, username="eve")


async def test_a_statement_of_ones_own_counts_nothing_by_itself(database: Database, ada: UUID) -> None:
    async with database.session() as session:
        user = await crud.get(session, User, ada)
        await session.execute(sa.update(User).values(name="all"))
        assert (await crud.get(session, User, ada)) is user
        assert (user.name, user.version) == ("all", 1)


async def test_two_who_change_one_row_wait_for_each_other(database: Database, ada: UUID) -> None:
    async def change(name: str) -> None:
        async with database.session() as session:
            await crud.update(session, User, ada, {"name": name})

    await asyncio.gather(*(change(str(number)) for number in range(4)))
    assert (await stored(database, ada))[0] == 5


async def test_a_reading_changes_nothing_and_says_so(database: Database, ada: UUID) -> None:
    async with database.reading() as session:
        with pytest.raises(TypeError, match="only reads"):
            await crud.create(session, User, username="bob")
        with pytest.raises(TypeError, match="only reads"):
            await crud.update(session, User, ada, {"name": "Ada"})
        with pytest.raises(TypeError, match="only reads"):
            await crud.delete(session, User, ada)
