"""Any sequence of writes, cut into any batches, gives the rows and the answers that it gives one by one."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from src.entity import Entity, Operation
from tests import derived, worlds
from tests.worlds import OPERATIONS, Batch, Sent, World


@dataclass(frozen=True)
class Case:
    """What is there before, what is sent, and how it is cut into batches."""

    before: Batch
    sent: Batch
    sizes: Sequence[int]

    @property
    def batches(self) -> list[Batch]:
        ends = itertools.accumulate(self.sizes, initial=0)
        return [self.sent[start:end] for start, end in itertools.pairwise(ends) if start < len(self.sent)]


def sent(operation: Operation) -> st.SearchStrategy[Sent]:
    """Requests of one operation: some under a key of their own, some under another's, few dry, few late."""
    key = st.sampled_from([*[""] * 5, *["own"] * 4, "m", "n"])
    dry, late = (st.sampled_from([*[False] * often, True]) for often in (7, 25))
    return st.builds(Sent, st.just(operation.key), derived.bodies(operation), key=key, dry=dry, late=late)


@dataclass(frozen=True)
class Family:
    """Entities that have to do with each other: what makes them and their parents, and what is asked of them."""

    before: st.SearchStrategy[list[tuple[str, derived.Body]]]
    sent: st.SearchStrategy[Sent]


def family(entities: Sequence[Entity]) -> Family:
    creates = [OPERATIONS[f"{entity.name}.create"] for entity in derived.with_parents(entities, worlds.ENTITIES)]
    asked = [sent(operation) for operation in OPERATIONS.values() if operation.entity in entities]
    return Family(derived.furnishing(creates), st.one_of(asked))


FAMILIES = [family(entities) for entities in derived.families(worlds.ENTITIES)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """What is asked of a family, some of it again."""
    family = draw(st.sampled_from(FAMILIES))
    before = [Sent(*made) for made in draw(family.before)]
    requests = draw(st.lists(family.sent, min_size=2, max_size=12))
    sequence = [replace(one, key=f"own {n}") if one.key == "own" else one for n, one in enumerate(requests)]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        sequence.insert(draw(st.integers(0, len(sequence))), draw(st.sampled_from(sequence)))
    sizes = draw(st.lists(st.integers(1, 14), min_size=14, max_size=14))
    return Case([one for one in before if one.fits], [one for one in sequence if one.fits], sizes)


@pytest.fixture(scope="module")
def world(postgres_url: str, template: str) -> Iterator[World]:
    with World.beside(postgres_url, template) as made:
        yield made


def check_a_batch_gives_what_one_by_one_gives(world: World, case: Case) -> None:
    apart, guilty = play(world, case.before, [[one] for one in case.sent])
    together, halved = play(world, case.before, case.batches)
    assert together == apart
    for one, answer, halvings in zip(case.sent, apart.answers, guilty, strict=True):
        assert not halvings or may_halve(one, answer), f"{one} takes the second way by itself"
    alone = [*guilty]
    for batch, halvings in zip(case.batches, halved, strict=True):
        assert not halvings or any(alone[: len(batch)]), "a batch of what is legal takes the second way"
        del alone[: len(batch)]


def may_halve(sent: Sent, answer: dict[str, Any]) -> bool:
    """A program that was refused may have changed something before."""
    return len(sent.body.get("steps", ())) > 1 and answer["state"] != "SERVED"


def play(world: World, before: Batch, batches: Sequence[Batch]) -> tuple[worlds.Played, list[int]]:
    """What comes of it, and how often each batch took the second way."""
    world.begin(before)
    done = [world.play(batch) for batch in batches]
    outcomes = [outcome for outcomes, _ in done for outcome in outcomes]
    return worlds.played(outcomes, world.rows()), [halved for _, halved in done]


SETTINGS = hypothesis.settings(
    deadline=None,
    max_examples=200,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)


@SETTINGS
@hypothesis.given(case=cases())
def test_a_batch_gives_what_one_by_one_gives(world: World, case: Case) -> None:
    check_a_batch_gives_what_one_by_one_gives(world, case)
