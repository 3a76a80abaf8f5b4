"""Where the commands print: coloured on a terminal, plain in a pipe."""

import errno

from rich.console import Console


class Output(Console):
    """Ends a command whose output nobody reads any more by BrokenPipeError, so that it still cleans up."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "nobody reads the output")
