"""Settings: the only reader of the environment, of ``.env``, and of the files that these name."""

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from src import wire
from src.settings import WrongSettings, parts, urls
from src.settings.files import FileSource

__all__ = ["Settings", "WrongSettings", "load"]

CENTURY = timedelta(days=36525)  # the clock ends somewhere

Port = Annotated[int, Field(ge=1, le=urls.HIGHEST_PORT)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Duration = Annotated[timedelta, BeforeValidator(parts.duration), Field(ge=timedelta(minutes=1), le=CENTURY)]
Level = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"],
    BeforeValidator(lambda given: given.upper() if isinstance(given, str) else given),
]
Kind = Annotated[
    Literal["postgresql", "mysql", "sqlite"],
    BeforeValidator(lambda given: urls.kind_of(given) or given),
]
Bytes = Annotated[int, Field(ge=1024, le=16 * 1024 * 1024)]  # RabbitMQ 4's default max_message_size


def _named(field: str) -> AliasChoices:
    """The setting's own name before the others that ``parts.ALIASES`` gives it."""
    return AliasChoices(field.upper(), *parts.ALIASES[field])


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
    database_type: Kind = "postgresql"
    database_host: str = Field("127.0.0.1", validation_alias=_named("database_host"))
    database_port: Port = Field(
        default_factory=lambda given: urls.PORTS.get(given["database_type"], 1),
        validation_alias=_named("database_port"),
    )
    database_user: str = Field(
        default_factory=lambda given: "root" if given["database_type"] == "mysql" else "postgres",
        validation_alias=_named("database_user"),
    )
    database_password: SecretStr = Field(SecretStr(""), validation_alias=_named("database_password"))
    database_name: str = Field(
        default_factory=lambda given: "db.db" if given["database_type"] == "sqlite" else "db",  # ./db is a command
        validation_alias=_named("database_name"),
    )
    database_pool_size: Annotated[int, Field(ge=1, le=200)] = 10
    database_max_overflow: Annotated[int, Field(ge=0, le=200)] = 5
    database_pool_timeout: Seconds = 30
    database_pool_recycle: Annotated[int, Field(ge=-1)] = 1800
    sql_echo: bool = False

    rabbitmq_ca_file: Annotated[str, AfterValidator(urls.certificates)] | None = None
    rabbitmq_host: Annotated[str, Field(min_length=1), AfterValidator(urls.host)] = "127.0.0.1"
    rabbitmq_port: Port = Field(default_factory=lambda given: 5671 if given["rabbitmq_ca_file"] else 5672)
    rabbitmq_user: str = "guest"
    rabbitmq_password: SecretStr = SecretStr("guest")
    rabbitmq_vhost: str = "/"
    rabbitmq_url: SecretStr = Field(default_factory=parts.broker, validation_alias=_named("rabbitmq_url"))
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
    redis_url: SecretStr | None = Field(default_factory=parts.redis)
    rate_limit: str | None = None

    inbox_retention: Duration = timedelta(days=7)
    graceful_timeout: Seconds = 20
    http_port: Annotated[int, Field(ge=0, le=urls.HIGHEST_PORT)] = 0
    http_host: str = "127.0.0.1"
    log_level: Level = "INFO"
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
        variables: dict[str, str | None] = {}
        for source in (dotenv_settings, env_settings):
            if isinstance(source, EnvSettingsSource):
                source.env_vars = parts.without_links(source.env_vars)
                variables |= source.env_vars
        parts.schema(variables)
        files = FileSource(settings_cls, parts.IN_FILES, env_settings, dotenv_settings)
        return init_settings, env_settings, dotenv_settings, files

    @field_validator("rabbitmq_url")
    @classmethod
    def _is_amqp(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        url = urls.broker(value.get_secret_value(), info.data.get("rabbitmq_ca_file"))
        return SecretStr(_completed(url, "rabbitmq", info.data))

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, value: SecretStr | None) -> SecretStr | None:
        return value and SecretStr(urls.database(value.get_secret_value()))

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        return value and SecretStr(_completed(urls.redis(value.get_secret_value()), "redis", info.data))

    @field_validator("rate_limit")
    @classmethod
    def _is_rate(cls, value: str | None) -> str | None:
        return value and parts.rate(value) and value

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
        return parts.rate(self.rate_limit) if self.rate_limit else None

    @cached_property
    def dsn(self) -> str:
        """Where the database is: ``postgresql://…?sslmode=…`` as libpq has it, the password in it, or ``sqlite:///…``."""
        if not self.database_url:
            return parts.database(self.__dict__)
        url = self.database_url.get_secret_value()
        user = self.database_user if "database_user" in self.model_fields_set else ""
        return (
            url if url.startswith("sqlite:") else urls.completed(url, user, self.database_password.get_secret_value())
        )


def _completed(url: str, server: str, given: Mapping[str, Any]) -> str:
    """The URL with user and password of their own settings, where it has no password."""
    user, password = given.get(f"{server}_user", ""), given[f"{server}_password"].get_secret_value()
    return url if user == password == parts.GUEST else urls.completed(url, user, password)


def load(**overrides: Any) -> Settings:
    """The settings from the environment; with ``_env_file`` from that file only besides. Raises WrongSettings."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = (entry for entry in error.errors() if entry["type"] != "default_factory_not_called")
        raise WrongSettings("\n".join(_line(entry) for entry in wrong)) from None
    except UnicodeDecodeError:
        raise WrongSettings(".env is not UTF-8") from None


def _line(entry: Any) -> str:
    name = str(entry["loc"][0]).upper() if entry["loc"] else ""
    message = entry["msg"].removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
