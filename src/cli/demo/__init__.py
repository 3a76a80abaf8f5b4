"""``demo``: the whole thing on real servers, and the proof that it worked.

It is also an example of the client: see ``play.py`` and ``witness.py``.
"""

import asyncio
import signal
import time
from contextlib import suppress

import typer
from rich.console import Console
from rich.table import Table

from src.cli import target
from src.cli.demo import checks, stage
from src.cli.demo.checks import Check
from src.cli.demo.play import Play
from src.cli.demo.stage import Stage, StageError
from src.cli.demo.witness import Witness
from src.client import Client, NoReply
from src.errors import Problem

FAILED = 1


def demo(context: typer.Context) -> None:
    r"""Show the service at work on real servers, and prove that it did what it promises.

    Makes a database `db_demo` and a service of its own, plays some conversations, compares what was sent, answered,
    stored and announced, and removes everything again. Exit code 0: all checks hold. 1: one does not.

    \b
    uv run main.py demo
    """
    console = Console(highlight=False)
    try:
        results = target.run(target.of(context), _demo(target.of(context), console))
    except (StageError, Problem) as error:
        target.end(f"The demo ended early: {error}", FAILED)
    except asyncio.CancelledError:  # by SIGTERM
        raise typer.Exit(FAILED) from None
    if not all(check.holds for check in results):
        raise typer.Exit(FAILED)


async def _demo(to: target.Target, console: Console) -> list[Check]:
    task = asyncio.current_task()
    assert task  # noqa: S101 - we run in one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with stage.build(to) as built:
        try:
            results = await _perform(built, console)
        except (StageError, Problem, NoReply):
            _show_log(built, console)
            raise
        console.print(_table(results))
        if not all(check.holds for check in results):
            _show_log(built, console)
        return results


async def _perform(built: Stage, console: Console) -> list[Check]:
    console.print(f"[bold]Making the database[/] {stage.DATABASE}")
    await built.migrate()
    async with Client(built.target.rabbitmq_url, built.target.service) as db:
        console.print(f"[bold]Starting the service[/] {built.target.service}, waiting until it answers")
        await built.serve(db)
        async with db.events() as events:
            witness = Witness(console)
            listening = asyncio.create_task(witness.listen(events))
            try:
                results = await _play(built, db, witness, console)
            finally:
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening
    console.print("[bold]Stopping the service[/] with SIGTERM")
    code = await built.stop()
    return [*results, checks.stopped(code, await built.waiting())]


async def _play(built: Stage, db: Client, witness: Witness, console: Console) -> list[Check]:
    play, begun = Play(db), time.monotonic()
    console.print("[bold]Playing the conversations[/]; what happens, as it is announced:")
    await play.run()
    seconds = time.monotonic() - begun
    results = [await checks.told(play, witness)]
    console.print(f"[bold]{len(play.asked)} writes[/] were answered within {seconds:.2f} s")
    found = await checks.rows(built)
    results += [*checks.stored(play, found), await checks.reads(play, db)]
    witness.shows = False
    console.print("[bold]Sending everything once more[/], each request under its message_id")
    results += await checks.repeated(play, db, witness, built)
    operation, body = checks.INVALID
    console.print(f"[bold]Asking {operation} for what it cannot do[/]: {body}", soft_wrap=True)
    problem = await db.request(operation, body)
    console.print_json(problem.body.decode())
    return [*results, await checks.refused(problem, found, built)]


def _table(results: list[Check]) -> Table:
    table = Table(title="What must hold", title_justify="left")
    for column in ("check", "", "facts"):
        table.add_column(column)
    for check in results:
        table.add_row(check.name, "[green]ok[/]" if check.holds else "[bold red]FAILED[/]", check.facts)
    return table


def _show_log(built: Stage, console: Console) -> None:
    console.print("[bold]The last lines of the service's log[/]")
    console.print(built.last_lines(), markup=False, soft_wrap=True)
