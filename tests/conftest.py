"""Real servers; a database cloned from a migrated template and a service name for each test."""

import os
import random
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest
import sqlalchemy
from hypothesis import HealthCheck, Phase

import config
from dev import rabbitmq, redis, servers
from src.client import Client
from src.service import Service
from tests.support import harness

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "gate")
"""``gate``: the same examples each time, none shrunk. ``shrink``: the same, shrunk. ``fresh``: others each time."""

_SAME = hypothesis.settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=50,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],  # depends on what else the machine does
)
hypothesis.settings.register_profile("gate", _SAME, phases=[Phase.explicit, Phase.generate])
hypothesis.settings.register_profile("shrink", _SAME)
hypothesis.settings.register_profile("fresh", _SAME, derandomize=False, max_examples=500)
hypothesis.settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Draw the seed here, to print it, and in the environment, for pytest-xdist's workers.

    Leave time to shrink, to which Hypothesis sets a limit itself.
    """
    if PROFILE == "fresh" and config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = os.environ.setdefault("HYPOTHESIS_SEED", str(random.getrandbits(32)))
    if PROFILE != "gate" and config.option.timeout is None:
        config.option.timeout = 1200


def pytest_runtest_setup(item: pytest.Item) -> None:
    other = sqlalchemy.make_url(os.environ.get("DATABASE_URL") or "postgresql://").get_backend_name()
    if item.get_closest_marker("postgresql") and other not in {"postgresql", "postgres"}:
        pytest.skip(f"{other} does not have it")
    if item.get_closest_marker("processes") and other == "sqlite":
        pytest.skip("sqlite is for one process")


def pytest_report_header(config: pytest.Config) -> str:
    again = f" --hypothesis-seed={_seed(config)}" if config.option.hypothesis_seed else ""
    return f"examples: HYPOTHESIS_PROFILE={PROFILE} pytest{again}"


def _seed(config: pytest.Config) -> str:
    return str(config.option.hypothesis_seed or 0)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """What a test draws from, the same for the same seed."""
    return random.Random(f"{request.node.nodeid} {_seed(request.config)}")


@pytest.fixture(scope="session")
def found() -> tuple[str, str]:
    """The URLs of PostgreSQL and RabbitMQ, wherever they are."""
    return servers.find_postgres().url, servers.find_rabbitmq().url


@pytest.fixture(scope="session")
def postgres_url(found: tuple[str, str]) -> str:
    return found[0]


@pytest.fixture(scope="session")
def rabbitmq_url(found: tuple[str, str]) -> str:
    return found[1]


@pytest.fixture(scope="session")
def private_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rabbitmq.RabbitServer]:
    """A RabbitMQ that may be broken, and that spreads requests over partitions."""
    if rabbitmq.scripts() is None:
        pytest.skip("this system has no rabbitmq-server of its own")
    plugins = ("rabbitmq_consistent_hash_exchange",)
    limits = {
        "dead_letter_worker_publisher_confirm_timeout": 2000,  # milliseconds between its attempts
        "max_message_size": 16 * 1024 * 1024,  # bytes, as RabbitMQ 4 has it
    }
    with rabbitmq.RabbitServer(tmp_path_factory.mktemp("rabbitmq"), plugins=plugins, limits=limits) as server:
        yield server


@pytest.fixture(scope="session")
def private_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.RedisServer]:
    """A Redis that may be broken."""
    if not redis.installed():
        pytest.skip("this system has no redis-server of its own")
    with redis.RedisServer(tmp_path_factory.mktemp("redis"), password="hush-hush") as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> str:
    """A Redis, wherever it is: that of the environment or of this machine, else a private one."""
    url = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
    return url if redis.lets_in(url) else str(request.getfixturevalue("private_redis").url)


@pytest.fixture(scope="session")
def template(postgres_url: str) -> Iterator[str]:
    """A migrated database that nobody connects to."""
    with harness.migrated(postgres_url) as url:
        yield url


@pytest.fixture(scope="module")
async def shared(postgres_url: str, template: str, rabbitmq_url: str) -> AsyncIterator[Service]:
    """The service, running in this process, for all tests of a file that ask for ``service``."""
    async with harness.isolated(postgres_url, template, rabbitmq_url) as settings, harness.running(settings) as started:
        yield started


@pytest.fixture
async def service(shared: Service) -> AsyncIterator[Service]:
    """The running service, with an empty database."""
    await harness.empty(shared.settings.dsn)
    yield shared
    assert shared.failure is None


@pytest.fixture
async def own_database_url(postgres_url: str, template: str) -> AsyncIterator[str]:
    """A migrated database that only this test knows."""
    async with harness.cloned(postgres_url, template) as url:
        yield url


@pytest.fixture
async def own_settings(own_database_url: str, rabbitmq_url: str) -> AsyncIterator[config.Settings]:
    """Settings of a service that only this test knows."""
    async with harness.named(own_database_url, rabbitmq_url) as chosen:
        yield chosen


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """The database of the running service where the test asks for that, else one of its own."""
    if "service" in request.fixturenames:
        return _service(request).settings.dsn
    return str(request.getfixturevalue("own_database_url"))


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> config.Settings:
    """Those of the running service where the test asks for that, else of a service of its own."""
    if "service" in request.fixturenames:
        return _service(request).settings
    chosen: config.Settings = request.getfixturevalue("own_settings")
    return chosen


def _service(request: pytest.FixtureRequest) -> Service:
    running: Service = request.getfixturevalue("service")
    return running


@pytest.fixture
async def client(service: Service, settings: config.Settings) -> AsyncIterator[Client]:
    """A client of the running service."""
    async with harness.connected(settings) as connected:
        yield connected
