"""What the properties are held against: requests of entities that have to do with each other, and how they are cut."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from src.entity import Entity, Operation
from tests.support import derived, programs, worlds
from tests.support.worlds import OPERATIONS, Batch, Sent


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


@dataclass(frozen=True)
class Family:
    """Entities that have to do with each other: what makes two rows of each, and what is asked of them."""

    before: st.SearchStrategy[list[tuple[str, derived.Body]]]
    sent: st.SearchStrategy[Sent]


def family(entities: Sequence[Entity]) -> Family:
    asked = [operation for operation in OPERATIONS.values() if operation.entity in entities]
    deletions = [operation for operation in asked if operation.name == "delete"]  # most is wrong after one
    return Family(furnishing(entities), st.one_of([sent(operation) for operation in [*asked, *deletions]]))


def furnishing(entities: Sequence[Entity]) -> st.SearchStrategy[list[tuple[str, derived.Body]]]:
    everything = derived.with_parents(entities, worlds.ENTITIES)
    return derived.furnishing([OPERATIONS[f"{entity.name}.create"] for entity in everything])


def sent(operation: Operation) -> st.SearchStrategy[Sent]:
    """Requests of one operation: some under a key of their own, some under another's, few dry, few late."""
    key = st.sampled_from([*[""] * 5, *["own"] * 4, "m", "n"])
    dry, late = (st.sampled_from([*[False] * often, True]) for often in (7, 60))
    return st.builds(Sent, st.just(operation.key), bodies(operation), key=key, dry=dry, late=late)


def bodies(operation: Operation) -> st.SearchStrategy[derived.Body]:
    given = derived.bodies(operation)
    if not issubclass(operation.request, programs.Program):
        return given
    return st.builds(lambda body, program: body | {"steps": program}, given, steps())


@st.composite
def steps(draw: st.DrawFn, trouble: Iterable[str] = programs.TROUBLE) -> list[derived.Body]:
    """A program of a few verbs about one or two entities, so that its steps have to do with each other."""
    about = draw(st.sampled_from(ABOUT))
    verbs = [verb for verb, (_, entity) in programs.DOES.items() if entity in about and verb not in programs.TROUBLE]
    few = draw(st.lists(st.sampled_from([*verbs, *verbs, *trouble]), min_size=1, max_size=4))
    return [draw(STEPS[verb]) for verb in draw(st.lists(st.sampled_from(few), min_size=1, max_size=5))]


ABOUT = [[one, other] for one in programs.ENTITIES for other in programs.ENTITIES]
STEPS = {
    verb: derived.documents(schema, derived.new_ids if verb.startswith("create") else derived.ids)
    for verb, schema in programs.STEPS.items()
}
FURNISHED = furnishing(programs.ENTITIES)
FAMILIES = [family(entities) for entities in derived.families(worlds.ENTITIES)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """What is asked of a family, some of it again."""
    family = draw(st.sampled_from(FAMILIES))
    before = [Sent(*made) for made in draw(family.before)]
    requests = draw(st.lists(family.sent, min_size=3, max_size=12))
    sequence = [replace(one, key=f"own {n}") if one.key == "own" else one for n, one in enumerate(requests)]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        sequence.insert(draw(st.integers(0, len(sequence))), draw(st.sampled_from(sequence)))
    sizes = draw(st.lists(st.integers(1, 14), min_size=14, max_size=14))
    return Case([one for one in before if one.fits], [one for one in sequence if one.fits], sizes)


@st.composite
def chains(draw: st.DrawFn) -> Case:
    """Several cases, one after the other and in few batches: each finds what those before it left."""
    drawn = draw(st.lists(cases(), min_size=3, max_size=8))
    sequence = [(number, one) for number, case in enumerate(drawn) for one in (*case.before, *case.sent)]
    renamed = [replace(one, key=one.key and f"{one.key} of {number}") for number, one in sequence]
    return Case([], renamed, draw(st.sampled_from([[500], [30] * 17, [3, 60, 437]])))


@st.composite
def lawful_programs(draw: st.DrawFn) -> Case:
    """One program that nothing in it refuses, and that asks for no version."""
    before = [Sent(*made) for made in draw(FURNISHED)]
    drawn = draw(steps(trouble=()))
    program = [{name: value for name, value in step.items() if name != "version"} for step in drawn]
    sent = [Sent("folder.report", {"steps": program})]
    return Case([one for one in before if one.fits], [one for one in sent if one.fits], [1])
