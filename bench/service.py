"""The service as it ships, `main.py serve`, with a stopwatch around its handler of writes."""

import cProfile
import os
import signal
from unittest import mock

import main
from bench.stopwatch import Job, Stopwatch
from src.amqp.batches import Batch
from src.subscribers import Subscribers


def measured() -> None:
    job = Job.read()
    os.environ |= _environment(job)
    watch, profile = Stopwatch(job.messages), cProfile.Profile()
    write = Subscribers.write

    async def timed(self: Subscribers, batch: Batch) -> None:
        if watch.start() and job.profile:
            profile.enable()
        await write(self, batch)
        if watch.settle(len(batch.deliveries)):
            profile.disable()
            signal.raise_signal(signal.SIGTERM)

    with mock.patch.object(Subscribers, "write", timed):
        code = main.app(["serve"], standalone_mode=False)
    if code:
        raise SystemExit(code)
    if job.profile:
        profile.dump_stats(job.profile)
    watch.report()


def _environment(job: Job) -> dict[str, str]:
    """Its other settings are as they are in the environment and in .env, if they are."""
    return {
        "DATABASE_URL": job.database_url,
        "RABBITMQ_URL": job.rabbitmq_url,
        "SERVICE_NAME": job.service,
        "WRITE_PARTITIONS": "1",
    }


if __name__ == "__main__":
    measured()
