"""The terminal: results on stdout, all else on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)  # a file is as wide as it needs
err = Console(highlight=False, stderr=True)

type Step = Callable[[str, str | None], None]
"""Called with a title as a step begins, and with what it found as it ends."""


@contextmanager
def progress(steps: int) -> Iterator[Step]:
    """A bar for so many steps, above which a line is left for each."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=err) as shown:
        task = shown.add_task("", total=steps)

        def tell(title: str, found: str | None) -> None:
            if found is None:
                shown.update(task, description=title)
                return
            shown.advance(task)
            shown.console.print(f"{title:<26} {found}")

        yield tell
