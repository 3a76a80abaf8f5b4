"""The service as it ships, `main.py serve`, with a stopwatch around its handlers."""

import cProfile
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from unittest import mock

from bench.stopwatch import Job, Stopwatch
from main import app
from src import service, wire
from src.amqp.batch import Batch
from src.consumers.subscribers import Subscriber

type Handler = Callable[[Subscriber, Batch], Awaitable[None]]


def measured() -> None:
    job = Job.read()
    os.environ |= _environment(job)
    watch, profile = Stopwatch(job), cProfile.Profile()

    def timed(handle: Handler) -> Handler:
        async def handler(self: Subscriber, batch: Batch) -> None:
            if watch.start() and job.profile:
                profile.enable()
            await handle(self, batch)
            if watch.settle(len(batch.deliveries)):
                profile.disable()
                signal.raise_signal(signal.SIGTERM)

        return handler

    with (
        mock.patch.object(Subscriber, "serve", timed(Subscriber.serve)),
        _own_partition(job),
    ):
        code = app(["serve"], standalone_mode=False)
    if code:
        raise SystemExit(code)
    if job.profile:
        profile.dump_stats(job.profile)
    watch.report()


@contextmanager
def _own_partition(job: Job) -> Iterator[None]:
    """Left to themselves, the first process to start would be the active consumer of every partition."""
    if job.partitions == 1:
        yield
        return
    subscribe = service.Service._subscribe  # noqa: SLF001 - no setting says so

    def subscribe_own(self: service.Service, names: wire.Names) -> None:
        with mock.patch.object(wire.Names, "partitions", lambda names, _: [names.partition(job.partition)]):
            subscribe(self, names)

    with mock.patch.object(service.Service, "_subscribe", subscribe_own):
        yield


def _environment(job: Job) -> dict[str, str]:
    """Its other settings are as they are in the environment and in .env, if they are."""
    return {
        "DATABASE_URL": job.database_url,
        "RABBITMQ_URL": job.rabbitmq_url,
        "SERVICE_NAME": job.service,
        "WRITE_PARTITIONS": str(job.partitions),
    }


if __name__ == "__main__":
    measured()
