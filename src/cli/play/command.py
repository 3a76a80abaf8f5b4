"""Play a file of dialogues through a running service: real conversations, as fast as they are answered."""

from pathlib import Path
from typing import Annotated

import typer

from src.cli import target

File = Annotated[
    Path, typer.Argument(help="Dialogues, one JSON object a line; may be gzipped.", exists=True, dir_okay=False)
]
Concurrency = Annotated[int, typer.Option(help="Dialogues played at the same time.", min=1, max=5000)]
Repeat = Annotated[int, typer.Option(help="How often to play the file, each time with the same ids.", min=1)]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for each answer.", min=1)]


def play(
    context: typer.Context, file: File, *, concurrency: Concurrency = 200, repeat: Repeat = 1, timeout: Timeout = 600
) -> None:
    """Feed a file of dialogues through the running service.

    They become users, sessions, queries with their answers, chats and messages. Every id comes from the file, so that
    to play it again changes nothing, and is answered the same. A line that is no dialogue is refused and the others are
    played. Exit code 1 where anything failed, was refused, or was answered otherwise the second time.

    \b
    ./db play dialogues.jsonl.gz
    ./db play dialogues.jsonl.gz --concurrency 50 --repeat 2
    """
    from src.cli.play import player

    player.play(target.of(context), file, concurrency=concurrency, repeat=repeat, timeout=timeout)
