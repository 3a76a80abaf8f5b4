"""Servers in Docker containers, which outlive the process that started them."""

import shutil
import subprocess
from dataclasses import dataclass

_QUICK_SECONDS = 20.0
_PULL_SECONDS = 900.0


class DockerError(RuntimeError):
    """Docker refused; the message is the last line of what it said."""


@dataclass(frozen=True)
class Container:
    """A container to run from an image, with one port published at 127.0.0.1."""

    name: str
    image: str
    port: int
    options: tuple[str, ...] = ()

    def start(self) -> int:
        """Run or wake the container; the port at 127.0.0.1 that leads to it. `DockerError` where it fails."""
        if not self.running:
            if self._exists:
                _docker("start", self.name)
            else:
                publish = f"127.0.0.1::{self.port}"
                command = ("run", "--detach", "--name", self.name, "--publish", publish, *self.options, self.image)
                _docker(*command, seconds=_PULL_SECONDS)
        published = _docker("port", self.name, f"{self.port}/tcp").splitlines()
        return int(published[0].rpartition(":")[2])

    def stop(self) -> None:
        """Stop the container; it keeps its data for the next `start`."""
        _docker("stop", self.name)

    @property
    def running(self) -> bool:
        return self.name in _names()

    @property
    def _exists(self) -> bool:
        return self.name in _names("--all")


def engine_answers() -> bool:
    """Whether there is a Docker engine to talk to, not only its client."""
    if shutil.which("docker") is None:
        return False
    try:
        _docker("version", "--format", "{{.Server.Version}}")
    except DockerError:
        return False
    return True


def _names(*options: str) -> list[str]:
    return _docker("ps", *options, "--format", "{{.Names}}").splitlines()


def _docker(*arguments: str, seconds: float = _QUICK_SECONDS) -> str:
    try:
        done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise DockerError(f"docker {arguments[0]} took more than {seconds:.0f} s") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise DockerError(f"docker {arguments[0]}: {said[-1]}")
    return done.stdout.strip()
