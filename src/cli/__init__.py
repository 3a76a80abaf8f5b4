"""The command line, one file a group of commands.

These files hold what ``--help`` says. What a command needs is imported when it runs, so that asking for help, or for a
row, does not wait for SQLAlchemy, Alembic and FastStream.
"""

import typer

from src.cli import dead, operations, serve, talk
from src.cli.demo import demo
from src.cli.doctor import doctor
from src.cli.play.command import play

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help in boxes would import rich and its Markdown, half of what help costs
)
for command in (
    talk.call,
    talk.send,
    talk.watch,
    operations.operations,
    play,
    demo,
    serve.serve,
    serve.migrate,
    doctor,
):
    app.command()(command)
app.add_typer(dead.app, name="dead")
