"""Look at what the service stands on: ``doctor``."""

from typing import Annotated

import typer

from src.cli import target
from src.cli.ending import FAILED, end

Strict = Annotated[bool, typer.Option("--strict", help="Let a warning be a failure too.")]


def doctor(context: typer.Context, *, strict: Strict = False) -> None:
    """Look at all that the service stands on, and say what to do.

    That is broker, database, clock and settings. Changes nothing. Exit code 1 where the service could not keep its
    promise.

    \b
    ./db doctor
    ./db doctor --strict
    """
    import asyncio
    import logging

    from src import service
    from src.admin.findings import Level
    from src.cli.output import print_line
    from src.dialects import UnusableDatabase

    settings = target.settings(context)
    logging.disable()  # what a library would say is a finding
    try:
        findings = asyncio.run(service.examine(settings))
    except UnusableDatabase as error:
        end(str(error), FAILED)
    for finding in findings:
        print_line(finding.line)
    failures = {Level.BROKEN, Level.WARNING} if strict else {Level.BROKEN}
    if failures & {finding.level for finding in findings}:
        raise typer.Exit(FAILED)
