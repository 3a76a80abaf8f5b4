"""Where the commands go: the settings, read when a command asks for them."""

from dataclasses import dataclass, field
from typing import Any

import typer


@dataclass(frozen=True)
class Target:
    """The servers and the name of the service, as the settings have them: ``database_url`` is their ``dsn``."""

    rabbitmq_url: str = field(repr=False)
    database_url: str = field(repr=False)
    service: str


def settings(context: typer.Context) -> Any:
    """The ``config.Settings``, which ``main.py`` reads; it ends the program where one is wrong."""
    return context.obj()


def of(context: typer.Context) -> Target:
    """Where the settings lead."""
    chosen = settings(context)
    return Target(chosen.rabbitmq_url.get_secret_value(), chosen.dsn, chosen.service_name)
