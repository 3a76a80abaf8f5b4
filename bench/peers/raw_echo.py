"""aio-pika and nothing else: consume, publish the body as a result with a confirm, ack."""

import asyncio

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from bench.stopwatch import Job, Stopwatch

PREFETCH = 100


async def echo(job: Job, watch: Stopwatch) -> None:
    inbound, outbound = await aio_pika.connect(job.rabbitmq_url), await aio_pika.connect(job.rabbitmq_url)
    async with inbound, outbound:
        channel = await inbound.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        requests = await channel.get_queue(job.requests)
        exchange = (await outbound.channel(publisher_confirms=True)).default_exchange
        done = asyncio.Event()

        async def serve(message: AbstractIncomingMessage) -> None:
            watch.start()
            result = aio_pika.Message(
                message.body,
                content_type="application/json",
                correlation_id=message.correlation_id,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await exchange.publish(result, job.results)
            await message.ack()
            if watch.settle():
                done.set()

        await requests.consume(serve)
        await done.wait()
        await channel.close()  # the close of the connection would overtake the acks


def main() -> None:
    job = Job.read()
    watch = Stopwatch(job)
    uvloop.run(echo(job, watch))
    watch.report()


if __name__ == "__main__":
    main()
