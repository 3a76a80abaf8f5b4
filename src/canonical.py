"""JSON values as a database gives them back, so that what was written and what is read are the same.

PostgreSQL keeps the numbers of JSONB as ``numeric``: ``1e16`` comes back as an integer, ``-0.0`` as ``0.0``, and
``1e300`` as 301 digits.
"""

import json
from decimal import Decimal
from typing import Any

DIGITS = 100
"""How many digits a number in a JSON value may have before its point, and zeros after it, once it is written out."""

_LARGEST, _SMALLEST, _WHOLE = 10**DIGITS, 10.0**-DIGITS, 1e16


def canonical(value: Any) -> Any:
    """The value with its numbers as they come back. Raises ValueError where one is too large or too small."""
    match value:
        case dict():
            return {key: canonical(item) for key, item in value.items()}
        case list():
            return [canonical(item) for item in value]
        case bool():
            return value
        case int() if not -_LARGEST < value < _LARGEST:
            raise ValueError(f"A number has more than {DIGITS} digits")
        case float():
            return _number(value)
        case _:
            return value


def growth(value: Any) -> int:
    """About how many characters longer the value is where its numbers are written out without exponents."""
    match value:
        case dict():
            return sum(map(growth, value.values()))
        case list():
            return sum(map(growth, value))
        case float():
            return abs(int(repr(value).partition("e")[2] or 0))
        case _:
            return 0


def same(one: object, other: object) -> bool:
    """Equal, and in JSON too: to Python ``{"a": 1}``, ``{"a": True}`` and ``{"a": 1.0}`` are the same."""
    if not isinstance(one, (dict, list)) or one != other:
        return one == other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _number(value: float) -> float | int:
    if value == 0:
        return 0.0
    if not _SMALLEST <= abs(value) < _LARGEST:
        raise ValueError(f"A number is not between 1e-{DIGITS} and 1e{DIGITS}")
    return int(Decimal(repr(value))) if abs(value) >= _WHOLE else value
