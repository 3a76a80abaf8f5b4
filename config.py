"""Settings: the only reader of the environment, of ``.env``, and of what ``make up`` has left in ``.servers/urls``."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from yarl import URL

from src import wire

POSTGRESQL = ("postgresql", "postgres", "postgresql+asyncpg")
STARTED = Path(__file__).parent / ".servers/urls"
PLACE = {f"database_{part}" for part in ("url", "host", "port", "user", "password", "name")}
PARAMETERS = {"sslmode", "ssl", "application_name", "host", "port"}  # of a database's URL
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
HIGHEST_PORT = 65535
CENTURY = timedelta(days=36525)  # the clock ends somewhere

Port = Annotated[int, Field(ge=1, le=HIGHEST_PORT)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Bytes = Annotated[int, Field(ge=1024, le=128 * 1024 * 1024)]  # RabbitMQ's default max_message_size


class Settings(BaseSettings):
    """Every setting, its default and its bounds. ``.env.example`` says the same in the words of an operator."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_by_name=True,
    )

    database_url: SecretStr | None = None
    database_type: Literal["postgresql"] = "postgresql"
    database_host: str = "127.0.0.1"
    database_port: Port = 5432
    database_user: str = Field("postgres", validation_alias=AliasChoices("DATABASE_USER", "POSTGRES_USER"))
    database_password: SecretStr = Field(
        SecretStr(""), validation_alias=AliasChoices("DATABASE_PASSWORD", "POSTGRES_PASSWORD")
    )
    database_name: str = Field("db", validation_alias=AliasChoices("DATABASE_NAME", "DATABASE_SCHEMA", "POSTGRES_DB"))
    database_pool_size: Annotated[int, Field(ge=1, le=200)] = 10
    database_max_overflow: Annotated[int, Field(ge=0, le=200)] = 5
    database_pool_timeout: Seconds = 30
    database_pool_recycle: Annotated[int, Field(ge=-1)] = 1800
    sql_echo: bool = False

    rabbitmq_url: SecretStr = Field(
        SecretStr("amqp://guest:guest@127.0.0.1:5672/"), validation_alias=AliasChoices("RABBITMQ_URL", "AMQP_URL")
    )
    service_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,60}$")] = "db"
    write_partitions: Annotated[int, Field(ge=1, le=wire.MOST_PARTITIONS)] = 1
    prefetch: Annotated[int, Field(ge=2, le=20000)] = 400
    prefetch_size: Bytes = 32 * 1024 * 1024
    batch_size: Annotated[int, Field(ge=1, le=1000)] = 200
    max_body: Bytes = 1024 * 1024
    max_answer: Bytes = 4 * 1024 * 1024
    read_ttl: Annotated[int, Field(ge=1, le=86400)] = 30
    require_message_id: bool = False

    inbox_retention: Annotated[timedelta, Field(ge=timedelta(minutes=1), le=CENTURY)] = timedelta(days=7)
    graceful_timeout: Seconds = 20
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"

    @field_validator("rabbitmq_url")
    @classmethod
    def _is_amqp(cls, value: SecretStr) -> SecretStr:
        try:
            url = URL(value.get_secret_value())
        except ValueError:
            raise ValueError("is no URL") from None
        if url.scheme not in {"amqp", "amqps"} or not url.host:
            raise ValueError("must begin with amqp:// or amqps:// and name a host")
        if not _is_port(url.explicit_port):
            raise ValueError(f"names a port that is not between 1 and {HIGHEST_PORT}")
        if not url.query.get("heartbeat", "0").isdecimal():
            raise ValueError("has a heartbeat that is no number of seconds")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        return value and SecretStr(_libpq(value.get_secret_value()))

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        try:
            _ = self.dsn
        except ValueError:
            raise ValueError("DATABASE_HOST is no host") from None
        if self.prefetch < 2 * self.batch_size:
            raise ValueError("PREFETCH must be at least twice BATCH_SIZE, or batches would half fill")
        if self.prefetch_size < self.max_body:
            raise ValueError("PREFETCH_SIZE must be at least MAX_BODY")
        if self.database_pool_size + self.database_max_overflow < self.write_partitions + 3:
            raise ValueError("DATABASE_POOL_SIZE + DATABASE_MAX_OVERFLOW must be at least WRITE_PARTITIONS + 3")
        return self

    @cached_property
    def dsn(self) -> str:
        """Where the database is, as libpq has it: ``postgresql://…?sslmode=…``, the password in it."""
        if self.database_url:
            return self.database_url.get_secret_value()
        url = URL.build(
            scheme=self.database_type,
            user=self.database_user,
            password=self.database_password.get_secret_value() or None,
            host=self.database_host,
            port=self.database_port,
            path=f"/{self.database_name}",
        )
        return str(url)


def _libpq(text: str) -> str:
    """The URL as libpq has it. Raises ValueError. SQLAlchemy calls ``ssl`` what is ``sslmode`` there."""
    scheme, found, rest = text.partition("://")
    login, at, place = rest.rpartition("@")  # a password may hold what would end it elsewhere
    try:
        parts = urlsplit(f"//{place}")
        _ = parts.port  # raises where it is no port
    except ValueError:
        found = ""
    if not found:
        raise ValueError("is no URL of the form postgresql://user:password@host:port/name")
    if scheme not in POSTGRESQL:
        raise ValueError(f"names {scheme}; this service works with postgresql")
    _check_parameters(parts.port, parse_qs(parts.query, keep_blank_values=True))
    query = "&".join(re.sub("^ssl=", "sslmode=", one) for one in parts.query.split("&"))
    return f"postgresql://{login}{at}{parts.netloc}{parts.path}{'?' if query else ''}{query}"


def _check_parameters(port: int | None, parameters: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError for what would fail, or wait for ever, when it is used."""
    if unknown := parameters.keys() - PARAMETERS:
        raise ValueError(f"has parameters that this service does not know: {', '.join(sorted(unknown))}")
    modes = [*parameters.get("sslmode", ()), *parameters.get("ssl", ())]
    if len(modes) > 1 or not {*modes} <= {*SSL_MODES}:
        raise ValueError(f"must have one sslmode of {', '.join(SSL_MODES)}")
    ports = [each for given in parameters.get("port", ()) for each in given.split(",")]
    if not _is_port(port) or not all(each.isdecimal() and _is_port(int(each)) for each in ports):
        raise ValueError(f"names a port that is not between 1 and {HIGHEST_PORT}")


def _is_port(port: int | None) -> bool:
    return port is None or 1 <= port <= HIGHEST_PORT


class WrongSettings(Exception):
    """A setting has a value that it cannot have; the message is a line for each."""


def load(**overrides: Any) -> Settings:
    """The settings from the environment; with ``_env_file`` from that file only besides. Raises WrongSettings."""
    try:
        settings = Settings(**overrides)
        return settings if "_env_file" in overrides else Settings(**overrides, **_started(settings))
    except ValidationError as error:
        raise WrongSettings("\n".join(_line(entry) for entry in error.errors())) from None
    except UnicodeDecodeError:
        raise WrongSettings(".env is not UTF-8") from None


class _Started(BaseSettings):
    """The servers that ``make up`` has found or started."""

    model_config = SettingsConfigDict(env_file=STARTED, extra="ignore")

    database_url: str | None = None
    rabbitmq_url: str | None = None


def _started(settings: Settings) -> dict[str, Any]:
    """Where those are of which no setting says where they are."""
    named = settings.model_fields_set | ({"database_url"} if settings.model_fields_set & PLACE else set())
    return _Started().model_dump(exclude=named, exclude_none=True)


def _line(entry: Any) -> str:
    name = str(entry["loc"][0]).upper() if entry["loc"] else ""
    message = entry["msg"].removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
