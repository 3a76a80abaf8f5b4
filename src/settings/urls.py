"""The URLs of the servers: what they may say, looked at before anybody connects.

Whoever is told of a ValueError here knows the setting: the message goes on where its name ends.
"""

import re
import ssl
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

from yarl import URL

HIGHEST_PORT = 65535
MOST_REDIS = 999_999  # databases of one; it has sixteen unless told otherwise
VERIFYING = {"verify-ca", "verify-full"}
SSL_MODES = ("disable", "allow", "prefer", "require", *sorted(VERIFYING))
PORTS = {"postgresql": 5432, "mysql": 3306}
TYPES = {
    "postgresql": ("postgresql", "postgres", "postgresql+asyncpg"),
    "mysql": ("mysql", "mariadb", "mysql+asyncmy", "mariadb+asyncmy", "mysql+aiomysql", "mariadb+aiomysql"),
    "sqlite": ("sqlite", "sqlite+aiosqlite"),
}
"""The databases, and how their URLs begin: the driver is ours to choose."""
PARAMETERS = {
    "postgresql": {"sslmode", "ssl", "sslrootcert", "application_name", "host", "port"},
    "mysql": {"ssl_ca", "charset"},
    "sqlite": set[str](),
}


def database(text: str) -> str:
    """A database's URL as libpq has it, beginning with one of ``TYPES``. Raises ValueError."""
    scheme, found, rest = text.partition("://")
    kind = next((each for each, spellings in TYPES.items() if scheme in spellings), None)
    if found and kind is None and ":" not in scheme:  # else part of a password
        raise ValueError(f"names {scheme}; this service works with {', '.join(TYPES)}")
    if kind == "sqlite":
        return _sqlite(rest)
    login, at, place = rest.rpartition("@")  # a password may hold what would end it elsewhere
    try:
        parts = urlsplit(f"//{place}")
        port = parts.port  # raises where it is no port
        if parts.netloc.endswith(":"):
            found = ""
    except ValueError:
        found = ""
    if not found or kind is None:
        raise ValueError(f"is no URL of the form {kind or 'postgresql'}://user:password@host:port/name")
    if not _is_port(port):
        raise ValueError(f"names a port that is not between 1 and {HIGHEST_PORT}")
    if kind == "mysql" and not parts.path.strip("/"):
        raise ValueError("names no database: mysql://user:password@host:port/name")
    parameters = parse_qs(parts.query, keep_blank_values=True)
    if unknown := parameters.keys() - PARAMETERS[kind]:
        raise ValueError(f"has parameters that this service does not know: {', '.join(sorted(unknown))}")
    query = _postgresql(parts.query, parameters) if kind == "postgresql" else _mysql(parts.query, parameters)
    login = login.replace("@", "%40")  # or SQLAlchemy would take the rest of it for the host, and show it
    return f"{kind}://{login}{at}{parts.netloc}{parts.path}{'?' if query else ''}{query}"


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


def _postgresql(query: str, parameters: Mapping[str, Sequence[str]]) -> str:
    """SQLAlchemy calls ``ssl`` what is ``sslmode`` to libpq. Raises ValueError for what would fail when it is used."""
    modes = [*parameters.get("sslmode", ()), *parameters.get("ssl", ())]
    if len(modes) > 1 or not {*modes} <= {*SSL_MODES}:
        raise ValueError(f"must have one sslmode of {', '.join(SSL_MODES)}")
    if any("," in host for host in parameters.get("host", ())):
        raise ValueError("names several hosts")
    if not all(name.isprintable() for name in parameters.get("application_name", ())):
        raise ValueError("has an application_name that cannot be printed")
    if twice := sorted(name for name, given in parameters.items() if len(given) > 1):
        raise ValueError(f"has more than one {' and one '.join(twice)}")
    if not all(each.isdecimal() and _is_port(int(each)) for each in parameters.get("port", ())):
        raise ValueError(f"names a port that is not between 1 and {HIGHEST_PORT}")
    _check_trust(parameters)
    return "&".join(re.sub("^ssl=", "sslmode=", one) for one in query.split("&"))


def _is_port(port: int | None) -> bool:
    return port is None or 1 <= port <= HIGHEST_PORT


def _check_trust(parameters: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError for certificates that would not be looked at, or are missing."""
    modes = {*parameters.get("sslmode", ()), *parameters.get("ssl", ())}
    trusted = [certificates(path) for path in parameters.get("sslrootcert", ())]
    if trusted and not modes & {"require", *VERIFYING}:
        raise ValueError("has a sslrootcert that nobody looks at without sslmode=verify-full")
    if not trusted and (verifying := modes & VERIFYING):
        raise ValueError(f"has sslmode={verifying.pop()} without a sslrootcert, the file of certificates to check by")


def _server(text: str, scheme: str, secure: str) -> URL:
    """A server's URL, by one of two schemes. Raises ValueError."""
    try:
        url = URL(text)
    except ValueError:
        raise ValueError("is no URL") from None
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


def certificates(path: str) -> str:
    """The path of a file that holds certificates. Raises ValueError."""
    if not path:
        raise ValueError("names no file of certificates")  # OpenSSL would go without
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        wrong = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"{path}: {wrong}") from None
    return path
