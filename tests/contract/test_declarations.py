"""What an entity file declares: the problems of an operation, its events, the request of its own create and update."""

import ast
import inspect
import sys
import uuid
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from src import crud, errors, models
from src.base import RowRef
from src.contract import problems, reference
from src.entity import Entity, Operation
from src.errors import Conflict, ForeignKey, IllegalTransition, NotFound, Problem, VersionMismatch
from src.models.user import CreateUser, ReadUser, UpdateUser, User
from src.persistence import relations
from tests.support import worlds
from tests.support.worlds import Sent, World

OWN = [operation for entity in models.entities() for operation in entity.own]
ID = str(uuid.UUID(int=1))


# What the shipped operations raise, by their source


def _raised(module: ModuleType, tree: ast.AST) -> Iterator[type[Problem]]:
    """The problems that the code raises by itself, by crud, by ``move_to`` and by the functions of its module."""
    caught = {problem for part in ast.walk(tree) if isinstance(part, ast.Try) for problem in _caught(module, part)}
    for part in ast.walk(tree):
        if isinstance(part, ast.Raise) and part.exc:
            yield _named(module, part.exc.func if isinstance(part.exc, ast.Call) else part.exc)
        if isinstance(part, ast.Call):
            yield from (problem for problem in _by_call(module, part) if problem not in caught)


def _caught(module: ModuleType, part: ast.Try) -> Iterator[type[Problem]]:
    return (_named(module, handler.type) for handler in part.handlers if handler.type)


def _named(module: ModuleType, name: ast.expr) -> type[Problem]:
    found: type[Problem] = eval(ast.unparse(name), vars(module))
    return found


def _by_call(module: ModuleType, call: ast.Call) -> Iterator[type[Problem]]:
    called = ast.unparse(call.func)
    if called.startswith("crud."):
        yield from _by_crud(called, _named_model(module, call))
    elif called.endswith(".move_to"):
        yield IllegalTransition
    elif inspect.iscoroutinefunction(helper := vars(module).get(called)):
        yield from _raised(module, ast.parse(inspect.getsource(helper)))


def _named_model(module: ModuleType, call: ast.Call) -> Any:
    return vars(module).get(ast.unparse(call.args[1])) if len(call.args) > 1 else None


def _by_crud(called: str, model: Any) -> Iterator[type[Problem]]:
    match called:
        case "crud.get" | "crud.delete":
            yield from (NotFound, VersionMismatch)
        case "crud.find":
            yield NotFound
        case "crud.check_exist":
            yield ForeignKey
        case "crud.create":
            yield from (Conflict, *([ForeignKey] if relations.parents(model) else ()))
        case "crud.update":
            yield from (NotFound, VersionMismatch, *([Conflict] if relations.uniques(model) else ()))
            yield from [ForeignKey] if relations.parents(model) else ()
        case _:
            assert called in {"crud.list", "crud.select", "crud.exists", "crud.count", "crud.error"}, called


@pytest.mark.parametrize("operation", OWN, ids=lambda operation: operation.key)
def test_an_operation_declares_exactly_what_its_handler_raises(operation: Operation) -> None:
    module = sys.modules[operation.handler.__module__]
    raised = {*_raised(module, ast.parse(inspect.getsource(operation.handler)))}
    if "version" not in operation.request.model_fields:
        raised.discard(VersionMismatch)  # crud.get was not told which
    assert raised <= {*problems.of(operation)}
    assert {*operation.raises} <= raised


# Own create and update, writes without an event


quiet = Entity(User, create=CreateUser, update=UpdateUser, read=ReadUser, events=False, name="quiet")
renaming = Entity(User, create=CreateUser, update=UpdateUser, read=ReadUser, name="renaming")
silent = Entity(User, read=ReadUser, name="silent")


class TooManyOpen(Conflict):
    """The user has as many as a user may have."""


class Rename(RowRef, UpdateUser):
    """A name, and why."""

    reason: str = ""


@renaming.command("create", emits="created")
async def create(session: AsyncSession, request: CreateUser) -> User:
    """Make a user."""
    return await crud.create(session, User, **request.__dict__)


@renaming.command("update", emits="updated", raises=(TooManyOpen,))
async def update(session: AsyncSession, request: Rename) -> User:
    """Name a user anew."""
    return await crud.update(session, User, request.id, {"name": request.name}, request.version)


@silent.command("touch", emits=None, raises=(TooManyOpen,))
async def touch(session: AsyncSession, request: RowRef) -> User:
    """Change a user whose name allows it, and tell nobody."""
    user = await crud.get(session, User, request.id, request.version)
    if user.name == "full":
        raise TooManyOpen
    user.name = "touched"
    return user


KNOWN = {key: each for entity in (quiet, renaming, silent) for key, each in reference.describe((entity,)).items()}
worlds.OPERATIONS.update({key: each.operation for key, each in KNOWN.items() if each.kind == "write"})


@pytest.fixture(scope="module")
def world(postgres_url: str, template: str) -> Iterator[World]:
    with World.beside(postgres_url, template) as made:
        yield made


def ask(world: World, *asked: Sent) -> list[dict[str, Any]]:
    world.begin([Sent("user.create", {"id": ID, "username": "ada"})])
    return [worlds.document(outcome) for outcome in world.play(asked)[0]]


def events(answer: dict[str, Any]) -> list[str]:
    return [event["name"] for event in answer["events"]]


def test_an_own_create_and_update_ask_for_what_the_common_ones_ask_for() -> None:
    common = reference.describe(models.entities())
    for name in ("create", "update"):
        own, usual = KNOWN[f"renaming.{name}"], common[f"user.{name}"]
        assert {field.name: (field.type, field.required) for field in usual.request}.items() <= {
            field.name: (field.type, field.required) for field in own.request
        }.items()
        declared = {TooManyOpen} if name == "update" else set()
        assert {*problems.beside(own.operation)} == {*problems.beside(usual.operation)} | declared
        assert (own.answer, usual.answer) == ("the renaming", "the user")


def test_an_own_create_takes_an_id_and_an_own_update_a_version(world: World) -> None:
    other = str(uuid.UUID(int=2))
    created, changed, late = ask(
        world,
        Sent("renaming.create", {"id": other, "username": "bob"}),
        Sent("renaming.update", {"id": other, "version": 1, "name": "Bob", "reason": "why not"}),
        Sent("renaming.update", {"id": other, "version": 1, "name": "Rob"}),
    )
    assert created["body"]["username"] == "bob"
    assert (changed["body"]["id"], changed["body"]["name"]) == (created["body"]["id"], "Bob")
    assert late["body"]["type"] == "urn:db:problem:version-mismatch"
    assert [events(each) for each in (created, changed, late)] == [
        ["renaming.created"],
        ["renaming.updated"],
        ["renaming.update.failed"],
    ]


def test_an_entity_without_events_publishes_nothing(world: World) -> None:
    changed, refused = ask(
        world,
        Sent("quiet.update", {"id": ID, "name": "Ada"}),
        Sent("quiet.create", {"id": ID, "username": "bob"}),
    )
    assert (changed["body"]["name"], refused["body"]["type"]) == ("Ada", "urn:db:problem:conflict")
    assert (events(changed), events(refused)) == ([], [])
    assert {(each.event, each.failed_event) for key, each in KNOWN.items() if key.startswith("quiet.")} == {
        (None, None)
    }


def test_a_command_without_an_event_is_a_write_all_the_same(world: World) -> None:
    changed, full, refused = ask(
        world,
        Sent("silent.touch", {"id": ID}),
        Sent("user.update", {"id": ID, "name": "full"}),
        Sent("silent.touch", {"id": ID}),
    )
    assert (changed["body"]["name"], full["body"]["name"]) == ("touched", "full")
    assert refused["body"]["type"] == "urn:db:problem:too-many-open"
    assert (events(changed), events(refused)) == ([], [])
    assert (KNOWN["silent.touch"].kind, KNOWN["silent.touch"].event) == ("write", None)


def test_a_declared_problem_is_known_where_an_entity_declares_it() -> None:
    assert TooManyOpen in problems.of(KNOWN["silent.touch"].operation)
    assert TooManyOpen in problems.known((silent,))
    assert TooManyOpen not in problems.known(models.entities())
    assert errors.Internal in problems.known(())
