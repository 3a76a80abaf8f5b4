"""The containers of `docker-compose.yml`, tried for real: `python -m dev.compose`, or `make compose-test`.

Builds the image, brings everything up under a name and ports of its own, runs the demo against it, kills each of the
two replicas in turn while dialogues are played, runs the commands of docs/deploy.md that need containers, stops the
replicas within their grace, and takes everything down. Arguments go to `docker build`.
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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dev import ports, processes, search

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/deploy.md"
BASE, IMAGE = "python:3.13-slim", "db"
MOST_BYTES = 150_000_000  # beside the base
GRACE = 30.0  # seconds, as docker-compose.yml has it
DIALOGUES = 1500
SECONDS = 300.0  # after which what has not happened will not happen
REPLICAS = ("postgres", "rabbitmq", "db")


class FailedError(RuntimeError):
    """Something did not go as it should."""


class Stack:
    """The containers, under a name and ports that nothing else uses."""

    def __init__(self) -> None:
        postgres, rabbitmq, management, http = ports.free(4)
        published = {
            "COMPOSE_PROJECT_NAME": "db-compose-test",
            "POSTGRES_PORT": postgres,
            "RABBITMQ_PORT": rabbitmq,
            "RABBITMQ_MANAGEMENT_PORT": management,
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

    def states(self, *services: str) -> dict[str, Any]:
        """The state of each container of these services, by its id."""
        ids = [each for service in services for each in self.do(f"docker compose ps -q {service}").split()]
        return {each["Id"]: each["State"] for each in json.loads(_output("docker", "inspect", *ids))}

    def healthy(self) -> bool:
        """Whether every health check of a container that stays says so."""
        return all(state["Health"]["Status"] == "healthy" for state in self.states(*REPLICAS).values())

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


def build(options: list[str]) -> None:
    """Build the image, and look at what it holds."""
    _output("docker", "build", *options, "--tag", IMAGE, ".")
    size, base = (int(_output("docker", "image", "inspect", "--format", "{{.Size}}", name)) for name in (IMAGE, BASE))
    _say(f"{(size - base) / 1e6:.0f} MB beside {BASE}")
    _check(size - base < MOST_BYTES, "the image is small")
    bare = ("docker", "run", "--rm", "--read-only", "--cap-drop=ALL", "--network=none", IMAGE)
    _check(_output(*bare, "id", "-u").strip() == "10001", "it does not run as root")
    _check(not _succeeds(*bare, "sh", "-c", "command -v uv"), "it holds no uv")
    _check(_output(*bare, "python", "main.py", "--version").strip() != "", "it runs read-only, without a capability")


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
        stack.do("docker compose down --volumes")


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
        for number, container in enumerate(stack.states("db"), start=1):
            _wait(lambda part=number: _played(stack) > part * DIALOGUES // 4, "dialogues are played")
            _check(playing.poll() is None, f"replica {number} is killed in the middle")
            _output("docker", "kill", container)
            _output("docker", "start", container)
        _succeed(playing, "every dialogue got through")
    _check(_played(stack) == DIALOGUES, "each of them once")


def follow_the_page(stack: Stack) -> None:
    """Run the commands of the page that need containers, in its order."""
    with tempfile.TemporaryDirectory() as folder:
        for command in re.findall(r"^\$ (docker compose .*)", PAGE.read_text(), re.MULTILINE):
            stack.do(command.replace("db.dump", f"{folder}/db.dump").replace("upgrade.sql", f"{folder}/upgrade.sql"))
            _say(f"$ {command}")
    _wait(stack.healthy, "every container is healthy again")


def stop(stack: Stack) -> None:
    """Stop the replicas, which end by themselves, within their grace."""
    replicas, began = stack.states("db"), time.monotonic()
    stack.do("docker compose stop db")
    took = time.monotonic() - began
    _check(took < GRACE, f"the replicas stop within their grace: {took:.1f} s")
    ended = json.loads(_output("docker", "inspect", *replicas))
    _check([each["State"]["ExitCode"] for each in ended] == [0, 0], "of themselves")


def _played(stack: Stack) -> int:
    """How many dialogues have their session."""
    query = "SELECT count(*) FROM sessions WHERE title <> 'hello' OR title IS NULL"
    return int(stack.do(f'docker compose exec -T postgres psql -U postgres -d db -Atc "{query}"'))


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


def main(options: list[str]) -> int:
    """Run it all; its exit code."""
    try:
        build(options)
        with up() as stack:
            demonstrate(stack)
            kill_in_turn(stack)
            follow_the_page(stack)
            stop(stack)
    except (FailedError, subprocess.TimeoutExpired) as error:
        search.say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
