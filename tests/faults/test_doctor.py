"""What stands in the way of serving is found by one look, with what to do about it."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest
from pydantic import SecretStr
from yarl import URL

import config
from dev import ports
from dev.postgres import PostgresServer
from dev.rabbitmq import RabbitServer
from src import service
from src.admin import broker_checks, database_checks, doctor
from src.admin.findings import Finding, Level
from src.admin.health import Health
from src.database import Database
from tests.faults.test_broker import memory_alarm
from tests.faults.test_watched import frozen
from tests.support import forked, harness, pages

(DOCTOR,) = pages.commands("docs/operations.md")
SECRET = "hush-hush"


async def found(settings: config.Settings, level: Level, **changed: object) -> list[str]:
    """The lines of this level."""
    findings = await service.examine(settings.model_copy(update=changed))
    return [finding.line for finding in findings if finding.level is level]


async def finding(settings: config.Settings, level: Level, **changed: object) -> str:
    """The only line of this level."""
    (line,) = await found(settings, level, **changed)
    return line


def examined(settings: config.Settings, *options: str, **more: str) -> forked.Ended:
    """The command, as it ends."""
    return forked.run("main.py", "doctor", *options, **harness.environment(settings, **more))


def secret(url: str, **parts: Any) -> Any:
    """The URL with a password, and other parts."""
    changed = URL(url).with_password(SECRET)
    for name, value in parts.items():
        changed = getattr(changed, f"with_{name}")(value)
    return SecretStr(str(changed))


async def test_a_healthy_service_has_nothing_broken(settings: config.Settings) -> None:
    async with harness.running(settings):
        findings = await service.examine(settings)
        ended = await asyncio.to_thread(examined, settings)
    assert [each.level for each in findings if each.level is Level.BROKEN] == []
    assert len(findings) == 10
    assert ended.code == 0
    assert ended.err == ""
    assert [line.split()[0] for line in ended.out.splitlines()] == [each.level.value for each in findings]


async def test_a_look_leaves_nothing_behind(settings: config.Settings) -> None:
    await service.examine(settings)
    async with harness.channel(settings.rabbitmq_url.get_secret_value()) as raw:
        with pytest.raises(Exception, match="NOT_FOUND"):
            await raw.declare_queue(harness.names(settings).reads, passive=True)


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 1)])
async def test_a_warning_is_a_failure_where_that_is_asked_for(
    settings: config.Settings, options: tuple[str, ...], code: int
) -> None:
    more = {"DATABASE_POOL_SIZE": "200", "DATABASE_MAX_OVERFLOW": "200"}
    ended = await asyncio.to_thread(examined, settings, *options, **more)
    assert (ended.code, ended.err) == (code, "")
    assert "warning  1 replica(s) and one that takes over need 802 connections" in ended.out
    assert "lower DATABASE_POOL_SIZE" in ended.out


async def test_servers_that_are_away_are_findings(settings: config.Settings) -> None:
    (closed,) = ports.free(1)
    elsewhere = settings.model_copy(
        update={
            "rabbitmq_url": secret("amqp://ada@127.0.0.1", port=closed),
            "database_url": secret("postgresql://ada@127.0.0.1/db", port=closed),
        }
    )
    ended = await asyncio.to_thread(examined, elsewhere)
    assert (ended.code, ended.err) == (1, "")
    assert f"broken   RabbitMQ at 127.0.0.1:{closed} does not answer" in ended.out
    assert f"broken   PostgreSQL at 127.0.0.1:{closed}: " in ended.out
    assert SECRET not in ended.out


async def test_a_login_that_the_broker_refuses_is_a_finding(settings: config.Settings, rabbitmq_url: str) -> None:
    line = await finding(settings, Level.BROKEN, rabbitmq_url=secret(rabbitmq_url))
    assert "refuses the login" in line
    assert SECRET not in line


async def test_a_virtual_host_that_is_not_there_is_a_finding(settings: config.Settings, rabbitmq_url: str) -> None:
    url = SecretStr(str(URL(rabbitmq_url).with_path("/nowhere")))
    assert "no such virtual host" in await finding(settings, Level.BROKEN, rabbitmq_url=url)


async def test_arguments_that_differ_are_found_all_of_them(settings: config.Settings) -> None:
    names = harness.names(settings)
    async with harness.channel(settings.rabbitmq_url.get_secret_value()) as raw:
        await raw.declare_queue(names.partition(0), durable=True)
        await raw.declare_exchange(names.events, "fanout", durable=True)
        lines = await found(settings, Level.BROKEN)
        await raw.queue_delete(names.partition(0))
        await raw.exchange_delete(names.events)
    assert [line.split()[1] for line in lines] == [names.events, names.partition(0)]
    assert all("empty and delete it" in line for line in lines)


async def test_a_missing_plugin_is_found_where_there_are_partitions(
    shaky: config.Settings, private_rabbitmq: RabbitServer
) -> None:
    assert await found(shaky, Level.BROKEN, write_partitions=2) == []
    with mock.patch.object(broker_checks, "HASH_EXCHANGE", "x-of-no-plugin"):
        assert "rabbitmq-plugins enable" in await finding(shaky, Level.BROKEN, write_partitions=2)
        assert await found(shaky, Level.BROKEN) == []


async def test_an_alarm_of_the_broker_is_found(shaky: config.Settings, private_rabbitmq: RabbitServer) -> None:
    async with memory_alarm(private_rabbitmq):
        assert "RabbitMQ takes no messages" in await finding(shaky, Level.BROKEN)
    assert await found(shaky, Level.BROKEN) == []


@pytest.mark.parametrize(
    ("version", "level"),
    [("3.9.29", Level.BROKEN), ("3.10.8", Level.WARNING), ("3.13.7", Level.WARNING), ("4.0.2", Level.OK)],
)
def test_the_version_of_the_broker_says_what_it_cannot_do(version: str, level: Level) -> None:
    connection = cast("Any", SimpleNamespace(server_properties={"version": version}))
    assert broker_checks._check_version(connection, "host:5672").level is level


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
async def test_a_setting_that_may_lose_what_was_committed_breaks_the_promise(
    fragile: config.Settings, postgres: PostgresServer, name: str
) -> None:
    kept = [line for line in await found(fragile, Level.BROKEN) if "fsync" not in line]  # off on this server
    assert kept == []
    await harness.execute(postgres.url, f"ALTER SYSTEM SET {name} = off", "SELECT pg_reload_conf()")
    await harness.eventually(lambda: _off(postgres.url, name), f"{name} is off")
    lines = await found(fragile, Level.BROKEN)
    await harness.execute(postgres.url, f"ALTER SYSTEM RESET {name}", "SELECT pg_reload_conf()")
    assert [line for line in lines if f"{name}=off" in line and f"Set {name}=on" in line]


async def _off(url: str, name: str) -> bool:
    return await harness.fetch(url, f"SHOW {name}") == [("off",)]


async def test_a_schema_that_is_behind_is_broken_and_one_that_is_ahead_a_warning(settings: config.Settings) -> None:
    await harness.execute(settings.dsn, "DELETE FROM alembic_version")
    assert "./db migrate" in await finding(settings, Level.BROKEN)
    await harness.execute(settings.dsn, "INSERT INTO alembic_version VALUES ('of tomorrow')")
    assert [line for line in await found(settings, Level.WARNING) if "ahead of this version" in line]


FOREIGN = "belongs to another application"


async def test_a_database_of_another_application_is_broken_and_not_served(
    empty_settings: config.Settings,
) -> None:
    await harness.execute(
        empty_settings.dsn,
        "CREATE TABLE alembic_version (version_num text)",
        "INSERT INTO alembic_version VALUES ('of another application')",
        "CREATE TABLE users (id serial PRIMARY KEY)",
    )
    assert FOREIGN in await finding(empty_settings, Level.BROKEN)
    database = Database(empty_settings.dsn)
    state = Health(database, mock.AsyncMock(), [])
    assert FOREIGN in (await state.ready())["schema"]
    assert not (await database.check()).ok
    await database.dispose()
    served = await asyncio.to_thread(forked.run, "main.py", "serve", **harness.environment(empty_settings))
    assert (served.code, FOREIGN in served.err.splitlines()[-1]) == (1, True), served.err


async def test_a_database_that_does_not_hold_every_text_is_refused(postgres_url: str, rabbitmq_url: str) -> None:
    async with made(postgres_url, rabbitmq_url, "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'") as settings:
        said = "encoding LATIN1 does not hold every text"
        assert said in await finding(settings, Level.BROKEN)
        for command in ("migrate", "serve"):
            ended = await asyncio.to_thread(forked.run, "main.py", command, **harness.environment(settings))
            assert (ended.code, said in ended.err.splitlines()[-1]) == (1, True), ended.err


async def test_a_locale_that_knows_no_case_is_a_warning(postgres_url: str, rabbitmq_url: str) -> None:
    async with made(postgres_url, rabbitmq_url, "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'") as settings:
        assert [line for line in await found(settings, Level.WARNING) if "folds the case of ASCII letters only" in line]


KEEP_NOTHING = "CREATE FUNCTION keep_nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
KEPT_BY_NOBODY = "CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION keep_nothing()"


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (
            (KEEP_NOTHING, "CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION keep_nothing()"),
            "trigger t",
        ),
        (("CREATE RULE r AS ON DELETE TO users DO INSTEAD NOTHING",), "rule r"),
        (("ALTER TABLE users ENABLE ROW LEVEL SECURITY",), "row security"),
    ],
    ids=["trigger", "rule", "row security"],
)
async def test_what_changes_rows_behind_the_service_is_a_warning(
    settings: config.Settings, statements: tuple[str, ...], named: str
) -> None:
    await harness.execute(settings.dsn, *statements)
    assert [line for line in await found(settings, Level.WARNING) if f": {named} on users" in line]


@asynccontextmanager
async def made(postgres_url: str, rabbitmq_url: str, options: str) -> AsyncIterator[config.Settings]:
    """Settings of a database that was created with these options."""
    name = f"db_test_{uuid.uuid4().hex[:12]}"
    await harness.execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE template0 {options}")
    url = str(URL(postgres_url).with_path(f"/{name}"))
    async with harness.named(url, rabbitmq_url) as settings:
        yield settings
    await harness.execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def empty_settings(postgres_url: str, rabbitmq_url: str) -> AsyncIterator[config.Settings]:
    async with made(postgres_url, rabbitmq_url, "") as settings:
        yield settings


async def test_rights_that_are_missing_are_named(fragile: config.Settings, postgres: PostgresServer) -> None:
    await harness.execute(
        fragile.dsn,
        "CREATE ROLE poor LOGIN",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO poor",
        "REVOKE DELETE ON inbox FROM poor",
    )
    url, broker = str(URL(fragile.dsn).with_user("poor")), fragile.rabbitmq_url.get_secret_value()
    lines = await found(config.load(_env_file=None, database_url=url, rabbitmq_url=broker), Level.BROKEN)
    await harness.execute(fragile.dsn, "DROP OWNED BY poor", "DROP ROLE poor")
    assert [line for line in lines if "lacks 1 rights: DELETE on inbox" in line], lines


async def test_a_database_that_only_reads_is_broken(settings: config.Settings) -> None:
    name = URL(settings.dsn).path.removeprefix("/")
    await harness.execute(settings.dsn, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    assert "is read-only" in await finding(settings, Level.BROKEN)


async def test_every_replica_that_runs_needs_its_connections(settings: config.Settings) -> None:
    async with harness.running(settings), harness.running(settings):
        lines = await found(settings, Level.OK)
    assert [line for line in lines if "2 replica(s) and one that takes over need 48 connections" in line]


@pytest.mark.parametrize("hours", [-1, 1])
async def test_clocks_that_differ_are_found(settings: config.Settings, hours: int) -> None:
    with mock.patch.object(
        database_checks, "datetime", mock.Mock(now=lambda zone: datetime.now(zone) + timedelta(hours=hours))
    ):
        lines = await found(settings, Level.WARNING)
    assert [line for line in lines if "differ by 3600." in line or "differ by 3599." in line]


def reached(rabbitmq_url: str, dsn: str) -> list[Finding]:
    return doctor._check_transport(rabbitmq_url, dsn)


HERE = ["localhost", "127.0.0.1", "127.0.0.2", "[::1]"]


@pytest.mark.parametrize("host", HERE)
def test_on_this_machine_neither_tls_nor_a_user_is_asked_for(host: str) -> None:
    (line,) = reached(f"amqp://guest:guest@{host}/", f"postgresql://ada@{host}/db")
    assert line.level is Level.OK


@pytest.mark.parametrize(
    ("rabbitmq_url", "dsn", "said"),
    [
        ("amqp://ada:x@10.0.0.1/", "postgresql://ada@localhost/db", ["without TLS"]),
        ("amqps://guest:x@broker/", "postgresql://ada@localhost/db", ["guest"]),
        ("amqp://broker/", "postgresql://ada@localhost/db", ["without TLS", "guest"]),
        ("amqps://ada:x@broker/", "postgresql://ada@db.example/db", ["sslmode=verify-full"]),
        ("amqps://ada:x@broker/", "postgresql://ada@db.example/db?sslmode=require", ["sslmode=verify-full"]),
        ("amqps://ada:x@broker/", "postgresql://ada@db.example/db?sslmode=verify-full", ["over TLS"]),
    ],
)
def test_to_another_host_there_is_tls_and_a_user_of_ones_own(rabbitmq_url: str, dsn: str, said: list[str]) -> None:
    lines = [finding.line for finding in reached(rabbitmq_url, dsn)]
    assert len(lines) == len(said)
    assert all(word in line for word, line in zip(said, lines, strict=True))


async def test_a_frozen_database_is_a_finding(fragile: config.Settings, postgres: PostgresServer) -> None:
    with mock.patch.object(database_checks, "TIMEOUT", 0.5), frozen(postgres):
        said = await finding(fragile, Level.BROKEN)
    assert f"PostgreSQL at 127.0.0.1:{URL(fragile.dsn).port}: no answer in time. Start it" in said


async def test_the_command_of_the_page_works_as_it_stands_there(settings: config.Settings) -> None:
    shell = await asyncio.create_subprocess_shell(
        DOCTOR, cwd=harness.ROOT, env=harness.environment(settings), stdout=asyncio.subprocess.DEVNULL
    )
    assert await shell.wait() == 0
