"""Find the servers to develop and test against, or start them: `python -m dev.servers up | down`.

Each of the two is looked for on its own: its URL in the environment, a server at the standard port,
a private one left by an earlier run, a Docker container, a new private one. `DEV_SERVERS=docker` or
`DEV_SERVERS=private` allows only that.
"""

import argparse
import getpass
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dev import amqp, containers, database, install, postgres, rabbitmq, search

_FOLDER = Path(__file__).resolve().parent.parent / ".servers"
_POSTGRES_PASSWORD = "postgres"  # noqa: S105 - a container's, published to this host alone


@dataclass(frozen=True)
class Servers:
    """The two servers, each with a few words on where it comes from."""

    database_url: str
    database_source: str
    rabbitmq_url: str
    rabbitmq_source: str


def find() -> Servers:
    """Both servers, started where need be; `NoServerError` where one cannot be had.

    Not to be called where an event loop runs.
    """
    database_, rabbitmq_ = find_postgres(), find_rabbitmq()
    return Servers(database_.url, database_.source, rabbitmq_.url, rabbitmq_.source)


def find_postgres() -> search.Found:
    """A PostgreSQL on which we may create databases; as `find`."""
    return _postgres_search().run()


def find_rabbitmq() -> search.Found:
    """A RabbitMQ; as `find`."""
    return _rabbitmq_search().run()


def stop() -> list[str]:
    """Stop what earlier runs started and left running; their names. Their data stays."""
    return [*_stop_nodes(), *_stop_containers()]


def _stop_nodes() -> Iterator[str]:
    for node in (_postgres_node(), _rabbitmq_node()):
        if node.running:
            node.stop()
            yield f"the private {node.kind}"


def _stop_containers() -> Iterator[str]:
    if containers.engine_answers():
        for container in (_postgres_search().container, _rabbitmq_search().container):
            if container.stop():
                yield f"the container {container.name}"


def _postgres_search() -> search.Search:
    user = getpass.getuser()
    return search.Search(
        name="PostgreSQL",
        variables=("DATABASE_URL",),
        standard=tuple(
            f"postgresql://{login}@127.0.0.1:5432/postgres" for login in ("postgres", "postgres:postgres", user)
        ),
        lets_in=database.may_create,
        container=containers.Container(
            "db-dev-postgres", "postgres:18", 5432, {"POSTGRES_PASSWORD": _POSTGRES_PASSWORD}
        ),
        container_url=f"postgresql://postgres:{_POSTGRES_PASSWORD}@127.0.0.1:{{port}}/postgres",
        private=_postgres_node,
        provide=lambda: False,
    )


def _rabbitmq_search() -> search.Search:
    return search.Search(
        name="RabbitMQ",
        variables=("RABBITMQ_URL", "AMQP_URL"),
        standard=("amqp://guest:guest@127.0.0.1:5672/",),
        lets_in=amqp.lets_in,
        container=containers.Container("db-dev-rabbitmq", "rabbitmq:4-management", 5672),
        container_url="amqp://guest:guest@127.0.0.1:{port}/",
        private=_rabbitmq_node,
        provide=_install_rabbitmq,
    )


def _postgres_node() -> postgres.PostgresServer:
    return postgres.PostgresServer(_FOLDER / "postgres", outlives=True)


def _rabbitmq_node() -> rabbitmq.RabbitServer:
    return rabbitmq.RabbitServer(_FOLDER / "rabbitmq", outlives=True)


def _install_rabbitmq() -> bool:
    if rabbitmq.scripts() is not None:
        return False
    search.say("RabbitMQ: rabbitmq-server is missing; trying to install it")
    install.rabbitmq_server()
    return True


def _up() -> int:
    try:
        servers = find()
    except search.NoServerError as error:
        search.say(str(error))
        return 1
    sys.stdout.write(f"DATABASE_URL={shlex.quote(servers.database_url)}\n")
    sys.stdout.write(f"RABBITMQ_URL={shlex.quote(servers.rabbitmq_url)}\n")
    return 0


def _down() -> int:
    stopped = stop()
    search.say(f"stopped {' and '.join(stopped)}" if stopped else "nothing was started here")
    return 0


def main() -> int:
    """Run the command line; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m dev.servers", description="Servers to develop and test against.")
    parser.add_argument("action", choices=("up", "down"))
    return _up() if parser.parse_args().action == "up" else _down()


if __name__ == "__main__":
    sys.exit(main())
