"""aio-pika and nothing else: consume, publish the body to who asked, ack."""

import asyncio

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from bench.stopwatch import Job, Stopwatch

PREFETCH = 100


async def echo(job: Job, watch: Stopwatch) -> None:
    async with await aio_pika.connect(job.rabbitmq_url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        requests = await channel.get_queue(job.requests)
        done = asyncio.Event()

        async def serve(message: AbstractIncomingMessage) -> None:
            watch.start()
            answer = aio_pika.Message(
                message.body, content_type="application/json", correlation_id=message.correlation_id
            )
            await channel.default_exchange.publish(answer, str(message.reply_to))
            await message.ack()
            if watch.settle():
                done.set()

        await requests.consume(serve)
        await done.wait()


def main() -> None:
    job = Job.read()
    watch = Stopwatch(job)
    uvloop.run(echo(job, watch))
    watch.report()


if __name__ == "__main__":
    main()
