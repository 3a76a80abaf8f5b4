"""The containers of `docker-compose.yml`, tried for real: `python -m dev.compose`, or `make compose-test`.

Builds the image, brings everything up under a name and ports of its own, asks each replica how it is, runs the demo,
kills each of the two replicas in turn while dialogues are played, runs the commands of docs/deploy.md that need
containers, stops the replicas within their grace, and takes everything down. What is in `DOCKER_BUILD_OPTIONS` goes to
`docker build`.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from dev import ports, processes, search

ROOT = Path(__file__).parent.parent
BUILD, *COMMANDS = re.findall(r"^\$ (docker .*)", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE)
OPTIONS = os.environ.get("DOCKER_BUILD_OPTIONS", "")
BASE, IMAGE = "python:3.13-slim", "db"
MOST_BYTES = 150_000_000  # beside the base
GRACE = 30.0  # seconds, as docker-compose.yml has it
DIALOGUES = 1500
SECONDS = 300.0  # after which what has not happened will not happen
REPLICAS = ("postgres", "rabbitmq", "db")
PATHS = ("/health/live", "/health/ready", "/metrics")
OK = 200
UNCOMPILED = "python -v -c 'import main, src.cli, src.service' 2>&1 | grep 'code object from .*[.]py$'"


class FailedError(RuntimeError):
    """Something did not go as it should."""


class Stack:
    """The containers, under a name and ports that nothing else uses."""

    def __init__(self) -> None:
        postgres, rabbitmq, management, metrics, http = ports.free(5)
        published = {
            "COMPOSE_PROJECT_NAME": "db-compose-test",
            "POSTGRES_PORT": postgres,
            "RABBITMQ_PORT": rabbitmq,
            "RABBITMQ_MANAGEMENT_PORT": management,
            "RABBITMQ_METRICS_PORT": metrics,
            "HTTP_PORTS": f"{http}-{http + 9}",
        }
        self._environment = os.environ | {name: str(value) for name, value in published.items()}
        self._compose = "docker compose" if _succeeds("docker", "compose", "version") else "docker-compose"
        self.urls = {
            "DATABASE_URL": f"postgresql://postgres:{_secret('database_password')}@127.0.0.1:{postgres}/db",
            "RABBITMQ_URL": f"amqp://guest:{_secret('rabbitmq_password')}@127.0.0.1:{rabbitmq}",
        }

    def do(self, command: str) -> str:
        """What the shell command prints, with `docker compose` in either of its forms."""
        return _output("/bin/sh", "-c", command.replace("docker compose", self._compose), environment=self._environment)

    def containers(self, *services: str) -> list[dict[str, Any]]:
        """What Docker knows of each container of these services, of one that ended too."""
        ids = [each for service in services for each in self.do(f"docker compose ps --all -q {service}").split()]
        found: list[dict[str, Any]] = json.loads(_output("docker", "inspect", *ids))
        return found

    def healthy(self) -> bool:
        """Whether every health check of a container that stays says so."""
        return all(each["State"]["Health"]["Status"] == "healthy" for each in self.containers(*REPLICAS))

    def main(self, *arguments: str) -> subprocess.Popen[str]:
        """`main.py` on this machine, as somebody beside the containers starts it."""
        return subprocess.Popen(
            [sys.executable, "main.py", *arguments],
            cwd=ROOT,
            env=os.environ | self.urls,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def build() -> None:
    """Build the image, and look at what it holds."""
    _output("/bin/sh", "-c", f"{BUILD} {OPTIONS}")
    size, base = (int(_output("docker", "image", "inspect", "--format", "{{.Size}}", name)) for name in (IMAGE, BASE))
    _say(f"{(size - base) / 1e6:.0f} MB beside {BASE}")
    _check(size - base < MOST_BYTES, "the image is small")
    bare = ("docker", "run", "--rm", "--read-only", "--cap-drop=ALL", "--network=none", IMAGE)
    _check(_output(*bare, "id", "-u").strip() == "10001", "it does not run as root")
    _check(not _succeeds(*bare, "sh", "-c", "command -v uv"), "it holds no uv")
    _check(_output(*bare, "python", "main.py", "--version").strip() != "", "it runs read-only, without a capability")
    _check(not _succeeds(*bare, "sh", "-c", UNCOMPILED), "it compiles nothing when it starts")


@contextmanager
def up() -> Iterator[Stack]:
    """The containers, healthy; they and their data are gone at the end."""
    stack = Stack()
    try:
        stack.do("docker compose up --detach --no-build")
        _wait(stack.healthy, "every container is healthy")
        yield stack
    except BaseException:
        sys.stderr.write(stack.do("docker compose ps; docker compose logs --tail=20"))
        raise
    finally:
        stack.do("docker compose down --volumes --timeout 5")  # nothing of it is kept


def ask(stack: Stack) -> None:
    """Ask each replica at its port how it is, and the broker how long its queues are."""
    addresses = [each for container in stack.containers(*REPLICAS) for each in _addresses(container)]
    _check({each["HostIp"] for each in addresses} == {"127.0.0.1"}, "every port is one of this machine alone")
    answers = [_status(each, 8080, path) for each in stack.containers("db") for path in PATHS]
    _check(answers == [OK] * 2 * len(PATHS), "each of the two replicas is live and ready, and has metrics")
    (broker,) = stack.containers("rabbitmq")
    _check(_status(broker, 15692, "/metrics") == OK, "the broker has metrics")


def demonstrate(stack: Stack) -> None:
    """The README's first call is answered by a replica, and the demo finds all that it needs."""
    _succeed(stack.main("call", "session.create", '{"title": "hello"}'), "a replica answers")
    _succeed(stack.main("demo"), "the demo holds")


def kill_in_turn(stack: Stack) -> None:
    """Kill one replica and, when it is back, the other, while dialogues are played; one of them serves the writes."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(_dialogue(number)) + "\n" for number in range(DIALOGUES))
        file.flush()
        playing = stack.main("play", file.name)
        for number, replica in enumerate(stack.containers("db"), start=1):
            _wait(lambda part=number: _played(stack) > part * DIALOGUES // 4, "dialogues are played")
            _check(playing.poll() is None, f"replica {number} is killed in the middle")
            _output("docker", "kill", replica["Id"])
            _output("docker", "start", replica["Id"])
        _succeed(playing, "every dialogue got through")
    _check(_played(stack) == DIALOGUES, "each of them once")


def follow_the_page(stack: Stack) -> None:
    """Run the commands of the page that need containers, in its order."""
    for command in COMMANDS:
        stack.do(command)
        _say(f"$ {command}")
    _wait(stack.healthy, "every container is healthy again")


def stop(stack: Stack) -> None:
    """Stop the replicas, which end by themselves, within their grace."""
    began = time.monotonic()
    stack.do("docker compose stop db")
    took = time.monotonic() - began
    _check(took < GRACE, f"the replicas stop within their grace: {took:.1f} s")
    _check([each["State"]["ExitCode"] for each in stack.containers("db")] == [0, 0], "of themselves")


def _played(stack: Stack) -> int:
    """How many dialogues have their session."""
    query = "SELECT count(*) FROM sessions WHERE title <> 'hello' OR title IS NULL"
    return int(stack.do(f'docker compose exec -T postgres psql -U postgres -d db -Atc "{query}"'))


def _addresses(container: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
    """The addresses of this machine that lead into the container."""
    for addresses in container["NetworkSettings"]["Ports"].values():
        yield from addresses or ()


def _status(container: Mapping[str, Any], port: int, path: str) -> int:
    """What is answered to a GET of this path at this port of the container."""
    (address,) = container["NetworkSettings"]["Ports"][f"{port}/tcp"]
    with closing(HTTPConnection(address["HostIp"], int(address["HostPort"]), timeout=SECONDS)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


def _dialogue(number: int) -> Mapping[str, Any]:
    speakers = ("USER", "SYSTEM", "USER", "SYSTEM")
    turns = [{"speaker": speaker, "utterance": f"what {speaker} says"} for speaker in speakers]
    return {"dialogue_id": f"compose {number}", "services": ["Trains_1"], "turns": turns}


def _secret(name: str) -> str:
    return (ROOT / "deploy/secrets" / name).read_text().strip()


def _output(*command: str, environment: Mapping[str, str] = os.environ) -> str:
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise FailedError(f"{shlex.join(command)}\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


def _succeed(process: subprocess.Popen[str], what: str) -> None:
    said, _ = process.communicate(timeout=SECONDS)
    _check(process.returncode == 0, what if process.returncode == 0 else f"{what}\n{said}")


def _wait(condition: Any, what: str) -> None:
    _check(processes.wait_until(condition, SECONDS), what)


def _check(holds: bool, what: str) -> None:  # noqa: FBT001 - it reads as a sentence
    if not holds:
        raise FailedError(f"NOT SO: {what}")
    _say(what)


_BEGAN = time.monotonic()


def _say(line: str) -> None:
    search.say(f"{time.monotonic() - _BEGAN:6.1f} s  {line}")


def main() -> int:
    """Run it all; its exit code."""
    try:
        build()
        with up() as stack:
            ask(stack)
            demonstrate(stack)
            kill_in_turn(stack)
            follow_the_page(stack)
            stop(stack)
    except (FailedError, OSError, subprocess.TimeoutExpired) as error:
        search.say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
