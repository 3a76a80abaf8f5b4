"""The table of time constants in docs/architecture.md: ``make reference`` writes the table from the source.

A time constant is an assignment of a number to a name in capitals at the top level of a module, with a comment that
begins with its unit and a colon: ``CONNECT_TIMEOUT = 10  # seconds: a server that is up answers sooner``.
"""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/architecture.md"
BEGIN, END = "<!-- begin: time constants, written by make reference -->\n", "<!-- end: time constants -->\n"
COMMENT = re.compile(r"# (microseconds|milliseconds|seconds|minutes): (.+)$")
ARITHMETIC = (ast.Constant, ast.BinOp, ast.Mult, ast.Div, ast.operator, ast.UnaryOp)


class TimeConstant(NamedTuple):
    """One row: ``value`` is written as in the source."""

    module: str
    name: str
    value: str
    unit: str
    reason: str


def sources() -> list[Path]:
    """Return the modules of the service."""
    return [ROOT / "broker.py", ROOT / "config.py", ROOT / "main.py", *sorted((ROOT / "src").rglob("*.py"))]


def found(path: Path) -> Iterator[TimeConstant]:
    """Yield the time constants of one module, in the order of their lines."""
    said = comments(path)
    for name, value, line in numbers(ast.parse(path.read_text())):
        if match := COMMENT.match(said.get(line, "")):
            yield TimeConstant(str(path.relative_to(ROOT)), name, value, match[1], match[2])


def comments(path: Path) -> dict[int, str]:
    """Return the comments of a module by their lines."""
    with path.open("rb") as file:
        tokens = list(tokenize.tokenize(file.readline))
    return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


def numbers(tree: ast.Module) -> Iterator[tuple[str, str, int]]:
    """Yield name, value and last line of each number that a name in capitals is assigned at the top level."""
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        name = node.targets[0].id
        if name.isupper() and _is_number(node.value):
            yield name, ast.unparse(node.value), node.end_lineno or node.lineno


def table() -> str:
    """Return the table as Markdown."""
    rows = [
        f"| `{each.name}` | [{each.module}](../{each.module}) | {each.value} {each.unit} | {each.reason} |"
        for path in sources()
        for each in found(path)
    ]
    return "\n".join(["| constant | module | value | reason |", "|---|---|---|---|", *rows, ""])


def page() -> str:
    """Return the page with the table of this source. Raises ValueError where the page has no place for it."""
    before, rest = PAGE.read_text().split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


def _is_number(node: ast.expr) -> bool:
    parts = [part for part in ast.walk(node) if isinstance(part, ast.expr)]
    return all(isinstance(part, ARITHMETIC) for part in parts) and all(
        isinstance(part.value, int | float) for part in parts if isinstance(part, ast.Constant)
    )


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE.relative_to(ROOT)}: time constants written")
