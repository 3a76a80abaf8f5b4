"""The commands that the pages show, for the tests that run them as they stand there, and where they do."""

import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = "README.md"
TAKEN: set[tuple[str, str]] = set()
"""Pages and commands of theirs that a test runs."""


def commands(page: str, pattern: str = "") -> list[str]:
    """The page's commands that begin so. Who asks for them runs them."""
    found = [command for command in shown(page) if re.match(pattern, command)]
    TAKEN.update((page, command) for command in found)
    return found


def shown(page: str) -> list[str]:
    """All of the page's commands, without what it remarks on them."""
    lines = re.findall(r"^\s*\$ (.*)", (ROOT / page).read_text(), re.MULTILINE)
    return [re.sub(r" {2,}#.*", "", line) for line in lines]


def clone(folder: Path) -> None:
    """Put there what a clone of this tree holds, with the packages that are installed here."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if (ROOT / name).exists():  # it may be deleted and not committed yet
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for name in (".uv", ".venv"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
