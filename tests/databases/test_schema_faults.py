"""A fault of the schema is the service's, not the requester's: retryable, and named for the operators."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from src.consumers.messages import failure
from src.database import Database
from src.entity import Operation
from src.processing.outcome import Outcome
from src.processing.request import Request
from src.processing.row_size import RowSizeLimit
from src.processing.unit_of_work import UnitOfWork
from tests.databases.asked import ENTITIES, LARGEST, decoded
from tests.support import harness

BODY = {"title": "x"}

FUNCTION = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''secret''; END'"
SESSIONS = """CREATE TABLE sessions (
    id PRIMARY KEY, user_id, title, status, closed_at, metadata, created_at, updated_at, version,
    tenant TEXT NOT NULL
)"""
FAULTS: dict[str, dict[str, list[str]]] = {
    "a column that nobody fills": {
        "postgresql": ["ALTER TABLE sessions ADD tenant text NOT NULL"],
        "mysql": ["ALTER TABLE sessions ADD tenant varchar(9) NOT NULL"],
        "sqlite": [
            "DROP TABLE sessions",
            SESSIONS,
        ],
    },
    "a trigger that raises": {
        "postgresql": [FUNCTION, "CREATE TRIGGER t BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION no()"],
        "mysql": ["CREATE TRIGGER t BEFORE INSERT ON sessions FOR EACH ROW SIGNAL SQLSTATE '45000'"],
        "sqlite": ["CREATE TRIGGER t BEFORE INSERT ON sessions BEGIN SELECT RAISE(ABORT, 'secret'); END"],
    },
    "a constraint of an operator": {
        "postgresql": ["ALTER TABLE sessions ADD CONSTRAINT strange CHECK (title <> 'x')"],
        "mysql": ["ALTER TABLE sessions ADD CONSTRAINT strange CHECK (title <> 'x')"],
        "sqlite": ["ALTER TABLE sessions ADD COLUMN tenant TEXT CONSTRAINT strange CHECK (title <> 'x')"],
    },
    "a column that is gone": {
        "postgresql": ["ALTER TABLE sessions DROP COLUMN title"],
        "mysql": ["ALTER TABLE sessions DROP COLUMN title"],
        "sqlite": ["ALTER TABLE sessions DROP COLUMN title"],
    },
}
NAMED = {
    "a column that nobody fills": "column tenant",
    "a trigger that raises": "code ",
    "a constraint of an operator": "constraint strange",
    "a column that is gone": "code ",
}


@pytest.fixture
async def database(postgres_url: str, template: str) -> AsyncIterator[Database]:
    async with harness.cloned(postgres_url, template) as url, Database(url) as database:
        yield database


async def applied(database: Database, key: str, body: dict[str, Any]) -> Outcome:
    requests: list[Request[Operation]] = [decoded(key, json.dumps(body))]
    (outcome,) = await UnitOfWork(database, RowSizeLimit(ENTITIES, LARGEST)).apply(requests)
    return outcome


async def alter(database: Database, statements: dict[str, list[str]]) -> None:
    async with database.connect() as connection:
        await connection.commit()
        for statement in statements[database.engine.dialect.name.replace("mariadb", "mysql")]:
            await connection.execute(sa.text(statement))
        await connection.commit()


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_schema_is_internal_and_named(database: Database, fault: str) -> None:
    await alter(database, FAULTS[fault])
    outcome = await applied(database, "session.create", BODY)
    assert (outcome.type, outcome.final) == ("urn:db:problem:internal", False)
    said = failure(outcome)
    assert NAMED[fault] in said
    assert "secret" not in said


NOT_NULL = {
    "postgresql": ["ALTER TABLE sessions ALTER title SET NOT NULL"],
    "mysql": ["ALTER TABLE sessions MODIFY title longtext NOT NULL"],
    "sqlite": ["DROP TABLE sessions", SESSIONS.replace("title", "title NOT NULL").replace("tenant TEXT NOT NULL", "x")],
}


@pytest.mark.parametrize(("body", "problem"), [({"title": None}, "invalid"), ({}, "internal")])
async def test_a_field_of_the_request_that_explains_it_is_invalid(
    database: Database, body: dict[str, Any], problem: str
) -> None:
    await alter(database, NOT_NULL)
    assert (await applied(database, "session.create", body)).type == f"urn:db:problem:{problem}"
