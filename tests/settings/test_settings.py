"""Settings: complete, bounded, secret, and clear about what is wrong."""

import itertools
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote

import pytest
import trustme
from redis.asyncio.connection import parse_url
from sqlalchemy import make_url, text
from yarl import URL

import config
from src import dialects
from src.dialects import engines
from src.settings import parts
from tests.support import forked

ROOT = Path(__file__).parents[2]


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*config.Settings.model_fields, *itertools.chain(*parts.ALIASES.values())]:
        monkeypatch.delenv(name.upper(), raising=False)


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


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
@pytest.mark.parametrize("password", ["p@ss", "p/ss", "p?ss", "p#ss", "p:ss", "p@s/s@x", "p%40ss", "a://b"])
def test_no_part_of_a_password_is_shown_as_a_place(kind: str, password: str) -> None:
    dsn = _load(database_url=f"{kind}://ada:{password}@host/db").dsn
    assert make_url(dsn).password == unquote(password)
    assert (URL(dsn).host, URL(dsn).password) == ("host", unquote(password))
    assert dialects.place(dsn).endswith(f" at host:{dialects.of(kind).port}")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql:///db", "a local socket"),
        ("postgresql:///db?host=/run/pg", "/run/pg"),
        ("postgresql://%2Frun%2Fpg/db", "/run/pg"),
        ("postgresql://ada:hush@/db?host=other&port=7", "other:7"),
        ("postgresql://ada:hush@host/db", "host:5432"),
    ],
)
def test_a_place_is_that_of_the_server_or_of_its_socket(url: str, place: str) -> None:
    assert dialects.place(_load(database_url=url).dsn) == f"PostgreSQL at {place}"


def test_a_host_may_be_the_folder_of_a_socket(nothing_set: None) -> None:
    url = make_url(
        _load(database_host="/run/pg", database_user="a@b", database_password="p@/", database_name="x y").dsn
    )
    assert (url.username, url.password, url.database, url.host) == ("a@b", "p@/", "x y", None)
    assert url.query == {"host": "/run/pg", "port": "5432"}


@pytest.mark.parametrize("text", ["604800", "604800.0", "P7D", "7d"])
def test_a_duration_is_a_number_of_seconds_or_iso_8601(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INBOX_RETENTION", text)
    assert _load().inbox_retention == timedelta(days=7)


@pytest.mark.parametrize("host", ["POSTGRES_HOST", "POSTGRES_SERVER", "DATABASE_HOST"])
@pytest.mark.parametrize("port", ["POSTGRES_PORT", "DATABASE_PORT"])
def test_the_names_of_other_images_count(
    host: str, port: str, nothing_set: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(host, "there")
    monkeypatch.setenv(port, "6432")
    assert _load().dsn == "postgresql://postgres@there:6432/db"


@pytest.mark.parametrize(
    ("url", "completed"),
    [
        ("postgresql://app@one/x", "postgresql://app:p%40%2F@one/x"),
        ("postgresql://one/x?sslmode=allow", "postgresql://ada:p%40%2F@one/x?sslmode=allow"),
        ("postgresql:///x?host=/run/pg", "postgresql://ada:p%40%2F@/x?host=/run/pg"),
        ("postgresql://app:own@one/x", "postgresql://app:own@one/x"),
        ("mysql://app@one/x", "mysql://app:p%40%2F@one/x"),
        ("sqlite:///x", "sqlite:///x"),
    ],
)
def test_a_password_completes_the_url_of_a_database(url: str, completed: str) -> None:
    assert _load(database_url=url, database_user="ada", database_password="p@/").dsn == completed


def test_a_password_alone_names_no_user(nothing_set: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "pw")
    assert make_url(_load(database_url="postgresql://one/x").dsn).username == ""


def test_passwords_complete_the_urls_of_the_other_servers() -> None:
    broker = _load(rabbitmq_url="amqp://app@one/v", rabbitmq_password="p@/").rabbitmq_url
    assert broker.get_secret_value() == "amqp://app:p%40%2F@one/v"
    redis = _load(redis_url="redis://one/1", redis_password="p@/").redis_url
    assert redis
    assert redis.get_secret_value() == "redis://:p%40%2F@one/1"


@pytest.mark.parametrize("name", ["DATABASE_PORT", "POSTGRES_PORT", "RABBITMQ_PORT", "REDIS_PORT", "HTTP_PORT"])
def test_the_links_of_kubernetes_are_no_ports(name: str, nothing_set: None, monkeypatch: pytest.MonkeyPatch) -> None:
    without = _load()
    monkeypatch.setenv(name, "tcp://10.0.0.1:6379")
    assert _load() == without


def test_a_schema_alone_names_the_database(nothing_set: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_SCHEMA", "shop")
    assert _load().dsn.endswith("/shop")
    monkeypatch.setenv("POSTGRES_DB", "shop")
    assert _load().dsn.endswith("/shop")


@pytest.mark.parametrize(("given", "kind"), [("mariadb", "mysql"), ("postgres", "postgresql")])
def test_words_have_the_spellings_that_people_know(given: str, kind: str) -> None:
    assert _load(database_type=given).database_type == kind
    assert _load(log_level="info").log_level == "INFO"


async def test_the_parameters_of_hosted_servers_work(postgres_url: str) -> None:
    query = "connect_timeout=7&options=-c%20search_path%3Dapp&channel_binding=prefer&target_session_attrs=read-write"
    dsn = _load(database_url=f"{postgres_url.partition('?')[0]}?{query}").dsn
    assert dialects.of("postgresql").engine_options(make_url(dsn), "db").arguments["connect_args"]["timeout"] == 7
    engine = engines.create(make_url(dsn), "db").unpooled
    async with engine.connect() as connection:
        assert await connection.scalar(text("SHOW search_path")) == "app"


def test_a_certificate_of_ours_is_given_to_the_driver(tmp_path: Path) -> None:
    authority, pem = trustme.CA(), tmp_path / "our own.pem"
    authority.issue_cert("us").private_key_and_cert_chain_pem.write_to_path(str(pem))
    name = quote(str(pem))
    dsn = make_url(_load(database_url=f"postgresql://h/db?sslmode=require&sslcert={name}&sslkey={name}").dsn)
    query = dialects.of("postgresql").engine_options(dsn, "db").url.query
    assert parse_qs(str(query["dsn"]).partition("?")[2]) == {"sslcert": [str(pem)], "sslkey": [str(pem)]}


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
        ({"DATABASE_URL": "postgresql://host/db?host=a&host=b"}, "DATABASE_URL: names several hosts"),
        ({"DATABASE_URL": "postgresql://u:secret@a:1,b:2/db"}, "DATABASE_URL: names several hosts"),
        ({"DATABASE_URL": "postgresql://host/db?port=1&port=1"}, "DATABASE_URL: has more than one port"),
        ({"DATABASE_URL": "postgresql://host/db?channel_binding=require"}, "DATABASE_URL: has channel_binding=require"),
        ({"DATABASE_URL": "postgresql://host/db?channel_binding=x"}, "DATABASE_URL: must have a channel_binding of"),
        ({"DATABASE_URL": "postgresql://host/db?connect_timeout=x"}, "DATABASE_URL: has a connect_timeout that is no"),
        ({"DATABASE_URL": "postgresql://host/db?connect_timeout=-1"}, "DATABASE_URL: has a connect_timeout that is"),
        ({"DATABASE_URL": "postgresql://host/db?options=%00"}, "DATABASE_URL: has an options that cannot be printed"),
        ({"DATABASE_URL": "postgresql://host/db?target_session_attrs=standby"}, "must have a target_session_attrs of"),
        ({"DATABASE_URL": "postgresql://host/db?sslcert=/a"}, "DATABASE_URL: has one of sslcert and sslkey"),
        ({"DATABASE_URL": "postgresql://host/db?sslcert=/a&sslkey=/b"}, "DATABASE_URL: has a sslcert that nobody"),
        (
            {"DATABASE_URL": "postgresql://host/db?sslmode=require&sslcert=/nowhere&sslkey=/b"},
            "DATABASE_URL: /nowhere: No such file",
        ),
        ({"DATABASE_SCHEMA": "app", "POSTGRES_DB": "shop"}, "DATABASE_SCHEMA is another name of DATABASE_NAME"),
        ({"DATABASE_SCHEMA": "app", "DATABASE_NAME": "shop"}, "?options=-c%20search_path%3Dname"),
        ({"DATABASE_SCHEMA": "app", "DATABASE_URL": "postgresql://host/db"}, "DATABASE_SCHEMA is another name of"),
        ({"RABBITMQ_URL": "amqp://u:secret/part@h/"}, "RABBITMQ_URL: is no URL: a /, ?, # or @ in a password"),
        ({"RABBITMQ_URL": "amqp://u:12/secret@h/"}, "RABBITMQ_URL: is no URL: a /, ?, # or @ in a password"),
        ({"RABBITMQ_URL": "amqp://u:12?secret@h/"}, "RABBITMQ_URL: is no URL: a /, ?, # or @ in a password"),
        ({"RABBITMQ_URL": "amqp://u:12#secret@h/"}, "RABBITMQ_URL: is no URL: a /, ?, # or @ in a password"),
        ({"RABBITMQ_URL": "amqp://u:p@secret/x@h/"}, "RABBITMQ_URL: is no URL: a /, ?, # or @ in a password"),
        ({"REDIS_URL": "redis://u:12/secret@h/"}, "REDIS_URL: is no URL: a /, ?, # or @ in a password"),
        ({"RABBITMQ_URL": "amqp://u:secret@a:1,b:2/"}, "RABBITMQ_URL: names several hosts"),
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
