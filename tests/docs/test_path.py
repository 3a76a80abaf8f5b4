"""README lists the files that an update passes through, and the path stays short."""

import asyncio
import re
from itertools import dropwhile, groupby

import pytest

import config
from src.service import Service
from tests.support import harness, requester
from tests.support.pages import ROOT
from tests.support.scraped import value
from tests.support.tracing import traced

MOST = {"session.update": (110, 130), "session.get": (60, 100)}
"""Of each operation, how often a request goes from a file to another at the most, and through how many functions."""

READS_THE_SOCKET = "src/amqp/frame_reader.py"

type Calls = list[tuple[str, str]]


async def _calls(settings: config.Settings, operation: str) -> Calls:
    """The calls of one request, of several the one with the fewest: no background task has run meanwhile."""
    async with requester.asking(settings) as db:
        session = (await db.ask("session.create", {"title": "x"})).document
        traces: list[Calls] = []
        for title in ("first", "second", "third", "fourth"):
            body = {"id": session["id"]} | ({"title": title} if "update" in operation else {})
            with traced() as calls:
                await _served(db, operation, body)
            traces.append([*dropwhile(lambda call: call[0] != READS_THE_SOCKET, calls)])
    return min(traces, key=len)


async def _served(db: requester.Requester, operation: str, body: dict[str, str]) -> None:
    """Return when the request is answered and counted, which is the last step."""
    before = value("db_requests_total", operation=operation, outcome="served")
    await db.ask(operation, body)

    async def counted() -> bool:
        await asyncio.sleep(0)
        return value("db_requests_total", operation=operation, outcome="served") > before

    await harness.eventually(counted, "the request is counted")


def _listed() -> list[str]:
    """The files that README's section lists."""
    readme = (ROOT / "README.md").read_text()
    (section,) = re.findall(r"^## The path of a request\n(.*?)^## ", readme, re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\((src/\S+\.py)\)", section)


async def test_readme_lists_the_files_that_an_update_passes_through(
    service: Service, settings: config.Settings
) -> None:
    passed = {file for file, _ in await _calls(settings, "session.update")}
    listed = _listed()
    assert sorted(passed) == sorted(listed)


@pytest.mark.parametrize("operation", MOST)
async def test_the_path_of_a_request_stays_short(service: Service, settings: config.Settings, operation: str) -> None:
    calls = [call for call in await _calls(settings, operation) if "<" not in call[1].split(".")[-1]]
    jumps = len([*groupby(file for file, _ in calls)]) - 1
    most_jumps, most_functions = MOST[operation]
    assert jumps <= most_jumps
    assert len({*calls}) <= most_functions
