"""Find the servers to develop and test against, or start them: `python -m dev.servers up | down | mariadb`.

Each is looked for on its own: its URL in the environment, a server at the standard port,
a private one left by an earlier run, a Docker container, a new private one. `DEV_SERVERS=docker` or
`DEV_SERVERS=private` allows only that.
"""

import argparse
import getpass
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dev import amqp, containers, database, install, mariadb, postgres, rabbitmq, search

_FOLDER = Path(__file__).parents[1] / ".servers"
_URLS = _FOLDER / "urls"  # which ./db reads
_DATABASE = "db"
_POSTGRES_PASSWORD = "postgres"  # noqa: S105 - a container's, published to this host alone


@dataclass(frozen=True)
class Servers:
    """The two servers that everything needs, and where each of them comes from."""

    postgres: search.Found
    rabbitmq: search.Found


def find() -> Servers:
    """Both servers, started where need be; `NoServerError` where one cannot be had.

    Not to be called where an event loop runs.
    """
    return Servers(find_postgres(), find_rabbitmq())


def find_postgres() -> search.Found:
    """A PostgreSQL on which we may create databases, and a database of ours on it; as `find`.

    Who names a database, of whatever kind, gets that one.
    """
    found = _postgres_search().run()
    return found if found.named else replace(found, url=database.made(found.url, _DATABASE))


def find_rabbitmq() -> search.Found:
    """A RabbitMQ; as `find`."""
    return _rabbitmq_search().run()


def find_mariadb() -> search.Found:
    """A MariaDB on which we may create databases; as `find`."""
    return _mariadb_search().run()


def stop() -> list[str]:
    """Stop what earlier runs started and left running; their names. Their data stays."""
    return [*_stop_nodes(), *_stop_containers()]


def _stop_nodes() -> Iterator[str]:
    for node in (_postgres_node(), _rabbitmq_node(), _mariadb_node()):
        if node.running:
            node.stop()
            yield f"the private {node.kind}"
    rabbitmq.end_port_mapper()


def _stop_containers() -> Iterator[str]:
    if containers.engine_answers():
        for look in (_postgres_search(), _rabbitmq_search(), _mariadb_search()):
            if look.container.stop():
                yield f"the container {look.container.name}"


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


def _mariadb_search() -> search.Search:
    return search.Search(
        name="MariaDB",
        variables=("MARIADB_URL",),
        standard=("mysql://root@127.0.0.1:3306/mysql",),
        lets_in=database.may_create,
        container=containers.Container(
            "db-dev-mariadb", "mariadb:11", 3306, {"MARIADB_ALLOW_EMPTY_ROOT_PASSWORD": "1"}
        ),
        container_url="mysql://root@127.0.0.1:{port}/mysql",
        private=_mariadb_node,
        provide=_install_mariadb,
    )


def _postgres_node() -> postgres.PostgresServer:
    return postgres.PostgresServer(_FOLDER / "postgres", outlives=True)


def _rabbitmq_node() -> rabbitmq.RabbitServer:
    return rabbitmq.RabbitServer(_FOLDER / "rabbitmq", outlives=True)


def _mariadb_node() -> mariadb.MariaServer:
    return mariadb.MariaServer(_FOLDER / "mariadb", outlives=True)


def _install_rabbitmq() -> bool:
    if rabbitmq.scripts() is not None:
        return False
    search.say("RabbitMQ: rabbitmq-server is missing; trying to install it")
    install.rabbitmq_server()
    return True


def _install_mariadb() -> bool:
    if mariadb.program("mariadbd") is not None:
        return False
    search.say("MariaDB: mariadbd is missing; trying to install it")
    install.mariadb_server()
    return True


def _up() -> int:
    try:
        servers = find()
    except search.NoServerError as error:
        search.say(str(error))
        return 1
    # Some take what follows a last slash for the name of a virtual host, even where nothing follows.
    rabbitmq_ = replace(servers.rabbitmq, url=servers.rabbitmq.url.removesuffix("/"))
    found = {"DATABASE_URL": servers.postgres, "RABBITMQ_URL": rabbitmq_}
    _leave({name: server.url for name, server in found.items() if not server.named})
    for name, server in found.items():
        sys.stdout.write(_line(name, server.url))
    return 0


def _mariadb() -> int:
    try:
        url = find_mariadb().url
    except search.NoServerError as error:
        search.say(str(error))
        return 1
    sys.stdout.write(f"{url}\n")
    return 0


def _leave(urls: Mapping[str, str]) -> None:
    """Write down what is in no environment; `./db` reads it where no setting names a server."""
    _FOLDER.mkdir(exist_ok=True)
    _URLS.touch(mode=0o600)
    _URLS.write_text("".join(_line(name, url) for name, url in urls.items()))


def _line(name: str, url: str) -> str:
    return f"{name}={shlex.quote(url)}\n"


def _down() -> int:
    stopped = stop()
    _URLS.unlink(missing_ok=True)
    search.say(f"stopped {' and '.join(stopped)}" if stopped else "nothing was started here")
    return 0


def main() -> int:
    """Run the command line; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m dev.servers", description="Servers to develop and test against.")
    actions = {"up": _up, "down": _down, "mariadb": _mariadb}
    parser.add_argument("action", choices=actions)
    return actions[parser.parse_args().action]()


if __name__ == "__main__":
    sys.exit(main())
