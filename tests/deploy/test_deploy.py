"""What docs/deploy.md says is so: migrations that wait let others pass, and every command works as it stands there."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import asyncpg
import psutil
import pytest

import config
from dev import database, ports
from dev.postgres import PostgresServer
from src.admin import healthcheck
from tests.support import forked, harness, pages
from tests.support.started import Started

ROOT = Path(__file__).parents[2]
COMPOSE, DOCKERFILE = ((ROOT / name).read_text() for name in ("docker-compose.yml", "Dockerfile"))
PORTS = 5
REVISION = "SELECT version_num FROM alembic_version"
COMMANDS = pages.commands("docs/deploy.md")


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that has read a table, and does not end."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        await connection.execute("SELECT 1 FROM sessions")
        yield connection
    finally:
        await connection.close()


async def test_a_migration_behind_a_long_transaction_lets_others_pass(database_url: str) -> None:
    program, environment = ("alembic", "downgrade", "base"), os.environ | {"DATABASE_URL": database_url}
    async with reading(database_url) as reader, Started(program, environment) as migration:
        await migration.says("trying again")
        async with asyncio.timeout(harness.DEADLINE / 2):
            await harness.fetch(database_url, "SELECT 1 FROM sessions")  # the migration may wait again by now
        await migration.says("trying again", times=2)
        await reader.execute("COMMIT")
        assert await migration.wait() == 0
    tables = await harness.fetch(database_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert tables == [("alembic_version",)]


async def test_a_migration_that_gives_up_has_changed_nothing(database_url: str) -> None:
    before = await harness.fetch(database_url, REVISION)
    async with reading(database_url):
        program = ("alembic", "-x", "tries=1", "downgrade", "base")
        ended = await asyncio.to_thread(forked.run, *program, DATABASE_URL=database_url)
    assert ended.code != 0
    assert "lock timeout" in ended.err
    assert await harness.fetch(database_url, REVISION) == before
    assert await harness.fetch(database_url, "SELECT 1 FROM messages") == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder that looks like this one, into which a command may write."""
    for path in (ROOT / ".venv", *ROOT.glob("[!.]*")):
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server of the version of the programs beside it."""
    with PostgresServer(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


def test_the_commands_of_the_page_that_need_no_container_work(tree: Path, postgres: PostgresServer) -> None:
    here = [command for command in COMMANDS if not command.startswith("docker")]
    (artefact,) = [command for command in here if command.startswith("psql")]
    backup, restore = [command for command in here if command.startswith("pg_")]
    with database.fresh(postgres.url, "db_page") as url, database.fresh(postgres.url, "db_artefact") as other:
        for command in [command for command in here if not command.startswith(("psql", "pg_"))]:
            _succeeds(command, tree, postgres, url)
        _succeeds(artefact, tree, postgres, other)
        assert _fetch(other, REVISION) == _fetch(url, REVISION)

        _execute(url, "INSERT INTO users (id, username) VALUES (gen_random_uuid(), 'ada')")
        _succeeds(backup, tree, postgres, url)
        _execute(url, "DELETE FROM users")
        _succeeds(restore, tree, postgres, url)
        assert _fetch(url, "SELECT username FROM users") == [("ada",)]


def _fetch(url: str, query: str) -> object:
    return asyncio.run(harness.fetch(url, query))


def _execute(url: str, statement: str) -> None:
    asyncio.run(harness.execute(url, statement))


def _succeeds(command: str, tree: Path, postgres: PostgresServer, url: str) -> None:
    environment = os.environ | {"DATABASE_URL": url, "PATH": f"{postgres._binaries()}:{os.environ['PATH']}"}
    ended = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"


def test_the_sql_of_a_migration_waits_no_longer_than_the_migration() -> None:
    ended = forked.run("alembic", "upgrade", "head", "--sql", DATABASE_URL="postgresql://nobody@nowhere/db")
    assert ended.code == 0, ended.err
    statements = [line for line in ended.out.splitlines() if line]
    assert statements[:2] == ["BEGIN;", "SET LOCAL lock_timeout = '2s';"]


@pytest.mark.parametrize(("extras", "options"), [("", ""), ("mariadb sqlite", " --extra mariadb --extra sqlite")])
def test_the_image_has_the_extras_that_it_is_built_with(extras: str, options: str) -> None:
    (install,) = re.findall(r"RUN (uv sync.*)", DOCKERFILE)
    ran = subprocess.run(["sh", "-c", f"echo {install}"], env={"EXTRAS": extras}, capture_output=True, check=True)
    assert ran.stdout.decode() == f"uv sync --locked --no-dev --no-cache{options}\n"


def test_no_port_of_a_container_is_open_to_others() -> None:
    published = re.findall(r'"(\S+:\d+)"', COMPOSE)
    assert len(published) == PORTS
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_the_broker_and_its_clients_have_the_same_password() -> None:
    conf = dict(re.findall(r"^(\w+) = (.*)$", (ROOT / "deploy/rabbitmq/login.conf").read_text(), re.MULTILINE))
    default = config.Settings.model_fields["rabbitmq_user"].default
    password = (ROOT / "deploy/secrets/rabbitmq_password").read_text().removesuffix("\n")
    assert (conf["default_user"], conf["default_pass"]) == (default, password)


def test_a_container_is_given_more_time_to_end_than_it_takes() -> None:
    (grace,), (timeout,) = (
        re.findall(found, COMPOSE) for found in (r"grace_period: (\d+)s", r"GRACEFUL_TIMEOUT: (\d+)")
    )
    assert int(grace) > int(timeout) == config.Settings.model_fields["graceful_timeout"].default


class Health(BaseHTTPRequestHandler):
    """Says of itself that it lives, until it is told otherwise."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health/live" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize("status", [200, 404, 503])
def test_the_probe_says_what_the_service_says(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Health, "status", status)
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert healthcheck.lives(server.server_port) is (status == 200)
        assert _probed(server.server_port) == (0 if status == 200 else 1)
        server.shutdown()


def test_the_probe_says_no_where_nothing_answers() -> None:
    (port,) = ports.free(1)
    assert healthcheck.lives(port) is False
    assert _probed(port) == 1


def test_the_probe_says_no_where_the_answer_is_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=_nonsense, args=(server,), daemon=True).start()
        assert healthcheck.lives(server.getsockname()[1]) is False


def _nonsense(server: socket.socket) -> None:
    peer, _ = server.accept()
    with peer:
        peer.sendall(b"nonsense\r\n\r\n")


def _probed(port: int) -> int:
    """The exit code of the health check that the image has."""
    (command,) = re.findall(r"^HEALTHCHECK .*CMD (python .*)$", DOCKERFILE, re.MULTILINE)
    environment = os.environ | {"HTTP_PORT": str(port), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, env=environment, check=False).returncode


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="it takes root to be a first process")
async def test_the_first_process_of_a_container_ends_when_it_is_told_to_while_it_waits(
    settings: config.Settings,
) -> None:
    (port,) = ports.free(1)
    environment = harness.environment(settings, RABBITMQ_URL=f"amqp://127.0.0.1:{port}")
    async with Container(("main.py", "serve"), environment) as container:
        await container.says("waiting for RabbitMQ")
        container.tell(signal.SIGTERM)
        assert await container.wait() == 128 + signal.SIGTERM


class Container(Started):
    """A program that is the first process of a namespace: signals that it does not handle do nothing."""

    def _start(self) -> subprocess.Popen[bytes]:
        program = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, *self._program]
        self._process = subprocess.Popen(program, cwd=ROOT, env=self._environment, stderr=subprocess.PIPE)
        return self._process

    def tell(self, number: signal.Signals) -> None:
        (first,) = psutil.Process(self._process.pid).children()
        first.send_signal(number)
