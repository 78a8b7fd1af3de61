"""The price beside what the asset is worth, which no agent sees but by its signal."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runners.measures import worth
from runners.report.story import Story
from runners.report.style import ASK, BID, INK, MUTED, caption, colour, empty, over_time, page


def value(story: Story) -> Figure:
    """Mid against value, what news do to the mid, and who earns by knowing, in a market with a value."""
    found = story.worth
    assert found is not None
    figure = page("The price and what the asset is worth")
    panels = figure.subplot_mosaic([["path"] * 3, ["response", "gap", "edge"]], height_ratios=(1.15, 1))
    path = panels["path"]
    path.set(title="Mid and value", xlabel="time (timesteps)", ylabel="ticks", xlim=(0, story.run.timesteps))
    over_time(path, story.series("mid"), INK, "mid")
    over_time(path, found.value, ASK, "value", band=False)
    path.legend(loc="best", ncols=2)
    _response(panels["response"], found)
    gap = panels["gap"]
    gap.set(title="Mid less value, at the ends of timesteps", xlabel="ticks", ylabel="share of timesteps")
    reach = float(np.quantile(np.abs(found.gap), 0.995)) + 1.0
    gap.hist(
        np.clip(found.gap, -reach, reach), bins=41, range=(-reach, reach), color=BID,
        weights=np.full(len(found.gap), 1.0 / len(found.gap)),
    )  # fmt: skip
    gap.axvline(0.0, color=INK, linewidth=0.6)
    _edges(panels["edge"], story, found)
    inside = float(np.mean(np.abs(found.gap) <= story.line.near_ticks / 2))
    caption(
        figure,
        f"{len(story.run.news):,} pieces of news. The mid lies within one median spread of the value in {inside:.0%} of timesteps. Edge: the value at a trade "
        "less the price paid, or the price got less the value; what a trade earns on average, without the luck of the inventory held since.",
    )
    return figure


def _response(axes: Axes, found: worth.Worth) -> None:
    axes.set(
        title="How news gets into the price", xlabel="timesteps after a piece of news", ylabel="share of the jump made"
    )
    if not found.response:
        empty(axes, "no piece of news early enough")
        return
    means = np.array([point.mean for point in found.response])
    low = np.array([point.low for point in found.response])
    high = np.array([point.high for point in found.response])
    axes.fill_between(worth.LAGS, low, high, color=BID, alpha=0.25, linewidth=0)
    axes.plot(worth.LAGS, means, "o-", color=BID, markersize=3.5)
    axes.axhline(1.0, color=MUTED, linewidth=0.8, linestyle="--")
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set_xticks([0, 0.1, 1, 10, 60], ["0", "0.1", "1", "10", "60"])
    axes.set_xlim(0, worth.LAGS[-1])


def _edges(axes: Axes, story: Story, found: worth.Worth) -> None:
    axes.set(title="Who earns by the value, a lot traded", ylabel="ticks a lot")
    traded = [(kind, edge) for kind in found.edge if (edge := found.edge_per_lot(kind)) is not None]
    if not traded:
        empty(axes, "there were no trades")
        return
    bars = axes.bar(
        [kind for kind, _ in traded],
        [edge for _, edge in traded],
        color=[colour(story.run, kind) for kind, _ in traded],
        edgecolor=INK,
        linewidth=0.5,
    )
    axes.bar_label(bars, [f"{edge:+.2f}" for _, edge in traded], fontsize=7.5, padding=2)
    axes.axhline(0.0, color=INK, linewidth=0.6)
    axes.margins(y=0.18)
