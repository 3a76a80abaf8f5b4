"""Settings: the only reader of the environment, of ``.env``, and of the files that these name.

What says nowhere where the servers are goes to those that ``make up`` has left in ``.servers/urls``.
"""

import re
from collections import ChainMap
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, unquote

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from yarl import URL

from src import wire
from src.settings import urls

STARTED = Path(__file__).parent / ".servers/urls"
PLACE = {f"database_{part}" for part in ("url", "host", "port", "user", "password", "name")}
BROKER = ("rabbitmq_host", "rabbitmq_port", "rabbitmq_user", "rabbitmq_password", "rabbitmq_vhost")
IN_FILES = ("database_url", "database_password", "rabbitmq_url", *BROKER, "redis_url", "redis_password")
PERIODS = {"s": 1, "m": 60, "h": 3600}  # of a rate, in seconds
CENTURY = timedelta(days=36525)  # the clock ends somewhere

Port = Annotated[int, Field(ge=1, le=urls.HIGHEST_PORT)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Bytes = Annotated[int, Field(ge=1024, le=16 * 1024 * 1024)]  # RabbitMQ 4's default max_message_size


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
    database_type: Literal["postgresql", "mysql", "sqlite"] = "postgresql"
    database_host: str = "127.0.0.1"
    database_port: Port = Field(default_factory=lambda parts: urls.PORTS.get(parts["database_type"], 1))
    database_user: str = Field(
        default_factory=lambda parts: "root" if parts["database_type"] == "mysql" else "postgres",
        validation_alias=AliasChoices("DATABASE_USER", "POSTGRES_USER"),
    )
    database_password: SecretStr = Field(
        SecretStr(""), validation_alias=AliasChoices("DATABASE_PASSWORD", "POSTGRES_PASSWORD")
    )
    database_name: str = Field(
        default_factory=lambda parts: "db.db" if parts["database_type"] == "sqlite" else "db",  # ./db is a command
        validation_alias=AliasChoices("DATABASE_NAME", "DATABASE_SCHEMA", "POSTGRES_DB"),
    )
    database_pool_size: Annotated[int, Field(ge=1, le=200)] = 10
    database_max_overflow: Annotated[int, Field(ge=0, le=200)] = 5
    database_pool_timeout: Seconds = 30
    database_pool_recycle: Annotated[int, Field(ge=-1)] = 1800
    sql_echo: bool = False

    rabbitmq_ca_file: Annotated[str, AfterValidator(urls.certificates)] | None = None
    rabbitmq_host: Annotated[str, Field(min_length=1), AfterValidator(urls.host)] = "127.0.0.1"
    rabbitmq_port: Port = Field(default_factory=lambda parts: 5671 if parts["rabbitmq_ca_file"] else 5672)
    rabbitmq_user: str = "guest"
    rabbitmq_password: SecretStr = SecretStr("guest")
    rabbitmq_vhost: str = "/"
    rabbitmq_url: SecretStr = Field(
        default_factory=lambda parts: _amqp(parts),  # noqa: PLW0108 - it is defined below
        validation_alias=AliasChoices("RABBITMQ_URL", "AMQP_URL"),
    )
    service_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,60}$")] = "db"
    write_partitions: Annotated[int, Field(ge=1, le=wire.MOST_PARTITIONS)] = 1
    prefetch: Annotated[int, Field(ge=2, le=20000)] = 400
    prefetch_size: Annotated[int, Field(ge=1024, le=1024**3)] = 32 * 1024 * 1024
    batch_size: Annotated[int, Field(ge=1, le=1000)] = 200
    max_body: Bytes = 1024 * 1024
    max_answer: Bytes = 4 * 1024 * 1024
    read_ttl: Annotated[int, Field(ge=1, le=86400)] = 30
    require_message_id: bool = False

    redis_host: Annotated[str, Field(min_length=1), AfterValidator(urls.host)] | None = None
    redis_port: Port = 6379
    redis_password: SecretStr = SecretStr("")
    redis_database: Annotated[int, Field(ge=0, le=urls.MOST_REDIS)] = 0
    redis_timeout: Annotated[float, Field(gt=0, le=60)] = 1
    redis_url: SecretStr | None = Field(default_factory=lambda parts: _redis(parts))  # noqa: PLW0108 - as above
    rate_limit: str | None = None

    inbox_retention: Annotated[timedelta, Field(ge=timedelta(minutes=1), le=CENTURY)] = timedelta(days=7)
    graceful_timeout: Seconds = 20
    http_port: Annotated[int, Field(ge=0, le=urls.HIGHEST_PORT)] = 0
    http_host: str = "127.0.0.1"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - whole folders, which nobody uses
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The first that has a value wins."""
        files = _Files(settings_cls, env_settings, dotenv_settings)
        return init_settings, env_settings, dotenv_settings, files

    @field_validator("rabbitmq_url")
    @classmethod
    def _is_amqp(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        return SecretStr(urls.broker(value.get_secret_value(), info.data.get("rabbitmq_ca_file")))

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, value: SecretStr | None) -> SecretStr | None:
        return value and SecretStr(urls.database(value.get_secret_value()))

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        return value and SecretStr(urls.redis(value.get_secret_value()))

    @field_validator("rate_limit")
    @classmethod
    def _is_rate(cls, value: str | None) -> str | None:
        return value and _rate(value) and value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        try:
            _ = self.dsn
        except ValueError:
            raise ValueError("DATABASE_HOST is no host") from None
        if "\0" in unquote(self.dsn):
            raise ValueError("what says where the database is holds a NUL")
        if self.prefetch < 2 * self.batch_size:
            raise ValueError("PREFETCH must be at least twice BATCH_SIZE, or batches would half fill")
        if self.prefetch_size < self.max_body:
            raise ValueError("PREFETCH_SIZE must be at least MAX_BODY")
        if self.database_pool_size + self.database_max_overflow < self.write_partitions + 3:
            raise ValueError("DATABASE_POOL_SIZE + DATABASE_MAX_OVERFLOW must be at least WRITE_PARTITIONS + 3")
        if self.rate_limit and not self.redis_url:
            raise ValueError("RATE_LIMIT is counted in Redis: it needs REDIS_URL or REDIS_HOST")
        return self

    @property
    def rate(self) -> tuple[int, int] | None:
        """So many requests of a sender, in so many seconds."""
        return _rate(self.rate_limit) if self.rate_limit else None

    @cached_property
    def dsn(self) -> str:
        """Where the database is: ``postgresql://…?sslmode=…`` as libpq has it, the password in it, or ``sqlite:///…``."""
        if self.database_url:
            return self.database_url.get_secret_value()
        if self.database_type == "sqlite":
            return f"sqlite:///{quote(self.database_name)}"
        url = URL.build(
            scheme=self.database_type,
            user=self.database_user,
            password=self.database_password.get_secret_value() or None,
            host=self.database_host,
            port=self.database_port,
            path=f"/{self.database_name}",
        )
        return str(url)


def _amqp(parts: dict[str, Any]) -> SecretStr:
    """Where the broker is, from the parts of its URL."""
    url = URL.build(
        scheme="amqps" if parts["rabbitmq_ca_file"] else "amqp",
        user=parts["rabbitmq_user"],
        password=parts["rabbitmq_password"].get_secret_value(),
        host=parts["rabbitmq_host"],
        port=parts["rabbitmq_port"],
        path="/" if parts["rabbitmq_vhost"] == "/" else f"/{parts['rabbitmq_vhost']}",
    )
    return SecretStr(str(url))


def _redis(parts: dict[str, Any]) -> SecretStr | None:
    """Where Redis is, from the parts of its URL; None where no host is named."""
    if parts["redis_host"] is None:
        return None
    url = URL.build(
        scheme="redis",
        password=parts["redis_password"].get_secret_value() or None,
        host=parts["redis_host"],
        port=parts["redis_port"],
        path=f"/{parts['redis_database']}",
    )
    return SecretStr(str(url))


def _rate(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,8})/([smh])", text, re.ASCII)
    if not found:
        raise ValueError("must be a number of requests in a second, a minute or an hour: 100/s, 1000/m, 5000/h")
    return int(found[1]), PERIODS[found[2]]


class _Files(PydanticBaseSettingsSource):
    """Values that lie in files: ``DATABASE_PASSWORD_FILE`` says where ``DATABASE_PASSWORD`` does."""

    def __init__(self, settings_cls: type[BaseSettings], *naming: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._variables = ChainMap(*(dict(each.env_vars) for each in naming if isinstance(each, EnvSettingsSource)))

    def __call__(self) -> dict[str, Any]:
        """The values of the fields that lie in files. Raises WrongSettings."""
        values, wrong = {}, []
        for field in IN_FILES:
            names = self._names(field)
            try:
                if file := self._file(names):
                    values[names[0]] = _content(*file)
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise WrongSettings("\n".join(wrong))
        return values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError(field_name)

    def _names(self, field: str) -> list[str]:
        alias = self.settings_cls.model_fields[field].validation_alias
        return [str(each) for each in alias.choices] if isinstance(alias, AliasChoices) else [field]

    def _file(self, names: list[str]) -> tuple[str, str] | None:
        """The variable that names a file, and what it names. Raises ValueError for a value that is given twice."""
        known = [each.upper() for name in names for each in (name, f"{name}_FILE")]
        given = [name for name in known if self._variables.get(name.lower())]
        files = [name for name in given if name.endswith("_FILE")]
        if files and len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; one of them must go")
        return (files[0], str(self._variables[files[0].lower()])) if files else None


def _content(variable: str, path: str) -> str:
    """What the file holds, without the newline that an editor leaves at its end. Raises ValueError."""
    try:
        text = Path(path).read_bytes().decode()
    except OSError as error:
        raise ValueError(f"{variable}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{variable}: {path}: it is not UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


class WrongSettings(Exception):
    """A setting has a value that it cannot have; the message is a line for each."""


def load(**overrides: Any) -> Settings:
    """The settings from the environment; with ``_env_file`` from that file only besides. Raises WrongSettings."""
    try:
        settings = Settings(**overrides)
        return settings if "_env_file" in overrides else Settings(**overrides, **_started(settings))
    except ValidationError as error:
        wrong = (entry for entry in error.errors() if entry["type"] != "default_factory_not_called")
        raise WrongSettings("\n".join(_line(entry) for entry in wrong)) from None
    except UnicodeDecodeError:
        raise WrongSettings(".env is not UTF-8") from None


class _Started(BaseSettings):
    """The servers that ``make up`` has found or started."""

    model_config = SettingsConfigDict(env_file=STARTED, extra="ignore")

    database_url: str | None = None
    rabbitmq_url: str | None = None


def _started(settings: Settings) -> dict[str, Any]:
    """Where those are of which no setting says where they are."""
    named = set(settings.model_fields_set)
    named |= {"database_url"} if named & PLACE else set()
    named |= {"rabbitmq_url"} if named & {*BROKER} else set()
    return _Started().model_dump(exclude=named, exclude_none=True)


def _line(entry: Any) -> str:
    name = str(entry["loc"][0]).upper() if entry["loc"] else ""
    message = entry["msg"].removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
