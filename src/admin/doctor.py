"""One look at everything that the service stands on: broker, database, clock, and how they are reached.

Nothing is changed, and nothing stays behind on either server. No password is in any finding.
"""

from dataclasses import dataclass
from ipaddress import ip_address

import sqlalchemy as sa
from yarl import URL

from src import dialects, wire
from src.admin import broker_checks, database_checks
from src.admin.findings import Finding, ok, warning
from src.consumers.topology import Topology
from src.database import Database


@dataclass(frozen=True)
class Subject:
    """What is looked at; the URLs hold passwords."""

    rabbitmq_url: str
    dsn: str
    database: Database
    topology: Topology
    names: wire.Names
    partitions: int
    max_answer: int
    """Bytes."""


async def examine(subject: Subject) -> list[Finding]:
    """All findings, on the broker first. A server that is away is one."""
    broker, replicas = await broker_checks.look(
        subject.rabbitmq_url, subject.topology, subject.names, subject.partitions
    )
    database = await database_checks.look(subject.database, replicas, subject.max_answer)
    return [*broker, *database, *_reach(subject.rabbitmq_url, subject.dsn)]


def _reach(rabbitmq_url: str, dsn: str) -> list[Finding]:
    """Whether what is enough on one machine is used between two."""
    broker, database = URL(rabbitmq_url), sa.make_url(dsn)
    found = []
    if not _is_here(broker.host):
        found += _broker_elsewhere(broker)
    dialect = dialects.of(database.get_backend_name())
    if not _is_here(database.host) and (remedy := dialect.untrusted(database)):
        what = f"{dialect.name} at {database.host} is another host, and its certificate is not asked for"
        found.append(warning(what, remedy))
    return found or [ok("broker and database are on this machine, or reached over TLS")]


def _broker_elsewhere(url: URL) -> list[Finding]:
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


def _is_here(host: str | None) -> bool:
    """A socket of this machine, or its loopback."""
    if not host or host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
