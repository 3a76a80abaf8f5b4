"""Mutants of ``src/cli``."""

from dev.mutants.mutant import Mutant

MUTANTS = [
    Mutant(
        "what cannot be served is a traceback",
        "src/cli/serve.py",
        "(StartupError, UnusableDatabase)",
        "StartupError",
        ["tests/databases/test_sqlite.py::test_what_cannot_be_served_is_one_clear_line"],
    ),
]
