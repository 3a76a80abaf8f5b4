"""The command line: `python -m bench`, or `make bench ARGS="…"`."""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

import config
from bench import builds, environment, interrupts, machine, report, rounds, stage
from bench.hotspots import Profile
from bench.processes import ROOT
from bench.program import Program, Servers
from bench.programs import PROGRAMS
from bench.rounds import Result
from bench.scene import Failed
from bench.screen import err, out, progress
from bench.stopwatch import Measure
from dev import search

SECONDS = 2.0
ROUNDS = 3
LATEST = ROOT / "bench/results/latest.json"


def main(
    seconds: Annotated[float, typer.Option(min=0.01, help="How long each program runs in a round.")] = SECONDS,
    number: Annotated[int, typer.Option("--rounds", min=1, help="The median of them counts.")] = ROUNDS,
    only: Annotated[list[str] | None, typer.Option(help="Leave the others out, and the file of results alone.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Profile one run of the service instead.")] = False,  # noqa: FBT002
    output: Annotated[Path, typer.Option(help="The file of results.")] = LATEST,
) -> None:
    """Measure the service beside programs that do less for the same messages."""
    interrupts.end()
    chosen = _chosen(only or [])
    try:
        with environment.found() as found:
            if profile:
                _profile(chosen[0] if only else _chosen(["service"])[0], found, seconds)
                return
            results = interrupts.run(_measure(chosen, found, seconds, number))
            out.print(report.programs(results), "", report.ratios(results))
            if not only:
                _write(output, results, found, seconds)
    except (Failed, search.NoServerError) as error:
        err.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        err.print("stopped; what was made is gone again")
        raise typer.Exit(130) from None


def _chosen(only: list[str]) -> list[Program]:
    known = {program.name: program for program in PROGRAMS}
    if unknown := set(only) - known.keys():
        raise typer.BadParameter(f"not {', '.join(unknown)}, but {', '.join(known)}", param_hint="--only")
    return [program for name, program in known.items() if not only or name in only]


async def _measure(chosen: list[Program], found: Servers, seconds: float, number: int) -> dict[str, Result]:
    runnable = [program for program in chosen if await _built(program)]
    with progress(len(runnable) * number) as step:
        async with stage.opened(found.rabbitmq_url, found.database_url) as opened:
            runs = [rounds.Run(program.name, program, opened, found) for program in runnable]
            return await rounds.measure(runs, seconds, number, rounds.telling(step))


async def _built(program: Program) -> bool:
    """Whether it can be run; else a line says why it is left out."""
    build = builds.BUILDS.get(program.name)
    reason = build and await build()
    if reason:
        err.print(f"{program.name}: skipped: {reason}", markup=False, soft_wrap=True)
    return not reason


def _profile(program: Program, found: Servers, seconds: float) -> None:
    async def run(dump: Path) -> Measure:
        async with stage.opened(found.rabbitmq_url, found.database_url) as opened:
            messages = int(program.rate * seconds)
            return await program.measure(opened, found, seconds, messages, dump)

    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "profile"
        with err.status(f"profiling {program.name} for {seconds:g} seconds"):
            taken = interrupts.run(run(dump))
        if not dump.exists():
            raise Failed(f"{program.name} is not the service: there is no profile of it")
        profile = Profile(dump, taken.messages)
    out.print(f"{taken.cpu_us:,.0f} µs CPU a message under the profiler, which makes it slower; the shares count")
    out.print(profile.by_package(), profile.by_function())


def _write(output: Path, results: dict[str, Result], found: Servers, seconds: float) -> None:
    settings, described = config.load(), interrupts.run(machine.described(found))
    service = {"batch_size": settings.batch_size, "prefetch": settings.prefetch}
    document = report.document(results, described, service, seconds)
    tables = (report.programs(results), report.ratios(results))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=2) + "\n")
    output.with_suffix(".md").write_text(report.markdown("make bench", described, tables))
    err.print(f"written to {output}")


if __name__ == "__main__":
    typer.run(main)
