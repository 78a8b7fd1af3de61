"""An experiment's pictures: every measure's arms with their seeds and intervals, and all differences side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from runners.experiment.compare import Comparison, numbers_of
from runners.files.whole import whole_file
from runners.report.style import MUTED, STYLE
from scripted_agents.kind import BLUE, GREY, ORANGE
from scripted_agents.registry import KINDS

COLUMNS = 3
A_PAGE = 12
"""Panels on a page."""
SIDE_BY_SIDE = 5
"""Arms whose names stand beside each other; those of more stand upright."""
MOST_APART = 10
"""Arms that the page of differences has at most: as many as there are colours."""


def panel(axes: Axes, c: Comparison, arms: Sequence[str], places: Sequence[float]) -> None:
    """One measure: each seed's values joined over the arms, and each arm's mean with its interval."""
    each = np.array([c.values[arm] for arm in arms])
    axes.plot(
        places, each, color=GREY, linewidth=0.5, alpha=0.35, marker="o", markersize=1.8, markeredgewidth=0, zorder=1
    )
    for place, arm in zip(places, arms, strict=True):
        mean = c.means[arm]
        if mean.mean is None:
            continue
        decided = arm in c.differences and c.differences[arm].verdict in ("higher", "lower")
        colour = ORANGE if decided else BLUE
        if mean.low is not None and mean.high is not None:
            axes.plot(
                [place, place], [mean.low, mean.high], color=colour, linewidth=2.2, solid_capstyle="butt", zorder=2
            )
        axes.plot(
            place, mean.mean, "o", color=colour, markersize=5.5, markeredgecolor="white", markeredgewidth=0.7, zorder=3
        )
    known = each[~np.isnan(each)]
    if len(known) > 20:  # a single seed far out must not press the rest flat
        low, high = np.quantile(known, [0.005, 0.995])
        for arm in arms:
            mean = c.means[arm]
            if mean.low is not None and mean.high is not None:
                low, high = min(low, mean.low), max(high, mean.high)
        if high > low:
            axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    axes.set_title(f"{c.measure.name}, {c.measure.unit}", fontsize=9)
    axes.tick_params(labelsize=7.5)


def wrapped(name: str, width: int = 16) -> str:
    """A name on several lines."""
    lines = [""]
    for word in name.replace(", ", ",\n").replace("=", " = ").split(" "):
        if lines[-1] and len(lines[-1].rsplit("\n", 1)[-1]) + len(word) + 1 > width:
            lines.append(word)
        else:
            lines[-1] += (" " if lines[-1] else "") + word
    return "\n".join(lines).replace(" = ", "=")


def arms_pages(comparisons: Sequence[Comparison], changes: Mapping[str, Mapping[str, Any]], title: str) -> list[Figure]:
    """All measures, twelve a page; along a number where one number makes the arms."""
    arms = list(changes)
    ladder = numbers_of(changes) if len(arms) > 1 else None
    places = ladder[1] if ladder else list(map(float, range(len(arms))))
    pages = []
    for first in range(0, len(comparisons), A_PAGE):
        shown = comparisons[first : first + A_PAGE]
        rows = -(-len(shown) // COLUMNS)
        figure = Figure(figsize=(10.5, 1.2 + 2.45 * rows), layout="constrained")
        grid = figure.subplots(rows, COLUMNS, squeeze=False)
        for axes, c in zip(grid.flat, shown, strict=False):
            panel(axes, c, arms, places)
            if ladder:
                axes.set_xticks(sorted(places))
                axes.set_xticklabels([f"{place:g}" for place in sorted(places)])
                axes.set_xlabel(KINDS[ladder[0]].people if ladder[0] in KINDS else ladder[0], fontsize=8)
            else:
                crowded = len(arms) > SIDE_BY_SIDE
                axes.set_xticks(places, arms if crowded else [wrapped(arm) for arm in arms])
                if crowded:
                    axes.tick_params(axis="x", rotation=90, labelsize=6)
                axes.set_xlim(-0.5, len(arms) - 0.5)
        for axes in list(grid.flat)[len(shown) :]:
            axes.set_axis_off()
        figure.suptitle(title, fontsize=10.5)
        figure.supxlabel(
            "Dots: means over seeds with 95 % intervals, orange where the difference to the first arm is decided; grey: single seeds.",
            fontsize=8, color=MUTED,
        )  # fmt: skip
        pages.append(figure)
    return pages


def differences_page(comparisons: Sequence[Comparison], arms: Sequence[str], title: str) -> Figure:
    """All differences in standard deviations of the base arm over seeds, so that measures of any unit stand side by side."""
    colours = [mpl.colormaps["tab10"](number % 10) for number in range(len(arms))]
    figure = Figure(figsize=(9.5, 1.6 + (0.16 + 0.12 * len(arms)) * len(comparisons)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    span = 0.7 / max(1, len(arms) - 1)
    farthest = 0.0
    for row, c in enumerate(comparisons):
        unit = c.means[arms[0]].deviation
        for number, arm in enumerate(arms[1:]):
            own = c.differences[arm]
            place = row - 0.35 + span * (number + 0.5)
            if own.mean is None or own.low is None or own.high is None or not unit:
                continue
            middle, low, high = np.arcsinh(np.array([own.mean, own.low, own.high]) / unit)
            farthest = max(farthest, abs(low), abs(high))
            solid = own.verdict in ("higher", "lower")
            axes.plot([low, high], [place, place], color=colours[number], linewidth=1.6)
            axes.plot(
                middle,
                place,
                "o",
                color=colours[number],
                mfc=colours[number] if solid else "white",
                markersize=4.5,
            )
    ticks = [
        t
        for t in (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100)
        if abs(np.arcsinh(t)) <= max(farthest, np.arcsinh(1)) * 1.05
    ]
    axes.set_xticks(np.arcsinh(ticks), [f"{tick:g}" for tick in ticks])
    axes.set_yticks(range(len(comparisons)), [c.measure.name for c in comparisons])
    axes.set_ylim(len(comparisons) - 0.4, -0.6)
    axes.set_xlabel(
        f"paired difference to {arms[0]}, in standard deviations over its seeds,\nlarge ones pressed together (95 % interval; filled: decided)"
    )
    axes.set_title(title)
    for number, arm in enumerate(arms[1:]):
        axes.plot([], [], "o", color=colours[number], label=arm)
    figure.legend(loc="outside lower center", ncols=min(3, len(arms) - 1), fontsize=8)
    return figure


def draw(
    path: Path, comparisons: Sequence[Comparison], changes: Mapping[str, Mapping[str, Any]], title: str
) -> list[Path]:
    """Write ``arms.png`` (further pages ``arms_2.png``, ...), ``differences.png`` and both as ``experiment.pdf``; return them.

    Raises:
        RunFolderError: a file cannot be written.
    """
    written = []
    with mpl.rc_context(fname=STYLE):
        pages = {
            f"arms{f'_{number}' if number > 1 else ''}.png": figure
            for number, figure in enumerate(arms_pages(comparisons, changes, title), 1)
        }
        if 1 < len(changes) <= MOST_APART + 1:
            pages["differences.png"] = differences_page(comparisons, list(changes), title)
        with (
            whole_file(path / "experiment.pdf") as partial,
            PdfPages(partial, metadata={"Title": title, "CreationDate": None}) as pdf,
        ):
            for name, figure in pages.items():
                with whole_file(path / name) as beside:
                    figure.savefig(beside, format="png", dpi=130)
                pdf.savefig(figure)
                written.append(path / name)
    return [*written, path / "experiment.pdf"]
