"""What the service declares on the broker. Nothing is deleted; bindings move where the number of partitions does."""

from collections.abc import Collection

from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed, ConnectionCommandInvalid
from pamqp.common import FieldTable

from src import wire
from src.amqp.connections import StartupError, is_limit
from src.amqp.topology_recovery import Declaring

DELIVERY_LIMIT = 100  # the last resort: it counts for a whole window, whoever was guilty
NEVER = 2**31 - 1  # deliveries; RabbitMQ 4 gives up after 20 where there is no limit, and 3 at once where it is -1
PARKED = 5  # seconds: how long a rejected event waits before it is published again


class Topology:
    """Exchanges, queues, bindings. ``writes`` and ``reads`` are routing keys of requests, ``read_ttl`` is seconds."""

    def __init__(
        self, names: wire.Names, *, writes: Collection[str], reads: Collection[str], partitions: int, read_ttl: int
    ) -> None:
        self._names = names
        self._writes = writes
        self._reads = reads
        self._partitions = partitions
        self._read_ttl = read_ttl

    async def declare(self, channel: Declaring) -> None:
        """Declare the whole topology. Raises StartupError if the broker has one of its names with other properties."""
        try:
            await self._declare_exchanges(channel)
            await self._declare_queues(channel)
            await self._bind_queues(channel)
            await self._bind_requests(channel)
        except ConnectionCommandInvalid as error:
            raise StartupError(
                "WRITE_PARTITIONS above 1 needs RabbitMQ's plugin rabbitmq_consistent_hash_exchange: enable it with "
                "rabbitmq-plugins enable rabbitmq_consistent_hash_exchange."
            ) from error
        except ChannelAccessRefused as error:
            raise StartupError(f"RabbitMQ does not let this user declare what the service needs: {error}") from error
        except ChannelPreconditionFailed as error:
            if is_limit(error):
                raise StartupError(f"RabbitMQ refuses another queue: {error}. Raise this limit, then start.") from error
            raise StartupError(
                f"RabbitMQ has this with other arguments: {error}. Arguments cannot be changed: empty and delete it "
                "(let the version that declared it serve what it holds; dead letters: ./db dead), or start with the "
                "settings that it was declared with."
            ) from error

    async def _declare_exchanges(self, channel: Declaring) -> None:
        names = self._names
        unrouted: FieldTable = {"alternate-exchange": names.unrouted}
        for name in names.fanouts:
            await channel.exchange_declare(name, exchange_type="fanout", durable=True)
        await channel.exchange_declare(names.events, exchange_type="topic", durable=True)
        await channel.exchange_declare(names.requests, exchange_type="topic", durable=True, arguments=unrouted)
        if self._partitions > 1:
            arguments: FieldTable = {"hash-header": wire.PARTITION_KEY, **unrouted}
            await channel.exchange_declare(
                names.writes, exchange_type="x-consistent-hash", durable=True, arguments=arguments
            )

    async def _declare_queues(self, channel: Declaring) -> None:
        names = self._names
        partition: FieldTable = {
            "x-queue-type": "quorum",
            "x-single-active-consumer": True,
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": names.expired,
            "x-overflow": "reject-publish",  # if an operator should set a length
        }
        # Nothing of a stranger's is dead-lettered but by a quorum queue at most once: RabbitMQ 3.10 loses the others to
        # a forged x-death. Reads are dropped, later than the service has answered them if it runs (decision 0018).
        reads: FieldTable = {"x-message-ttl": 2 * self._read_ttl * 1000}
        parked: FieldTable = {
            "x-queue-type": "quorum",
            "x-message-ttl": PARKED * 1000,
            "x-dead-letter-exchange": names.released,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        kept: FieldTable = {"x-queue-type": "quorum", "x-delivery-limit": NEVER}  # each look at a letter delivers it
        for name in (names.dead, names.expired):
            await channel.queue_declare(name, durable=True, arguments=kept)
        await channel.queue_declare(names.parked, durable=True, arguments=parked)
        await channel.queue_declare(names.released, durable=True, arguments={"x-max-length": 0})  # keeps nothing
        await channel.queue_declare(names.unrouted, durable=True)
        await channel.queue_declare(names.reads, durable=True, arguments=reads)
        for queue in names.partitions(self._partitions):
            await channel.queue_declare(queue, durable=True, arguments=partition)

    async def _bind_queues(self, channel: Declaring) -> None:
        names = self._names
        for name in names.fanouts:
            await channel.queue_bind(name, name)
        await channel.exchange_bind(names.events, names.released)
        if self._partitions > 1:
            for queue in names.partitions(self._partitions):
                await channel.queue_bind(queue, names.writes, "1")  # its weight
            for queue in names.partitions(wire.MOST_PARTITIONS)[self._partitions :]:
                await channel.queue_unbind(queue, names.writes, "1")  # there were more of them once

    async def _bind_requests(self, channel: Declaring) -> None:
        names = self._names
        first = names.partition(0)
        for key in self._reads:
            await channel.queue_bind(names.reads, names.requests, key)
        for key in self._writes:
            if self._partitions > 1:
                await channel.exchange_bind(names.writes, names.requests, key)
                await channel.queue_unbind(first, names.requests, key)
            else:
                await channel.queue_bind(first, names.requests, key)
                await channel.exchange_unbind(names.writes, names.requests, key)
