"""No row outgrows an answer: what would is refused and undone; what is too large otherwise may shrink, and may go."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from src import crud
from src.base import RowRef
from src.entity import Entity
from src.models.chat import Chat, ReadChat
from tests.processing.test_batches import ONE, THREE, TWO, ask, chat, folder, paper, row, run, step
from tests.support import worlds
from tests.support.folders import Folder
from tests.support.worlds import LARGEST, Sent, World

BIG = "x" * LARGEST
USERS = [str(uuid.UUID(int=number)) for number in range(10, 110)]
TOO_LARGE = "urn:db:problem:too-large"


crowd = Entity(Chat, read=ReadChat, delete=False, name="crowd")


@crowd.command("leave", emits="left")
async def leave(session: AsyncSession, request: RowRef) -> Chat:
    """Say so at length."""
    left = await crud.get(session, Chat, request.id)
    left.members = []
    left.title = BIG
    return left


worlds.OPERATIONS["crowd.leave"] = crowd.own[0]


@pytest.fixture(scope="module")
def world(postgres_url: str, template: str) -> Iterator[World]:
    with World.beside(postgres_url, template) as made:
        yield made


def update(row_id: str, **values: Any) -> Sent:
    return Sent("folder.update", {"id": row_id} | values)


def report(*steps: dict[str, Any]) -> Sent:
    return Sent("folder.report", {"steps": list(steps)})


BEFORE = [
    *(Sent("user.create", {"id": user, "username": user}) for user in USERS),
    folder(ONE, "ada", text="x" * 90_000),
    folder(TWO, "bob"),
    paper(ONE, ONE),
    chat(ONE, "irc"),
    Sent("chat.add_members", {"id": ONE, "user_ids": USERS[:3]}),
    Sent("chat.update", {"id": ONE, "title": "x" * 97_000}),
]
GROWING = {
    "a creation": folder(THREE, "eve", text=BIG),
    "an update": update(ONE, text=BIG),
    "an update of what is small alone": update(ONE, metadata={"a": "x" * 20_000}),
    "numbers that are small when written": update(TWO, metadata={"a": [1e99] * 1000}),
    "an update of a unique value as well": update(ONE, name="eve", text=BIG),
    "a row that the request does not answer with": run(step("update paper", id=ONE, text=BIG)),
    "a row that the request makes beside": run(step("create paper", id=TWO, folder_id=ONE, text=BIG)),
    "several rows": run(
        step("update folder", id=ONE, text="new"), step("create paper", id=TWO, folder_id=ONE), step("refuse")
    ),
    "an answer of many rows": report(*[step("update folder", id=ONE, text="y" * 40_000)] * 3),
    "a row's collection": Sent("chat.add_members", {"id": ONE, "user_ids": USERS}),
    "a row that loses its collection": Sent("crowd.leave", {"id": ONE}),
}


@pytest.mark.parametrize("growing", GROWING.values(), ids=GROWING)
@pytest.mark.parametrize("dry", [False, True], ids=["", "dry"])
def test_what_would_be_too_large_is_refused_and_undone_and_its_neighbours_run_once(
    world: World, growing: Sent, *, dry: bool
) -> None:
    growing = replace(growing, dry=dry)
    asked = [
        update(ONE, metadata={"neighbour": 1}),
        Sent("chat.remove_members", {"id": ONE, "user_ids": USERS[:1]}),
        Sent("chat.update", {"id": ONE, "metadata": {"neighbour": 1}}),
        growing,
        growing,
        update(ONE, metadata={"neighbour": 2}),
        Sent("paper.update", {"id": ONE, "text": "new"}),
        folder(THREE, "eve"),
        paper(TWO, TWO),
        Sent("chat.add_members", {"id": ONE, "user_ids": USERS[1:5]}),
    ]
    answers = ask(world, BEFORE, *asked)
    assert [answer["state"] for answer in answers] == [*["SERVED"] * 3, "REJECTED", "REJECTED", *["SERVED"] * 5]
    refused = [answer["body"]["type"] for answer in answers[3:5]]
    assert refused[0] == refused[1]
    assert refused[0].removeprefix("urn:db:problem:") in {"too-large", "result-too-large", "illegal-transition"}


def test_the_refusal_of_a_row_that_would_be_too_large_is_final(world: World) -> None:
    world.begin([folder(ONE, "ada")])
    growing = Sent("folder.update", {"id": ONE, "text": BIG}, "key")
    ((first,), bisections), ((again,), _) = world.play([growing]), world.play([growing])
    assert not bisections
    assert (first.type, first.final) == (TOO_LARGE, True)
    assert (again.body, again.type) == (first.body, first.type)
    assert worlds.document(first)["events"][0]["name"] == "folder.update.failed"


def enlarge(world: World, *row_ids: str) -> None:
    """Somebody has made the rows too large by a statement of their own."""
    which = Folder.id.in_(map(uuid.UUID, row_ids))
    world.execute(sa.update(Folder).where(which).values(text=BIG * 2))


def test_a_row_that_is_too_large_already_can_shrink(world: World) -> None:
    world.begin([folder(ONE, "ada")])
    enlarge(world, ONE)
    asked = [update(ONE, text=BIG * 3), update(ONE, text=BIG), update(ONE, text="small")]
    outcomes, bisections = world.play(asked)
    told = [worlds.document(outcome) for outcome in outcomes]
    assert not bisections
    assert [answer["type"] for answer in told] == [TOO_LARGE, "folder.update", "folder.update"]
    assert told[1]["body"] == {"id": ONE, "version": "#2"}
    assert [event["body"] for event in told[1]["events"]] == [{"id": ONE, "version": "#2"}]
    assert (told[2]["body"]["text"], told[2]["body"]["version"]) == ("small", "#3")
    assert row(world, "folders", ONE)["text"] == "small"


def test_a_row_that_is_too_large_can_be_deleted(world: World) -> None:
    world.begin([folder(ONE, "ada")])
    enlarge(world, ONE)
    ((outcome,), bisections) = world.play([Sent("folder.delete", {"id": ONE})])
    told = worlds.document(outcome)
    assert not bisections
    assert (told["type"], told["body"]) == ("folder.delete", {"id": ONE, "version": "#1"})
    assert [event["name"] for event in told["events"]] == ["folder.deleted"]
    assert not world.rows()
