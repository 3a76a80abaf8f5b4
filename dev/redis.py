"""A private Redis, from the `redis-server` that this system has installed."""

import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis

from dev import nodes


class RedisServer(nodes.Node):
    """One Redis that keeps nothing over a restart; with a `password` it lets in who says it."""

    kind = "Redis"
    start_seconds = 30.0
    runs_as = ("nobody",)
    stop_signal = signal.SIGTERM
    abandon_signal = signal.SIGKILL

    def __init__(
        self, folder: Path | str, port: int | None = None, *, password: str = "", outlives: bool = False
    ) -> None:
        super().__init__(folder, port, outlives=outlives)
        self.password = password

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Nothing is read: all it is told stands in the command."""

    def command(self) -> Sequence[str | Path]:
        program = shutil.which("redis-server")
        if program is None:
            raise nodes.StartError("a private Redis needs `redis-server`, which is not installed")
        told = {"bind": "127.0.0.1", "port": str(self.port), "save": "", "requirepass": self.password}
        return [program, *(part for name, value in told.items() for part in (f"--{name}", value))]

    def environment(self) -> Mapping[str, str]:
        return {"LC_ALL": "C"}

    def answers(self) -> bool:
        return lets_in(self.url)


def installed() -> bool:
    """Whether this system has a `redis-server`."""
    return shutil.which("redis-server") is not None


def lets_in(url: str) -> bool:
    """Whether a Redis answers there."""
    try:
        with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as connected:
            return bool(connected.ping())
    except (redis.RedisError, OSError):
        return False
