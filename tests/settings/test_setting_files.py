"""Settings in files, as orchestrators hand out secrets: a name with _FILE at its end says where its value lies."""

import itertools
import re
from pathlib import Path

import pytest
from yarl import URL

import config
from src.settings import parts
from tests.support import forked

SERVERS = ("DATABASE_URL", "DATABASE_PASSWORD", "RABBITMQ_URL", "REDIS_URL", "REDIS_PASSWORD")
PARTS = ("RABBITMQ_HOST", "RABBITMQ_PORT", "RABBITMQ_USER", "RABBITMQ_PASSWORD", "RABBITMQ_VHOST")
OTHERS = ("POSTGRES_PASSWORD", "AMQP_URL")
VALUES = {
    "DATABASE_URL": "postgresql://ada:p%40ss@host/db",
    "RABBITMQ_URL": "amqp://ada:hush@host:1/x",
    "AMQP_URL": "amqp://ada:hush@host:1/x",
    "RABBITMQ_PORT": "5673",
    "REDIS_URL": "redis://:hush@host/1",
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, end in itertools.product((*SERVERS, *PARTS, *OTHERS), ("", "_FILE")):
        monkeypatch.delenv(name + end, raising=False)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Environment":
    return Environment(monkeypatch, tmp_path)


class Environment:
    """The variables that settings are read from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.set = monkeypatch.setenv
        self._folder = folder

    def file(self, name: str, content: bytes | str) -> Path:
        """Put the value of this name into a file."""
        path = self._folder / name.lower()
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.set(f"{name}_FILE", str(path))
        return path


def _load() -> config.Settings:
    return config.load(_env_file=None)


def _wrong() -> list[str]:
    with pytest.raises(config.WrongSettings) as caught:
        _load()
    return str(caught.value).splitlines()


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("name", [*SERVERS, *PARTS, *OTHERS])
def test_a_value_in_a_file_is_the_same_as_in_a_variable(
    name: str, end: str, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, unset = VALUES.get(name, "hush"), _load()
    monkeypatch.setenv(name, value)
    expected = _load()
    monkeypatch.delenv(name)
    environment.file(name, value + end)
    assert _load() == expected != unset
    assert _load().model_fields_set == expected.model_fields_set


def test_only_the_newline_at_the_end_of_a_file_is_dropped(environment: Environment) -> None:
    environment.file("DATABASE_PASSWORD", " two\nlines \n\n")
    assert _load().database_password.get_secret_value() == " two\nlines \n"


def test_the_example_names_every_value_that_may_lie_in_a_file() -> None:
    head = (Path(config.__file__).parent / ".env.example").read_text().partition("# ---")[0]
    assert set(re.findall(r"[A-Z]+_[A-Z]+(?=[, ])", head)) == {name.upper() for name in parts.IN_FILES}


@pytest.mark.parametrize("given", [("DATABASE_URL",), ("RABBITMQ_HOST",), ("POSTGRES_PASSWORD", "DATABASE_PASSWORD")])
def test_a_value_that_is_given_and_lies_in_a_file_is_refused(given: tuple[str, ...], environment: Environment) -> None:
    environment.file(given[0], "hush")
    environment.set(given[-1], "hush")
    (line,) = _wrong()
    assert f"{given[0]}_FILE" in line
    assert given[-1] in line
    assert "hush" not in line


def test_a_value_that_lies_in_a_file_by_two_names_is_refused(environment: Environment) -> None:
    for name in ("DATABASE_PASSWORD", "POSTGRES_PASSWORD"):
        environment.file(name, "hush")
    (line,) = _wrong()
    assert line.startswith("DATABASE_PASSWORD_FILE and POSTGRES_PASSWORD_FILE")


def test_an_empty_variable_beside_a_file_is_none(environment: Environment) -> None:
    environment.file("DATABASE_PASSWORD", "hush")
    environment.set("DATABASE_PASSWORD", "")
    assert _load().database_password.get_secret_value() == "hush"


def test_a_file_that_cannot_be_read_is_one_clear_line_each(environment: Environment, tmp_path: Path) -> None:
    environment.set("DATABASE_PASSWORD_FILE", str(tmp_path / "nowhere"))
    environment.set("RABBITMQ_USER_FILE", str(tmp_path))
    environment.file("RABBITMQ_PASSWORD", b"hush\xff")
    missing, folder, bytes_ = sorted(_wrong())
    assert missing.startswith("DATABASE_PASSWORD_FILE: ")
    assert missing.endswith("nowhere: No such file or directory")
    assert bytes_.endswith(": Is a directory")
    assert folder.startswith("RABBITMQ_PASSWORD_FILE: ")
    assert folder.endswith("it is not UTF-8")


def test_a_file_that_cannot_be_read_ends_a_command_without_a_traceback() -> None:
    ended = forked.run("main.py", "serve", DATABASE_PASSWORD_FILE="/nowhere")
    assert ended.code == 2
    assert ended.err == "Wrong settings:\nDATABASE_PASSWORD_FILE: /nowhere: No such file or directory\n"


def test_a_line_of_env_may_name_a_file(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hush\n")
    (tmp_path / ".env").write_text(f"DATABASE_PASSWORD_FILE={tmp_path / 'password'}\n")
    assert config.load(_env_file=tmp_path / ".env").database_password.get_secret_value() == "hush"
    environment.set("DATABASE_PASSWORD", "other")
    with pytest.raises(config.WrongSettings, match="are given"):
        config.load(_env_file=tmp_path / ".env")


def test_what_lies_in_a_file_is_checked_as_what_does_not(environment: Environment) -> None:
    environment.file("RABBITMQ_PORT", "hush")
    (line,) = _wrong()
    assert line.startswith("RABBITMQ_PORT: Input should be a valid integer")
    assert "hush" not in line


def test_the_parts_of_a_broker_url_may_hold_any_character(environment: Environment) -> None:
    password, user, vhost = "p/?#[]@ %41+ü", "a:d@a", "my/shop ?#%"
    for name, value in {"USER": user, "PASSWORD": password, "VHOST": vhost, "HOST": "::1", "PORT": "1"}.items():
        environment.file(f"RABBITMQ_{name}", value)
    url = URL(_load().rabbitmq_url.get_secret_value())
    assert (url.scheme, url.user, url.password, url.host, url.port) == ("amqp", user, password, "::1", 1)
    assert url.path == f"/{vhost}"


@pytest.mark.parametrize("host", ["a b", "a/b", "host:5672", "amqp://host", "me@host", ""])
def test_what_cannot_be_a_host_is_one_clear_line(host: str, environment: Environment) -> None:
    environment.file("RABBITMQ_HOST", host)
    (line,) = _wrong()
    assert line.startswith("RABBITMQ_HOST: ")


def test_a_broker_url_wins_over_its_parts(environment: Environment) -> None:
    environment.set("RABBITMQ_HOST", "elsewhere")
    environment.file("RABBITMQ_URL", "amqp://host/")
    assert _load().rabbitmq_url.get_secret_value() == "amqp://host/"
