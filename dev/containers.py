"""Servers in Docker containers, which outlive the process that started them."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import docker
from docker.errors import DockerException, NotFound
from docker.models import containers
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

_SECONDS = 60  # for an answer of the engine, or for the next part of an image that is pulled


class EngineError(RuntimeError):
    """There is no Docker engine, or it refused; the message is the first line of what it said."""


@dataclass(frozen=True)
class Container:
    """A container to run from an image, with one port published at 127.0.0.1."""

    name: str
    image: str
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self) -> int:
        """Run or wake the container; the port at 127.0.0.1 that leads to it. `EngineError` where it fails."""
        with _engine() as engine:
            container = self._find(engine) or self._run()
            container.start()
            container.reload()
            published = container.ports.get(f"{self.port}/tcp")
            if not published:
                raise EngineError(f"{self.name} ended at its start; see: docker logs {self.name}")
            return int(published[0]["HostPort"])

    def stop(self) -> bool:
        """Whether the container ran, and was stopped; it keeps its data for the next `start`."""
        with _engine() as engine:
            container = self._find(engine)
            if container is None or container.status != "running":
                return False
            container.stop()
            return True

    def _find(self, engine: docker.DockerClient) -> containers.Container | None:
        try:
            return engine.containers.get(self.name)
        except NotFound:
            return None

    def _run(self) -> containers.Container:
        testcontainers_config.ryuk_disabled = True  # else it would remove the container when this process ends
        container = DockerContainer(self.image, name=self.name, env=dict(self.environment))
        ports: dict[str, Any] = container.ports
        ports[f"{self.port}/tcp"] = ("127.0.0.1", 0)  # with_bind_ports knows no address; 0: whichever port is free
        return container.start().get_wrapped_container()


def engine_answers() -> bool:
    """Whether there is a Docker engine to talk to."""
    try:
        with _engine():
            return True
    except EngineError:
        return False


@contextmanager
def _engine() -> Iterator[docker.DockerClient]:
    try:
        with closing(docker.from_env(timeout=_SECONDS)) as engine:
            yield engine
    except (DockerException, OSError) as error:  # a lost connection is an OSError
        said = getattr(error, "explanation", None) or str(error)
        raise EngineError(said.partition("\n")[0]) from error
