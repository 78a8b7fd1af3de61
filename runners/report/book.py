"""The order book over time: heatmap, its zooms, and the walls."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from runners.measures import liquidity
from runners.report.story import Story
from runners.report.style import ASK, BID, BUYER, SELLER, caption, colour, empty, number, page, rows

COLUMNS = 1_600
"""Columns of a heatmap at most; a longer run shows the book at the end of every so many timesteps."""
REACH = 30
"""Ticks shown beyond the lowest and highest mid."""
PRICE_ROWS = 500
"""Prices shown at most; a wider range joins several ticks into one row."""
ZOOM = 150
"""Timesteps of a zoom."""
SIDE_NAMES = ("bid", "ask")
MOST_MARKED = 40
"""Walls that are marked, the longest first."""
SHADES = LinearSegmentedColormap.from_list("shades", ["#DDDDDD", "#000000"])
"""Resting lots: one lot is told from none."""


def grid(
    story: Story, start: int, end: int, reach: int = REACH
) -> tuple[NDArray[np.float64], tuple[float, float, float, float]] | None:
    """Resting lots of both sides, shape (prices, columns), and its extent; None if nothing ever rested there."""
    line = story.line
    steps = np.unique(np.linspace(start, end - 1, min(COLUMNS, end - start)).round().astype(np.int64))
    mid = line.mid[start:end]
    lowest, highest = max(1, int(mid.min()) - reach), int(mid.max()) + reach
    lots = line.resting(steps, lowest, highest).sum(axis=1, dtype=np.float64)
    step = 1 + (highest - lowest) // PRICE_ROWS
    pad = -lots.shape[1] % step
    lots = np.pad(lots, ((0, 0), (0, pad))).reshape(len(steps), -1, step).sum(axis=2)
    if not lots.any():
        return None
    return lots.T, (start, end, lowest - 0.5, lowest - 0.5 + step * lots.shape[1])


def draw_book(story: Story, axes: Axes, start: int, end: int, *, zoom: bool) -> None:
    """Depth, best quotes and trades of a stretch of time."""
    found = grid(story, start, end, 12 if zoom else REACH)
    axes.grid(visible=False)
    axes.set(xlabel="time (timesteps)", ylabel="price (ticks)")
    if found is None:
        empty(axes, "no order rested in the book")
        return
    lots, extent = found
    shown = lots[lots > 0]
    image = axes.imshow(
        np.where(lots > 0, lots, np.nan),
        origin="lower",
        aspect="auto",
        extent=extent,
        norm=LogNorm(max(0.5, float(np.quantile(shown, 0.02))), max(2.0, float(np.quantile(shown, 0.999)))),
        cmap=SHADES,
        interpolation="none",  # as it is into the PDF, a cell a point
    )
    axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03, label="resting lots (log scale)")
    time = np.arange(start, end) + 1
    for name, tint in (("best_bid", BID), ("best_ask", ASK)):
        axes.plot(
            time, story.series(name)[start:end], color=tint, linewidth=1.1 if zoom else 0.5, drawstyle="steps-pre"
        )
    line = story.line
    trades = line.events[line.trades]
    within = (trades["timestep"] >= start) & (trades["timestep"] < end)
    trades, bought = trades[within], line.trade_signs[within] > 0
    size = (6.0 if zoom else 1.5) + (2.2 if zoom else 0.8) * np.clip(trades["lots"], 1, 40)
    for which, tint in ((bought, BUYER), (~bought, SELLER)):
        axes.scatter(
            trades["time"][which], trades["price"][which], s=size[which], color=tint, alpha=0.75 if zoom else 0.5,
            linewidths=0, zorder=4, rasterized=True,
        )  # fmt: skip
    axes.set(xlim=extent[:2], ylim=extent[2:])


def legend(axes: Axes, walls: dict[str, str]) -> None:
    """The heatmap's keys, above it."""
    handles = [
        Line2D([], [], color=BID, label="best bid"),
        Line2D([], [], color=ASK, label="best ask"),
        Line2D([], [], color=BUYER, marker="o", linestyle="", markersize=4, label="trade, buyer took"),
        Line2D([], [], color=SELLER, marker="o", linestyle="", markersize=4, label="trade, seller took"),
    ]
    handles += [
        Line2D([], [], color=tint, linewidth=1.4, label=f"wall, most of {kind}") for kind, tint in walls.items()
    ]
    keys = axes.legend(handles=handles, loc="lower left", ncols=8, bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
    keys.set_in_layout(False)  # it may be wider than its panel


def mark(story: Story, axes: Axes, walls: list[liquidity.Wall]) -> dict[str, str]:
    """Frame walls in the colour of the kind that owns most of each; return the kinds' colours."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    found = {}
    for wall in walls:
        kind = next(iter(wall.kinds))
        found[kind] = colour(story.run, kind)
        start, end = max(wall.start, left), min(wall.end, right)
        axes.add_patch(
            Rectangle(
                (start, wall.price - 0.5), end - start, 1, fill=False, edgecolor=found[kind], linewidth=0.9, zorder=3
            )
        )
    axes.set(xlim=(left, right), ylim=(low, high))
    return found


def heatmap(story: Story) -> Figure:
    """The order book over the whole run, walls marked."""
    figure = page("Order-book heatmap")
    axes = figure.subplots()
    if not story.run.timesteps:
        empty(axes, "no whole timestep was recorded")
        return figure
    draw_book(story, axes, 0, story.run.timesteps, zoom=False)
    found = story.walls
    legend(axes, mark(story, axes, found.walls[:MOST_MARKED]))
    every = story.run.timesteps / min(COLUMNS, story.run.timesteps)
    marked = (
        f"; the {min(len(found.walls), MOST_MARKED)} longest of {len(found.walls)} walls framed" if found.walls else ""
    )
    caption(
        figure,
        f"Resting lots of all orders, from the log, at the end of every {'' if every == 1 else f'{every:.1f} '}timestep"
        f"{'' if every == 1 else 's'}; {story.moves.prints:,} trades, dots grow with lots{marked}.",
    )
    return figure


def stretches(story: Story) -> tuple[int, int]:
    """Where the busiest and the thinnest :data:`ZOOM` timesteps begin: most traded lots, and least depth near the mid.

    They lie apart where the run is long enough.
    """
    line = story.line
    width = min(ZOOM, story.run.timesteps)
    volume = np.bincount(line.events["timestep"][line.trades], line.events["lots"][line.trades], story.run.timesteps)
    depth = line.near_depth.sum(axis=1).astype(np.float64)
    first = 50 if story.run.timesteps > width + 50 else 0  # the book fills at first

    def moving(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.convolve(values[first:], np.ones(width), "valid")

    busiest = int(np.argmax(moving(volume.astype(np.float64))))
    thin = moving(depth)
    apart = np.abs(np.arange(len(thin)) - busiest) >= width
    thinnest = int(np.argmin(np.where(apart, thin, np.inf))) if apart.any() else int(np.argmin(thin))
    return first + busiest, first + thinnest


def zooms(story: Story) -> Figure:
    """The busiest and the thinnest stretch, and the longest walls."""
    figure = page("The busiest and the thinnest stretch; walls of liquidity")
    if not story.run.timesteps:
        empty(figure.subplots(), "no whole timestep was recorded")
        return figure
    width = min(ZOOM, story.run.timesteps)
    found = story.walls
    mosaic = figure.subplot_mosaic([["busiest", "thinnest"], ["walls", "walls"]], height_ratios=(1.5, 1))
    panels = (mosaic["busiest"], mosaic["thinnest"])
    starts = stretches(story)
    for axes, start, title in zip(panels, starts, ("Most lots traded", "Least depth near the mid"), strict=True):
        draw_book(story, axes, start, start + width, zoom=True)
        axes.set_title(f"{title}: timesteps {start:,} to {start + width:,}", pad=20)
    marked: dict[str, str] = {}
    for axes, start in zip(panels, starts, strict=True):
        marked |= mark(story, axes, [wall for wall in found.walls if wall.end > start and wall.start < start + width])
    legend(panels[0], marked)
    if found.walls:
        mosaic["walls"].axis("off")
        cells = [
            (
                SIDE_NAMES[wall.side], f"{wall.price:,}", f"{wall.start:,} to {wall.end:,}", f"{wall.end - wall.start:,}",
                f"{wall.mean_lots:,.0f}", f"{wall.most_lots:,}", f"{wall.traded_lots:,}",
                ", ".join(f"{owner} {share:.0%}" for owner, share in list(wall.owners.items())[:3] if share >= 0.01),
            )
            for wall in found.walls[:9]
        ]  # fmt: skip
        rows(
            figure, (0.03, 0.075, 0.94, 0.275), f"The longest of {len(found.walls)} walls",
            ["side", "price, ticks", "timesteps", "length", "mean lots", "most lots", "traded lots", "owners of its lots over time"],
            cells, (0.06, 0.1, 0.15, 0.08, 0.09, 0.09, 0.1, 0.33),
        )  # fmt: skip
    else:
        mosaic["walls"].set_title("Walls of liquidity")
        empty(
            mosaic["walls"],
            "no order rested in the book"
            if not found.typical_lots
            else f"no wall: no level held {liquidity.WALL_SIZE:g} times the typical {found.typical_lots:g} lots for {liquidity.WALL_TIMESTEPS} timesteps",
        )
    owners = ", ".join(f"{kind} {share:.0%}" for kind, share in found.kinds.items())
    caption(
        figure,
        f"Typical level: {number(found.typical_lots, 'g')} lots; walls hold {liquidity.WALL_SIZE:g} times that for {liquidity.WALL_TIMESTEPS} timesteps or more"
        f"{f'; their lots belong to {owners}' if owners else ''}.",
    )
    return figure
