"""Whether the tests notice: each mutant is the tree with one thing wrong, and the tests named beside it must fail.

``python -m dev.mutants [WORD …]`` tries those whose name holds one of the words, all without any. Exits 1 where one
survives, where the text that it changes is not there once, or where its tests fail without it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dev.mutants import MUTANTS
from dev.mutants.mutant import Mutant

ROOT = Path(__file__).parents[2]
PASSED, FAILED = 0, 1  # pytest's exit codes
HANGS = 300  # seconds
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules")


def main(words: Sequence[str]) -> int:
    """Try the mutants, and print what became of each."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    tests = sorted({test for mutant in chosen for test in mutant.tests})
    with _copy() as tree:
        verdicts = {test: "passes" if _pass(tree, test) else "FAILS" for test in tests}
        for mutant in chosen:
            verdicts[mutant.name] = _try(tree, mutant)
            print(f"{verdicts[mutant.name]:9} {mutant.name}", flush=True)
    wrong = [f"{verdict:9} {name}" for name, verdict in verdicts.items() if verdict.isupper()]
    print(*wrong, f"{len(chosen)} mutants, {len(wrong)} complaints", sep="\n")
    return 1 if wrong else 0


def _try(tree: Path, mutant: Mutant) -> str:
    file = tree / mutant.file
    text = file.read_text()
    if text.count(mutant.old) != 1:
        return "STALE"
    file.write_text(text.replace(mutant.old, mutant.new))
    try:
        return "SURVIVES" if any(_pass(tree, test) for test in mutant.tests) else "killed"
    finally:
        file.write_text(text)


def _pass(tree: Path, test: str) -> bool:
    """Whether a test passes, of several cases each. One that hangs does not."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", "-m", "", test]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}  # the file changes faster than its time
    try:
        ended = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=HANGS, check=False)
    except subprocess.TimeoutExpired:
        return False
    if ended.returncode not in {PASSED, FAILED}:
        raise SystemExit(f"{test}: {ended.stdout.decode()}{ended.stderr.decode()}")
    return ended.returncode == PASSED


@contextmanager
def _copy() -> Iterator[Path]:
    """The tree, to be changed at will."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        yield tree


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
