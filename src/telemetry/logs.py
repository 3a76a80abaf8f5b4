"""Logging: a record is a line, whatever is in it."""

import logging
import sys
from collections.abc import Sequence
from typing import Literal

import structlog
from rich.console import Console

from src import __version__

TRAITS = ("partition", "operation", "message_id", "correlation_id", "trace_id", "reason")
"""The fields of a JSON line beside ``timestamp``, ``level``, ``event``, ``logger``, ``service``, ``version``: of the
queue or the request that it is about, where it is about one. ``docs/operations.md`` promises them."""

UNSAID = ("error when creating transport", "Got frame for closed channel", "Context impl ", "Will assume ")
"""How these begin: that the broker is away, which we say; its answer to the closing of a channel that we do not wait
for; which database Alembic takes PostgreSQL for."""


def configure(level: str, form: Literal["text", "json"], service: str) -> None:
    """Send the records of every library and of ours to stderr, JSON or text: logfmt, but on a terminal for people.

    Each line of JSON names the ``service``.
    """
    stamp: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=stamp if form == "text" else [*stamp, structlog.stdlib.ExtraAdder(TRAITS), _named(service)],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *_rendered(form),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("aio_pika", "aiormq"):  # each reconnection is said once by us
        logging.getLogger(chatty).setLevel(logging.ERROR)
    for verbose in ("aiormq.connection", "alembic.runtime.migration"):
        logging.getLogger(verbose).addFilter(_matters)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _rendered(form: Literal["text", "json"]) -> Sequence[structlog.typing.Processor]:
    if form == "text" and sys.stderr.isatty():
        colors = not Console(stderr=True).no_color  # as NO_COLOR asks
        return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]
    render = structlog.processors.JSONRenderer() if form == "json" else structlog.processors.LogfmtRenderer()
    return [structlog.processors.format_exc_info, render]


def _named(service: str) -> structlog.typing.Processor:
    def name(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**event, "service": service, "version": __version__}

    return name


def _matters(record: logging.LogRecord) -> bool:
    """Whether it is none of ``UNSAID``."""
    return not str(record.msg).startswith(UNSAID)
