"""TLS to both servers: whoever shows a certificate that was not made for them is refused in one line."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from sqlalchemy import make_url
from yarl import URL

import config
from dev import rabbitmq
from dev.rabbitmq import RabbitServer
from tests.faults.test_start import refusal
from tests.support import forked, harness
from tests.support.harness import Process

SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)
MADE_FOR = "localhost"
ELSEWHERE = "127.0.0.1"  # the same server by a name that its certificate does not have
PLACES = {"a wrong CA": (MADE_FOR, "stranger.pem"), "a wrong name": (ELSEWHERE, "ca.pem")}

type Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter, ssl.SSLContext], Awaitable[None]]


@dataclass(frozen=True)
class Encrypted:
    """Both servers, reached through TLS alone, and who vouches for them."""

    postgres: int
    rabbitmq: int
    folder: Path

    def database_url(self, plain: str, host: str = MADE_FOR, ca: str = "ca.pem") -> str:
        query = {"sslmode": "verify-full", "sslrootcert": str(self.folder / ca)}
        return make_url(plain).set(host=host, port=self.postgres, query=query).render_as_string(hide_password=False)

    def rabbitmq_url(self, plain: str, host: str = MADE_FOR) -> str:
        return str(URL(plain).with_scheme("amqps").with_host(host).with_port(self.rabbitmq))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, trustme.LeafCert]:
    """A folder with the CA of the servers and with that of a stranger; and the servers' own."""
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(folder / "stranger.pem"))
    return folder, authority.issue_cert(MADE_FOR)


@pytest.fixture(scope="module")
async def encrypted(
    certificates: tuple[Path, trustme.LeafCert], postgres_url: str, rabbitmq_url: str
) -> AsyncIterator[Encrypted]:
    folder, certificate = certificates
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    database, broker = make_url(postgres_url), URL(rabbitmq_url)
    async with (
        _before(str(database.host), database.port or 5432, context, _as_postgresql) as first,
        _before(str(broker.host), broker.port or 5672, context, _at_once) as second,
    ):
        yield Encrypted(first, second, folder)


@contextlib.asynccontextmanager
async def _before(host: str, port: int, context: ssl.SSLContext, accept: Accept) -> AsyncIterator[int]:
    """The port of a server that speaks TLS with whoever comes, and hands on what they say."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await accept(reader, writer, context)
            inner, outer = await asyncio.open_connection(host, port)
            await asyncio.gather(_pipe(reader, outer), _pipe(inner, writer), return_exceptions=True)
        writer.close()

    async with await asyncio.start_server(serve, ELSEWHERE, 0) as server:
        yield server.sockets[0].getsockname()[1]


async def _as_postgresql(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
    assert await reader.readexactly(8) == SSL_REQUEST
    writer.write(b"S")
    await writer.start_tls(context)


async def _at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
    await writer.start_tls(context)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
    writer.close()


async def test_service_and_client_reach_both_servers_by_tls(settings: config.Settings, encrypted: Encrypted) -> None:
    url = encrypted.rabbitmq_url(settings.rabbitmq_url.get_secret_value())
    variables = {"RABBITMQ_URL": url, "RABBITMQ_CA_FILE": str(encrypted.folder / "ca.pem")}
    async with Process(settings, DATABASE_URL=encrypted.database_url(settings.dsn), **variables) as process:
        assert f"RabbitMQ at {MADE_FOR}:{encrypted.rabbitmq}" in await process.says("serving")
        await process.consuming()
        call = ("main.py", "call", "session.create", '{"title": "hello"}')
        ended = await asyncio.to_thread(forked.run, *call, **harness.environment(settings, **variables))
        assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("wrong", PLACES)
async def test_a_database_that_is_not_who_it_says_is_refused_in_one_line(
    wrong: str, settings: config.Settings, encrypted: Encrypted
) -> None:
    host, ca = PLACES[wrong]
    line = await refusal(settings, DATABASE_URL=encrypted.database_url(settings.dsn, host, ca))
    assert f"PostgreSQL at {host}:{encrypted.postgres}" in line
    assert "certificate" in line


@pytest.mark.parametrize("wrong", PLACES)
async def test_a_broker_that_is_not_who_it_says_is_refused_in_one_line(
    wrong: str, settings: config.Settings, encrypted: Encrypted
) -> None:
    host, ca = PLACES[wrong]
    url = encrypted.rabbitmq_url(settings.rabbitmq_url.get_secret_value(), host)
    line = await refusal(settings, RABBITMQ_URL=url, RABBITMQ_CA_FILE=str(encrypted.folder / ca))
    assert f"RabbitMQ at {host}:{encrypted.rabbitmq}" in line
    assert "certificate" in line


@pytest.mark.parametrize("wrong", PLACES)
@pytest.mark.parametrize("command", [("call", "session.create"), ("migrate",)])
async def test_a_command_refuses_such_a_server_in_one_line(
    command: tuple[str, ...], wrong: str, settings: config.Settings, encrypted: Encrypted
) -> None:
    host, ca = PLACES[wrong]
    environment = harness.environment(
        settings,
        DATABASE_URL=encrypted.database_url(settings.dsn, host, ca),
        RABBITMQ_URL=encrypted.rabbitmq_url(settings.rabbitmq_url.get_secret_value(), host),
        RABBITMQ_CA_FILE=str(encrypted.folder / ca),
    )
    ended = await asyncio.to_thread(forked.run, "main.py", *command, **environment)
    assert ended.code != 0
    (line,) = ended.err.splitlines()
    assert f" at {host}:{encrypted.postgres if command == ('migrate',) else encrypted.rabbitmq}" in line
    assert "certificate" in line


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://host/db?sslmode=verify-full", "without a sslrootcert"),
        ("postgresql://host/db?sslmode=verify-ca", "without a sslrootcert"),
        ("postgresql://host/db?sslmode=verify-full&sslrootcert=/nowhere", "/nowhere: No such file"),
        ("postgresql://host/db?sslmode=prefer&sslrootcert={ca}", "nobody looks at"),
        ("postgresql://host/db?sslrootcert={ca}", "nobody looks at"),
        ("postgresql://host/db?sslmode=verify-full&sslrootcert={empty}", "no certificate"),
        ("amqp://host", "amqps://"),
        ("amqps://host?cafile=/nowhere", "/nowhere: No such file"),
    ],
)
def test_what_could_never_be_checked_is_a_wrong_setting(
    url: str, said: str, certificates: tuple[Path, trustme.LeafCert], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ca, empty = certificates[0] / "ca.pem", tmp_path / "empty.pem"
    empty.touch()
    if url.startswith("amqp:"):
        monkeypatch.setenv("RABBITMQ_CA_FILE", str(ca))
    name = "database_url" if url.startswith("postgresql") else "rabbitmq_url"
    with pytest.raises(config.WrongSettings, match=said) as caught:
        config.load(_env_file=None, **{name: url.format(ca=ca, empty=empty)})
    assert len(str(caught.value).splitlines()) == 1


def test_a_broker_in_parts_is_reached_by_tls_where_its_ca_is_given(
    certificates: tuple[Path, trustme.LeafCert], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RABBITMQ_URL", raising=False)
    monkeypatch.setenv("RABBITMQ_CA_FILE", str(certificates[0] / "ca.pem"))
    url = URL(config.load(_env_file=None, rabbitmq_host="broker").rabbitmq_url.get_secret_value())
    assert (url.scheme, url.host, url.port) == ("amqps", "broker", 5671)
    assert url.query["cafile"] == str(certificates[0] / "ca.pem")


class EncryptedRabbit(RabbitServer):
    """A RabbitMQ node that speaks TLS alone."""

    def __init__(self, folder: Path, trusted: Path, certificate: trustme.LeafCert) -> None:
        super().__init__(folder)
        self._trusted = trusted
        self._certificate = certificate

    @property
    def url(self) -> str:
        return f"amqps://guest:guest@{MADE_FOR}:{self.port}/?cafile={self._trusted}"

    def prepare(self) -> None:
        super().prepare()
        self._write("server.pem", self._certificate.private_key_and_cert_chain_pem.bytes().decode())
        files = [f"ssl_options.{name} = {self.home}/server.pem" for name in ("certfile", "keyfile")]
        listeners = ["listeners.tcp = none", f"listeners.ssl.1 = 127.0.0.1:{self.port}"]
        self._write("rabbitmq.conf", "\n".join([*listeners, *files, ""]))

    def answers(self) -> bool:
        context = ssl.create_default_context(cafile=self._trusted)
        with (
            contextlib.suppress(OSError),
            socket.create_connection((ELSEWHERE, self.port)) as plain,
            context.wrap_socket(plain, server_hostname=MADE_FOR),
        ):
            return True
        return False

    def environment(self) -> Mapping[str, str]:
        given = super().environment()
        return {name: value for name, value in given.items() if name != "RABBITMQ_NODE_PORT"}  # it would be one of TCP


@pytest.mark.slow
async def test_a_rabbitmq_that_speaks_tls_alone_is_served(
    certificates: tuple[Path, trustme.LeafCert], own_database_url: str, tmp_path: Path
) -> None:
    if rabbitmq.scripts() is None:
        pytest.skip("this system has no rabbitmq-server of its own")
    folder, certificate = certificates
    with EncryptedRabbit(tmp_path, folder / "ca.pem", certificate) as server:
        async with harness.named(own_database_url, server.url) as settings:
            async with Process(settings) as process, harness.connected(settings) as client:
                await process.consuming()
                await client.call("session.create", {})
            stranger = server.url.replace("ca.pem", "stranger.pem")
            assert "certificate" in await refusal(settings, RABBITMQ_URL=stranger)
