"""URLs of the servers from their parts (``DATABASE_HOST``, ``RABBITMQ_USER``, ...), and the parts of a rate.

``parts`` are the settings that pydantic has read so far, by name.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr
from yarl import URL

DATABASE = tuple(f"database_{part}" for part in ("url", "host", "port", "user", "password", "name"))
BROKER = tuple(f"rabbitmq_{part}" for part in ("url", "host", "port", "user", "password", "vhost"))
IN_FILES = ("database_url", "database_password", *BROKER, "redis_url", "redis_password")
"""The settings whose values may lie in files."""

_PERIODS = {"s": 1, "m": 60, "h": 3600}  # of a rate, in seconds

type Parts = Mapping[str, Any]


def database(parts: Parts) -> str:
    """The URL of the database. Raises ValueError where the host can be none."""
    if parts["database_type"] == "sqlite":
        return f"sqlite:///{quote(parts['database_name'])}"
    url = URL.build(
        scheme=parts["database_type"],
        user=parts["database_user"],
        password=parts["database_password"].get_secret_value() or None,
        host=parts["database_host"],
        port=parts["database_port"],
        path=f"/{parts['database_name']}",
    )
    return str(url)


def broker(parts: Parts) -> SecretStr:
    """The URL of the broker."""
    url = URL.build(
        scheme="amqps" if parts["rabbitmq_ca_file"] else "amqp",
        user=parts["rabbitmq_user"],
        password=parts["rabbitmq_password"].get_secret_value(),
        host=parts["rabbitmq_host"],
        port=parts["rabbitmq_port"],
        path="/" if parts["rabbitmq_vhost"] == "/" else f"/{parts['rabbitmq_vhost']}",
    )
    return SecretStr(str(url))


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
