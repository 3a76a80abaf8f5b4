"""A MariaDB that ends, that is set up badly, or that is another: what the service and the doctor say of it."""

import shutil
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
import trustme

import config
from dev.mariadb import MariaServer, program
from src import service
from src.admin.findings import Level
from src.database import Database
from src.errors import Unavailable
from src.processing import inbox
from tests.faults.load import assert_outlived
from tests.support import harness

pytestmark = pytest.mark.databases


@pytest.mark.parametrize("end", [MariaServer.stop, MariaServer.kill])
async def test_mariadb_is_restarted_under_load(
    fragile: config.Settings, mariadb: MariaServer, end: Callable[[MariaServer], None]
) -> None:
    await assert_outlived(fragile, mariadb, end)


async def _found(settings: config.Settings, level: Level) -> list[str]:
    return [each.line for each in await service.examine(settings) if each.level is level]


async def test_the_doctor_finds_what_may_lose_what_was_committed(fragile: config.Settings) -> None:
    (line,) = await _found(fragile, Level.BROKEN)
    assert "innodb_flush_log_at_trx_commit=2" in line


async def test_the_doctor_finds_a_server_that_only_reads(fragile: config.Settings, mariadb: MariaServer) -> None:
    await harness.execute(mariadb.url, "SET GLOBAL read_only = 1")
    lines = await _found(fragile, Level.BROKEN)
    await harness.execute(mariadb.url, "SET GLOBAL read_only = 0")
    assert [line for line in lines if "is read-only" in line]


async def test_the_doctor_finds_rights_that_are_missing(fragile: config.Settings, mariadb: MariaServer) -> None:
    name = sa.make_url(fragile.dsn).database
    await harness.execute(
        mariadb.url,
        "CREATE USER poor@127.0.0.1",
        f"GRANT SELECT, INSERT, UPDATE ON {name}.* TO poor@127.0.0.1",
        *(
            f"GRANT DELETE ON {name}.{table} TO poor@127.0.0.1"
            for table in inbox.table.metadata.tables
            if table != "inbox"
        ),
    )
    url, broker = sa.make_url(fragile.dsn).set(username="poor"), fragile.rabbitmq_url.get_secret_value()
    poor = config.load(_env_file=None, database_url=url.render_as_string(), rabbitmq_url=broker)
    lines = await _found(poor, Level.BROKEN)
    await harness.execute(mariadb.url, "DROP USER poor@127.0.0.1")
    assert [line for line in lines if "lacks 1 rights: DELETE on inbox" in line], lines


async def test_the_doctor_finds_a_packet_that_is_too_small(settings: config.Settings) -> None:
    large = settings.model_copy(update={"max_answer": 16 * 1024 * 1024})
    assert [line for line in await _found(large, Level.WARNING) if "max_allowed_packet" in line]
    assert not [line for line in await _found(settings, Level.WARNING) if "max_allowed_packet" in line]


@pytest.mark.parametrize(
    ("host", "ca", "trusted"), [("localhost", 0, True), ("127.0.0.1", 0, False), ("localhost", 1, False)]
)
async def test_by_tls_it_has_to_be_who_it_says(host: str, ca: int, trusted: bool, encrypted: MariaServer) -> None:  # noqa: FBT001
    query = {"ssl_ca": str(encrypted.folder / f"ca-{ca}.pem")}
    database = Database(sa.make_url(encrypted.url).set(host=host, query=query).render_as_string())
    if trusted:
        async with database.connect() as connection:
            assert (await connection.execute(sa.text("SHOW STATUS LIKE 'Ssl_version'"))).one()[1].startswith("TLS")
    else:
        with pytest.raises(Unavailable, match="certificate"):
            await database.probe()
    await database.dispose()


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaServer]:
    """A MariaDB with a certificate for localhost from the first of two authorities, whose own are beside it."""
    if program("mariadbd") is None:
        pytest.skip("this system has no mariadbd of its own")
    folder, authorities = tmp_path_factory.mktemp("encrypted"), [trustme.CA(), trustme.CA()]
    for number, authority in enumerate(authorities):
        authority.cert_pem.write_to_path(str(folder / f"ca-{number}.pem"))
    with MariaServer(folder, durable=False) as server:
        certificate, key = authorities[0].issue_cert("localhost"), server.home / "server.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(str(key))
        if server.account:
            shutil.chown(key, server.account.uid)
        server.settings |= {"ssl_cert": key, "ssl_key": key}
        server.restart()
        yield server
