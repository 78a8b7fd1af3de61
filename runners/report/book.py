"""The order book over time: heatmap, stretches of it in full detail, and the walls.

Liquidity is bright on a dark ground, on a perceptual scale that colour-blind readers see as well (cividis), or dark on white where the
style's ``image.cmap`` begins bright: :data:`PRINT`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from runners.measures import liquidity
from runners.report.story import Story
from runners.report.style import ASK, BID, BUYER, INK, SELLER, caption, empty, number, page, rows, short

mpl.colormaps.register(LinearSegmentedColormap.from_list("shades", ["#DDDDDD", "#000000"]), force=True)
PRINT: dict[Any, Any] = {"image.cmap": "shades"}
"""Settings of matplotlib for pictures on white: one lot is told from none."""
COLUMNS = 1_600
"""Columns of a heatmap at most; a longer run shows the book at the end of every so many timesteps."""
REACH = 30
"""Ticks shown beyond the lowest and highest mid."""
PRICE_ROWS = 500
"""Prices shown at most; a wider range joins several ticks into one row."""
ZOOM = 150
"""Timesteps of a stretch in full detail."""
SIDE_NAMES = ("bid", "ask")
MOST_MARKED = 40
"""Walls that are framed, the longest first,"""
MOST_NAMED = 8
"""and those that are labelled, as far as their labels keep apart."""
NAME_SIZE = 6.5
"""Of a label, points."""
MOST_LISTED = 6
"""Walls in the table."""
BUBBLE = 9.0
"""Points between bubbles; trades closer than that are one."""
BARS = 125
"""Bars of the strip of volume."""


class Look(NamedTuple):
    """Colours of a book."""

    ground: str
    ink: str
    bid: str
    ask: str
    buyer: str
    seller: str
    wall: str


ON_DARK = Look("#06080F", "#F2F2F2", "#6CC5FF", "#FF8A5B", "#3DF0B4", "#FF9BE0", "white")
ON_WHITE = Look("white", INK, BID, ASK, BUYER, SELLER, "#E69F00")
"""Okabe and Ito's; on the dark ground the same hues, lighter."""


def look() -> Look:
    """The style's: on the ground that the dark or the light end of its ``image.cmap`` is nearest to."""
    red, green, blue, _ = mpl.colormaps[mpl.rcParams["image.cmap"]](0.0)
    return ON_DARK if 0.3 * red + 0.6 * green + 0.1 * blue < 0.5 else ON_WHITE


def columns_of(start: int, end: int) -> NDArray[np.int64]:
    """Timesteps at whose ends the book is shown."""
    return np.unique(np.linspace(start, end - 1, min(COLUMNS, end - start)).round().astype(np.int64))


def grid(
    story: Story, start: int, end: int, reach: int = REACH
) -> tuple[NDArray[np.float64], tuple[float, float, float, float]] | None:
    """Resting lots of both sides, shape (prices, columns), and its extent; None if nothing ever rested there."""
    line = story.line
    steps = columns_of(start, end)
    mid = line.mid[start:end]
    lowest, highest = max(1, int(mid.min()) - reach), int(mid.max()) + reach
    lots = line.resting(steps, lowest, highest).sum(axis=1, dtype=np.float64)
    step = 1 + (highest - lowest) // PRICE_ROWS
    pad = -lots.shape[1] % step
    lots = np.pad(lots, ((0, 0), (0, pad))).reshape(len(steps), -1, step).sum(axis=2)
    if not lots.any():
        return None
    return lots.T, (start, end, lowest - 0.5, lowest - 0.5 + step * lots.shape[1])


def scale(lots: NDArray[np.float64]) -> LogNorm:
    """Log scale of lots: the dimmest and brightest few do not stretch it."""
    shown = lots[lots > 0]
    dim = max(0.5, float(np.quantile(shown, 0.02)))
    return LogNorm(dim, max(2.0, 2 * dim, float(np.quantile(shown, 0.999))))


def bar(image: AxesImage, axes: Axes) -> None:
    """The scale beside a panel and as tall as it."""
    within = axes.inset_axes((1.008, 0.0, 0.012, 1.0))
    keys = axes.figure.colorbar(image, cax=within)
    keys.set_label("resting lots (log scale)")
    low, high = image.norm.vmin or 0.5, image.norm.vmax or 2.0
    ticks = [step * 10**power for power in range(10) for step in (1, 2, 5) if low <= step * 10**power <= high]
    keys.ax.yaxis.set_major_locator(FixedLocator(ticks))
    keys.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    keys.ax.yaxis.set_minor_locator(NullLocator())


class Bubbles(NamedTuple):
    """Trades that lie close together as one, shape (bubbles,) each."""

    time: NDArray[np.float64]
    price: NDArray[np.float64]
    lots: NDArray[np.int64]
    bought: NDArray[np.bool_]
    """Whether buyers took at least half of it."""


def bubbles(story: Story, extent: tuple[float, float, float, float], columns: int, rows: int) -> Bubbles:
    """Trades of a stretch by the cells of a raster, each where its lots lie on average."""
    line = story.line
    left, right, low, high = extent
    trades, signs = line.events[line.trades], line.trade_signs
    within = (trades["timestep"] >= left) & (trades["timestep"] < right)
    within &= (trades["price"] > low) & (trades["price"] < high)
    trades, signs = trades[within], signs[within]
    column = ((trades["time"] - left) / (right - left) * columns).astype(np.int64)
    row = ((trades["price"] - low) / (high - low) * rows).astype(np.int64)
    _, cell = np.unique(column * (rows + 1) + row, return_inverse=True)
    lots = np.bincount(cell, trades["lots"])
    time, price, net = (
        np.bincount(cell, trades["lots"] * values) / np.maximum(lots, 1)
        for values in (trades["time"], trades["price"].astype(np.float64), signs)
    )
    return Bubbles(time, price, lots.astype(np.int64), net >= 0)


def draw_book(
    story: Story, axes: Axes, start: int, end: int, norm: LogNorm | None = None, *, zoom: bool
) -> AxesImage | None:
    """Depth, best quotes and trades of a stretch of time; None if no order rested."""
    found, colours = grid(story, start, end, 12 if zoom else REACH), look()
    axes.grid(visible=False)
    axes.set(ylabel="price (ticks)")
    if found is None:
        empty(axes, "no order rested in the book")
        return None
    lots, extent = found
    axes.set_facecolor(colours.ground)
    image = axes.imshow(
        np.where(lots > 0, lots, np.nan),
        origin="lower",
        aspect="auto",
        extent=extent,
        norm=norm or scale(lots),
        interpolation="none",  # as it is into the PDF, a cell a point
    )
    time = np.arange(start, end) + 1
    edge = [withStroke(linewidth=2.4 if zoom else 1.5, foreground=colours.ground)]
    for name, tint in (("best_bid", colours.bid), ("best_ask", colours.ask)):
        axes.plot(
            time, story.series(name)[start:end], color=tint, linewidth=1.1 if zoom else 0.55, drawstyle="steps-pre",
            path_effects=edge,
        )  # fmt: skip
    width, height = size_of(axes)
    seen = bubbles(story, extent, max(1, int(width / BUBBLE)), max(1, int(height / BUBBLE)))
    size = np.maximum(2.0, BUBBLE * np.sqrt(np.minimum(1.0, seen.lots / most_lots(seen)))) ** 2
    for which, tint in ((seen.bought, colours.buyer), (~seen.bought, colours.seller)):
        axes.scatter(
            seen.time[which], seen.price[which], s=size[which], color=tint, alpha=0.6, linewidths=0.4,
            edgecolors=colours.ground, zorder=4,
        )  # fmt: skip
    axes.set(xlim=extent[:2], ylim=extent[2:])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return image


def size_of(axes: Axes) -> tuple[float, float]:
    """About a panel's width and height, points, as long as the page is not laid out."""
    place, figure = axes.get_subplotspec(), axes.figure
    assert place is not None
    assert isinstance(figure, Figure)
    width, height = 72 * place.get_position(figure).size * figure.get_size_inches()
    return float(width), float(height)


def most_lots(seen: Bubbles) -> float:
    """Lots of a bubble of full size: a few are larger."""
    return float(np.quantile(seen.lots, 0.98)) if len(seen.lots) else 1.0


def draw_volume(story: Story, axes: Axes, start: int, end: int, count: int = BARS) -> None:
    """Lots that aggressors bought upwards, those that they sold downwards, and their difference."""
    line = story.line
    edges = np.linspace(start, end, min(count, end - start) + 1)
    trades, bought = line.events[line.trades], line.trade_signs > 0
    sums = [np.histogram(trades["time"][which], edges, weights=trades["lots"][which])[0] for which in (bought, ~bought)]
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    axes.bar(middle, sums[0], width, color=BUYER, linewidth=0)
    axes.bar(middle, -sums[1], width, color=SELLER, linewidth=0)
    axes.step(middle, sums[0] - sums[1], where="mid", color=INK, linewidth=0.7)
    axes.axhline(0.0, color=INK, linewidth=0.4)
    axes.set(xlabel="time (timesteps)", ylabel="lots taken", xlim=(start, end))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):,.0f}"))


def draw_depth(story: Story, axes: Axes, start: int, end: int) -> None:
    """Depth near the mid of a stretch, both sides, beside its median over the run."""
    line = story.line
    time = np.arange(start, end) + 1
    for side, tint in enumerate((BID, ASK)):
        axes.plot(time, line.near_depth[start:end, side], color=tint, drawstyle="steps-pre")
    usual = float(np.median(line.near_depth.sum(axis=1))) / 2
    axes.axhline(usual, color=INK, linestyle=":", linewidth=0.8)
    axes.set(xlim=(start, end), ylim=(0, None), ylabel="lots near")
    axes.tick_params(labelbottom=False)


def keys(figure: Figure) -> None:
    """What the colours mean, in the page's head."""
    colours = look()
    ground: dict[str, Any] = {"markeredgecolor": "none", "linestyle": "", "marker": "o", "markersize": 5}
    handles = [
        Line2D([], [], color=colours.bid, linewidth=1.6, label="best bid"),
        Line2D([], [], color=colours.ask, linewidth=1.6, label="best ask"),
        Line2D([], [], color=colours.buyer, label="trades, buyer took", **ground),
        Line2D([], [], color=colours.seller, label="trades, seller took", **ground),
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=colours.wall, linewidth=0.9, label="wall"),
    ]
    box = figure.legend(
        handles=handles, loc="center right", ncols=len(handles), bbox_to_anchor=(0.965, 0.962), frameon=True,
        facecolor=colours.ground, edgecolor="none", labelcolor=colours.ink, framealpha=1.0, handlelength=1.4, columnspacing=1.4,
    )  # fmt: skip
    box.set_in_layout(False)


def mark(story: Story, axes: Axes, walls: list[liquidity.Wall], named: int = 0) -> None:
    """Frame walls; label the first few with their main owner and mean lots, as far as labels keep apart."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    colours = look()
    frames = [
        Rectangle((max(wall.start, left), wall.price - 0.5), min(wall.end, right) - max(wall.start, left), 1)
        for wall in walls
    ]
    axes.add_collection(
        PatchCollection(frames, facecolors="none", edgecolors=colours.wall, linewidths=0.7, zorder=3), autolim=False
    )
    taken: list[tuple[float, float]] = []
    width, height = size_of(axes)
    tall = (high - low) * 2 * NAME_SIZE / height
    for wall in walls:
        name = f"{short(next(iter(wall.owners)))}, {wall.mean_lots:,.0f} lots"
        wide = (right - left) * 0.65 * NAME_SIZE * len(name) / width
        begins, ends = max(wall.start, left), min(wall.end, right)
        inside = begins + wide <= right or ends - wide < left  # else the name ends where the wall does
        place = begins if inside else max(left, ends - wide), float(wall.price)
        near = any(abs(place[0] - x) < wide and abs(place[1] - y) < tall for x, y in taken)
        if near or not low < wall.price < high - tall or len(taken) >= named:
            continue
        taken.append(place)
        axes.annotate(
            name, (begins if inside else ends, place[1]), (1 if inside else -1, 3), textcoords="offset points",
            ha="left" if inside else "right", fontsize=NAME_SIZE, color=colours.ink, zorder=6,
            bbox={"facecolor": colours.ground, "edgecolor": "none", "alpha": 0.65, "pad": 0.6},
        )  # fmt: skip


def heatmap(story: Story) -> Figure:
    """The order book over the whole run, walls marked, with the volume below."""
    figure = page("Order-book heatmap")
    if not story.run.timesteps:
        empty(figure.subplots(), "no whole timestep was recorded")
        return figure
    axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=(6, 1))
    image = draw_book(story, axes, 0, story.run.timesteps, zoom=False)
    if image is not None:
        bar(image, axes)
    found = story.walls
    mark(story, axes, found.walls[:MOST_MARKED], MOST_NAMED)
    axes.tick_params(labelbottom=False)
    draw_volume(story, strip, 0, story.run.timesteps)
    keys(figure)
    steps = columns_of(0, story.run.timesteps)
    every = story.run.timesteps / len(steps)
    marked = (
        f"; the {min(len(found.walls), MOST_MARKED)} longest of {len(found.walls)} walls framed, some with owner and mean lots"
        if found.walls
        else ""
    )
    when = "every timestep" if every == 1 else f"{len(steps):,} of {story.run.timesteps:,} timesteps, evenly spaced"
    caption(
        figure,
        f"Resting lots of all orders, from the log, at the end of {when}; {story.moves.prints:,} trades, those close together as one bubble, "
        f"its area their lots, its colour who took most{marked}. Below: lots bought (up) and sold (down) by aggressors; line: net.",
    )
    return figure


class Stretch(NamedTuple):
    """A part of the run that is worth a look."""

    title: str
    start: int


def stretches(story: Story) -> list[Stretch]:
    """The busiest :data:`ZOOM` timesteps, the thinnest and those with the largest move of the mid, in this order.

    Each lies apart from those before it where the run is long enough. The first fifty timesteps, in which the book fills,
    are left out if there are others.
    """
    line, timesteps = story.line, story.run.timesteps
    width = min(ZOOM, timesteps)
    first = 50 if timesteps > width + 50 else 0
    volume = np.bincount(line.events["timestep"][line.trades], line.events["lots"][line.trades], timesteps)
    depth = line.near_depth.sum(axis=1).astype(np.float64)

    def moving(values: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.concatenate([[0.0], np.cumsum(values[first:])])
        sums: NDArray[np.float64] = total[width:] - total[:-width]
        return sums

    moved = np.abs(line.mid[first + width - 1 :] - line.mid[first : timesteps - width + 1])
    found: list[Stretch] = []
    for title, values, unit in (
        ("Busiest: {:,.0f} lots traded", moving(volume.astype(np.float64)), 1),
        ("Thinnest: {:,.0f} lots near the mid", -moving(depth), width),
        ("Largest move: {:,.0f} ticks", moved, 1),
    ):
        apart = np.ones(len(values), np.bool_)
        for other in found:
            apart &= np.abs(first + np.arange(len(values)) - other.start) >= width
        chosen = int(np.argmax(np.where(apart, values, -np.inf) if apart.any() else values))
        found.append(Stretch(title.format(abs(values[chosen]) / unit), first + chosen))
    return found


def zooms(story: Story) -> Figure:
    """Three stretches in full detail, each below its depth and above its volume, and the longest walls."""
    figure = page("In full detail; the longest walls")
    if not story.run.timesteps:
        empty(figure.subplots(), "no whole timestep was recorded")
        return figure
    width, found = min(ZOOM, story.run.timesteps), story.walls
    chosen = stretches(story)
    names: list[Any] = [[f"{row} {index}" for index in range(len(chosen))] for row in ("depth", "book", "volume")]
    mosaic = figure.subplot_mosaic([*names, ["walls"] * len(chosen)], height_ratios=(0.75, 3.0, 0.75, 1.95))
    grids = [grid(story, stretch.start, stretch.start + width, 12) for stretch in chosen]
    lots = np.concatenate([found[0].ravel() for found in grids if found is not None] or [np.ones(1)])
    norm = scale(lots)
    for index, stretch in enumerate(chosen):
        start, end = stretch.start, stretch.start + width
        axes = mosaic[f"book {index}"]
        image = draw_book(story, axes, start, end, norm, zoom=True)
        mark(story, axes, [wall for wall in found.walls if wall.end > start and wall.start < end], 3)
        axes.tick_params(labelbottom=False)
        mosaic[f"depth {index}"].set_title(stretch.title)
        draw_depth(story, mosaic[f"depth {index}"], start, end)
        draw_volume(story, mosaic[f"volume {index}"], start, end, width // 2)
        if image is not None and index == len(chosen) - 1:
            bar(image, axes)
    for row in ("depth", "volume"):
        panels = [mosaic[f"{row} {index}"] for index in range(len(chosen))]
        limits = [axes.get_ylim() for axes in panels]
        for axes in panels:
            axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    keys(figure)
    if found.walls:
        mosaic["walls"].axis("off")
        cells = [
            (
                SIDE_NAMES[wall.side], f"{wall.price:,}", f"{wall.start:,} to {wall.end:,}", f"{wall.end - wall.start:,}",
                f"{wall.mean_lots:,.0f}", f"{wall.most_lots:,}", f"{wall.traded_lots:,}" if wall.traded_lots else "never traded",
                ", ".join(f"{owner} {share:.0%}" for owner, share in list(wall.owners.items())[:3] if share >= 0.01),
            )
            for wall in found.walls[:MOST_LISTED]
        ]  # fmt: skip
        rows(
            figure, (0.03, 0.075, 0.94, 0.195), f"The longest of {len(found.walls)} walls",
            ["side", "price, ticks", "timesteps", "length", "mean lots", "most lots", "traded lots", "owners of its lots over time"],
            cells, (0.06, 0.1, 0.15, 0.08, 0.09, 0.09, 0.1, 0.33), size=8.0,
        )  # fmt: skip
    else:
        mosaic["walls"].set_title("Walls of liquidity")
        empty(
            mosaic["walls"],
            "no order rested in the book"
            if not found.typical_lots
            else f"no wall: no level held {liquidity.WALL_SIZE:g} times the typical {found.typical_lots:g} lots for {liquidity.WALL_TIMESTEPS} timesteps",
        )
    owners = ", ".join(f"{kind} {share:.0%}" for kind, share in found.kinds.items() if share >= 0.005)
    untraded = sum(not wall.traded_lots for wall in found.walls)
    caption(
        figure,
        f"Above each book the lots within {story.line.near_ticks} ticks of the mid, bids blue and asks orange (dotted: a side's usual share), below it the lots that aggressors took. "
        f"Typical level: {number(found.typical_lots, 'g')} lots; walls hold {liquidity.WALL_SIZE:g} times that for {liquidity.WALL_TIMESTEPS} timesteps or more"
        f"{f'; their lots belong to {owners}; {untraded} of {len(found.walls)} were never traded with' if owners else ''}.",
    )
    return figure
