"""URLs of the servers from their parts (``DATABASE_HOST``, ``RABBITMQ_USER``, ...), and the parts of a rate.

``parts`` are the settings that pydantic has read so far, by name.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from pydantic import SecretStr
from yarl import URL

from src.settings import WrongSettings

GUEST = "guest"  # user and password of a new RabbitMQ, which aiormq takes where a URL has none
DATABASE = tuple(f"database_{part}" for part in ("url", "host", "port", "user", "password", "name"))
BROKER = tuple(f"rabbitmq_{part}" for part in ("url", "host", "port", "user", "password", "vhost"))
ALIASES = {
    "database_host": ("POSTGRES_HOST", "POSTGRES_SERVER"),
    "database_port": ("POSTGRES_PORT",),
    "database_user": ("POSTGRES_USER",),
    "database_password": ("POSTGRES_PASSWORD",),
    "database_name": ("DATABASE_SCHEMA", "POSTGRES_DB"),
    "rabbitmq_url": ("AMQP_URL",),
}
"""Further names of settings, which other images and frameworks have; the setting's own name comes first."""
IN_FILES = ("database_url", "database_password", *BROKER, "redis_url", "redis_password")
"""The settings whose values may lie in files."""

_PERIODS = {"s": 1, "m": 60, "h": 3600}  # of a rate, in seconds

type Parts = Mapping[str, Any]


def database(parts: Parts) -> str:
    """The URL of the database. Raises ValueError where the host can be none."""
    if parts["database_type"] == "sqlite":
        return f"sqlite:///{quote(parts['database_name'])}"
    if parts["database_type"] == "postgresql" and parts["database_host"].startswith("/"):
        return _socket(parts)
    url = URL.build(
        scheme=parts["database_type"],
        user=parts["database_user"],
        password=_secret(parts) or None,
        host=parts["database_host"],
        port=parts["database_port"],
        path=f"/{parts['database_name']}",
    )
    return str(url)


def _socket(parts: Parts) -> str:
    """The URL of PostgreSQL whose socket lies in a folder."""
    login = ":".join(quote(each, safe="") for each in (parts["database_user"], _secret(parts)) if each)
    query = urlencode({"host": parts["database_host"], "port": parts["database_port"]}, quote_via=quote, safe="/")
    return f"postgresql://{login}@/{quote(parts['database_name'], safe='')}?{query}"


def _secret(parts: Parts) -> str:
    return str(parts["database_password"].get_secret_value())


def broker(parts: Parts) -> SecretStr:
    """The URL of the broker."""
    url = URL.build(
        scheme="amqps" if parts["rabbitmq_ca_file"] else "amqp",
        user=parts["rabbitmq_user"],
        password=parts["rabbitmq_password"].get_secret_value(),
        host=parts["rabbitmq_host"],
        port=parts["rabbitmq_port"],
    )
    vhost = quote(parts["rabbitmq_vhost"].removeprefix("/") and parts["rabbitmq_vhost"])
    return SecretStr(f"{url}/{vhost}")


def redis(parts: Parts) -> SecretStr | None:
    """The URL of Redis; None where no host is named."""
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


def rate(text: str) -> tuple[int, int]:
    """A number of requests, and the seconds that they are counted in. Raises ValueError."""
    found = re.fullmatch(r"([1-9][0-9]{0,8})/([smh])", text, re.ASCII)
    if not found:
        raise ValueError("must be a number of requests in a second, a minute or an hour: 100/s, 1000/m, 5000/h")
    return int(found[1]), _PERIODS[found[2]]


def duration(value: Any) -> Any:
    """A number as so many seconds; what is none is left to pydantic."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}([.][0-9]{1,6})?", value.strip(), re.ASCII):
        return float(value)
    return value


def without_links(variables: Mapping[str, str | None]) -> dict[str, str | None]:
    """The variables but those that Kubernetes sets for a service of such a name: ``REDIS_PORT=tcp://10.0.0.1:6379``."""
    return {name: value for name, value in variables.items() if not _is_link(name, value)}


def _is_link(name: str, value: str | None) -> bool:
    return name.lower().endswith("_port") and re.match("(tcp|udp|sctp)://", value or "") is not None


def schema(variables: Mapping[str, Any]) -> None:
    """Raise WrongSettings for a DATABASE_SCHEMA beside a database of another name: nobody can tell what it means."""
    names = ("database_schema", "database_name", "postgres_db")
    given = {name: value for name in names if (value := variables.get(name))}
    url = variables.get("database_url") or variables.get("database_url_file")
    if "database_schema" in given and (url or len({*given.values()}) > 1):
        raise WrongSettings(
            "DATABASE_SCHEMA is another name of DATABASE_NAME and is given beside a database: remove it. A schema of "
            "PostgreSQL is chosen by DATABASE_URL with ?options=-c%20search_path%3Dname"
        )
