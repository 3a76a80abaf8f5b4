"""How a command ends early: with a line on stderr instead of a traceback."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import typer

from src.cli.printable import printable

FAILED = 1  # the command was carried out, and its result is a failure
NOT_POSSIBLE = 2  # the command could not be carried out
STOPPED = 130  # by a signal


def end(line: str, code: int) -> NoReturn:
    """End the program with one line on stderr."""
    typer.echo(printable(line.replace("\n", " ")), err=True)
    raise typer.Exit(code)


@contextmanager
def ending_unwritable() -> Iterator[None]:
    """End the program with a line where its output cannot be written, as help cannot to a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EIO, errno.EDQUOT}:
            raise
        with suppress(OSError):
            sys.stdout.close()  # or Python would try once more at its end, and complain
        sys.exit(f"the output cannot be written: {error.strerror}")
