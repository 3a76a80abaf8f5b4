"""FastStream's broker, over a connection that no message can end, with subscribers that take batches."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiormq.channel import Channel
from faststream.middlewares import AckPolicy
from faststream.rabbit import RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.broker.registrator import RabbitRegistrator
from faststream.rabbit.subscriber.config import RabbitSubscriberConfig
from faststream.rabbit.subscriber.factory import create_subscriber

from src.amqp.batch import BatchLimits
from src.amqp.batch_subscriber import BatchSubscriber, Handler
from src.amqp.connections import CONNECT_TIMEOUT, RECONNECT_INTERVAL, TolerantConnection, connection_url, open_channel
from src.amqp.frames import FrameHandler


class Broker(RabbitBroker):
    """``on_failure`` is told why a subscriber's loop has ended by itself."""

    def __init__(
        self, url: str, name: str, graceful_timeout: float, on_failure: Callable[[BaseException], None]
    ) -> None:
        super().__init__(
            connection_url(url, f"{name} in"),
            timeout=CONNECT_TIMEOUT,
            reconnect_interval=RECONNECT_INTERVAL,
            graceful_timeout=graceful_timeout,
            app_id=None,
            logger=None,
        )
        self._connection_kwargs["connection_class"] = TolerantConnection
        self._on_failure = on_failure
        self.batch_subscribers: list[BatchSubscriber] = []

    def batches(
        self, *queues: str, limits: BatchLimits, prepare: Callable[[], Awaitable[None]]
    ) -> Callable[[Handler], Handler]:
        """Declare a subscriber to each queue that takes what has arrived there as one batch::

            @broker.batches("db.reads", limits=limits, prepare=probe)
            async def read(batch: Batch) -> None: ...

        ``prepare`` runs before a queue is consumed, and raises ``ConsumerPaused`` while that is no use.
        """

        def register(handler: Handler) -> Handler:
            for queue in queues:
                self._subscribe(queue, handler, limits, prepare)
            return handler

        return register

    async def connect(self) -> TolerantConnection:
        """The connection, made where there is none yet."""
        return cast("TolerantConnection", await super().connect())

    async def consuming(self) -> None:
        """Return once no queue is without a consumer of ours: what is published now is taken."""
        for subscriber in self.batch_subscribers:
            await subscriber.consuming.wait()

    async def open_channel(self, handler: FrameHandler | None = None) -> Channel:
        """Open a channel on the broker's connection once it is up; ``handler`` gets its frames before aiormq."""
        return await open_channel(await self.connect(), handler)

    def _subscribe(
        self, queue: str, handler: Handler, limits: BatchLimits, prepare: Callable[[], Awaitable[None]]
    ) -> None:
        common: dict[str, Any] = {"queue": RabbitQueue(queue), "exchange": RabbitExchange(), "channel": None}
        plain = create_subscriber(
            **common,
            config=cast("Any", self.config),
            consume_args=None,
            no_reply=True,
            ack_policy=AckPolicy.MANUAL,
            title_=None,
            description_=None,
            include_in_schema=False,
        )
        subscriber = BatchSubscriber(
            RabbitSubscriberConfig(
                **common, no_reply=True, _ack_policy=AckPolicy.MANUAL, _outer_config=cast("Any", self.config)
            ),
            plain.specification,
            plain.calls,
            handler=handler,
            limits=limits,
            open_channel=self.open_channel,
            prepare=prepare,
            on_failure=self._on_failure,
        )
        super(RabbitRegistrator, self).subscriber(subscriber)
        self.batch_subscribers.append(subscriber)
