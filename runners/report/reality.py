"""The run's statistics beside those of real markets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runners.exchange import facts
from runners.exchange.sample import Floats, Sample, autocorrelation
from runners.report.story import MOST_OF_FACTS, Story
from runners.report.style import ASK, BID, GREEN, INK, MUTED, caption, empty, page

LAGS = 30
SIGNS = {"inside": ("● inside", GREEN), "above": ("▲ above", ASK), "below": ("▼ below", BID)}
"""How a verdict is told, by sign and colour."""


def distributions(story: Story) -> Figure:
    """Returns, their memory, the memory of order signs, spreads and depth."""
    figure = page("Statistics against real markets: distributions and memory")
    found, sample = story.facts, story.sample
    if found is None or sample is None:
        empty(figure.subplots(), "no order rested in the book")
        return figure
    panels = figure.subplots(2, 3).ravel()
    shape, memory, signs, spread, depth, counts = panels
    returns_of(sample, shape, memory)
    memory.set(title="Autocorrelation of 1 s returns", xlabel="lag (s)")
    signs_of(sample, signs)
    width = sample.sides[-1][0][:, 0] - sample.sides[1][0][:, 0]
    spread.set(title="Spread, time weighted", xlabel="ticks", ylabel="share of time")
    weighted(spread, width, sample.weights, BID)
    band_of(spread, "spread_ticks")
    lot = story.run.market.lot_size
    depth.set(title="Size at the best quotes, time weighted", xlabel="lots", ylabel="share of time at or below")
    for direction, tint, label in ((1, BID, "bid"), (-1, ASK, "ask")):
        size = sample.sides[direction][1][:, 0]
        known = ~np.isnan(size) & (sample.weights > 0)
        if known.any():
            depth.ecdf(size[known] / lot, weights=sample.weights[known], color=tint, label=label)
    band_of(depth, "best_depth_shares", 1 / lot)
    depth.set_xlim(left=0)
    depth.legend(loc="lower right")
    counts.set(title="Messages in one second", xlabel="messages", ylabel="share of seconds")
    values, times = np.unique(sample.counts, return_counts=True)
    counts.bar(values, times / times.sum(), color=BID, width=0.9)
    band_of(counts, "events_per_second")
    counts.set_xlim(-1, max(10.0, float(np.quantile(sample.counts, 0.995))))
    inside, judged = facts.tally(found)
    caption(
        figure,
        f"{found['messages']:,} messages that changed the {facts.first_levels(found)}, in {'' if story.run.timesteps <= MOST_OF_FACTS else 'the first '}{found['seconds']:,.0f} s; {inside} of {judged} facts within the real range. "
        f"Orange: three NASDAQ stocks, 2012-06-21: of spread, size and messages the means of half hours, of returns how their tails fall.",
    )
    return figure


def returns_of(sample: Sample, shape: Axes, memory: Axes) -> None:
    """The density of returns beside a normal one, and their memory."""
    returns = sample.returns()
    shape.set(title="1 s log mid returns", xlabel="standard deviations", ylabel="density (log scale)")
    if len(returns) >= 10 and returns.std() > 0:
        z = (returns - returns.mean()) / returns.std()
        density, edges = np.histogram(z, bins=np.linspace(-8, 8, 65), density=True)
        middle = (edges[1:] + edges[:-1]) / 2
        shape.semilogy(middle[density > 0], density[density > 0], "o", color=BID, markersize=3, label="run")
        tails = facts.REAL["facts"]["hill_tail_index_1s"]["whole_day"].values()
        far = np.linspace(2.0, 8.0, 50)
        start = np.exp(-2.0) / np.sqrt(2.0 * np.pi)
        heavy, light = (start * (far / 2.0) ** -(index + 1.0) for index in (min(tails), max(tails)))
        for sign in (1, -1):
            shape.fill_between(
                sign * far, light, heavy, color=ASK, alpha=0.35, linewidth=0, label="real tails" if sign == 1 else None
            )
        x = np.linspace(-4.5, 4.5, 200)
        shape.semilogy(x, np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi), color=MUTED, label="normal")
        shape.legend()
        memory_of(memory, np.abs(returns), BID, "|return|")
        memory_of(memory, returns, INK, "return")
        real(memory, "acf_abs_return_lag1", 1)
        memory.legend()
    else:
        for axes in (shape, memory):
            empty(axes, "the mid hardly moved")


def signs_of(sample: Sample, signs: Axes) -> None:
    """The memory of market orders' signs beside that of real days."""
    signs.set(title="Autocorrelation of market-order signs", xlabel="lag (orders)")
    if len(sample.signs) >= 100:
        memory_of(signs, sample.signs, BID, "run")
        days = facts.REAL["facts"]["sign_acf_lags_2_5_10_20"]["whole_day"]
        first = facts.REAL["facts"]["sign_acf_lag1"]["whole_day"]
        for index, (stock, values) in enumerate(days.items()):
            signs.plot(
                [1, 2, 5, 10, 20],
                [first[stock], *values],
                color=ASK,
                alpha=0.7,
                linewidth=0.8,
                marker=".",
                label="real days" if index == 0 else None,
            )
        signs.legend()
    else:
        empty(signs, "fewer than 100 market orders")


def memory_of(axes: Axes, values: Floats, color: str, label: str) -> None:
    """Autocorrelations at the first lags."""
    lags = range(1, min(LAGS, len(values) // 10) + 1)
    axes.plot(
        lags,
        [autocorrelation(values, lag) or 0.0 for lag in lags],
        color=color,
        marker=".",
        linewidth=0.8,
        label=label,
    )
    axes.axhline(0, color=MUTED, linewidth=0.7)
    axes.set_ylabel("autocorrelation")


def real(axes: Axes, name: str, lag: int) -> None:
    """The real half hours' range at a lag."""
    low, middle, high = facts.REAL["facts"][name]["half_hour_min_median_max"]
    axes.errorbar(
        [lag + 0.4],
        [middle],
        [[middle - low], [high - middle]],
        color=ASK,
        marker="_",
        capsize=3,
        linewidth=1,
        label="|return|, real half hours",
    )


def band_of(axes: Axes, name: str, scale: float = 1.0) -> None:
    """The real half hours' range of a mean, shaded."""
    low, middle, high = (scale * value for value in facts.REAL["facts"][name]["half_hour_min_median_max"])
    axes.axvspan(low, high, color=ASK, alpha=0.16, linewidth=0, label="real means")
    axes.axvline(middle, color=ASK, linewidth=0.9, label="their median")
    axes.legend(loc="upper right")


def weighted(axes: Axes, values: Floats, weights: Floats, color: str) -> None:
    """Share of time at each whole value."""
    known = ~np.isnan(values)
    if not known.any():
        empty(axes, "the book was never two-sided")
        return
    whole = np.clip(values[known].round().astype(np.int64), 0, 60)
    share = np.bincount(whole, weights[known]) / weights[known].sum()
    axes.bar(np.arange(len(share)), share, color=color, width=0.9)
    axes.set_xlim(0, max(8, len(share)))


def fact_table(story: Story) -> Figure:
    """Every fact beside its real range."""
    found = story.facts
    figure = page("Statistics against real markets: every fact", panels=found is None)
    if found is None:
        empty(figure.subplots(), "no order rested in the book")
        return figure
    header = ("statistic", "this run", "its windows", "real half hours", "real days", "")
    lines = facts.table_rows(found, facts.LABELS)
    half = -(-len(lines) // 2)
    places = (0.0, 0.203, 0.246, 0.317, 0.398, 0.472)

    def put(left: float, texts: Sequence[str], tint: str, top: float = 0.89) -> None:
        # A text a column: lines of one size keep abreast, and hundreds of cells would take a second.
        figure.text(left, top, "\n".join(texts), va="top", fontsize=6.4, linespacing=2.25, color=tint)

    for left, part in ((0.03, lines[:half]), (0.525, lines[half:])):
        for offset, name in zip(places, header, strict=True):
            figure.text(left + offset * 0.93, 0.915, name, va="top", fontsize=6.6, weight="bold", color="#444444")
        *columns, verdicts = zip(*part, strict=True)
        for offset, column in zip(places[:-1], columns, strict=True):
            put(left + offset * 0.93, column, INK)
        for verdict, (sign, tint) in SIGNS.items():
            put(left + places[-1] * 0.93, [sign if own == verdict else "" for own in verdicts], tint)
    inside, judged = facts.tally(found)
    of = f" in the first {MOST_OF_FACTS:,} timesteps" if story.run.timesteps > MOST_OF_FACTS else ""
    caption(
        figure,
        f"{inside} of {judged} within the real range{of}; without a sign: not judged. Windows: lowest and highest of {found['windows']} stretches of {facts.WINDOW_SECONDS:,} timesteps, "
        f"judged by their median where half hours are known. A unit of size is a share; a lot here is {story.run.market.lot_size:g} units.",
    )
    return figure
