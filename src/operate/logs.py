"""Logging: a record is a line, whatever is in it."""

import logging
import sys
from typing import Literal

import structlog


def configure(level: str, form: Literal["text", "json"]) -> None:
    """Send the records of every library and of ours to stderr, as logfmt or JSON."""
    renderer = structlog.processors.JSONRenderer() if form == "json" else structlog.processors.LogfmtRenderer()
    stamp: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=stamp,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("aio_pika", "aiormq"):  # each reconnection is said once by us
        logging.getLogger(chatty).setLevel(logging.ERROR)
    logging.getLogger("aiormq.connection").addFilter(_matters)


def _matters(record: logging.LogRecord) -> bool:
    """Not the broker's answer to the closing of a channel, where we end before it comes."""
    return not str(record.msg).startswith("Got frame for closed channel")
