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
]
