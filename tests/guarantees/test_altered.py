"""A table is altered while the service runs: statements that were prepared before are prepared anew."""

import logging

import pytest

import config
from tests.guarantees.writes import SESSION
from tests.support import harness, requester

ALTERED = {
    "a type": "ALTER TABLE sessions ALTER COLUMN title TYPE varchar(500)",
    "several types": "ALTER TABLE sessions ALTER title TYPE varchar(9), ALTER version TYPE bigint",
    "another column of the name": "ALTER TABLE sessions DROP COLUMN title, ADD COLUMN title varchar(500)",
    "a column more": "ALTER TABLE sessions ADD COLUMN colour text",
    "another table of the name": "ALTER TABLE sessions RENAME TO others;"
    " CREATE TABLE sessions (LIKE others INCLUDING ALL);"
    " ALTER TABLE sessions ALTER COLUMN title TYPE varchar(500); INSERT INTO sessions SELECT * FROM others",
}
READS = [("session.get", {"id": SESSION}), ("session.list", {}), ("session.count", {}), ("session.exists", {})]


@pytest.mark.postgresql  # which prepares statements
@pytest.mark.parametrize("altered", ALTERED.values(), ids=ALTERED)
async def test_what_meets_an_altered_table_is_served(
    altered: str, settings: config.Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with harness.running(settings), requester.asking(settings) as db:
        asked = [*READS, ("session.update", {"id": SESSION, "metadata": {}}), *READS]
        await db.ask("session.create", {"id": SESSION})
        before = [await db.ask(*each) for each in asked]
        await harness.script(settings.dsn, altered)
        assert [await db.ask(*each) for each in asked] == before
        await harness.execute(settings.dsn, "ALTER TABLE sessions ALTER metadata TYPE json, ALTER title TYPE text")
        for number in range(3):
            answer = await db.ask("session.update", {"id": SESSION, "metadata": {"number": number}})
            assert answer.document["metadata"] == {"number": number}
    assert "could not be written together" not in caplog.text
