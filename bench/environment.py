"""The servers, and a database of our own on one of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from alembic import command
from sqlalchemy import make_url

from bench import interrupts
from bench.program import Servers
from bench.screen import err
from dev import database, servers
from src import schema


@contextmanager
def found() -> Iterator[Servers]:
    """Both servers, and on one of them a migrated database of our own."""
    postgres, rabbitmq = servers.find_postgres(), servers.find_rabbitmq()
    with database.fresh(postgres.url, "bench") as url:
        try:
            migrate(url)
            err.print(f"database and queues: {make_url(url).database}…, gone at the end")
            yield Servers(rabbitmq.url, url)
        finally:
            interrupts.ignore()


def migrate(database_url: str) -> None:
    with mock.patch.dict(os.environ, DATABASE_URL=database_url):
        command.upgrade(schema.alembic_config(), "head")
