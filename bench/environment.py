"""The servers, and a database of our own on one of them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import make_url

from bench import interrupts
from bench.processes import ROOT
from bench.program import Servers
from bench.screen import err
from dev import database, servers


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
    command, environment = [sys.executable, "main.py", "migrate"], os.environ | {"DATABASE_URL": database_url}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)  # noqa: S603
