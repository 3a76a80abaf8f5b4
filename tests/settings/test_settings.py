"""Settings: complete, bounded, secret, and clear about what is wrong."""

from pathlib import Path

import pytest
from redis.asyncio.connection import parse_url
from sqlalchemy import make_url

import config
from src import dialects
from tests.support import forked

ROOT = Path(__file__).parents[2]


def _load(**settings: str) -> config.Settings:
    return config.load(_env_file=None, **settings)


def test_the_example_names_every_setting_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in config.Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    lines = [line.removeprefix("# ") for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line]
    named = {line.partition("=")[0] for line in lines if line.partition("=")[0].isupper()}
    assert named == {name.upper() for name in config.Settings.model_fields}
    assert config.load(_env_file=ROOT / ".env.example") == config.load(_env_file=None)


@pytest.mark.parametrize(
    ("url", "query", "name"),
    [
        ("postgres://ada:p%40ss@host/db", {}, "db"),
        ("postgresql://ada:p%40ss@host/db?sslmode=require", {"ssl": "require"}, "db"),
        ("postgresql+asyncpg://ada:p%40ss@host/db?application_name=me", {}, "me"),
    ],
)
def test_database_urls_of_every_form_work(url: str, query: dict[str, str], name: str) -> None:
    settings = _load(database_url=url)
    dsn = make_url(settings.dsn)
    engine = dialects.of(dsn.get_backend_name()).engine_options(dsn, "db")
    assert engine.url.drivername == "postgresql+asyncpg"
    assert (engine.url.password, engine.url.host, engine.url.database) == ("p@ss", "host", "db")
    assert dict(engine.url.query) == query
    assert engine.arguments["connect_args"]["server_settings"]["application_name"] == name


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_password_is_whole_and_no_part_of_it_a_host(kind: str) -> None:
    url = make_url(_load(database_url=f"{kind}://ada:p@s/s#?@host/db").dsn)
    assert (url.password, url.host, url.database) == ("p@s/s#?", "host", "db")


def test_a_file_may_have_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    for name in ("a%41?.db", "/an/absolute one", "ü#b@c:d.db"):
        assert make_url(_load(database_type="sqlite", database_name=name).dsn).database == name
    assert make_url(_load(database_type="sqlite").dsn).database == "db.db"


@pytest.mark.parametrize("alias", ["DATABASE_NAME", "DATABASE_SCHEMA", "POSTGRES_DB"])
def test_a_part_of_the_database_url_has_aliases(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv(alias, "shop")
    monkeypatch.setenv("POSTGRES_USER", "ada")
    engine = make_url(_load().dsn)
    assert (engine.database, engine.username) == ("shop", "ada")


def test_the_parts_of_a_database_url_may_hold_any_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    user, password, name = "a:d@a", "p/?#[]@ %41+ü", "my shop/?"
    engine = make_url(
        _load(database_user=user, database_password=password, database_name=name, database_host="::1").dsn
    )
    assert (engine.username, engine.password, engine.database, engine.host) == (user, password, name, "::1")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"DATABASE_PORT": "70000"}, "DATABASE_PORT: Input should be less than or equal to 65535"),
        ({"DATABASE_URL": "oracle://root@host/db"}, "DATABASE_URL: names oracle; this service works with postgresql"),
        ({"DATABASE_URL": "nonsense secret"}, "DATABASE_URL: is no URL"),
        ({"DATABASE_URL": "postgresql://host/db?color=red"}, "DATABASE_URL: has parameters"),
        ({"DATABASE_URL": "postgresql://host:99999/db"}, "DATABASE_URL: is no URL"),
        ({"DATABASE_URL": "ada:hush://@host/db"}, "DATABASE_URL: is no URL of the form"),
        ({"DATABASE_URL": "postgresql://host:0/db"}, "DATABASE_URL: names a port that is not between 1 and 65535"),
        ({"DATABASE_URL": "postgresql://host/db?port=99999"}, "DATABASE_URL: names a port that is not between"),
        ({"DATABASE_URL": "postgresql://host/db?port=x"}, "DATABASE_URL: names a port that is not between"),
        ({"DATABASE_URL": "postgresql://host/db?sslmode=maybe"}, "DATABASE_URL: must have one sslmode of disable,"),
        ({"DATABASE_URL": "postgresql://host/db?ssl=maybe"}, "DATABASE_URL: must have one sslmode of disable,"),
        ({"DATABASE_URL": "postgresql://host/db?sslmode="}, "DATABASE_URL: must have one sslmode of disable,"),
        ({"DATABASE_URL": "postgresql://host/db?sslmode=allow&sslmode=disable"}, "must have one sslmode of disable,"),
        ({"DATABASE_URL": "postgresql://host/db?host=one,two"}, "DATABASE_URL: names several hosts"),
        ({"DATABASE_URL": "postgresql://host/db?application_name=%00"}, "DATABASE_URL: has an application_name that"),
        ({"DATABASE_URL": "postgresql://host/db?host=a&host=b"}, "DATABASE_URL: has more than one host"),
        ({"DATABASE_URL": "postgresql://host/db?port=1&port=2"}, "DATABASE_URL: has more than one port"),
        ({"DATABASE_URL": "postgresql://host/db?port=1,2"}, "DATABASE_URL: names a port that is not between"),
        ({"DATABASE_URL": "postgresql://u:secret%00@host/db"}, "what says where the database is holds a NUL"),
        ({"DATABASE_URL": "postgresql://host/db?sslmode=verify-full&sslrootcert="}, "DATABASE_URL: names no file of"),
        ({"DATABASE_URL": "sqlite:///a%00.db"}, "what says where the database is holds a NUL"),
        ({"DATABASE_URL": "mysql://host:/db"}, "DATABASE_URL: is no URL of the form mysql://user:password@host:port"),
        ({"DATABASE_URL": "mysql://root:secret@host/"}, "DATABASE_URL: names no database"),
        ({"DATABASE_URL": "mysql://host/db?ssl_ca="}, "DATABASE_URL: names no file of certificates"),
        ({"DATABASE_URL": "mysql://host/db?ssl_ca=a&ssl_ca=b"}, "DATABASE_URL: has more than one ssl_ca"),
        ({"MAX_ANSWER": "16777217"}, "MAX_ANSWER: Input should be less than or equal to 16777216"),
        ({"DATABASE_HOST": "a secret place"}, "DATABASE_HOST is no host"),
        ({"RABBITMQ_URL": "amqp://host:99999/"}, "RABBITMQ_URL: is no URL"),
        ({"RABBITMQ_URL": "amqp://host:0/"}, "RABBITMQ_URL: names a port that is not between 1 and 65535"),
        ({"RABBITMQ_URL": "amqp://host/?heartbeat=often"}, "RABBITMQ_URL: has a heartbeat that is no number"),
        ({"INBOX_RETENTION": "P999999999D"}, "INBOX_RETENTION: "),
        ({"REDIS_URL": "http://host"}, "REDIS_URL: must begin with redis:// or rediss:// and name a host"),
        ({"REDIS_URL": "redis://:p#secret@host"}, "REDIS_URL: is no URL"),
        ({"REDIS_URL": "redis://:secret@host:0"}, "REDIS_URL: names a port that is not between 1 and 65535"),
        ({"REDIS_URL": "redis://:secret@host:x"}, "REDIS_URL: is no URL"),
        ({"REDIS_URL": "redis://:secret@host/name"}, "REDIS_URL: names a database that is no number"),
        ({"REDIS_URL": "redis://host/0?ssl_cert_reqs=none"}, "REDIS_URL: has parameters that this service does not"),
        ({"REDIS_URL": "rediss://host/0?ssl_ca_certs=/nowhere"}, "REDIS_URL: /nowhere: No such file"),
        ({"REDIS_HOST": "a secret place"}, "REDIS_HOST: is no host"),
        ({"REDIS_PORT": "0"}, "REDIS_PORT: Input should be greater than or equal to 1"),
        ({"REDIS_TIMEOUT": "0"}, "REDIS_TIMEOUT: Input should be greater than 0"),
        ({"RATE_LIMIT": "100/s"}, "RATE_LIMIT is counted in Redis: it needs REDIS_URL or REDIS_HOST"),
        ({"RATE_LIMIT": "100", "REDIS_HOST": "host"}, "RATE_LIMIT: must be a number of requests in a second, a minute"),
        ({"RATE_LIMIT": "0/s", "REDIS_HOST": "host"}, "RATE_LIMIT: must be a number of requests in a second, a minute"),
        ({"RATE_LIMIT": "-1/s", "REDIS_HOST": "host"}, "RATE_LIMIT: must be a number of requests in a second, a minut"),
        ({"RATE_LIMIT": "1/d", "REDIS_HOST": "host"}, "RATE_LIMIT: must be a number of requests in a second, a minute"),
        ({"RATE_LIMIT": "١٠/s", "REDIS_HOST": "host"}, "RATE_LIMIT: must be a number of requests in a second, a min"),
        ({"PREFETCH_SIZE": "2048"}, "PREFETCH_SIZE must be at least MAX_BODY"),
        ({"RABBITMQ_URL": "http://host"}, "RABBITMQ_URL: must begin with amqp:// or amqps://"),
        ({"AMQP_URL": "http://host"}, "must begin with amqp:// or amqps://"),
        ({"PREFETCH": "300"}, "PREFETCH must be at least twice BATCH_SIZE"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ({"INBOX_RETENTION": "0"}, "INBOX_RETENTION: "),
        ({"SERVICE_NAME": "a b"}, "SERVICE_NAME: "),
    ],
)
def test_a_wrong_setting_is_one_clear_line(wrong: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "RABBITMQ_URL", "REDIS_URL"):  # the servers that these tests run on
        monkeypatch.delenv(name, raising=False)
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(config.WrongSettings) as caught:
        _load()
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert "secret" not in str(caught.value)


def test_redis_is_a_url_or_its_parts_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert _load().redis_url is None
    assert _load(redis_password="x").redis_url is None
    parts = _load(redis_host="::1", redis_port="1", redis_password="p/?#[]@ %41", redis_database="3").redis_url
    assert parts
    options = parse_url(parts.get_secret_value())
    assert (options["host"], options["port"], options["db"], options["password"]) == ("::1", 1, 3, "p/?#[]@ %41")
    url = _load(redis_host="host", redis_url="redis://ada:x@other/7").redis_url
    assert url
    assert url.get_secret_value() == "redis://ada:x@other/7"


@pytest.mark.parametrize(
    ("text", "rate"), [("100/s", (100, 1)), ("1/m", (1, 60)), ("999999999/h", (999_999_999, 3600))]
)
def test_a_rate_is_a_number_of_requests_in_so_many_seconds(text: str, rate: tuple[int, int]) -> None:
    assert _load(redis_host="host", rate_limit=text).rate == rate


def test_wrong_settings_end_a_command_without_a_traceback() -> None:
    ended = forked.run("main.py", "serve", DATABASE_PORT="x", LOG_LEVEL="loud")
    assert ended.code == 2
    assert [line.partition(":")[0] for line in ended.err.splitlines()] == [
        "Wrong settings",
        "DATABASE_PORT",
        "LOG_LEVEL",
    ]


def test_an_env_file_that_is_not_utf8_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_bytes(b"LOG_LEVEL=INFO # caf\xe9")
    with pytest.raises(config.WrongSettings, match=r"^\.env is not UTF-8$"):
        config.load()


def test_secrets_are_never_printed() -> None:
    settings = _load(
        database_url="postgresql://ada:hush@host/db", rabbitmq_url="amqp://ada:hush@host/", database_password="hush"
    )
    assert "hush" not in f"{settings!r} {settings} {settings.model_dump()}"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        _load().prefetch = 1  # type: ignore[misc]
