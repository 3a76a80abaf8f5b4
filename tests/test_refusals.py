"""Which errors tell of what the database has refused."""

import contextlib
from collections.abc import Callable

import pytest

from src.errors import Conflict
from src.refusals import tells_of

REFUSAL = RuntimeError("refused")


def itself() -> None:
    raise REFUSAL


def out_of_it() -> None:
    raise Conflict from REFUSAL


def where_it_was_caught() -> None:
    try:
        raise REFUSAL
    except RuntimeError:
        raise Conflict from None


def where_it_was_caught_from_another() -> None:
    try:
        raise REFUSAL
    except RuntimeError:
        raise Conflict from LookupError()


def of_one_that_was_made_of_it() -> None:
    try:
        where_it_was_caught()
    except Conflict as conflict:
        raise LookupError from conflict


def after_it() -> None:
    with contextlib.suppress(RuntimeError):
        raise REFUSAL
    raise Conflict


def from_itself() -> None:
    error = Conflict()
    raise error from error


TELLS = [itself, out_of_it, where_it_was_caught, where_it_was_caught_from_another, of_one_that_was_made_of_it]
TELLS_NOTHING = [after_it, from_itself]


@pytest.mark.parametrize("fail", [*TELLS, *TELLS_NOTHING])
def test_who_tells_of_a_refusal(fail: Callable[[], None]) -> None:
    with pytest.raises((RuntimeError, LookupError, Conflict)) as raised:
        fail()
    assert tells_of(raised.value, REFUSAL) == (fail in TELLS)
