"""The doctor: checks of every server that the service needs, and of how it reaches them.

The checks change nothing, and leave nothing on a server. No finding holds a password.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

import sqlalchemy as sa
from yarl import URL

from src import dialects, wire
from src.admin import broker_checks, database_checks
from src.admin.findings import Finding, ok, warning
from src.consumers.topology import Topology
from src.database import Database

if TYPE_CHECKING:
    from src.redis_client import RedisClient


@dataclass(frozen=True)
class Subject:
    """What is checked. The URLs hold passwords, ``max_answer`` is in bytes."""

    rabbitmq_url: str
    dsn: str
    database: Database
    topology: Topology
    names: wire.Names
    partitions: int
    max_answer: int
    redis: "RedisClient | None" = None
    limits: bool = False
    """Whether there is a RATE_LIMIT."""


async def examine(subject: Subject) -> list[Finding]:
    """Return all findings, those about the broker first. A server that does not answer is a finding."""
    broker, replicas = await broker_checks.check(
        subject.rabbitmq_url, subject.topology, subject.names, subject.partitions
    )
    database = await database_checks.check(subject.database, replicas, subject.max_answer)
    findings = [*broker, *database, *_check_transport(subject.rabbitmq_url, subject.dsn)]
    if subject.redis:
        from src.admin import redis_checks  # noqa: PLC0415 - imports redis, which costs memory

        findings.append(await redis_checks.check(subject.redis, limits=subject.limits))
    return findings


def _check_transport(rabbitmq_url: str, dsn: str) -> list[Finding]:
    """Find servers on other hosts that are reached without TLS, or without a certificate check."""
    broker, database = URL(rabbitmq_url), sa.make_url(dsn)
    found = []
    if not _is_local(broker.host):
        found += _check_remote_broker(broker)
    dialect = dialects.of(database.get_backend_name())
    if not _is_local(database.host) and (remedy := dialect.tls_problem(database)):
        what = f"{dialect.name} at {database.host} is another host, and its certificate is not asked for"
        found.append(warning(what, remedy))
    return found or [ok("broker and database are on this machine, or reached over TLS")]


def _check_remote_broker(url: URL) -> list[Finding]:
    found = []
    if url.scheme != "amqps":
        found.append(
            warning(f"RabbitMQ at {url.host} is another host, and is reached without TLS", "Use amqps in RABBITMQ_URL")
        )
    if (url.user or "guest") == "guest":
        found.append(
            warning(
                f"RabbitMQ at {url.host} is another host, and its user is guest, whose password everybody knows",
                "Make a user for this service, and delete guest",
            )
        )
    return found


def _is_local(host: str | None) -> bool:
    """Return whether the host is this machine: a Unix socket or a loopback address."""
    if not host or host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
