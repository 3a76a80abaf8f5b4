"""Settings: the only reader of the environment, of ``.env``, and of the files that these name.

What says nowhere where the servers are goes to those that ``make up`` has left in ``.servers/urls``.
"""

import re
import ssl
from collections import ChainMap
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

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

POSTGRESQL = ("postgresql", "postgres", "postgresql+asyncpg")
STARTED = Path(__file__).parent / ".servers/urls"
PLACE = {f"database_{part}" for part in ("url", "host", "port", "user", "password", "name")}
BROKER = ("rabbitmq_host", "rabbitmq_port", "rabbitmq_user", "rabbitmq_password", "rabbitmq_vhost")
IN_FILES = ("database_url", "database_password", "rabbitmq_url", *BROKER)
PARAMETERS = {"sslmode", "ssl", "sslrootcert", "application_name", "host", "port"}  # of a database's URL
VERIFYING = {"verify-ca", "verify-full"}
SSL_MODES = ("disable", "allow", "prefer", "require", *sorted(VERIFYING))
HIGHEST_PORT = 65535
CENTURY = timedelta(days=36525)  # the clock ends somewhere

Port = Annotated[int, Field(ge=1, le=HIGHEST_PORT)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Bytes = Annotated[int, Field(ge=1024, le=16 * 1024 * 1024)]  # RabbitMQ 4's default max_message_size


def _certificates(path: str) -> str:
    """The path of a file that holds certificates. Raises ValueError."""
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        wrong = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"{path}: {wrong}") from None
    return path


def _host(name: str) -> str:
    """The name, where it can be that of a host in a URL. Raises ValueError."""
    try:
        URL.build(scheme="amqp", host=name)
    except ValueError:
        raise ValueError("is no host") from None
    return name


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

    rabbitmq_ca_file: Annotated[str, AfterValidator(_certificates)] | None = None
    rabbitmq_host: Annotated[str, Field(min_length=1), AfterValidator(_host)] = "127.0.0.1"
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

    inbox_retention: Annotated[timedelta, Field(ge=timedelta(minutes=1), le=CENTURY)] = timedelta(days=7)
    graceful_timeout: Seconds = 20
    http_port: Annotated[int, Field(ge=0, le=65535)] = 0
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
        if ca_file := info.data.get("rabbitmq_ca_file"):
            return SecretStr(str(_trusting(url, ca_file)))
        for path in url.query.getall("cafile", []):
            _certificates(path)
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
    parameters = parse_qs(parts.query, keep_blank_values=True)
    _check_parameters(parts.port, parameters)
    _check_trust(parameters)
    query = "&".join(re.sub("^ssl=", "sslmode=", one) for one in parts.query.split("&"))
    return f"postgresql://{login}{at}{parts.netloc}{parts.path}{'?' if query else ''}{query}"


def _check_parameters(port: int | None, parameters: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError for what would fail, or wait for ever, when it is used."""
    if unknown := parameters.keys() - PARAMETERS:
        raise ValueError(f"has parameters that this service does not know: {', '.join(sorted(unknown))}")
    modes = [*parameters.get("sslmode", ()), *parameters.get("ssl", ())]
    if len(modes) > 1 or not {*modes} <= {*SSL_MODES}:
        raise ValueError(f"must have one sslmode of {', '.join(SSL_MODES)}")
    if any("," in host for host in parameters.get("host", ())):
        raise ValueError("names several hosts")
    if not all(name.isprintable() for name in parameters.get("application_name", ())):
        raise ValueError("has an application_name that cannot be printed")
    ports = [each for given in parameters.get("port", ()) for each in given.split(",")]
    if not _is_port(port) or not all(each.isdecimal() and _is_port(int(each)) for each in ports):
        raise ValueError(f"names a port that is not between 1 and {HIGHEST_PORT}")


def _is_port(port: int | None) -> bool:
    return port is None or 1 <= port <= HIGHEST_PORT


def _check_trust(parameters: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError for certificates that would not be looked at, or are missing."""
    modes = {*parameters.get("sslmode", ()), *parameters.get("ssl", ())}
    trusted = [_certificates(path) for path in parameters.get("sslrootcert", ())]
    if trusted and not modes & {"require", *VERIFYING}:
        raise ValueError("has a sslrootcert that nobody looks at without sslmode=verify-full")
    if not trusted and (verifying := modes & VERIFYING):
        raise ValueError(f"has sslmode={verifying.pop()} without a sslrootcert, the file of certificates to check by")


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


def _trusting(url: URL, ca_file: str) -> URL:
    """The URL with the file of certificates where aiormq reads it. Raises ValueError."""
    if url.scheme != "amqps":
        raise ValueError("must begin with amqps:// where there is a RABBITMQ_CA_FILE")
    return url.update_query(cafile=ca_file)


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
