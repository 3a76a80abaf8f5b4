"""What a large body may cost, whatever its values are: nobody else is served while it is looked at."""

import gc
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from src.consumers.decoder import _decoded
from src.errors import Invalid, Problem
from src.models import session

LARGE = 256 * 1024
CREATE = next(operation for operation in session.entity.operations() if operation.name == "create")
TIMES = 11
"""As long as ``json.loads`` takes; seven are the most that is seen."""


def full(value: str, last: str = "") -> bytes:
    """A session whose metadata has as many of these as fit into a body, and one more."""
    many = [value] * ((LARGE - 200) // (len(value) + 1))
    return f'{{"metadata": {{"a": [{",".join([*many, *([last] if last else [])])}]}}}}'.encode()


NUL = r'"\u0000"'
BODIES = {
    "empty lists": full("[]"),
    "empty objects": full("{}"),
    "lists": full("[1]"),
    "numbers": full("1"),
    "numbers with a point": full("1.5"),
    "numbers with an exponent": full("1e1"),
    "exponents in lists": full("[1e1]"),
    "deep lists": full("[" * 90 + "]" * 90),
    "empty lists and a NUL": full("[]", NUL),
    "texts and a NUL": full('"aaaaaaaa"', NUL),
    "objects and a NUL": full('{"a":1}', NUL),
}


def seconds(run: Callable[[], Any]) -> float:
    """Of the processor, without the garbage collector; the best of three."""
    taken = []
    gc.disable()
    for _ in range(3):
        begun = time.process_time()
        run()
        taken.append(time.process_time() - begun)
    gc.enable()
    return min(taken)


def decode(body: bytes) -> Problem | None:
    try:
        _decoded(CREATE, body, LARGE)
    except Problem as problem:
        return problem
    return None


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_large_body_is_decoded_in_a_few_times_what_its_parsing_takes(body: bytes) -> None:
    assert seconds(lambda: decode(body)) < TIMES * seconds(lambda: json.loads(body)) + 0.005


def test_what_cannot_be_kept_is_pointed_to() -> None:
    body = rb'{"metadata": {"a~/": [1, {"b": "\u0000"}]}}'
    problem = decode(body)
    assert isinstance(problem, Invalid)
    assert problem.errors == ({"pointer": "/metadata/a~0~1/1/b", "message": "A NUL character cannot be stored"},)
