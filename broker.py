"""FastStream's broker, over a connection that no message can close, with subscribers that take batches."""

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
    """A RabbitBroker with batch subscribers. ``on_failure`` gets the error that ended the task of a subscriber."""

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
        """Declare a subscriber of each queue, which takes all waiting deliveries as one batch::

            @broker.batches("db.reads", limits=limits, prepare=probe)
            async def read(batch: Batch) -> None: ...

        ``prepare`` runs before each consume, and raises ``ConsumerPaused`` while the service cannot handle batches.
        """

        def register(handler: Handler) -> Handler:
            for queue in queues:
                self._subscribe(queue, handler, limits, prepare)
            return handler

        return register

    async def connect(self) -> TolerantConnection:
        """Connect if there is no connection yet, and return the connection."""
        return cast("TolerantConnection", await super().connect())

    async def consuming(self) -> None:
        """Wait until every subscriber consumes its queue."""
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
