"""HTTP as a probe or Prometheus asks it."""

import asyncio
import http.client
import json
from dataclasses import dataclass
from typing import Any

from src.telemetry import metrics

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    content_type: str | None

    @property
    def parts(self) -> dict[str, str]:
        """What a health check says of each part."""
        said: dict[str, Any] = json.loads(self.body)
        assert said["ok"] == (self.status == 200)
        return dict(said["parts"])

    @property
    def wrong(self) -> set[str]:
        """The parts that are not well."""
        return {name for name, said in self.parts.items() if said != "ok"}


async def ask(port: int, path: str, method: str = "GET") -> Answer:
    return await asyncio.to_thread(_ask, port, path, method)


def _ask(port: int, path: str, method: str) -> Answer:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return Answer(response.status, response.read(), response.getheader("content-type"))
    finally:
        connection.close()


def value(name: str, **labels: str) -> float:
    """What is counted in this process under this name; 0 where nothing was counted yet."""
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0
