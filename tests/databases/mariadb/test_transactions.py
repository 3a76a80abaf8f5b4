"""Transactions on MariaDB: nothing is lost, doubled or half kept, whoever else writes the same rows."""

import asyncio
import contextlib
import uuid

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncSession

from src import crud, dialects
from src.base import RowRef
from src.database import Database
from src.entity import Entity, Operation
from src.errors import Transient, Unavailable
from src.models.session import ReadSession, Session
from src.processing.outcome import Outcome, State
from src.processing.request import Request
from src.processing.row_size import RowSizeLimit
from src.processing.unit_of_work import UnitOfWork
from tests.support import harness
from tests.support.worlds import Sent

pytestmark = pytest.mark.databases


async def test_a_transaction_sees_what_was_committed_since_it_began(database: Database) -> None:
    count = sa.select(sa.func.count()).select_from(Session)
    async with database.session() as one:
        assert await one.scalar(count) == 0
        async with database.session() as other:
            other.add(Session())
        assert await one.scalar(count) == 1


async def test_a_read_sees_one_snapshot(database: Database) -> None:
    count = sa.select(sa.func.count()).select_from(Session)
    for _ in range(2):  # the connection is used again
        async with database.reading() as one:
            before = await one.scalar(count) or 0
            async with database.session() as other:
                other.add(Session())
            assert await one.scalar(count) == before
        async with database.session() as other:
            assert await other.scalar(count) == before + 1
            other.add(Session())
            async with database.session() as third:
                third.add(Session())
            assert await other.scalar(count) == before + 3


def _titled(title: str, *ids: uuid.UUID) -> sa.Update:
    return sa.update(Session).where(Session.id.in_(ids)).values(title=title)


@pytest.mark.parametrize("hides", [False, True])
async def test_a_unit_of_work_whose_transaction_a_deadlock_has_ended_keeps_all_or_nothing(
    hides: bool,  # noqa: FBT001 - a handler that keeps the refusal to itself
    own_database_url: str,
    database: Database,
) -> None:
    first, second, more, new = (uuid.UUID(int=number) for number in range(1, 5))
    async with database.session() as session:
        session.add_all(Session(id=each) for each in (first, second, more))
    begun, blocked = asyncio.Event(), asyncio.Event()
    trial = Entity(Session, read=ReadSession, delete=False, name="trial")

    @trial.command("take", emits="taken")
    async def take(session: AsyncSession, request: RowRef) -> Session:
        await session.execute(_titled("victim", first))
        begun.set()
        await blocked.wait()
        with contextlib.suppress(*[exc.DBAPIError] * hides):
            async with session.begin_nested():
                await session.execute(_titled("victim", second))
        return await crud.get(session, Session, request.id)

    @trial.command("break", emits="broken")
    async def break_(session: AsyncSession, request: RowRef) -> Session:
        raise ZeroDivisionError

    async def winner() -> None:
        async with database.session() as session:
            await session.execute(_titled("winner", second, more))
            await begun.wait()
            blocked.set()
            await session.execute(_titled("winner", first))

    asked = [Sent("session.create", {"id": str(new)}, "create").request(), _own(trial, "take", first)]
    if not hides:  # what is asked before the deadlock is then under a savepoint that has been released
        asked[1:1] = [_own(trial, "break", first)]
    outcomes, _ = await asyncio.gather(_applied(UnitOfWork(database, RowSizeLimit((), 1_000_000)), asked), winner())
    served = [outcome for outcome in outcomes if outcome.state is State.SERVED]
    assert len(served) == 2
    assert await harness.fetch(own_database_url, "SELECT count(*) FROM inbox") == [(2,)]
    titles = await harness.fetch(own_database_url, "SELECT title FROM sessions ORDER BY id")
    assert titles == [("victim",), ("victim",), ("winner",), (None,)]


def _own(entity: Entity, name: str, row: uuid.UUID) -> Request[Operation]:
    """A request for an operation of the test's own."""
    (operation,) = (each for each in entity.own if each.name == name)
    return Request(operation, RowRef(id=row), key=name.encode().ljust(32))


def test_a_savepoint_that_is_gone_is_the_moments_fault() -> None:
    gone = exc.DBAPIError("ROLLBACK TO SAVEPOINT", None, Exception(1305, "SAVEPOINT sa_savepoint_1 does not exist"))
    assert dialects.error_class(gone) is Transient


async def test_two_replicas_that_are_given_the_same_answer_the_same(own_database_url: str) -> None:
    replicas = [Database(own_database_url) for _ in range(2)]
    units = [UnitOfWork(each, RowSizeLimit((), 1_000_000)) for each in replicas]
    for round_ in range(10):
        asked = [Sent("user.create", {"username": f"{round_}-{n % 7}"}, f"{round_}-{n}").request() for n in range(20)]
        one, other = await asyncio.gather(*(_applied(unit, asked) for unit in units))
        assert [outcome.body for outcome in one] == [outcome.body for outcome in other]
        assert [outcome.state for outcome in one].count(State.SERVED) == 7
    assert await harness.fetch(own_database_url, "SELECT count(*) FROM users") == [(70,)]
    assert await harness.fetch(own_database_url, "SELECT count(*) FROM inbox") == [(200,)]
    for each in replicas:
        await each.dispose()


async def test_two_partitions_that_change_the_same_rows_crosswise_lose_nothing(own_database_url: str) -> None:
    replicas = [Database(own_database_url) for _ in range(2)]
    units = [UnitOfWork(each, RowSizeLimit((), 1_000_000)) for each in replicas]
    ids = [str(uuid.UUID(int=number)) for number in range(1, 6)]
    await _applied(units[0], [Sent("session.create", {"id": each}).request() for each in ids])
    for round_ in range(10):
        orders = ids * 3, ids[::-1] * 3
        await asyncio.gather(
            *(
                _applied(u, _changes(order, f"{round_}-{n}"))
                for n, (u, order) in enumerate(zip(units, orders, strict=True))
            )
        )
    assert await harness.fetch(own_database_url, "SELECT sum(version - 1) FROM sessions") == [(10 * 2 * 15,)]
    assert await harness.fetch(own_database_url, "SELECT count(*) FROM queries") == [(10 * 2 * 15,)]
    for each in replicas:
        await each.dispose()


def _changes(ids: list[str], key: str) -> list[Request[Operation]]:
    """A change of each session, and a child of it."""
    found = []
    for number, each in enumerate(ids):
        found.append(Sent("session.update", {"id": each, "title": f"{key}-{number}"}, f"{key}-{number}").request())
        found.append(Sent("query.create", {"session_id": each, "text": "x"}, f"{key}-{number}-q").request())
    return found


async def _applied(unit: UnitOfWork, asked: list[Request[Operation]]) -> list[Outcome]:
    """The outcomes, however often it takes."""
    async with asyncio.timeout(harness.DEADLINE):
        while True:
            try:
                return await unit.apply(asked)
            except Unavailable:
                continue
