"""`./db` uses the servers that `make up` has found or started only where no setting says where they are."""

import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import AliasChoices

import config
from src.settings import parts

ROOT = Path(config.__file__).parent
STARTED = "DATABASE_URL='postgresql://here/a b?x=$HOME'\nRABBITMQ_URL=amqp://here\n"
HERE = ("postgresql://here/a b?x=$HOME", "amqp://here")
PRINTING = '#!/bin/sh\nprintf "%s\\n" "${DATABASE_URL-}" "${RABBITMQ_URL-}" "$2"\n'


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with `./db`, whose Python prints the URLs and the first argument."""
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PRINTING)
    python.chmod(0o755)
    shutil.copy(ROOT / "db", tmp_path)
    (tmp_path / ".servers").mkdir()
    (tmp_path / ".servers/urls").write_text(STARTED)
    return tmp_path


def _run(folder: Path, **variables: str) -> tuple[str, str]:
    """The two URLs that the program is given."""
    ended = subprocess.run(
        ["./db", "call"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    database, broker, argument = ended.stdout.splitlines()
    assert (argument, ended.stderr) == ("call", "")
    return database, broker


def _variables(*names: str) -> list[str]:
    """Every variable that sets one of these fields, or names the file of its value."""
    aliases = {name: config.Settings.model_fields[name].validation_alias for name in names}
    known = {
        str(each)
        for name, alias in aliases.items()
        for each in (alias.choices if isinstance(alias, AliasChoices) else [name.upper()])
    }
    return [f"{name}{end}" for name in sorted(known) for end in ("", "_FILE")]


def test_where_nothing_is_set_they_are_used(copy: Path) -> None:
    assert _run(copy) == HERE
    assert _run(copy, DATABASE_POOL_SIZE="5", RABBITMQ_CA_FILE="x", DATABASE_URL="", AMQP_URL="") == HERE


def test_where_none_were_started_nothing_is_set(copy: Path) -> None:
    (copy / ".servers/urls").write_text("RABBITMQ_URL=amqp://here\n")
    assert _run(copy) == ("", "amqp://here")
    (copy / ".servers/urls").unlink()
    assert _run(copy) == ("", "")


@pytest.mark.parametrize("name", _variables(*parts.DATABASE))
def test_a_setting_of_the_database_leaves_the_broker(name: str, copy: Path) -> None:
    assert _run(copy, **{name: "there"}) == ("there" if name == "DATABASE_URL" else "", HERE[1])


@pytest.mark.parametrize("name", _variables(*parts.BROKER))
def test_a_setting_of_the_broker_leaves_the_database(name: str, copy: Path) -> None:
    assert _run(copy, **{name: "there"}) == (HERE[0], "there" if name == "RABBITMQ_URL" else "")


@pytest.mark.parametrize("line", ["DATABASE_HOST=there", "export database_url = 'there'", "POSTGRES_PASSWORD_FILE=x"])
def test_a_line_of_env_counts_as_a_variable_does(line: str, copy: Path) -> None:
    (copy / ".env").write_text(f"LOG_LEVEL=INFO\n{line}\n")
    assert _run(copy) == ("", HERE[1])


@pytest.mark.parametrize("line", ["# DATABASE_HOST=there", "DATABASE_HOST=", 'DATABASE_HOST=""', "DATABASE_HOST= # x"])
def test_a_line_of_env_without_a_value_counts_for_nothing(line: str, copy: Path) -> None:
    (copy / ".env").write_text(f"{line}\n")
    assert _run(copy) == HERE


def test_production_code_does_not_read_them(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy)
    for name in _variables(*parts.DATABASE, *parts.BROKER):
        monkeypatch.delenv(name, raising=False)
    assert config.load() == config.load(_env_file=None)
    sources = [*(ROOT / "src").rglob("*.py"), ROOT / "config.py", ROOT / "main.py", ROOT / "broker.py"]
    assert not [source for source in sources if ".servers" in source.read_text()]
