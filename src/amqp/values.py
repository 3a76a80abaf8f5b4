"""What JSON can say and a database cannot keep, or a reader of the answer not parse.

A body of a megabyte has a third of a million values, and nobody else is served while they are looked at: so each is
looked at once, without a call where it holds nothing, and where it is is put together only for what is wrong.
"""

import math
from typing import Any

from src.errors import Invalid

DEEPEST = 100  # levels of a body
_NESTED = frozenset((dict, list))


class _Wrong(Exception):
    """A value cannot be kept. ``path`` leads to it, the last step first."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.path: list[str | int] = []


def check(value: dict[str, Any]) -> None:
    """Raise Invalid where the body of a request holds what cannot be kept, with a pointer to it."""
    try:
        _check(value, 0)
    except _Wrong as wrong:
        pointer = "".join("/" + _step(step) for step in reversed(wrong.path))
        raise Invalid(errors=[{"pointer": pointer, "message": wrong.message}]) from None


def too_deep(value: dict[str, Any]) -> bool:
    """Whether ``check`` would find values beneath the deepest level: that alone is seen faster, a level at a time."""
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        level = [
            item for each in level for item in (each.values() if type(each) is dict else each) if type(item) in _NESTED
        ]
    return bool(level)


def _step(step: str | int) -> str:
    """RFC 6901; a key is cut to a sane length."""
    return str(step)[:100].replace("\0", "").replace("~", "~0").replace("/", "~1")


def _check(value: dict[str, Any] | list[Any], depth: int) -> None:
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
                _check(item, depth + 1)
        except _Wrong as wrong:
            wrong.path.append(step)
            raise


def _check_single(value: str | float) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise _Wrong("A NUL character cannot be stored")
    elif math.isinf(value):
        raise _Wrong("The number is too large")
