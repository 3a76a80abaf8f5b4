"""``demo``: the whole thing on real servers, and the proof that it worked.

It is also an example of the client: see ``play.py`` and ``witness.py``.
"""

import asyncio
import time
from contextlib import suppress

import typer
from rich.table import Table

from examples.demo import checks, stage
from examples.demo.checks import Check
from examples.demo.play import Play
from examples.demo.stage import Stage, StageError
from examples.demo.witness import Witness
from examples.sandbox import SandboxError
from src.cli.ending import end
from src.cli.output import Output
from src.cli.runner import run
from src.cli.target import Target
from src.client import Client, NoReply
from src.dialects import UnusableDatabase
from src.errors import Problem

FAILED = 1


def show(to: Target) -> None:
    """Play it and print what holds; end the program with exit code 1 where anything does not."""
    output = Output()
    try:
        results = run(to, _demo(to, output))
    except (SandboxError, StageError, Problem, UnusableDatabase) as error:
        end(f"The demo ended early: {error}", FAILED)
    if not all(check.holds for check in results):
        raise typer.Exit(FAILED)


async def _demo(to: Target, output: Output) -> list[Check]:
    async with stage.build(to) as built:
        try:
            results = await _perform(built, output)
        except (StageError, Problem, NoReply):
            _show_log(built, output)
            raise
        output.print(_table(results))
        if not all(check.holds for check in results):
            _show_log(built, output)
        return results


async def _perform(built: Stage, output: Output) -> list[Check]:
    output.print("[bold]Making the tables[/] in a database of its own")
    await built.migrate()
    async with Client(built.target.rabbitmq_url, built.target.service) as db:
        output.print(f"[bold]Starting the service[/] {built.target.service}, waiting until it answers")
        await built.serve(db)
        async with db.events() as events:
            witness = Witness(output)
            listening = asyncio.create_task(witness.listen(events))
            try:
                results = await _play(built, db, witness, output)
            finally:
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening
    output.print("[bold]Stopping the service[/] with SIGTERM")
    code = await built.stop()
    return [*results, checks.stopped(code, await built.waiting())]


async def _play(built: Stage, db: Client, witness: Witness, output: Output) -> list[Check]:
    play, begun = Play(db), time.monotonic()
    output.print("[bold]Playing the conversations[/]; what happens, as it is announced:")
    await play.run()
    seconds = time.monotonic() - begun
    results = [await checks.told(play, witness)]
    output.print(f"[bold]{len(play.asked)} writes[/] were answered within {seconds:.2f} s")
    found = await checks.rows(built)
    results += [*checks.stored(play, found), await checks.reads(play, db)]
    witness.shows = False
    output.print("[bold]Sending everything once more[/], each request under its message_id")
    results += await checks.repeated(play, db, witness, built)
    operation, body = checks.INVALID
    output.print(f"[bold]Asking {operation} for what it cannot do[/]: {body}", soft_wrap=True)
    problem = await db.request(operation, body)
    output.print_json(problem.body.decode())
    return [*results, await checks.refused(problem, found, witness, built)]


def _table(results: list[Check]) -> Table:
    table = Table(title="What must hold", title_justify="left")
    for column in ("check", "", "facts"):
        table.add_column(column)
    for check in results:
        table.add_row(check.name, "[green]ok[/]" if check.holds else "[bold red]FAILED[/]", check.facts)
    return table


def _show_log(built: Stage, output: Output) -> None:
    output.print("[bold]The last lines of the service's log[/]")
    output.print(built.last_lines(), markup=False, soft_wrap=True)
