"""An operation that nobody knows is named, the nearest known ones with it, and costs little."""

import random
import string
import time
import uuid
from collections.abc import AsyncIterator

import pytest

import config
from src import __version__, models
from src.contract import suggestions
from src.service import Service
from tests.support import requester
from tests.support.requester import Requester

KNOWN = [operation.key for entity in models.entities() for operation in entity.operations()]
CPU_OF_TEN_THOUSAND = 5.0  # seconds; to compare whole names took more than ten


@pytest.fixture
async def db(service: Service, settings: config.Settings) -> AsyncIterator[Requester]:
    async with requester.asking(settings) as asking:
        yield asking


@pytest.mark.parametrize(
    ("asked", "meant"),
    {
        "session.craete": ["session.create"],
        "sesion.create": ["session.create"],
        "sessions.create": ["session.create"],
        "User.Create": ["user.create"],
        "user_create": ["user.create"],
        "user.getByUsername": ["user.get_by_username"],
        "chat.member": ["chat.add_members", "chat.remove_members"],
        "query.divide": [],
        "query": [],
        "create": [],
        "": [],
        ".": [],
        "session.create" * 5: [],
    }.items(),
)
def test_the_nearest_operations_are_those_of_the_nearest_entity(asked: str, meant: list[str]) -> None:
    assert suggestions.operations(asked, KNOWN) == meant


async def test_an_unknown_operation_is_named_with_the_nearest_ones_and_the_version(db: Requester) -> None:
    document = (await db.ask("sesion.craete")).document
    assert document["detail"] == (
        f"Version {__version__} of the service does not know the operation 'sesion.craete'. "
        "Nearest to it are session.create."
    )
    assert (document["retryable"], document["version"]) == (True, __version__)


async def test_no_other_problem_depends_on_the_version(db: Requester) -> None:
    assert "version" not in (await db.ask("session.get", {"id": str(uuid.uuid4())})).document


@pytest.mark.parametrize("asked", ["x" * 255, "é" * 127, "\n\x1b[31m\0", "\u2028\u200b", "'\"\\"])
async def test_whatever_the_operation_is_called_the_detail_is_short_and_printable(db: Requester, asked: str) -> None:
    document = (await db.ask(asked)).document
    assert document["detail"].isprintable()
    assert len(document["detail"]) < 200
    assert document["version"] == __version__


def test_ten_thousand_unknown_operations_cost_little() -> None:
    """The loop stands still while they are compared."""
    chance = random.Random(1)
    letters = string.ascii_lowercase + "._"
    asked = ["session." + "".join(chance.choices(letters, k=chance.randint(1, 56))) for _ in range(5_000)]
    asked += ["".join(chance.sample("session.create", 14)) for _ in range(5_000)]
    begun = time.process_time()
    for each in asked:
        suggestions.operations(each, KNOWN)
    assert time.process_time() - begun < CPU_OF_TEN_THOUSAND
