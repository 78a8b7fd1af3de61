"""How the report looks: colours, and the few pieces that its pages are made of."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import ScalarFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from runners.files.run import Run
from scripted_agents.kind import BLUE, BLUISH_GREEN, ORANGE, REDDISH_PURPLE
from scripted_agents.registry import KINDS

STYLE = str(Path(__file__).with_name("report.mplstyle"))
"""Matplotlib's style file of all figures: ``matplotlib.style.use(STYLE)``."""

BID, ASK, GREEN, MUTED = BLUE, ORANGE, BLUISH_GREEN, "#6B6B6B"
GOOD_INK, BAD_INK = "#00704F", "#B04A00"
"""Green and orange for words on white, where the colours of areas are too light to read (WCAG's contrast of 4.5)."""
INK, BAND = "#222222", "#D9D9D9"
KIND_COLOURS = {name: kind.colour for name, kind in KINDS.items()}
"""The known kinds' colours, the same in every report."""
OTHER_COLOURS = ("#332288", "#999933", "#882255", "#44AA99", "#AA4499", "#999999", "#661100", "#DDCC77")
"""Tol's muted colours, for kinds of one's own."""
MAKER_SHADE, TAKER_SHADE = "#4D4D4D", "#B3B3B3"
BUYER, SELLER = GREEN, REDDISH_PURPLE
"""Trades by aggressor; apart from the colours of the two sides of the book."""
CAUSE_COLOURS = {"trade": BID, "cancel": ASK, "new quote": GREEN}

NUMBER = re.compile(r"[-+]?[\d,]+(\.\d+)?%?|undefined")
"""A cell of a column of numbers."""
MOST_POINTS = 700
"""Points that a line over time has at most; longer runs show the mean and the range of several timesteps."""


FEW_POINTS = 150
"""The same of lines that cross each other."""


def colour(run: Run, kind: str) -> str:
    """The kind's colour on every page."""
    others = [other for other in run.kinds if other not in KIND_COLOURS]
    return KIND_COLOURS.get(kind) or OTHER_COLOURS[others.index(kind) % len(OTHER_COLOURS)]


def short(kind: str) -> str:
    """A kind's name where there is little room."""
    return kind if len(kind) <= 12 else f"{kind[:11]}…"


def number(value: float | None, form: str = ",.2f", unit: str = "") -> str:
    """A figure as text, or the word for none."""
    return "undefined" if value is None or (isinstance(value, float) and np.isnan(value)) else f"{value:{form}}{unit}"


class Grouped(ScalarFormatter):
    """Ticks as the tables write numbers: thousands apart, and nothing to be added to them."""

    def __init__(self) -> None:
        super().__init__(useOffset=False)

    def __call__(self, x: float, pos: int | None = None) -> str:
        """A tick's text."""
        text = super().__call__(x, pos)
        digits = text.lstrip("-\N{MINUS SIGN}").partition(".")[0]
        return text.replace(digits, f"{int(digits):,}", 1) if digits.isdecimal() else text


def with_thousands(figure: Figure) -> None:
    """Give all axes that count by themselves :class:`Grouped`."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if type(axis.get_major_formatter()) is ScalarFormatter:
                axis.set_major_formatter(Grouped())


def empty(axes: Axes, why: str) -> None:
    """Say in an empty panel why it is empty."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=MUTED, fontsize=9.5, wrap=True)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)


def page(title: str, *, panels: bool = True) -> Figure:
    """A page with its title; its panels, if it has any, are laid out and keep away from the paper's edge."""
    figure = Figure(layout=ConstrainedLayoutEngine(rect=(0.025, 0.06, 0.95, 0.87)) if panels else None)
    figure.text(0.03, 0.955, title, fontsize=14, weight="bold", color=INK)
    return figure


def caption(figure: Figure, text: str) -> None:
    """A line under a page's figures: what they show, and their own numbers; two where one is too short."""
    figure.text(0.03, 0.03, textwrap.fill(text, 190), ha="left", va="center", fontsize=8, color="#444444")


def binned(values: NDArray[np.float64], count: int = MOST_POINTS) -> tuple[NDArray[np.float64], ...]:
    """A series as at most ``count`` points: places (timesteps), means, lowest and highest. NaN where all are NaN."""
    size = len(values)
    width = max(1, -(-size // count))
    pad = -size % width
    table = np.pad(values.astype(np.float64), (0, pad), constant_values=np.nan).reshape(-1, width)
    place = np.minimum((np.arange(len(table)) + 0.5) * width + 0.5, size)
    known = ~np.isnan(table)
    some = known.any(axis=1)
    filled = np.where(known, table, 0.0)
    mean = np.where(some, filled.sum(axis=1) / np.maximum(known.sum(axis=1), 1), np.nan)
    low = np.where(some, np.where(known, table, np.inf).min(axis=1), np.nan)
    high = np.where(some, np.where(known, table, -np.inf).max(axis=1), np.nan)
    return place, mean, low, high


def over_time(axes: Axes, values: NDArray[np.float64], color: str, label: str | None = None, band: bool = True) -> None:
    """A line over the run's timesteps, with its range where it is binned."""
    place, mean, low, high = binned(values)
    axes.plot(place, mean, color=color, label=label, marker="." if len(place) < 5 else None)
    if band and len(place) < len(values):
        axes.fill_between(place, low, high, color=color, alpha=0.25, linewidth=0)


def listed(
    figure: Figure, header: Sequence[str], cells: Sequence[Sequence[str]], places: Sequence[float], size: float
) -> None:
    """A long table down the page, its columns' left ends at ``places``: a text a column, hundreds of cells would take a second."""
    lines = min(0.84, 0.0235 * size / 7.0 * (len(cells) + 1))
    spacing = lines / (len(cells) + 1) * 72 * figure.get_figheight() / size / 1.17
    for number, (place, name) in enumerate(zip(places, header, strict=True)):
        figure.text(place, 0.925, name, va="top", fontsize=size, weight="bold", color="#444444")
        column = "\n".join(row[number] for row in cells)
        figure.text(place, 0.895, column, va="top", fontsize=size, linespacing=spacing, color=INK)


def rows(
    figure: Figure, box: tuple[float, float, float, float], title: str, header: Sequence[str],
    cells: Sequence[Sequence[str]], widths: Sequence[float], size: float = 8.5,
) -> None:  # fmt: skip
    """A table in a box of the page (left, bottom, width, height), as shares of it; columns of numbers end abreast."""
    axes = figure.add_axes(box)
    axes.axis("off")
    if title:
        axes.set_title(title, pad=6)
    if not cells:
        return
    table = axes.table(
        cellText=[list(row) for row in cells],
        colLabels=list(header),
        colWidths=list(widths),
        cellLoc="left",
        bbox=Bbox.unit(),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(size)
    numbers = [all(NUMBER.fullmatch(cell) for cell in column) for column in zip(*cells, strict=True)]
    for (row, column), cell in table.get_celld().items():
        cell.set_edgecolor("#DDDDDD")
        cell.set_linewidth(0.6)
        cell.visible_edges = "B"
        cell.set_text_props(ha="right" if numbers[column] else "left")
        # Words after numbers keep off them.
        cell.PAD = 0.12 if column and numbers[column - 1] and not numbers[column] else 0.02
        if row == 0:
            cell.set_text_props(weight="bold", color="#444444")
