"""The parameters of a PostgreSQL URL, as libpq has them, looked at before anybody connects.

Whoever is told of a ValueError here knows the setting: the message goes on where its name ends.
"""

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from src.settings import files

HIGHEST_PORT = 65535
LONGEST_CONNECT = 3600  # seconds: a longer connect_timeout is more likely a typing error
VERIFYING = {"verify-ca", "verify-full"}
SSL_MODES = ("disable", "allow", "prefer", "require", *sorted(VERIFYING))
UNUSED = {"channel_binding", "target_session_attrs"}
"""Checked and left out: the driver has no channel binding, and the service looks for itself whether it may write."""
WRITABLE = ("any", "read-write", "primary", "prefer-standby")
PARAMETERS = {
    "sslmode",
    "ssl",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "connect_timeout",
    "host",
    "options",
    "port",
    *UNUSED,
}
SEVERAL_HOSTS = "names several hosts: name one, such as the address that follows the primary"

type Parameters = Mapping[str, Sequence[str]]


def check(parameters: Parameters) -> str:
    """Return the query as the service reads it. Raises ValueError for what would fail when it is used."""
    modes = [*parameters.get("sslmode", ()), *parameters.get("ssl", ())]
    if len(modes) > 1 or not {*modes} <= {*SSL_MODES}:
        raise ValueError(f"must have one sslmode of {', '.join(SSL_MODES)}")
    if any("," in host for host in parameters.get("host", ())) or len(parameters.get("host", ())) > 1:
        raise ValueError(SEVERAL_HOSTS)
    if twice := sorted(name for name, given in parameters.items() if len(given) > 1):
        raise ValueError(f"has more than one {' and one '.join(twice)}")
    one = {name: given[0] for name, given in parameters.items()}
    for name in ("application_name", "options"):
        if not one.get(name, "").isprintable():
            raise ValueError(f"has an {name} that cannot be printed")
    if not _is_number(one.get("port", "1"), 1, HIGHEST_PORT):
        raise ValueError(f"names a port that is not between 1 and {HIGHEST_PORT}")
    _check_choices(one)
    _check_trust(one, {*modes})
    kept = {"sslmode" if name == "ssl" else name: value for name, value in one.items() if name not in UNUSED}
    return urlencode(kept, quote_via=quote, safe="/")


def _is_number(text: str, least: int, most: int) -> bool:
    return text.isdecimal() and least <= int(text) <= most


def _check_choices(one: Mapping[str, str]) -> None:
    """Raise ValueError for values of libpq that the service cannot serve with."""
    if not _is_number(one.get("connect_timeout", "1"), 0, LONGEST_CONNECT):
        raise ValueError(f"has a connect_timeout that is no number of seconds up to {LONGEST_CONNECT}")
    if one.get("channel_binding") == "require":
        raise ValueError(
            "has channel_binding=require, which the driver asyncpg does not have: leave it out, and check the server "
            "by sslmode=verify-full and sslrootcert"
        )
    if one.get("channel_binding", "prefer") not in {"prefer", "disable"}:
        raise ValueError("must have a channel_binding of disable, prefer")
    if one.get("target_session_attrs", "any") not in WRITABLE:
        raise ValueError(f"must have a target_session_attrs of {', '.join(WRITABLE)}: the service writes")


def _check_trust(one: Mapping[str, str], modes: set[str]) -> None:
    """Raise ValueError for certificates that would not be looked at, or are missing."""
    trusted = "sslrootcert" in one and files.certificates(one["sslrootcert"])
    if trusted and not modes & {"require", *VERIFYING}:
        raise ValueError("has a sslrootcert that nobody looks at without sslmode=verify-full")
    if not trusted and (verifying := modes & VERIFYING):
        raise ValueError(f"has sslmode={verifying.pop()} without a sslrootcert, the file of certificates to check by")
    if ("sslcert" in one) != ("sslkey" in one):
        raise ValueError("has one of sslcert and sslkey: a certificate of ours needs both")
    if "sslcert" not in one:
        return
    if not modes - {"disable"}:
        raise ValueError("has a sslcert that nobody looks at without sslmode=require or more")
    _check_own(one["sslcert"], one["sslkey"])


def _check_own(certificate: str, key: str) -> None:
    """Raise ValueError for a certificate of ours that OpenSSL does not take with this key."""
    for path in (certificate, key):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from None
    try:
        ssl.create_default_context().load_cert_chain(certificate, key, password=lambda: "")
    except OSError:
        raise ValueError(f"{certificate}: it is no certificate of the key {key}") from None
