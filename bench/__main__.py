"""The command line: `python -m bench`, or `make bench ARGS="…"`."""

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from unittest import mock

import typer
import uvloop
from alembic import command
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sqlalchemy import make_url

import config
from bench import programs, report, rounds, stage
from bench.hotspots import Profile
from bench.programs import PROGRAMS, Program, Servers
from bench.rounds import Result
from bench.stopwatch import Measure
from dev import database, search, servers
from src.operate import revision

MESSAGES = 5_000
ROUNDS = 3
SIGNALS = (signal.SIGINT, signal.SIGTERM)
LATEST = programs.ROOT / "bench/results/latest.json"

out = Console(highlight=False)
err = Console(highlight=False, stderr=True)


def main(
    messages: Annotated[int, typer.Option(min=1, help="How many messages each program gets in a round.")] = MESSAGES,
    number: Annotated[int, typer.Option("--rounds", min=1, help="The median of them counts.")] = ROUNDS,
    only: Annotated[list[str] | None, typer.Option(help="Leave the others out, and the file of results alone.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Profile one run of the service instead.")] = False,  # noqa: FBT002
    output: Annotated[Path, typer.Option(help="The file of results.")] = LATEST,
) -> None:
    """Measure the service beside programs that do less for the same messages."""
    for signal_number in SIGNALS:
        signal.signal(signal_number, _interrupt)
    chosen = [program for program in PROGRAMS if not only or program.name in only]
    if only and len(chosen) < len(set(only)):
        raise typer.BadParameter(f"there are {', '.join(program.name for program in PROGRAMS)}", param_hint="--only")
    try:
        with _servers() as found:
            if profile:
                _profile(found, messages)
                return
            results = uvloop.run(_measure(chosen, found, messages, number))
            out.print(report.table(results))
            if not only:
                _write(output, results, found, messages)
    except (stage.Failed, search.NoServerError) as error:
        err.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        err.print("stopped; what was made is gone again")
        raise typer.Exit(130) from None


@contextmanager
def _servers() -> Iterator[Servers]:
    """Both servers, and on one of them a migrated database of our own."""
    postgres, rabbitmq = servers.find_postgres(), servers.find_rabbitmq()
    with database.fresh(postgres.url, "bench") as url:
        try:
            with mock.patch.dict(os.environ, DATABASE_URL=url):
                command.upgrade(revision.config(), "head")
            err.print(f"database and queues: {make_url(url).database}…, gone at the end")
            yield Servers(rabbitmq.url, url)
        finally:
            _ignore_signals()


async def _measure(chosen: list[Program], found: Servers, messages: int, number: int) -> dict[str, Result]:
    _stop_once()
    if any(program.name == "node" for program in chosen) and (reason := await programs.install_node()):
        err.print(f"node: skipped: {reason}", markup=False)
        chosen = [program for program in chosen if program.name != "node"]
    async with stage.opened(found.rabbitmq_url, found.database_url, messages) as scene:
        with _progress(len(chosen) * number) as tell:
            return await rounds.measure(chosen, scene, found, messages, number, tell)


@contextmanager
def _progress(runs: int) -> Iterator[rounds.Told]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=err) as progress:
        task = progress.add_task("", total=runs)

        def tell(number: int, program: Program, taken: Measure | None) -> None:
            if taken is None:
                progress.update(task, description=f"round {number}: {program.name}")
                return
            progress.advance(task)
            figures = f"{taken.per_second:>8,.0f}/s {taken.cpu_us:>6,.0f} µs CPU a message"
            progress.console.print(f"round {number}  {program.name:<20} {figures}")

        yield tell


def _profile(found: Servers, messages: int) -> None:
    (service,) = (program for program in PROGRAMS if program.name == "service")

    async def run(dump: Path) -> Measure:
        _stop_once()
        async with stage.opened(found.rabbitmq_url, found.database_url, messages) as scene:
            return await service.measure(scene, found, messages, dump)

    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "profile"
        with err.status(f"profiling the service over {messages:,} messages"):
            taken = uvloop.run(run(dump))
        profile = Profile(dump, messages)
    out.print(f"{taken.cpu_us:,.0f} µs CPU a message under the profiler, which makes it slower; the shares count")
    out.print(profile.by_package(), profile.by_function())


def _stop_once() -> None:
    """Ctrl-C or SIGTERM cancels the running task."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop() -> None:
        err.print("stopping")
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        _ignore_signals()
        if task:
            task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)


def _interrupt(*_: object) -> None:
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    """The first one ends the program: no other interrupts what cleans up after it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _write(output: Path, results: dict[str, Result], found: Servers, messages: int) -> None:
    settings = config.load()
    service = {"batch_size": settings.batch_size, "prefetch": settings.prefetch}
    document = report.document(results, uvloop.run(report.machine(found)), service, messages)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=2) + "\n")
    err.print(f"written to {output}")


if __name__ == "__main__":
    typer.run(main)
