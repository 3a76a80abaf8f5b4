"""JSON values as a database gives them back, so that what was written and what is read are the same.

PostgreSQL keeps the numbers of JSONB as ``numeric``: ``1e16`` comes back as an integer, ``-0.0`` as ``0.0``, and
``1e300`` as 301 digits.
"""

import json
from decimal import Decimal
from typing import Any

SMALLEST, LARGEST = 1e-100, 1e100
"""Between which a number with a point or an exponent must lie; written out, others are many times longer."""

_WHOLE = 1e16
_AS_WRITTEN = 1e-4  # the smallest that Python writes without an exponent
_PLAIN = frozenset((str, int, bool, type(None)))  # the kinds of value that stay as they are


def canonical(value: Any) -> Any:
    """The value with its numbers as they come back. Raises ValueError where one is too large or too small."""
    kind = type(value)
    if kind is dict:
        return {key: item if type(item) in _PLAIN else canonical(item) for key, item in value.items()}
    if kind is list:
        return [item if type(item) in _PLAIN else canonical(item) for item in value]
    return _number(value) if kind is float else value


def growth(value: Any) -> int:
    """About how many characters longer the value is where its numbers are written out without exponents."""
    kind = type(value)
    if kind is dict:
        return sum([growth(item) for item in value.values() if item and type(item) not in _PLAIN])
    if kind is list:
        return sum([growth(item) for item in value if item and type(item) not in _PLAIN])
    if kind is not float or _AS_WRITTEN <= abs(value) < _WHOLE:
        return 0
    return abs(int(repr(value).partition("e")[2] or 0))


def same(one: object, other: object) -> bool:
    """Equal, and in JSON too: to Python ``{"a": 1}``, ``{"a": True}`` and ``{"a": 1.0}`` are the same."""
    if not isinstance(one, (dict, list)) or one != other:
        return one == other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _number(value: float) -> float | int:
    if value == 0:
        return 0.0
    if not SMALLEST <= abs(value) < LARGEST:
        raise ValueError(f"A number is not between {SMALLEST:g} and {LARGEST:g}")
    return int(Decimal(repr(value))) if abs(value) >= _WHOLE else value
