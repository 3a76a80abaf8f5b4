"""Any sequence of writes, cut into any batches, gives the rows and the answers that it gives one by one."""

import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hypothesis
import pytest
from hypothesis.strategies import SearchStrategy

from tests.processing import found
from tests.support import books, worlds
from tests.support.cases import Case, cases, chains, lawful_programs
from tests.support.worlds import Batch, Played, Sent, World

SETTINGS = hypothesis.settings(deadline=None, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
"""What the profile says, without what depends on how fast the machine is."""


@pytest.fixture(scope="module")
def world(postgres_url: str, template: str) -> Iterator[World]:
    with World.beside(postgres_url, template) as made:
        yield made


def play(world: World, before: Batch, batches: Sequence[Batch]) -> tuple[Played, list[int]]:
    """What comes of it, and how often each batch took the second way."""
    world.begin(before)
    done = [world.play(batch) for batch in batches]
    outcomes = [outcome for outcomes, _ in done for outcome in outcomes]
    return worlds.played(outcomes, world.rows()), [bisections for _, bisections in done]


def check_batches(world: World, case: Case) -> None:
    """Batches give what one by one gives, and whatever is legal runs without halving."""
    apart, alone = play(world, case.before, [[one] for one in case.sent])
    together, bisections = play(world, case.before, case.batches)
    assert together == apart
    for one, answer, halved in zip(case.sent, apart.answers, alone, strict=True):
        assert not halved or may_halve(one, answer), f"{one} takes the second way by itself"
    for batch, halved in zip(case.batches, bisections, strict=True):
        assert not halved or any(alone[: len(batch)]), "a batch of what is legal takes the second way"
        del alone[: len(batch)]


def may_halve(sent: Sent, answer: dict[str, Any]) -> bool:
    """A program that was refused may have changed something before."""
    return "steps" in sent.body and answer["state"] != "SERVED"


def check_books(world: World, case: Case) -> None:
    """Every change is counted, told, and answered as it was written."""
    world.begin(case.before)
    before = world.rows()
    for one in case.sent:
        ((outcome,), _), after = world.play([one]), world.rows()
        books.check(one, worlds.document(outcome), before, after)
        before = after


def check_programs(world: World, case: Case) -> None:
    """Where each step of a program is served as a request of its own, the program is served, and leaves the same."""
    (program,) = case.sent
    apart = [Sent(program.operation, {"steps": [step]}) for step in program.body["steps"]]
    in_steps, _ = play(world, case.before, [[step] for step in apart])
    whole, _ = play(world, case.before, [case.sent])
    if all(answer["state"] == "SERVED" for answer in in_steps.answers):
        seen = [seen for answer in in_steps.answers for seen in answer["body"]["seen"]]
        assert uncounted(whole.answers[0]["body"].get("seen")) == uncounted(seen)
        assert uncounted(whole.rows) == uncounted(in_steps.rows)


def uncounted(told: Any) -> Any:
    """Without what tells how many requests it took."""
    match told:
        case list():
            return [uncounted(each) for each in told]
        case dict():
            return {name: uncounted(each) for name, each in told.items() if name not in {"version", *worlds.MOMENTS}}
        case _:
            return told


type Check = Callable[[World, Case], None]
CHECKS: list[tuple[Check, SearchStrategy[Case]]] = [
    (check_batches, cases()),
    (check_batches, chains()),
    (check_books, cases()),
    (check_programs, lawful_programs()),
]


def hold(
    world: World,
    check: Check,
    strategy: SearchStrategy[Case],
    settings: hypothesis.settings = SETTINGS,
    seed: int | None = None,
) -> None:
    """Look for a case that fails the check."""

    @settings
    @hypothesis.given(case=strategy)
    def examine(case: Case) -> None:
        hypothesis.assume(case.sent)
        check(world, case)

    if seed is not None:
        hypothesis.seed(seed)(examine)
    examine()


def test_a_batch_gives_what_one_by_one_gives(world: World) -> None:
    hold(world, check_batches, cases())


def test_a_long_batch_gives_what_one_by_one_gives(world: World) -> None:
    hold(world, check_batches, chains(), hypothesis.settings(SETTINGS, max_examples=SETTINGS.max_examples // 5))


def test_every_change_is_counted_and_told_and_answered_as_it_was_written(world: World) -> None:
    hold(world, check_books, cases())


def test_a_program_leaves_what_its_steps_leave_as_requests_of_their_own(world: World) -> None:
    hold(world, check_programs, lawful_programs())


@pytest.mark.parametrize(("check", "case"), found.CASES.values(), ids=found.CASES)
def test_what_was_found_once(world: World, check: str, case: Case) -> None:
    checks = {each.__name__: each for each, _ in CHECKS}
    checks[check](world, case)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_fresh_seeds(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """PROPERTY_MINUTES is for how long, ten unless it says otherwise; PROPERTY_SEED what to begin with."""
    until = time.monotonic() + 60 * float(os.environ.get("PROPERTY_MINUTES", "10"))
    seed = int(os.environ.get("PROPERTY_SEED", random.getrandbits(32)))
    fresh = hypothesis.settings(SETTINGS, derandomize=False, max_examples=100, phases=tuple(hypothesis.Phase))
    while time.monotonic() < until:
        with capsys.disabled():
            sys.stdout.write(f"\nPROPERTY_SEED={seed}")
            sys.stdout.flush()
        for check, strategy in CHECKS:
            hold(world, check, strategy, fresh, seed)
        seed = random.getrandbits(32)
