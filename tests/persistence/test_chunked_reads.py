"""What a read holds of rows: never more than an answer may, and a piece."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from src import crud
from src.entity import Operation
from src.persistence import chunked_reads
from src.processing.outcome import Outcome
from src.processing.read_batch import BatchReader
from src.processing.request import Request
from tests.support import worlds
from tests.support.worlds import Sent, World

KIBIBYTE = 1024
LARGE = "x" * 20 * KIBIBYTE
LIMIT = 100 * KIBIBYTE
IDS = [str(uuid.UUID(int=number)) for number in range(1, 41)]
OPERATIONS = {op.key: op for entity in worlds.ENTITIES for op in entity.operations()}


@pytest.fixture(scope="module")
def world(postgres_url: str, template: str) -> Iterator[World]:
    with World.beside(postgres_url, template) as made:
        user = Sent("user.create", {"id": IDS[0], "username": "ada"})
        tasks = [
            Sent("task.create", {"id": row_id, "user_id": IDS[0], "title": "x", "description": LARGE}) for row_id in IDS
        ]
        made.begin([user, *tasks])
        yield made


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pieces that hold two rows."""
    monkeypatch.setattr(chunked_reads, "CHUNK", 2 * len(LARGE))
    for prepared in (crud._listing, chunked_reads._selection_of_ids):
        prepared.cache_clear()
    yield
    for prepared in (crud._listing, chunked_reads._selection_of_ids):
        prepared.cache_clear()


def ask(world: World, *asked: tuple[str, dict[str, Any]]) -> tuple[dict[str, Outcome], int]:
    """The answers by what was asked, and how many rows of tasks the database has given."""
    requests: list[Request[Operation]] = []
    for key, body in asked:
        operation = OPERATIONS[key]
        requests.append(Request(operation, operation.request.model_validate(body, strict=False)))
    given = 0

    def count(_connection: object, cursor: Any, statement: str, *_more: object) -> None:
        nonlocal given
        given += len(cursor._rows) if "tasks.version" in statement.partition("FROM")[0] else 0

    async def read() -> dict[int, Outcome]:
        reader = BatchReader(world.database, LIMIT, concurrency=4)
        return {position: outcome async for part in reader.apply(requests) for position, outcome in part}

    engine = world.database.engine.sync_engine
    sa.event.listen(engine, "after_cursor_execute", count)
    outcomes = world.run(read())
    sa.event.remove(engine, "after_cursor_execute", count)
    return {str(position): outcome for position, outcome in sorted(outcomes.items())}, given


TOO_MUCH: dict[str, tuple[str, dict[str, Any]]] = {
    "a list": ("task.list", {"limit": 40}),
    "a search": ("task.search", {"text": "x"}),
    "rows of another's answer": ("user.with_tasks", {"id": IDS[0]}),
}


@pytest.mark.parametrize("asked", TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_list_of_large_rows_reads_no_more_than_an_answer_and_a_piece(
    world: World, asked: tuple[str, dict[str, Any]]
) -> None:
    answers, given = ask(world, asked)
    assert answers["0"].type == "urn:db:problem:result-too-large"
    assert given <= 6


def test_a_list_in_pieces_is_in_its_order(world: World) -> None:
    answers, given = ask(world, ("task.list", {"limit": 3, "order": ["-id"], "offset": 1}))
    assert [item["id"] for item in worlds.document(answers["0"])["body"]["items"]] == IDS[-2:-5:-1]
    assert given == 4  # one more tells whether there is a next page


def test_each_of_many_rows_that_are_large_together_is_answered(world: World) -> None:
    answers, _ = ask(world, *(("task.get", {"id": row_id}) for row_id in [*IDS, str(uuid.UUID(int=99))]))
    assert [answer.type for answer in answers.values()] == [*["task.get"] * 40, "urn:db:problem:not-found"]


def test_rows_that_are_not_there_are_asked_for_together(world: World) -> None:
    answers, _ = ask(world, *(("task.get", {"id": str(uuid.uuid4())}) for _ in range(20)))
    assert {answer.type for answer in answers.values()} == {"urn:db:problem:not-found"}
