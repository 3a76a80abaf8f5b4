"""The time that the service goes by: strictly increasing, the database's, and never wrong for good."""

import asyncio
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic_ns
from typing import Any
from unittest import mock

import pytest

import config
from src import clock, service
from src.database import Database
from src.processing import retention
from tests.guarantees.traces import sessions
from tests.support import harness, requester
from tests.support.requester import Requester

MINUTE, HOUR, MONTH = timedelta(minutes=1), timedelta(hours=1), timedelta(days=30)
EACH_WAY = pytest.mark.parametrize("way", [1, -1], ids=["ahead", "back"])

# Whatever asks for the time without saying whose asks these: they come before the database's own.
SKEW = """
CREATE SCHEMA skew;
CREATE TABLE skew.away (time interval);
INSERT INTO skew.away VALUES ('0');
CREATE FUNCTION skew.now() RETURNS timestamptz LANGUAGE sql
    AS 'SELECT pg_catalog.clock_timestamp() + time FROM skew.away';
CREATE FUNCTION skew.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT skew.now()';
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = skew, pg_catalog, public', current_database()); END $$
"""


class Machine:
    """The machine's clock, set ``away`` from the time."""

    def __init__(self) -> None:
        self.away = timedelta()
        machine = self

        class Datetime(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime.now(tz) + machine.away

        self.datetime = Datetime

    def time_ns(self) -> int:
        return round((datetime.now(UTC) + self.away).timestamp() * 10**9)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """The clock of the machine; that of this process is as it was when it began, also afterwards."""
    machine = Machine()
    with mock.patch.multiple(clock, datetime=machine.datetime, time_ns=machine.time_ns, create=True):
        yield machine
    type(clock.now).__init__(clock.now)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done each minute is done all the time."""
    monkeypatch.setattr(retention, "PURGE_INTERVAL", 0.01)
    monkeypatch.setattr(service, "CLOCK_INTERVAL", 0.01)


@pytest.fixture
def clock_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's clock is read all the time, but not by the purge of the inbox, which happens once."""
    monkeypatch.setattr(retention, "PURGE_INTERVAL", 3600)
    monkeypatch.setattr(service, "CLOCK_INTERVAL", 0.01)


async def set_database(settings: config.Settings, away: timedelta) -> None:
    await harness.execute(settings.dsn, f"UPDATE skew.away SET time = '{away.total_seconds()} s'")


async def time_of(settings: config.Settings) -> datetime:
    """By the database's clock."""
    moment: datetime = (await harness.fetch(settings.dsn, "SELECT now()"))[0][0]
    return moment


async def purged(settings: config.Settings) -> None:
    """Return when the inbox was purged, by the clock of this process."""
    old = "INSERT INTO inbox (key, fingerprint, outcome, received_at) VALUES ('old', '', '', now() - interval '8 days')"
    await harness.execute(settings.dsn, old)

    async def gone() -> bool:
        return not await harness.fetch(settings.dsn, "SELECT 1 FROM inbox WHERE key = 'old'")

    async with Database(settings.dsn) as database:
        purging = asyncio.create_task(retention.purge(database, settings.inbox_retention))
        try:
            await harness.eventually(gone, "the inbox was purged")
        finally:
            purging.cancel()
            await asyncio.wait({purging})


async def assert_in_time(db: Requester, settings: config.Settings, message_id: str) -> None:
    """It knows ``message_id`` again, writes down the time, and refuses what is too late alone."""
    await purged(settings)
    stored = await sessions(settings)
    first = await db.ask("session.create", {"title": "first"}, message_id)
    assert await sessions(settings) == stored
    assert first.problem is None
    now = await time_of(settings)
    late, soon = ({"deadline": (now + away).isoformat()} for away in (-MINUTE, MINUTE))
    for operation in ("session.create", "session.count"):
        assert (await db.ask(operation, {}, headers=late)).problem == "deadline-exceeded"
        assert (await db.ask(operation, {}, headers=soon)).problem is None
    created = (await db.ask("session.create", {})).document["created_at"]
    assert abs(datetime.fromisoformat(created) - now) < MINUTE
    await purged(settings)


@EACH_WAY
@pytest.mark.parametrize("when", ["before it starts", "while it runs"])
async def test_a_machine_whose_clock_is_wrong_for_a_moment_changes_nothing(
    way: int, when: str, settings: config.Settings, machine: Machine, hurried: None
) -> None:
    if when == "before it starts":
        machine.away = way * MONTH
        type(clock.now).__init__(clock.now)
        clock.now()
    async with harness.running(settings), requester.asking(settings) as db:
        await db.ask("session.create", {"title": "first"}, "m")
        machine.away = way * MONTH
        await assert_in_time(db, settings, "m")
        machine.away = timedelta()
        await assert_in_time(db, settings, "m")


@EACH_WAY
async def test_the_time_is_the_databases_wherever_it_goes(
    way: int, settings: config.Settings, machine: Machine, clock_watched: None
) -> None:
    await harness.script(settings.dsn, SKEW)
    await set_database(settings, way * HOUR)
    async with harness.running(settings), requester.asking(settings) as db:
        await db.ask("session.create", {"title": "first"}, "m")
        await assert_in_time(db, settings, "m")
        await set_database(settings, timedelta())

        async def corrected() -> bool:
            return abs(clock.now() - await time_of(settings)) < MINUTE

        await harness.eventually(corrected, "it has looked")
        await assert_in_time(db, settings, "m")


def test_the_time_is_strictly_increasing_also_where_it_is_corrected_by_little(machine: Machine) -> None:
    moments = []
    for away in (0, -1, 20, -20, 0):
        clock.now.correct(datetime.now(UTC) + timedelta(seconds=away), monotonic_ns())
        moments += [clock.now() for _ in range(1000)]
    assert all(earlier < later for earlier, later in itertools.pairwise(moments))


def test_a_clock_that_was_slow_to_answer_is_believed_as_far_as_it_can_be(machine: Machine) -> None:
    asked = monotonic_ns() - 20 * 10**9
    clock.now.correct(datetime.now(UTC) - timedelta(seconds=10), asked)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=1)
    clock.now.correct(datetime.now(UTC) + timedelta(seconds=10), asked)
    assert abs(clock.now() - datetime.now(UTC) - timedelta(seconds=10)) < timedelta(seconds=1)
