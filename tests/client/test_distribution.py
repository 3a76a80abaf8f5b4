"""``db-client`` as another program installs it: alone, into an environment that has nothing else."""

import asyncio
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import config
from tests.support import harness, pages

BUILD, INSTALL = pages.commands(pages.README, r"dev/uv\.sh build|pip install")
PROJECT = harness.ROOT / "clients/python"
UV = str(harness.ROOT / "dev/uv.sh")
FROM_SRC = [
    "amqp/__init__.py",
    "amqp/connections.py",
    "amqp/encoding.py",
    "amqp/frame_reader.py",
    "amqp/frames.py",
    "amqp/sanitizing.py",
    "backoff.py",
    "errors.py",
    "wire.py",
]
MOST_DISTRIBUTIONS = 12


def run(*command: str, cwd: Path = harness.ROOT) -> str:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    pages.clone(folder)
    run("/bin/sh", "-c", BUILD, cwd=folder)
    (built,) = folder.glob("dist/*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of an environment in which the wheel alone was installed."""
    folder = tmp_path_factory.mktemp("bare")
    run(UV, "venv", "--quiet", "--python", sys.executable, str(folder))
    python = str(folder / "bin/python")
    run(UV, "pip", "install", "--quiet", "--python", python, str(wheel))
    return python


@pytest.mark.slow
def test_the_wheel_holds_the_client_and_what_it_imports(wheel: Path) -> None:
    client = {f"client/{path.name}" for path in (harness.ROOT / "src/client").glob("*.py")}
    names = zipfile.ZipFile(wheel).namelist()
    held = {name.removeprefix("db_client/") for name in names if name.startswith("db_client/")}
    assert held == {"__init__.py", "py.typed", *client, *FROM_SRC}
    version = re.search(r'^version = "(.+)"', (harness.ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert wheel.name.startswith(f"db_client-{version[1]}-")


@pytest.mark.slow
def test_nothing_of_the_service_is_installed_with_it(python: str) -> None:
    listed = json.loads(run(UV, "pip", "list", "--python", python, "--format", "json"))
    names = {distribution["name"] for distribution in listed}
    assert {"db-client", "aio-pika"} <= names
    assert not names & {"db", "sqlalchemy", "alembic", "faststream", "asyncpg", "pydantic", "typer"}
    assert len(names) <= MOST_DISTRIBUTIONS, names


@pytest.mark.slow
def test_pip_installs_the_wheel_into_another_project(wheel: Path, tmp_path: Path) -> None:
    run(UV, "venv", "--quiet", "--seed", "--python", sys.executable, str(tmp_path))
    run("/bin/sh", "-c", f"PATH={tmp_path}/bin:$PATH; cd {wheel.parent.parent}; {INSTALL}")
    assert run(str(tmp_path / "bin/python"), "-I", "-c", "import db_client; print(db_client.__name__)", cwd=tmp_path)


@pytest.mark.slow
async def test_its_readme_works_against_a_running_service(
    service: object, settings: config.Settings, python: str, tmp_path: Path
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    url = settings.rabbitmq_url.get_secret_value()
    program = program.replace('"amqp://guest:guest@127.0.0.1/"', f'"{url}", service="{settings.service_name}"')
    said = await asyncio.to_thread(run, python, "-I", "-c", program, cwd=tmp_path)
    assert said == "query.created\nThere is no user with this id.\n"
