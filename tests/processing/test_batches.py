"""What a batch answers and leaves, case by case: each was answered otherwise once."""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from src import crud
from src.base import Schema
from src.database import Database
from src.entity import Entity
from src.processing.outcome import Outcome
from src.processing.request import Request
from src.processing.row_size import RowSizeLimit
from src.processing.unit_of_work import UnitOfWork
from tests.support import derived, folders, worlds
from tests.support.worlds import Sent, World

ONE, TWO, THREE = (str(uuid.UUID(int=number)) for number in (1, 2, 3))


@pytest.fixture(scope="module")
def world(postgres_url: str, template: str) -> Iterator[World]:
    with World.beside(postgres_url, template) as made:
        yield made


def ask(world: World, before: Sequence[Sent], *asked: Sent) -> list[dict[str, Any]]:
    """The answers, which are the same one by one and in a batch, as are the rows; without the second way."""
    world.begin(before)
    apart = worlds.played([outcome for sent in asked for outcome in world.play([sent])[0]], world.rows())
    world.begin(before)
    outcomes, bisections = world.play(asked)
    assert worlds.played(outcomes, world.rows()) == apart
    assert not bisections
    return apart.answers


def row(world: World, table: str, row_id: str) -> dict[str, Any]:
    return world.rows()[f"{table} {row_id}"]


def folder(row_id: str, name: str, **more: Any) -> Sent:
    return Sent("folder.create", {"id": row_id, "name": name} | more)


def delete_folder(row_id: str) -> Sent:
    return Sent("folder.delete", {"id": row_id})


def paper(row_id: str, folder_id: str, **more: Any) -> Sent:
    return Sent("paper.create", {"id": row_id, "folder_id": folder_id} | more)


def run(*steps: dict[str, Any], **how: Any) -> Sent:
    """A program about the first folder."""
    return Sent("folder.run", {"id": ONE, "steps": list(steps)}, **how)


def step(do: str, **more: Any) -> dict[str, Any]:
    return {"do": do} | more


def chat(row_id: str, name: str) -> Sent:
    return Sent("chat.create", {"id": row_id, "platform": "irc", "external_id": name})


def message(row_id: str, chat_id: str, **more: Any) -> Sent:
    return Sent("message.create", {"id": row_id, "chat_id": chat_id, "role": "user", "content": "x"} | more)


# Deletions reach further than what is loaded


def test_what_refers_to_a_row_that_goes_with_its_parent_is_answered_as_the_database_left_it(world: World) -> None:
    before = [folder(ONE, "ada"), folder(TWO, "bob"), paper(ONE, ONE), paper(TWO, TWO, answers_id=ONE)]
    update = Sent("paper.update", {"id": TWO, "text": "new"})
    *_, answer = ask(world, before, delete_folder(ONE), update)
    assert answer["body"]["answers_id"] is None


def test_a_row_can_be_made_and_deleted_and_made_anew_in_one_batch(world: World) -> None:
    asked = ask(world, [], folder(ONE, "ada"), delete_folder(ONE), folder(ONE, "ada", text="new"), delete_folder(TWO))
    assert [answer["state"] for answer in asked] == ["SERVED", "SERVED", "SERVED", "REJECTED"]
    assert row(world, "folders", ONE)["text"] == "new"


def test_a_row_made_anew_has_none_of_the_children_that_the_deleted_one_had(world: World) -> None:
    ask(world, [folder(ONE, "ada"), paper(ONE, ONE)], delete_folder(ONE), folder(ONE, "ada"))
    assert [*world.rows()] == [f"folders {ONE}"]


def test_a_row_that_refers_to_itself_can_be_deleted(world: World) -> None:
    before = [folder(ONE, "ada", parent_id=ONE)]
    assert ask(world, before, delete_folder(ONE))[0]["type"] == "folder.delete"
    assert not world.rows()


def test_a_deletion_counts_the_versions_of_the_rows_that_referred_to_it(world: World) -> None:
    before = [
        Sent("user.create", {"id": ONE, "username": "ada"}),
        Sent("session.create", {"id": ONE, "user_id": ONE}),
        Sent("log.create", {"id": ONE, "user_id": ONE, "level": "info", "source": "x", "message": "x"}),
        chat(ONE, "ada"),
        message(ONE, ONE, user_id=ONE),
        Sent("chat.add_members", {"id": ONE, "user_ids": [ONE]}),
    ]
    delete = Sent("user.delete", {"id": ONE})
    update = Sent("session.update", {"id": ONE, "title": "x", "version": "#1"})
    deleted, updated = ask(world, before, delete, update)
    assert [event["name"] for event in deleted["events"]] == ["user.deleted"]
    assert updated["type"].endswith("version-mismatch")
    for table, version in {"sessions": "#2", "logs": "#2", "messages": "#2", "chats": "#3"}.items():
        changed = row(world, table, ONE)
        assert changed["version"] == version, table
        assert changed["updated_at"] > changed["created_at"]


def test_a_row_created_and_then_deleted_in_a_dry_run_needs_no_second_way(world: World) -> None:
    _, rehearsed = ask(world, [], chat(ONE, "ada"), Sent("chat.delete", {"id": ONE}, dry=True))
    assert rehearsed["type"] == "chat.delete"
    assert row(world, "chats", ONE)


def test_a_reply_is_to_a_message_of_its_own_chat(world: World) -> None:
    before = [chat(ONE, "ada"), chat(TWO, "bob"), message(ONE, ONE)]
    across, within = ask(world, before, message(TWO, TWO, reply_to_id=ONE), message(THREE, ONE, reply_to_id=ONE))
    assert (across["state"], within["state"]) == ("REJECTED", "SERVED")


# What is held back is written where something is asked


def test_parents_and_children_of_one_batch_are_written_together(world: World) -> None:
    answers = ask(world, [], paper(ONE, ONE), folder(ONE, "ada"), paper(TWO, ONE), paper(THREE, ONE, answers_id=TWO))
    assert [answer["state"] for answer in answers] == ["REJECTED", "SERVED", "SERVED", "SERVED"]


def test_a_leaf_can_be_deleted_and_made_anew_in_one_batch(world: World) -> None:
    sticker = Sent("sticker.create", {"id": ONE, "text": "new"})
    before = [Sent("sticker.create", {"id": ONE, "text": "old"})]
    ask(world, before, Sent("sticker.delete", {"id": ONE}), sticker)
    assert row(world, "stickers", ONE)["text"] == "new"
    ask(world, [], sticker, Sent("sticker.delete", {"id": ONE}), sticker)
    assert row(world, "stickers", ONE)["text"] == "new"


def test_a_row_can_be_changed_after_it_was_written_in_the_middle_of_a_batch(world: World) -> None:
    before = [Sent("user.create", {"id": ONE, "username": "ada"})]
    deletion = Sent("user.delete", {"id": ONE})  # all that there is to write is written before
    ask(world, before, folder(ONE, "ada"), deletion, Sent("folder.update", {"id": ONE, "text": "new"}))
    assert (row(world, "folders", ONE)["text"], row(world, "folders", ONE)["version"]) == ("new", "#2")


def test_what_was_rehearsed_can_be_rehearsed_again(world: World) -> None:
    rehearsal = Sent("folder.create", {"id": ONE, "name": "ada"}, dry=True)
    refused = Sent("paper.create", {"id": ONE, "folder_id": TWO}, dry=True)
    answers = ask(world, [], refused, rehearsal, rehearsal)
    assert [answer["state"] for answer in answers] == ["REJECTED", "SERVED", "SERVED"]
    assert not world.rows()


def test_a_name_that_was_freed_before_a_list_is_free(world: World) -> None:
    rename = run(step("update folder", id=ONE, name="eve"), step("list folder"))
    _, made = ask(world, [folder(ONE, "ada")], rename, folder(TWO, "ada"))
    assert made["state"] == "SERVED"


# Numbers are answered as they are stored


@pytest.mark.parametrize("number", derived.NUMBERS)
def test_a_number_is_answered_as_the_database_gives_it_back(world: World, number: str) -> None:
    create = Sent("session.create", {"id": ONE, "metadata": {"a": number, "b": [{"c": number}]}})
    if not create.fits:
        return
    same = Sent("session.update", {"id": ONE, "metadata": create.body["metadata"]})
    created, updated = ask(world, [], create, same)
    assert updated["body"]["metadata"] == created["body"]["metadata"]
    assert updated["body"]["version"] == "#1"
    assert not updated["events"]


# What a handler does is done


def test_a_row_that_a_handler_found_in_a_list_and_changed_has_a_version_more_and_an_event(world: World) -> None:
    (answer,) = ask(world, [folder(ONE, "ada"), folder(TWO, "bob")], run(step("list folder", text="new")))
    assert [(event["name"], event["version"]) for event in answer["events"]] == [("folder.ran", 2)]
    assert [row(world, "folders", row_id)["version"] for row_id in (ONE, TWO)] == ["#2", "#2"]


def test_lists_and_counts_see_what_was_done_before_them(world: World) -> None:
    look = Sent("folder.report", {"steps": [step("list folder"), step("count folder"), step("exists folder")]})
    change = Sent("folder.update", {"id": ONE, "text": "new"})
    *_, first, _, last = ask(world, [folder(ONE, "ada")], folder(TWO, "bob"), change, look, delete_folder(TWO), look)
    assert [seen["text"] for seen in first["body"]["seen"][:2]] == ["new", None]
    assert first["body"]["seen"][2:] == ["#2", True]
    assert [seen["text"] for seen in last["body"]["seen"][:1]] == ["new"]
    assert last["body"]["seen"][1:] == ["#1", True]


def test_a_name_that_is_freed_can_be_taken_by_the_same_request(world: World) -> None:
    rename = step("update folder", id=ONE, name="eve")
    (answer,) = ask(world, [folder(ONE, "ada")], run(rename, step("create folder", id=TWO, name="ada")))
    assert answer["type"] == "folder.run"
    assert [row(world, "folders", row_id)["name"] for row_id in (ONE, TWO)] == ["eve", "ada"]


def test_a_row_that_a_handler_holds_can_be_changed_after_its_parent_is_deleted(world: World) -> None:
    before = [folder(ONE, "ada"), folder(TWO, "bob"), Sent("sticker.create", {"id": ONE, "folder_id": TWO})]
    steps = [step("get sticker", id=ONE), step("delete folder", id=TWO), step("change sticker", id=ONE, text="new")]
    ask(world, before, run(*steps))
    sticker = row(world, "stickers", ONE)
    assert (sticker["folder_id"], sticker["text"]) == (None, "new")
    assert sticker["version"] != "#1"


# A refused statement


REFUSED = {
    "and nothing else": (step("swallow"),),
    "after a change": (step("update folder", id=ONE, text="new"), step("swallow")),
    "before a change": (step("swallow"), step("update folder", id=ONE, text="new")),
    "before a problem of another's making": (step("swallow"), step("get folder", id=TWO, version="#7")),
    "under a savepoint of the handler's own": (step("update folder", id=ONE, text="new"), step("risk")),
    "before a change, under a savepoint": (step("risk"), step("update folder", id=ONE, text="new")),
}


@pytest.mark.parametrize("steps", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("how", [{}, {"dry": True}], ids=["", "dry"])
def test_what_a_handler_does_around_a_refusal_that_it_swallows_is_not_committed(
    world: World, steps: Any, how: dict[str, bool]
) -> None:
    world.begin([folder(ONE, "ada")])
    others = [folder(TWO, "bob", text="other"), folder(THREE, "eve", text="other")]
    outcomes, _ = world.play([others[0], run(*steps, **how), others[1]])
    assert [outcome.state.name for outcome in outcomes] == ["SERVED", "FAILED", "SERVED"]
    assert [found["text"] for _, found in sorted(world.rows().items())] == [None, "other", "other"]


@pytest.mark.parametrize("how", [{}, {"dry": True}], ids=["", "dry"])
def test_a_problem_that_a_handler_makes_of_a_refusal_is_its_answer(world: World, how: dict[str, bool]) -> None:
    world.begin([folder(ONE, "ada")])
    steps = step("update folder", id=ONE, text="new"), step("explain")
    outcomes, _ = world.play([folder(TWO, "bob"), run(*steps, **how), folder(THREE, "eve")])
    assert [outcome.type for outcome in outcomes][1].endswith("illegal-transition")
    assert [found["text"] for _, found in sorted(world.rows().items())] == [None, None, None]


# What it costs


def test_letting_in_a_thousand_users_takes_at_most_ten_statements(world: World) -> None:
    users = [str(uuid.UUID(int=number)) for number in range(1, 1001)]
    world.begin([Sent("user.create", {"id": user, "username": user}) for user in users] + [chat(ONE, "ada")])
    assert len(world.statements([Sent("chat.add_members", {"id": ONE, "user_ids": users})])) <= 10
    assert len(world.statements([Sent("chat.remove_members", {"id": ONE, "user_ids": users})])) <= 10


def test_a_dry_run_among_two_hundred_requests_takes_at_most_ten_statements(world: World) -> None:
    users = [str(uuid.UUID(int=number)) for number in range(1, 201)]
    world.begin([Sent("user.create", {"id": user, "username": user}) for user in users])
    updates = [Sent("user.update", {"id": user, "name": "x"}, dry=index == 100) for index, user in enumerate(users)]
    assert len(world.statements(updates)) <= 10


# Two at once


class Look(Schema):
    """Asks for nothing, so that no row is locked before the handler runs."""


patient = Entity(folders.Folder, read=folders.ReadFolder, delete=False, name="patient")


@dataclass
class Pause:
    """Between the list of a handler and what it does with the rows."""

    begun: asyncio.Event
    ended: asyncio.Event


pause = Pause(asyncio.Event(), asyncio.Event())


@patient.command("look", emits="looked")
async def look(session: AsyncSession, request: Look) -> folders.Folder:
    """Change a row that was found in a list."""
    (row,) = await crud.list(session, folders.Folder, {})
    pause.begun.set()
    await pause.ended.wait()
    row.meta = {"seen": row.text}
    return row


async def look_while_another_changes(database: Database) -> list[Outcome]:
    looking = asyncio.create_task(
        UnitOfWork(database, RowSizeLimit((), 1_000_000)).apply([Request(patient.own[0], Look())])
    )
    await pause.begun.wait()
    update = Sent("folder.update", {"id": ONE, "text": "new"}).request()
    changing = asyncio.create_task(UnitOfWork(database, RowSizeLimit((), 1_000_000)).apply([update]))
    await asyncio.wait({changing}, timeout=1)  # enough for one that does not wait; what waits tells nobody
    pause.ended.set()
    return [*await looking, *await changing]


def test_what_a_handler_has_listed_waits_for_it(world: World) -> None:
    world.begin([folder(ONE, "ada")])
    looked, changed = map(worlds.document, world.run(look_while_another_changes(world.database)))
    assert (looked["body"]["metadata"], looked["body"]["version"]) == ({"seen": None}, "#2")
    assert (changed["body"]["text"], changed["body"]["version"]) == ("new", "#3")
