"""Checks of RabbitMQ: its version, its plugin, its alarms, and what is declared on it."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiormq
from aiormq.channel import Channel
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionCommandInvalid,
    ProbableAuthenticationError,
)

from src import wire
from src.admin.findings import Finding, broken, ok, warning
from src.amqp.connections import (
    CLOSE_TIMEOUT,
    CONNECT_TIMEOUT,
    CONNECTION_ERRORS,
    StartupError,
    address,
    close_channel,
    is_vhost_refused,
    open_plain,
)
from src.amqp.frame_reader import OpenRefused
from src.amqp.topology_recovery import RecoveryChannel
from src.consumers.topology import Topology
from src.errors import why

AT_LEAST_ONCE = (3, 10)  # the first version that dead-letters at least once
TRUSTED_DEATHS = (4, 0)  # the first version that takes no x-death header from a client
CONFIRM_TIMEOUT = 3  # seconds: a broker without an alarm confirms within milliseconds
TIMEOUT = 30  # seconds: how long the checks of the broker may take together
HASH_EXCHANGE = "x-consistent-hash"
ARGUMENTS = "Arguments cannot be changed: empty and delete it, or start with the settings that it was declared with"


async def check(url: str, topology: Topology, names: wire.Names, partitions: int) -> tuple[list[Finding], int]:
    """Return the findings, and how many replicas of the service consume."""
    try:
        async with asyncio.timeout(TIMEOUT), _connected(url) as connection:
            findings = [_check_version(connection, address(url)), *await _check_topology(connection, topology)]
            if partitions > 1:
                findings.append(await _check_plugin(url, names))
            return [*findings, await _check_alarm(url)], await _count_replicas(connection, names)
    except (AuthenticationError, ProbableAuthenticationError):
        return [broken(f"RabbitMQ at {address(url)} refuses the login", "Correct the user and password")], 0
    except OpenRefused as error:
        if is_vhost_refused(error):
            what, remedy = "has no such virtual host for this user", "Correct RABBITMQ_URL"
        else:
            what, remedy = f"refuses the connection: {why(error)}", "Raise the limit that it names, or wait"
        return [broken(f"RabbitMQ at {address(url)} {what}", remedy)], 0
    except CONNECTION_ERRORS as error:
        what = f"RabbitMQ at {address(url)} does not answer: {why(error)}"
        return [broken(what, "Start it, or correct RABBITMQ_URL")], 0


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[aiormq.abc.AbstractConnection]:
    connection = await asyncio.wait_for(open_plain(url, "doctor"), CONNECT_TIMEOUT)
    try:
        yield connection
    finally:
        await asyncio.wait({asyncio.ensure_future(connection.close())}, timeout=CLOSE_TIMEOUT)


def _check_version(connection: aiormq.abc.AbstractConnection, where: str) -> Finding:
    properties: dict[str, Any] = dict(connection.server_properties)
    text = str(properties.get("version", ""))
    version = tuple(map(int, re.findall(r"\d+", text)[:2]))
    what = f"RabbitMQ {text} at {where}"
    if version < AT_LEAST_ONCE:
        return broken(f"{what} may lose what it dead-letters", "Run 3.10 or newer, 4 at best")
    if version < TRUSTED_DEATHS:
        return warning(
            f"{what} takes x-death headers from its clients, and a malformed one ends its dead-letter workers",
            "Run 4.0 or newer, or let nobody publish whom you do not trust",
        )
    return ok(what)


async def _check_alarm(url: str) -> Finding:
    """Publish to no queue: a broker with an alarm takes the first message of a connection, and reads no second one."""
    try:
        async with asyncio.timeout(CONFIRM_TIMEOUT), _connected(url) as connection:
            channel = await connection.channel(publisher_confirms=True)
            for _ in range(2):
                await channel.basic_publish(b"", routing_key=f"nobody-{uuid.uuid4().hex}")
    except TimeoutError:
        return broken("RabbitMQ takes no messages", "Look for an alarm of memory or disk: rabbitmqctl status")
    return ok("RabbitMQ takes messages")


async def _check_plugin(url: str, names: wire.Names) -> Finding:
    """Declare an exchange of the plugin's type for a moment. Without the plugin, RabbitMQ closes the connection."""
    try:
        async with _connected(url) as connection:
            channel = await connection.channel()
            name = f"{names.service}.doctor-{uuid.uuid4().hex}"
            await channel.exchange_declare(name, exchange_type=HASH_EXCHANGE, auto_delete=True)
            await channel.exchange_delete(name)
    except ConnectionCommandInvalid:
        return broken(
            "WRITE_PARTITIONS above 1 needs RabbitMQ's plugin rabbitmq_consistent_hash_exchange",
            "Run rabbitmq-plugins enable rabbitmq_consistent_hash_exchange",
        )
    except AMQPError as error:
        return broken(f"RabbitMQ does not let this user declare an exchange: {error}", "Give it the right to configure")
    return ok("RabbitMQ has the plugin rabbitmq_consistent_hash_exchange")


class ComparisonChannel(RecoveryChannel):
    """Declares nothing: compares exchanges and queues with what would be declared."""

    def __init__(self, connection: aiormq.abc.AbstractConnection) -> None:
        async def open_channel() -> Channel:
            return cast("Channel", await connection.channel())

        super().__init__(open_channel)
        self.missing: list[str] = []
        self.different: list[str] = []

    async def exchange_declare(self, name: str, **how: Any) -> None:
        await self._compare(Channel.exchange_declare, name, how)

    async def queue_declare(self, name: str, **how: Any) -> None:
        await self._compare(Channel.queue_declare, name, how)

    async def _compare(self, declare: Any, name: str, how: dict[str, Any]) -> None:
        if not await self._exists(declare, name):
            self.missing.append(name)
            return
        try:
            await declare(await self._get_channel(), name, **how)  # changes nothing: it exists
        except ChannelPreconditionFailed as error:
            self.different.append(f"{name} has other arguments: {error}")


async def _check_topology(connection: aiormq.abc.AbstractConnection, topology: Topology) -> list[Finding]:
    comparison = ComparisonChannel(connection)
    try:
        await topology.declare(comparison)
    except StartupError as error:
        return [broken(str(error), "Give the user the right to configure what begins with the service's name")]
    finally:
        await comparison.close()
    if comparison.different:
        return [broken(each, ARGUMENTS) for each in comparison.different]
    if comparison.missing:
        return [ok(f"{len(comparison.missing)} exchanges and queues are not there yet: serve declares them")]
    return [ok("exchanges and queues are as this version declares them")]


async def _count_replicas(connection: aiormq.abc.AbstractConnection, names: wire.Names) -> int:
    """Count the consumers of reads: every replica is one."""
    channel = cast("Channel", await connection.channel())
    try:
        return (await channel.queue_declare(names.reads, passive=True)).consumer_count or 0
    except ChannelNotFoundEntity:
        return 0
    finally:
        await close_channel(channel)
