"""Mutants of ``src/contract``."""

from dev.mutants.mutant import Mutant

MUTANTS = [
    Mutant(
        "a command's illegal transition is not said",
        "src/contract/reference.py",
        "        yield errors.IllegalTransition\n",
        "        pass\n",
        [
            "tests/contract/test_reference.py::test_a_problem_that_a_request_has_is_said_of_its_operation",
            "tests/contract/test_reference.py::test_the_problems_of_an_operation_follow_from_what_it_asks_for",
        ],
    ),
]
