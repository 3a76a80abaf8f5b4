"""Look at what the service stands on: ``doctor``."""

from typing import Annotated

import typer

from src.cli import target

BROKEN = 1

Strict = Annotated[bool, typer.Option("--strict", help="Let a warning be a failure too.")]


def doctor(context: typer.Context, *, strict: Strict = False) -> None:
    """Look at broker, database, clock and settings, and say what to do.

    Exits 1 where the service could not keep its promise. Changes nothing.
    """
    import asyncio
    import logging

    from src import service
    from src.cli.output import print_line
    from src.operate.findings import Level

    settings = target.settings(context)
    logging.disable()  # what a library would say is a finding
    findings = asyncio.run(service.examine(settings))
    for finding in findings:
        print_line(finding.line)
    failures = {Level.BROKEN, Level.WARNING} if strict else {Level.BROKEN}
    if failures & {finding.level for finding in findings}:
        raise typer.Exit(BROKEN)
