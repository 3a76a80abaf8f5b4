"""No module of ``src`` imports itself by way of others, at its head or within a function."""

import ast
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {_name(path): path for path in (ROOT / "src").rglob("*.py")}


def _imported(module: str) -> set[str]:
    """The modules of ``src`` that an import statement of this module names, wherever the statement is."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                names |= {alias.name for alias in node.names}
            case ast.ImportFrom():
                base = resolve_name("." * node.level + (node.module or ""), package)
                names |= {member if (member := f"{base}.{alias.name}") in MODULES else base for alias in node.names}
    return (names & MODULES.keys()) - {module}


def test_no_module_imports_itself_by_way_of_others() -> None:
    try:
        TopologicalSorter({module: _imported(module) for module in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(f"import circle: {' <- '.join(error.args[1])}")
