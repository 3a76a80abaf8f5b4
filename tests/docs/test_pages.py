"""What a page tells its reader to type, a test has typed."""

import importlib
import re

import pytest

from tests.support import pages

PAGES = sorted(
    str(path.relative_to(pages.ROOT))
    for pattern in ("*.md", "docs/**/*.md", "clients/*/*.md", "examples/**/*.md", "deploy/**/*.md")
    for path in pages.ROOT.glob(pattern)
)
TESTS = [path for path in (pages.ROOT / "tests").rglob("test_*.py") if "pages.commands(" in path.read_text()]


@pytest.fixture(scope="module", autouse=True)
def taken() -> None:
    """Have every test say which commands it runs, also where this file is run alone."""
    for path in TESTS:
        importlib.import_module(".".join(path.relative_to(pages.ROOT).with_suffix("").parts))


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_run_by_a_test(page: str) -> None:
    assert [command for command in pages.shown(page) if (page, command) not in pages.TAKEN] == []


def test_there_are_commands_on_the_pages() -> None:
    known = {"README.md", "docs/deploy.md", "docs/library.md", "docs/operations.md"}
    assert {page for page in PAGES if pages.shown(page)} == known


PATH = re.compile(r"`((?:src|docs|tests|dev|migrations)/[\w/.-]+|config\.py|main\.py|broker\.py|\.env\.example)`")


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md", "docs/operations.md", "docs/library.md"])
def test_every_path_that_a_page_names_exists(page: str) -> None:
    paths = PATH.findall((pages.ROOT / page).read_text())
    assert [path for path in paths if not (pages.ROOT / path).exists()] == []


def test_every_file_that_the_architecture_page_names_by_its_name_exists() -> None:
    text = (pages.ROOT / "docs/architecture.md").read_text()
    names = set(re.findall(r"`(\w+\.py)`", text))
    known = {path.name for path in pages.ROOT.glob("src/**/*.py")} | {"config.py", "main.py", "broker.py"}
    assert sorted(names - known) == []
