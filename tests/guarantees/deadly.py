"""A service that dies of a request, here of an exception that ends its loop, and is started again."""

import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator
from unittest import mock

import config
from src.service import Service
from tests.faults import crash
from tests.support import harness


class Deadly(BaseException):
    """What no handler of exceptions takes."""


@contextlib.contextmanager
def poisoned(point: str, most: float = float("inf")) -> Iterator[None]:
    """The poison kills at this point, so many times."""
    owner, name, where = crash.DEADLY[point]
    deaths = itertools.count(1)

    def die() -> None:
        if next(deaths) <= most:
            raise Deadly

    with mock.patch.object(owner, name, crash.poisoned(getattr(owner, name), where, die)):
        yield


async def deaths(settings: config.Settings, done: Callable[[], Awaitable[bool]], most: int = 20) -> int:
    """Start the service again and again, until all is done or it has died so often; how often it has died."""
    for died in range(most):
        service = Service(settings)
        await service.app.start()

        async def ended(service: Service = service) -> bool:
            return service.failure is not None or await done()

        try:
            await harness.eventually(ended, "it has died, or all is done")
        finally:
            await service.app.stop()
        if service.failure is None:
            return died
        assert isinstance(service.failure, Deadly)
    return most


async def suspects(settings: config.Settings) -> int:
    return int((await harness.fetch(settings.dsn, "SELECT count(*) FROM suspects"))[0][0])
