"""The URLs of the servers: what they may say, looked at before anybody connects.

Whoever is told of a ValueError here knows the setting: the message goes on where its name ends.
"""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, quote, unquote, urlsplit

from yarl import URL

from src.settings import postgresql_url
from src.settings.files import certificates
from src.settings.postgresql_url import HIGHEST_PORT

MOST_REDIS = 999_999  # databases of one; it has sixteen unless told otherwise
PORTS = {"postgresql": 5432, "mysql": 3306}
TYPES = {
    "postgresql": ("postgresql", "postgres", "postgresql+asyncpg"),
    "mysql": ("mysql", "mariadb", "mysql+asyncmy", "mariadb+asyncmy", "mysql+aiomysql", "mariadb+aiomysql"),
    "sqlite": ("sqlite", "sqlite+aiosqlite"),
}
"""The databases, and how their URLs begin: the driver is ours to choose."""
ESCAPES = "%!$&'()*+,;=~-._"  # characters of a login that stay as they are, escapes among them
RAW = "a /, ?, # or @ in a password is written %2F, %3F, %23 or %40"
PARAMETERS = {
    "postgresql": postgresql_url.PARAMETERS,
    "mysql": {"ssl_ca", "charset"},
    "sqlite": set[str](),
}


def database(text: str) -> str:
    """A database's URL as libpq has it, beginning with one of ``TYPES``. Raises ValueError."""
    scheme, found, rest = text.partition("://")
    kind = kind_of(scheme)
    if found and kind is None and ":" not in scheme:  # else part of a password
        raise ValueError(f"names {scheme}; this service works with {', '.join(TYPES)}")
    if kind == "sqlite":
        return _sqlite(rest)
    login, at, place = rest.rpartition("@")  # a password may hold what would end it elsewhere
    if not found or kind is None:
        raise ValueError(_no_url(kind))
    netloc, path, query = _place(kind, place)
    parameters = parse_qs(query, keep_blank_values=True)
    if unknown := parameters.keys() - PARAMETERS[kind]:
        raise ValueError(
            f"has parameters that this service does not know: {', '.join(sorted(unknown))}; it knows "
            f"{', '.join(sorted(PARAMETERS[kind]))}"
        )
    if kind == "postgresql" and netloc.lower().startswith("%2f"):  # libpq's other spelling of ?host=/a/folder
        parameters["host"] = [*parameters.get("host", ()), unquote(netloc)]
        netloc = ""
    query = postgresql_url.check(parameters) if kind == "postgresql" else _mysql(query, parameters)
    return f"{kind}://{_escaped(login)}{at}{netloc}{path}{'?' if query else ''}{query}"


def kind_of(scheme: str) -> str | None:
    """The database that this beginning of a URL names, if any."""
    return next((each for each, spellings in TYPES.items() if scheme in spellings), None)


def _no_url(kind: str | None) -> str:
    return f"is no URL of the form {kind or 'postgresql'}://user:password@host:port/name"


def _place(kind: str, place: str) -> tuple[str, str, str]:
    """Host and port, path, and query of a URL without a login. Raises ValueError."""
    if "," in place.partition("/")[0]:
        raise ValueError(postgresql_url.SEVERAL_HOSTS)
    try:
        parts = urlsplit(f"//{place}")
        port = parts.port  # raises where it is no port
    except ValueError:
        raise ValueError(_no_url(kind)) from None
    if parts.netloc.endswith(":"):
        raise ValueError(_no_url(kind))
    if not _is_port(port):
        raise ValueError(f"names a port that is not between 1 and {HIGHEST_PORT}")
    if kind == "mysql" and not parts.path.strip("/"):
        raise ValueError("names no database: mysql://user:password@host:port/name")
    return parts.netloc, parts.path, parts.query


def _escaped(login: str) -> str:
    """User and password such that no character of theirs ends the login, or SQLAlchemy would show them as a host."""
    user, colon, password = login.partition(":")
    return f"{quote(user, safe=ESCAPES)}{colon}{quote(password, safe=ESCAPES)}"


def completed(url: str, user: str, password: str) -> str:
    """The URL of a server with this user and password, where it names no password and no other user."""
    authority, tail = _authority(url)
    login, _, place = authority.rpartition("@")
    if not password or ":" in login:
        return url
    scheme = url.partition("://")[0]
    return f"{scheme}://{login or quote(user, safe='')}:{quote(password, safe='')}@{place}{tail}"


def _authority(url: str) -> tuple[str, str]:
    """Login and place of a URL, and all that comes after."""
    rest = url.partition("://")[2]
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    return authority, rest[len(authority) :]


def _sqlite(rest: str) -> str:
    """Three slashes come before a path, a fourth begins an absolute one."""
    path, parameters, _ = rest.partition("?")
    if not path.startswith("/") or parameters:
        raise ValueError("is no URL of the form sqlite:///path/to/a/file")
    return f"sqlite://{path}"


def _mysql(query: str, parameters: Mapping[str, Sequence[str]]) -> str:
    if {*parameters.get("charset", ())} - {"utf8mb4"}:
        raise ValueError("has a charset other than utf8mb4")
    if len(trusted := parameters.get("ssl_ca", ())) > 1:
        raise ValueError("has more than one ssl_ca")
    for path in trusted:
        certificates(path)
    return "&".join(one for one in query.split("&") if not one.startswith("charset="))


def _is_port(port: int | None) -> bool:
    return port is None or 1 <= port <= HIGHEST_PORT


def _server(text: str, scheme: str, secure: str) -> URL:
    """A server's URL, by one of two schemes. Raises ValueError."""
    authority, tail = _authority(text)
    if "@" in tail:  # the host would be a part of a password
        raise ValueError(f"is no URL: {RAW}")
    if "," in authority.rpartition("@")[2]:
        raise ValueError("names several hosts: name one, such as that of a load balancer")
    try:
        url = URL(text)
    except ValueError:
        raise ValueError(f"is no URL: {RAW}") from None
    if url.scheme not in {scheme, secure} or not url.host:
        raise ValueError(f"must begin with {scheme}:// or {secure}:// and name a host")
    if not _is_port(url.explicit_port):
        raise ValueError(f"names a port that is not between 1 and {HIGHEST_PORT}")
    return url


def broker(text: str, ca_file: str | None) -> str:
    """A broker's URL, with the file of certificates where aiormq reads it. Raises ValueError."""
    url = _server(text, "amqp", "amqps")
    if not url.query.get("heartbeat", "0").isdecimal():
        raise ValueError("has a heartbeat that is no number of seconds")
    if not ca_file:
        for path in url.query.getall("cafile", []):
            certificates(path)
        return text
    if url.scheme != "amqps":
        raise ValueError("must begin with amqps:// where there is a RABBITMQ_CA_FILE")
    return str(url.update_query(cafile=ca_file))


def redis(text: str) -> str:
    """A Redis' URL. Raises ValueError."""
    url = _server(text, "redis", "rediss")
    if url.path not in {"", "/"} and not re.fullmatch("/[0-9]{1,6}", url.path):
        raise ValueError("names a database that is no number: redis://:password@host:port/0")
    if {*url.query} - {"ssl_ca_certs"} or url.fragment:
        raise ValueError("has parameters that this service does not know: there is ssl_ca_certs alone")
    for path in url.query.getall("ssl_ca_certs", []):
        certificates(path)
    return text


def host(name: str) -> str:
    """The name, where it can be that of a host in a URL. Raises ValueError."""
    try:
        URL.build(scheme="amqp", host=name)
    except ValueError:
        raise ValueError("is no host") from None
    return name
