"""The search for a server, the same for both: what is there comes before what must be started."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from dev import containers, install, nodes, processes

_CONTAINER_SECONDS = 120.0


class NoServerError(RuntimeError):
    """There is no such server and none could be started; the message says what would help."""


@dataclass(frozen=True)
class Found:
    """A server that lets us in, and in a few words where it comes from."""

    url: str
    source: str
    named: bool = False  # by the environment, which says so to every other program as well


@dataclass(frozen=True)
class Search:
    """How one of the servers is found; `provide` installs what `private` lacks and says whether it did."""

    name: str
    variables: tuple[str, ...]
    standard: tuple[str, ...]
    lets_in: Callable[[str], bool]
    container: containers.Container
    container_url: str
    private: Callable[[], nodes.Node]
    provide: Callable[[], bool]

    def run(self) -> Found:
        """The first server found on the way that `DEV_SERVERS` allows, else `NoServerError`."""
        match os.environ.get("DEV_SERVERS", ""):
            case "":
                found = self._in_environment() or self._at_standard_port() or self._left_running()
                found = found or self._in_docker() or self._started_here()
            case "docker":
                found = self._in_docker()
            case "private":
                found = self._left_running() or self._started_here()
            case other:
                raise NoServerError(f"DEV_SERVERS is {other!r}; it can be `docker`, `private` or unset.")
        if found is None:
            raise NoServerError(f"{self.name}: DEV_SERVERS=docker allows only a container, and there is none.")
        say(found.source if found.named else f"{self.name}: {found.source}")
        return found

    def _in_environment(self) -> Found | None:
        # Taken at its word: to fall back from the server that was asked for would surprise.
        for variable in self.variables:
            if url := os.environ.get(variable):
                return Found(url, f"{variable}: from the environment", named=True)
        return None

    def _at_standard_port(self) -> Found | None:
        for url in self.standard:
            if self.lets_in(url):
                return Found(url, "the server at its standard port")
        say(f"{self.name}: no server at the standard port that lets us in")
        return None

    def _left_running(self) -> Found | None:
        node = self.private()
        if not node.running:
            return None
        _start(node)
        return Found(node.url, "the private server of an earlier run")

    def _in_docker(self) -> Found | None:
        if not containers.engine_answers():
            say(f"{self.name}: no Docker engine that answers")
            return None
        say(f"{self.name}: starting the container {self.container.name} from {self.container.image}")
        try:
            url = self.container_url.format(port=self.container.start())
        except containers.EngineError as error:
            say(f"{self.name}: no container: {error}")
            return None
        if processes.wait_until(lambda: self.lets_in(url), _CONTAINER_SECONDS):
            return Found(url, f"the container {self.container.name}")
        say(f"{self.name}: the container {self.container.name} does not let us in")
        return None

    def _started_here(self) -> Found:
        try:
            installed = self.provide()
        except install.InstallError as error:
            raise NoServerError(str(error)) from error
        # A package may start its server by itself.
        if installed and (found := self._at_standard_port()):
            return found
        say(f"{self.name}: starting a private server")
        node = self.private()
        _start(node)
        return Found(node.url, "a private server, now running")


def say(line: str) -> None:
    """Report progress: stdout is for the answer."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _start(node: nodes.Node) -> None:
    try:
        node.start()
    except nodes.StartError as error:
        raise NoServerError(str(error)) from error
