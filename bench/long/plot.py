"""The growth as a picture."""

from collections.abc import Sequence
from pathlib import Path

import pygal
from pygal.style import CleanStyle

from bench.long.growth import Growth


def draw(growth: Sequence[Growth], file: Path) -> None:
    """A line a kind of request: its CPU a message over tables of each size, of that over the smallest, as SVG."""
    chart = pygal.Line(
        style=CleanStyle,
        title="CPU a message, of that over the smallest tables",
        x_title="rows in the tables and in the inbox",
        range=(0, max(1.5, *(ratio for each in growth for ratio in each.ratios))),
        width=720,
        height=400,
        js=(),  # a picture in a page runs no scripts
        disable_xml_declaration=True,
    )
    chart.x_labels = [f"{size:,}" for size in growth[0].sizes]
    for each in growth:
        chart.add(each.kind, [round(ratio, 3) for ratio in each.ratios])
    chart.render_to_file(str(file))
