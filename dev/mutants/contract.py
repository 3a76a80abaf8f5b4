"""Mutants of ``src/contract``."""

from dev.mutants.mutant import Mutant

MUTANTS = [
    Mutant(
        "a command's illegal transition is not said",
        "src/contract/problems.py",
        "{*_of_kind(operation), *operation.raises}",
        "{*_of_kind(operation)}",
        [
            "tests/contract/test_reference.py::test_a_problem_that_a_request_has_is_said_of_its_operation",
            "tests/contract/test_reference.py::test_an_operation_has_the_problems_of_its_kind_and_those_that_it_declares",
        ],
    ),
    Mutant(
        "an entity without events publishes the events of its problems",
        "src/entity.py",
        "return wire.failed_event(self.key) if self.event else None",
        "return wire.failed_event(self.key) if self.writes else None",
        ["tests/contract/test_declarations.py::test_an_entity_without_events_publishes_nothing"],
    ),
    Mutant(
        "an own update has no version",
        "src/entity.py",
        "common.REQUESTS.get(name, column_limits.bounded) if writes else column_limits.bounded",
        "column_limits.bounded",
        ["tests/contract/test_declarations.py::test_an_own_create_takes_an_id_and_an_own_update_a_version"],
    ),
    Mutant(
        "a problem that a handler raises is not declared",
        "src/models/chat.py",
        ", raises=(errors.ForeignKey,)",
        "",
        ["tests/contract/test_declarations.py::test_an_operation_declares_exactly_what_its_handler_raises"],
    ),
]
