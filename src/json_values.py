"""The JSON that the service accepts, and JSON values as a database gives them back.

``check`` is the one place that decides which body is accepted: an object in UTF-8 without duplicate keys, NULs and
infinite numbers, of ``DEEPEST`` levels at most. PostgreSQL keeps the numbers of JSONB as ``numeric``: ``1e16`` comes
back as an integer, ``-0.0`` as ``0.0``, and ``1e300`` as 301 digits. ``canonical`` makes a number what comes back.

A body of a megabyte has a third of a million values, and no other request is served while they are checked. So each
value is checked once, without a call where it holds nothing, and a pointer is put together only for a wrong value.
"""

import json
import math
import re
from decimal import Decimal
from typing import Any

import jiter
import pydantic_core

from src.errors import Invalid, Malformed, TooLarge

SMALLEST, LARGEST = 1e-100, 1e100
"""Between which a number with a point or an exponent must lie; written out, others are many times longer."""

DEEPEST = 100  # levels of a body

_WHOLE = 1e16
_AS_WRITTEN = 1e-4  # the smallest that Python writes without an exponent
_PLAIN = frozenset((str, int, bool, type(None)))  # the kinds of value that stay as they are
_NESTED = frozenset((dict, list))
_EXPONENT = re.compile(rb"[:,\[\s]-?[0-9]+(\.[0-9]+)?[eE]")  # of a number, and seldom of a text
_NUL = b"\\u0000"


class _Wrong(Exception):
    """A value cannot be stored. ``path`` leads to it, the last step first."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.path: list[str | int] = []


def check(body: bytes, max_body: int) -> None:
    """Raise Malformed, TooLarge or Invalid where the service does not accept the body; no problem quotes a value.

    ``max_body`` is in bytes, and limits the body with its numbers written out.
    """
    try:
        value = jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        found = re.search(r" at line \d+ column \d+$", str(error))
        where = found.group() if found else ""
        raise Malformed(f"The body is no JSON in UTF-8 without duplicate keys{where}.") from None
    if not isinstance(value, dict):
        raise Malformed("The body is JSON, but no object.")
    exponents = _EXPONENT.search(body) is not None
    if exponents and (size := len(body) + _growth(value)) > max_body:
        raise TooLarge(f"The body has {size} bytes once its numbers are written out; this service takes {max_body}.")
    nested = body.count(b"[") + body.count(b"{") > DEEPEST
    if exponents or _NUL in body or (nested and _is_too_deep(value)):
        _check(value)


def canonical(value: Any) -> Any:
    """Return the value with its numbers as they come back. Raises ValueError where one is too large or too small."""
    kind = type(value)
    if kind is dict:
        return {key: item if type(item) in _PLAIN else canonical(item) for key, item in value.items()}
    if kind is list:
        return [item if type(item) in _PLAIN else canonical(item) for item in value]
    return _number(value) if kind is float else value


def same(one: object, other: object) -> bool:
    """Return whether both are equal as JSON: in Python ``{"a": 1}``, ``{"a": True}`` and ``{"a": 1.0}`` are equal."""
    if not isinstance(one, (dict, list)) or one != other:
        return one == other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def size(value: object) -> int:
    """Return the number of bytes of the value as JSON."""
    return len(pydantic_core.to_json(value))


def pointer_step(step: str | int) -> str:
    """Return a step of a JSON pointer (RFC 6901); a key is cut to 100 characters."""
    return str(step)[:100].replace("\0", "").replace("~", "~0").replace("/", "~1")


def _growth(value: Any) -> int:
    """Return about how many characters longer the value is with its numbers written out without exponents."""
    kind = type(value)
    if kind is dict:
        return sum([_growth(item) for item in value.values() if item and type(item) not in _PLAIN])
    if kind is list:
        return sum([_growth(item) for item in value if item and type(item) not in _PLAIN])
    if kind is not float or _AS_WRITTEN <= abs(value) < _WHOLE:
        return 0
    return abs(int(repr(value).partition("e")[2] or 0))


def _number(value: float) -> float | int:
    if value == 0:
        return 0.0
    if not SMALLEST <= abs(value) < LARGEST:
        raise ValueError(f"A number is not between {SMALLEST:g} and {LARGEST:g}")
    return int(Decimal(repr(value))) if abs(value) >= _WHOLE else value


def _is_too_deep(value: dict[str, Any]) -> bool:
    """Return whether there are values beneath the deepest level. A level at a time is faster than ``_check``."""
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        level = [
            item for each in level for item in (each.values() if type(each) is dict else each) if type(item) in _NESTED
        ]
    return bool(level)


def _check(value: dict[str, Any]) -> None:
    """Raise Invalid where a value cannot be stored, with a pointer to it."""
    try:
        _check_nested(value, 0)
    except _Wrong as wrong:
        pointer = "".join(f"/{pointer_step(step)}" for step in reversed(wrong.path))
        raise Invalid(errors=[{"pointer": pointer, "message": wrong.message}]) from None


def _check_nested(value: dict[str, Any] | list[Any], depth: int) -> None:
    if depth > DEEPEST:
        raise _Wrong(f"The value is nested deeper than {DEEPEST}")
    if isinstance(value, dict):
        for key in value:
            _check_single(key)
    items: Any = value.items() if isinstance(value, dict) else enumerate(value)
    for step, item in items:
        kind = type(item)
        try:
            if kind is str or kind is float:
                _check_single(item)
            elif kind in _NESTED and (item or depth == DEEPEST):
                _check_nested(item, depth + 1)
        except _Wrong as wrong:
            wrong.path.append(step)
            raise


def _check_single(value: str | float) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise _Wrong("A NUL character cannot be stored")
    elif math.isinf(value):
        raise _Wrong("The number is too large")
