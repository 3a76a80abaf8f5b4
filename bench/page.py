"""Put the tables of the last run into docs/performance.md: `python -m bench.page`."""

import re
import shutil
import sys
from pathlib import Path

from bench.processes import ROOT

PAGE = ROOT / "docs/performance.md"
RESULTS = ROOT / "bench/results"
TABLES = ("latest.md", "long.md")
PICTURE = "growth.svg"
_FIGURES = re.compile(r"(<!-- figures: begin -->\n).*(<!-- figures: end -->)", re.DOTALL)


def filled(page: str, figures: str) -> str:
    """The page with other figures between its marks."""
    return _FIGURES.sub(lambda found: f"{found[1]}{figures}{found[2]}", page)


def main() -> None:
    """Fill the page; of what was not measured, nothing is said."""
    found = [path.read_text() for path in map(RESULTS.joinpath, TABLES) if path.exists()]
    if not found:
        sys.exit("There are no results: run `make bench-all`.")
    if (RESULTS / PICTURE).exists():
        shutil.copy(RESULTS / PICTURE, Path(PAGE.parent, PICTURE))
        found.append(f"![CPU a message while the tables grow]({PICTURE})\n")
    PAGE.write_text(filled(PAGE.read_text(), "\n".join(found)))


if __name__ == "__main__":
    main()
