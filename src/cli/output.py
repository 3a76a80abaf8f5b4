"""Where the commands print: coloured on a terminal, plain in a pipe; nothing that is printed steers the terminal."""

import errno
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.highlighter import JSONHighlighter

from src.cli.ending import FAILED, end
from src.cli.printable import printable


class Output(Console):
    """Ends a command whose output nobody reads any more by BrokenPipeError, so that it still cleans up."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    def print(self, *objects: Any, **how: Any) -> None:
        """Print as rich does; a full disk ends the program with a line."""
        with writing():
            super().print(*objects, **how)

    def print_document(self, document: bytes) -> None:
        """Print JSON with a line for each value."""
        text = json.dumps(json.loads(document), indent=2, ensure_ascii=False)
        lines = "\n".join(map(printable, text.split("\n")))
        self.print(JSONHighlighter()(lines), soft_wrap=True)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "nobody reads the output")


def print_line(line: str) -> None:
    """Print the line at once."""
    with writing():
        sys.stdout.write(printable(line) + "\n")


@contextmanager
def writing() -> Iterator[None]:
    """End the program with a line where stdout cannot be written: the error would be taken for one of the broker's."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        with suppress(OSError):
            sys.stdout.close()  # or Python would try once more at its end, and complain
        end(f"the output cannot be written: {error.strerror}", FAILED)
