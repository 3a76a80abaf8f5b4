"""What requests cost while the tables and the inbox fill: the same requests over a few rows, and over very many."""

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from statistics import median

from bench import requests, rounds, stage
from bench.long import full
from bench.program import Program, Servers, Set
from bench.programs import SERVICE
from bench.rounds import Result, Run
from bench.screen import Step

CALLERS, LISTERS = 50, 10
ASKED = 5000  # queries of the table that are read and changed
AIM = 1.15
KINDS = ("creates", "updates", "gets", "first pages")


@dataclass(frozen=True)
class Growth:
    """One kind of request over tables of several sizes."""

    kind: str
    sizes: tuple[int, ...]
    results: tuple[Result, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """CPU a message, of that over the smallest tables: the median of the rounds' ratios."""
        least = self.results[0].rounds
        return tuple(
            median(each.cpu_us / first.cpu_us for each, first in zip(result.rounds, least, strict=True))
            for result in self.results
        )


async def measure(databases: Mapping[int, Servers], seconds: float, number: int, step: Step) -> list[Growth]:
    """All kinds in each database, by how many rows it is to have, in interleaved rounds. Raises Failed."""
    async with AsyncExitStack() as opened:
        runs: list[Run] = []
        for size, servers in databases.items():
            runs += await opened.enter_async_context(_runs(size, servers))
        found = await rounds.measure(runs, seconds, number, rounds.telling(step))
    sizes = tuple(databases)
    return [Growth(kind, sizes, tuple(found[_name(kind, size)] for size in sizes)) for kind in KINDS]


@asynccontextmanager
async def _runs(size: int, servers: Servers) -> AsyncIterator[list[Run]]:
    async with stage.opened(servers.rabbitmq_url, servers.database_url, full.Full) as opened:
        await full.fill(servers.database_url, size)
        asked = await full.drawn(servers.database_url, ASKED)
        yield [Run(_name(program.name, size), program, opened, servers) for program in _programs(asked)]


def _programs(asked: Sequence[uuid.UUID]) -> Iterator[Program]:
    gets, pages = replace(requests.gets(asked), seeded=False), requests.first_pages()
    sets: dict[str, tuple[int, Set]] = {
        "creates": (5000, lambda stage, number: stage.service(requests.creates(number))),
        "updates": (4000, lambda stage, number: stage.service(requests.updates(number, asked))),
        "gets": (0, lambda stage, _: stage.reads(gets, CALLERS)),
        "first pages": (0, lambda stage, _: stage.reads(pages, LISTERS)),
    }
    for kind in KINDS:
        rate, put = sets[kind]
        yield Program(kind, f"this service: {kind}", SERVICE, rate, put)


def _name(kind: str, size: int) -> str:
    return f"{kind}, {size:,} rows"
