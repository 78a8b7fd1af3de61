"""The agents: inventories, wealth, terms of trade, counterparties; and the learner's seat."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from market_env.config import LEARNER_KIND, Recorded
from runners.files.run import Run
from runners.measures import trading
from runners.report.story import Story
from runners.report.style import (  # fmt: skip
    ASK,
    BID,
    FEW_POINTS,
    GREEN,
    INK,
    MAKER_SHADE,
    MOST_POINTS,
    MUTED,
    TAKER_SHADE,
    binned,
    caption,
    colour,
    empty,
    number,
    page,
    rows,
    short,
)
from scripted_agents.standards import NEAR_BOUND

MOST_LINES = 4
"""Agents of a kind that are drawn one by one."""
BLUES = LinearSegmentedColormap.from_list("blues", ["#FFFFFF", BID])
DIVERGING = LinearSegmentedColormap.from_list("sides", [ASK, "#FFFFFF", BID])


def inventories(story: Story) -> Figure:
    """Inventory against bounds and change in wealth over time, by kind."""
    run = story.run
    figure = page("Agents: inventory against bounds, and wealth")
    kinds = run.kinds
    panels = figure.subplots(len(kinds), 2, sharex=True, squeeze=False, width_ratios=(1.6, 1))
    parts = []
    held, worth = run.account("inventory"), run.account("wealth")
    for (axes, wealth), kind in zip(panels, kinds, strict=True):
        seats = [index for index, agent in enumerate(run.market.agents) if agent.kind == kind]
        members = [run.market.agents[index] for index in seats]
        inventory = held[:, seats].astype(np.float64)
        start = np.array([agent.cash + agent.inventory * run.market.first_price for agent in members])
        change = worth[:, seats] - start
        tint = colour(run, kind)
        if len(members) <= MOST_LINES:
            for index in range(len(members)):
                place, _, low, high = binned(inventory[:, index])
                # The value furthest from zero of each bin: extremes are what a bound is about.
                extreme = np.where(np.abs(low) > np.abs(high), low, high)
                axes.plot(place, extreme, color=tint, alpha=1.0 if len(members) == 1 else 0.7, linewidth=0.8)
                place, mean, *_ = binned(change[:, index])
                wealth.plot(place, mean, color=tint, alpha=1.0 if len(members) == 1 else 0.7, linewidth=0.8)
        else:
            spread_of(axes, inventory, tint)
            spread_of(wealth, change, tint)
        bounds = sorted({a.inventory_bound for a in members if not isinstance(a.arrivals, Recorded)})
        for bound in (*bounds, *(-bound for bound in bounds)):
            axes.axhline(bound, color=MUTED, linewidth=0.8, linestyle="--")
        wealth.axhline(0, color=MUTED, linewidth=0.7)
        largest = int(np.abs(inventory).max()) if inventory.size else 0
        count = f"{len(members)} agent{'s' * (len(members) > 1)}"
        limits = f"of ±{' / '.join(map(str, bounds))} (dashed)" if bounds else "without a bound"
        axes.set_title(f"{kind}: inventory of {count}, largest {largest} {limits}")
        axes.set_ylabel("lots")
        wealth.set_title(f"{kind}: change in wealth")
        wealth.set_ylabel("tick-lots")
        parts.append(f"{kind} {run.summary['kinds'][kind]['wealth_change']:+,.0f}")
    for axes in panels[-1]:
        axes.set(xlabel="time (timesteps)", xlim=(0, max(1, run.timesteps)))
    caption(
        figure,
        f"Up to {MOST_LINES} agents: a line each, of a longer run the inventory furthest from zero; more: median, middle half, and lowest to highest. "
        f"Changes in wealth, tick-lots: {', '.join(parts)}.",
    )
    return figure


def spread_of(axes: Axes, values: NDArray[np.float64], tint: str) -> None:
    """Median, middle half and range over agents, shape (timesteps, agents), at evenly spaced timesteps."""
    if not len(values):
        return
    steps = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS)).round().astype(np.int64))
    lowest, low, middle, high, highest = np.quantile(values[steps], [0, 0.25, 0.5, 0.75, 1], axis=1)
    axes.fill_between(steps + 1, lowest, highest, color=tint, alpha=0.25, linewidth=0)
    axes.fill_between(steps + 1, low, high, color=tint, alpha=0.55, linewidth=0)
    axes.plot(steps + 1, middle, color=INK, linewidth=0.8, marker="." if len(steps) < 5 else None)


def participation(story: Story) -> Figure:
    """Who traded how much, on what terms, and with whom."""
    figure = page("Agents: participation, terms of trade, counterparties")
    run, found = story.run, story.trading
    kinds = run.kinds
    if not story.moves.prints:
        empty(figure.subplots(), "there were no trades")
        caption(figure, "Nothing to measure without trades.")
        return figure
    panels = figure.subplot_mosaic(
        [["lots", "matrix"], ["spreads", "gains"], ["table", "table"]], height_ratios=(1.1, 1.1, 0.75)
    )
    lots, matrix, spreads, gains = (panels[name] for name in ("lots", "matrix", "spreads", "gains"))
    made = [run.summary["kinds"][kind]["maker_lots"] for kind in kinds]
    took = [run.summary["kinds"][kind]["taker_lots"] for kind in kinds]
    lots.barh([short(kind) for kind in kinds], made, color=MAKER_SHADE, label="as maker (resting)")
    lots.barh([short(kind) for kind in kinds], took, left=made, color=TAKER_SHADE, label="as taker (incoming)")
    lots.invert_yaxis()
    lots.set(title="Lots traded", xlabel="lots")
    lots.legend(loc="best")
    table_of(matrix, found.matrix.astype(float), kinds, BLUES, ",.0f")
    matrix.set(title="Who trades with whom: lots", xlabel="resting (maker)", ylabel="taking (taker)")
    half_spreads(found, spreads)
    table_of(gains, found.gains, kinds, DIVERGING, "+,.0f", centred=True)
    gains.set(title="Gained by the row's kind from the column's, tick-lots", xlabel="", ylabel="")
    panels["table"].axis("off")
    terms_by_kind(figure, story)
    caption(
        figure,
        f"{run.summary['traded_lots']:,} lots; each has a maker and a taker, so shares are of twice that. Half-spreads in ticks, lots weighted, with 95 % intervals; "
        f"half the quoted spread: {number(found.quoted)}.",
    )
    return figure


def half_spreads(found: trading.Trading, spreads: Axes) -> None:
    """What resting orders of each kind earned a lot, as they traded and later."""
    spreads.set(
        title=f"Half-spreads of resting orders, realised {trading.HORIZON} timesteps later",
        ylabel="ticks a lot",
    )
    for index, terms in enumerate(found.spreads.values()):
        for offset, (point, tint) in enumerate(((terms.effective, INK), (terms.realised, GREEN), (terms.impact, ASK))):
            place = index + 0.25 * (offset - 1)
            spreads.bar(place, point.mean, 0.23, color=tint)
            spreads.errorbar(
                place,
                point.mean,
                [[point.mean - point.low], [point.high - point.mean]],
                color="black",
                capsize=2,
                linewidth=0.8,
            )
    spreads.set_xticks(range(len(found.spreads)), [short(kind) for kind in found.spreads])
    if found.quoted is not None:
        spreads.axhline(found.quoted, color=MUTED, linewidth=0.9, linestyle="--")
    spreads.axhline(0, color=INK, linewidth=0.6)
    handles = [
        Line2D([], [], color=tint, linewidth=5, label=label)
        for label, tint in (("effective", INK), ("realised", GREEN), ("adverse selection", ASK))
    ]
    handles.append(Line2D([], [], color=MUTED, linestyle="--", label="half the quoted spread, time average"))
    spreads.margins(y=0.35)
    spreads.legend(handles=handles, ncols=2, loc="upper left", fontsize=6.5)


def terms_by_kind(figure: Figure, story: Story) -> None:
    """The table of each kind's part of the trading and its terms."""
    run, found = story.run, story.trading
    volume = 2 * max(1, run.summary["traded_lots"])
    cells = []
    charged = run.market.charges
    for kind in run.kinds:
        figures = run.summary["kinds"][kind]
        both = figures["maker_lots"] + figures["taker_lots"]
        cells.append(
            (
                short(kind), f"{both / volume:.1%}", number(figures["maker_lots"] / both if both else None, ".1%"), number(found.fill_rate[kind], ".1%"),
                *(number(getattr(found.spreads[kind], name).mean if kind in found.spreads else None) for name in ("effective", "realised", "impact")),
                *((f"{figures['wealth_change'] + figures['fees']:+,.0f}", f"{figures['fees']:,.0f}") if charged else ()),
                f"{figures['wealth_change']:+,.0f}",
            )
        )  # fmt: skip
    rows(
        figure, (0.03, 0.07, 0.94, 0.17), "",
        [
            "kind", "share of lots", "as maker", "fill rate of resting lots", "effective", "realised", "adverse selection",
            *(("before fees", "fees") if charged else ()), "wealth change",
        ],
        cells, (0.09, 0.1, 0.08, 0.17, 0.08, 0.08, 0.13, 0.09, 0.06, 0.12) if charged else (0.12, 0.13, 0.13, 0.17, 0.1, 0.1, 0.13, 0.12),
    )  # fmt: skip


def table_of(
    axes: Axes,
    values: NDArray[Any],
    kinds: list[str],
    cmap: LinearSegmentedColormap,
    form: str,
    *,
    centred: bool = False,
) -> None:
    """A matrix by kind with its numbers."""
    most = float(np.nanmax(np.abs(values))) or 1.0
    axes.imshow(values, cmap=cmap, vmin=-most if centred else 0, vmax=most, aspect="auto")
    axes.set_xticks(range(len(kinds)), [short(kind) for kind in kinds])
    axes.set_yticks(range(len(kinds)), [short(kind) for kind in kinds])
    axes.grid(visible=False)
    for (i, j), value in np.ndenumerate(values):
        dark = (not centred and value > 0.6 * most) or (centred and abs(value) > 0.75 * most)
        axes.text(j, i, f"{value:{form}}", ha="center", va="center", fontsize=7.5, color="white" if dark else INK)


def learner(story: Story, seat: trading.Seat | None = None) -> Figure:
    """What the policy in the learner's seat did, when, and what came of it."""
    seat = seat or (story.seats[0] if story.seats else None)
    others = f", the first of {len(story.seats)} such agents" if len(story.seats) > 1 else ""
    title = "The frozen policy" + (f": {seat.agent}{others}" if seat else "")
    figure = page(title)
    if seat is None:
        empty(figure.subplots(), "no frozen policy had a turn in this run")
        caption(figure, "Without such an agent there is nothing to show here.")
        return figure
    run, turns = story.run, seat.turns
    panels = figure.subplot_mosaic(
        [["inventory", "inventory", "inventory"], ["offsets", "offsets", "lots"], ["state", "net", "earned"]],
        height_ratios=(1, 1, 1.25),
    )
    inventory_panel(panels["inventory"], run, seat)
    offers_panels(panels["offsets"], panels["lots"], run, turns)
    state_panels(panels["state"], panels["net"], seat)
    earned_panel(panels["earned"], run, seat)
    caption(
        figure,
        f"n: turns, of all but those that found a one-sided book. Orders in {number(seat.ordering, '.1%')} of turns, trades after {seat.trading:.1%}; beyond {NEAR_BOUND:.0%} of its bound in {seat.near_bound:.2%} of timesteps; "
        f"against doing nothing {seat.wealth_change - seat.idle_change:+,.0f} tick-lots at the mid, {seat.liquidation_change - seat.idle_change:+,.0f} with its inventory closed through the book.",
    )
    return figure


def inventory_panel(inventory: Axes, run: Run, seat: trading.Seat) -> None:
    """The seat's inventory between its bounds."""
    own = run.market.agent_ids.index(seat.agent)
    bound = run.market.agents[own].inventory_bound
    place, mean, low, high = binned(run.account("inventory")[:, own].astype(np.float64))
    inventory.fill_between(place, low, high, color=colour(run, LEARNER_KIND), alpha=0.3, linewidth=0)
    inventory.plot(place, mean, color=colour(run, LEARNER_KIND))
    for share, style in ((1.0, "--"), (NEAR_BOUND, ":")):
        for sign in (1, -1):
            inventory.axhline(sign * share * bound, color=MUTED, linewidth=0.8, linestyle=style)
    inventory.set(
        title=f"Inventory; dashed: bound, dotted: {NEAR_BOUND:.0%} of it",
        ylabel="lots",
        xlim=(0, max(1, run.timesteps)),
    )


def offers_panels(offsets: Axes, lots: Axes, run: Run, turns: pl.DataFrame) -> None:
    """Prices over time and lots that the seat asked for."""
    steps = turns["timestep"].to_numpy()
    series = {}
    for side in ("bid", "ask"):
        wanted = turns.select(pl.when(pl.col(f"{side}_lots") > 0).then(pl.col(f"{side}_offset"))).to_series()
        values = np.full(run.timesteps, np.nan)
        values[steps] = wanted.cast(pl.Float64).fill_null(np.nan).to_numpy()
        series[side] = values
        place, mean, low, high = binned(values, FEW_POINTS)
        tint = BID if side == "bid" else ASK
        offsets.fill_between(place, low, high, color=tint, alpha=0.2, linewidth=0)
        offsets.plot(place, mean, color=tint, label=side, marker="." if len(place) < 5 else None)
    offsets.set(
        title="Prices asked for: distance from the reference price",
        ylabel="ticks (negative: through it)",
        xlabel="time (timesteps)",
        xlim=(0, max(1, run.timesteps)),
    )
    offsets.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 0.97), borderaxespad=0.2)
    sizes = sorted({*turns["bid_lots"].drop_nulls(), *turns["ask_lots"].drop_nulls()})
    for side, tint, shift in (("bid", BID, -0.2), ("ask", ASK, 0.2)):
        asked = turns[f"{side}_lots"].drop_nulls()
        if len(asked):
            shares = [float((asked == size).mean()) for size in sizes]
            lots.bar(np.arange(len(sizes)) + shift, shares, 0.38, color=tint, label=side)
    every = -(-len(sizes) // 12) or 1  # as many names as fit
    lots.set_xticks(range(0, len(sizes), every), [str(size) for size in sizes[::every]])
    lots.set(title="Lots asked for", xlabel="lots (0: no order)", ylabel="share of turns")
    if turns["bid_lots"].null_count() < turns.height:
        lots.legend()
    else:
        empty(lots, "actions were not recorded:\nthe run was cut off")
        empty(offsets, "actions were not recorded: the run was cut off")


def state_panels(state: Axes, net: Axes, seat: trading.Seat) -> None:
    """What the seat does by its inventory and the imbalance of the book."""
    turns = seat.turns
    chance, counts_by_state = trading.by_state(turns, "traded")
    state_table(
        state,
        chance,
        counts_by_state,
        BLUES,
        ".0%",
        0.0,
        max(0.01, float(np.nanmax(chance))) if counts_by_state.any() else 1.0,
        "no turn found\na two-sided book",
    )
    state.set_title("Share of turns with a trade (n: turns)")
    unknown = "actions were not recorded:\nthe run was cut off"
    wanted, counted = trading.by_state(turns.with_columns(net=pl.col("bid_lots") - pl.col("ask_lots")), "net")
    most = float(np.nanmax(np.abs(wanted))) if counted.any() else 1.0
    state_table(
        net,
        wanted,
        counted,
        DIVERGING,
        "+.1f",
        -(most or 1.0),
        most or 1.0,
        unknown if seat.ordering is None else "no turn found\na two-sided book",
    )
    net.set_title("Lots bid less lots offered, a turn")


def earned_panel(earned: Axes, run: Run, seat: trading.Seat) -> None:
    """From whom the seat earns what, against doing nothing."""
    bars = [(f"trades with {short(kind)}", gain, colour(run, kind)) for kind, gain in seat.edge.items()]
    bars.append(("inventory held", seat.holding - seat.idle_change, MUTED))
    if run.market.charges:
        bars.append(("fees", -seat.fees, INK))
    names, amounts, colours = zip(*bars, strict=True)
    earned.barh(names, amounts, color=colours)
    earned.axvline(0, color=INK, linewidth=0.7)
    earned.invert_yaxis()
    earned.set(title="What it earns", xlabel="tick-lots, against doing nothing")


def state_table(
    axes: Axes,
    values: NDArray[Any],
    counts: NDArray[Any],
    cmap: LinearSegmentedColormap,
    form: str,
    low: float,
    high: float,
    why: str,
) -> None:
    """Means by inventory and imbalance, bins as wide as they are; how many turns in small print."""
    if not counts.any():
        empty(axes, why)
        return
    edges_x, edges_y = np.array(trading.IMBALANCE_BINS), np.array(trading.INVENTORY_BINS)
    axes.grid(visible=False)
    axes.pcolormesh(
        edges_x,
        edges_y,
        np.ma.masked_invalid(values),
        cmap=cmap,
        vmin=low,
        vmax=high,
        edgecolors="white",
        linewidth=0.8,
    )
    axes.set_xticks(edges_x, [f"{edge:g}" for edge in edges_x])
    axes.set_yticks(edges_y, [f"{edge:g}" for edge in edges_y])
    axes.set(xlabel="imbalance at the touch", ylabel="inventory / bound")
    seen = np.flatnonzero(counts.any(axis=1))
    axes.set_ylim(edges_y[seen[0]], edges_y[seen[-1] + 1])
    for (i, j), value in np.ndenumerate(values):
        if counts[i, j]:
            between = "\n" if edges_y[i + 1] - edges_y[i] > 0.2 * float(np.ptp(axes.get_ylim())) else "  "
            dark = abs(value) > 0.7 * max(abs(low), abs(high))
            axes.text(
                (edges_x[j] + edges_x[j + 1]) / 2, (edges_y[i] + edges_y[i + 1]) / 2, f"{value:{form}}{between}n {counts[i, j]:,}",
                ha="center", va="center", fontsize=6.5, linespacing=1.5, color="white" if dark else INK,
            )  # fmt: skip
