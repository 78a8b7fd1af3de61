"""Price, liquidity and flow; how the price was found; the two sides under pressure; thin liquidity."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from market_env.engine.state import BUY, KIND_ACCEPT, KIND_CANCEL, KIND_TRADE, KIND_TURN
from runners.measures import discovery, liquidity
from runners.measures.intervals import Interval, mean_of
from runners.measures.trading import signed_flow_by_kind
from runners.report.story import Story
from runners.report.style import (  # fmt: skip
    ASK,
    BAND,
    BID,
    BUYER,
    CAUSE_COLOURS,
    FEW_POINTS,
    GREEN,
    INK,
    MUTED,
    SELLER,
    binned,
    caption,
    colour,
    empty,
    number,
    over_time,
    page,
    short,
)


def flow(story: Story) -> Figure:
    """Mid, spread, depth, imbalance, volume, signed flow by kind, and the rates of what happened."""
    figure = page("Price, liquidity and order flow")
    panels = figure.subplots(7, 1, sharex=True, height_ratios=(1.4, 0.8, 1.1, 0.7, 0.9, 1.2, 1.5))
    price, spread, depth, imbalance, volume, signed, rates = panels
    run, line = story.run, story.line
    steps = run.timesteps
    titles = (
        "Mid", "Spread", f"Depth within {line.near_ticks} ticks of the mid (asks up, bids down)",
        "Imbalance at the touch", "Signed flow: lots bought (up) and sold (down) by aggressors", "Running sum of signed flow by the aggressor's kind", "What happened",
    )  # fmt: skip
    labels = ("ticks", "ticks", "lots", "share", "lots a\ntimestep", "lots", "a timestep\n(log scale)")
    for axes, title, label in zip(panels, titles, labels, strict=True):
        axes.set_title(title, fontsize=8.5, pad=3)
        axes.set_ylabel(label)
    rates.set_xlabel("time (timesteps)")
    if not steps:
        for axes in panels:
            empty(axes, "no whole timestep was recorded")
        return figure
    over_time(price, story.series("mid"), INK)
    two_sides(story, spread, imbalance, depth)
    traded_flow(story, volume, signed)
    what_happened(story, rates)
    summary = run.summary
    width = -(-steps // 700)
    caption(
        figure,
        f"Mid {number(summary['lowest_mid'], ',.1f')} to {number(summary['highest_mid'], ',.1f')} ticks, mean spread {number(summary['mean_spread'])} ticks; "
        f"aggressors bought {story.figures['lots bought by aggressors']:,} and sold {story.figures['lots sold by aggressors']:,} lots."
        + (
            f" Lines: means of {width} timesteps, bands their range; the last strip: means of {-(-steps // FEW_POINTS)}."
            if width > 1
            else ""
        ),
    )
    return figure


def two_sides(story: Story, spread: Axes, imbalance: Axes, depth: Axes) -> None:
    """Spread, imbalance at the touch, and depth near the mid, over time."""
    line = story.line
    if np.isnan(story.series("spread")).all():
        for axes in (spread, imbalance):
            empty(axes, "the book was never two-sided")
    else:
        over_time(spread, story.series("spread"), GREEN)
        spread.set_ylim(bottom=0)
        over_time(imbalance, story.series("imbalance"), INK)
        imbalance.set_ylim(-1, 1)
    for side, sign, tint in ((1, 1, ASK), (0, -1, BID)):
        place, mean, low, _ = binned(line.near_depth[:, side].astype(np.float64))
        depth.fill_between(place, sign * mean, color=tint, alpha=0.6, linewidth=0, label=("bid", "ask")[side])
        if len(place) < story.run.timesteps:
            depth.plot(place, sign * low, color=tint, linewidth=0.4)
    depth.axhline(0, color=INK, linewidth=0.6)
    depth.legend(loc="lower right", ncols=2, bbox_to_anchor=(1, 0.95), borderaxespad=0.1)


def traded_flow(story: Story, volume: Axes, signed: Axes) -> None:
    """Lots that aggressors took each way, and their running sums by kind."""
    line = story.line
    lots = line.events["lots"].astype(np.float64)
    trade = line.events["kind"] == KIND_TRADE
    if trade.any():
        bought = line.events["side"] == BUY
        for rows, sign, tint in ((trade & bought, 1, BUYER), (trade & ~bought, -1, SELLER)):
            place, mean, _, most = binned(line.per_timestep(rows, lots[rows]))
            volume.fill_between(place, sign * most, color=tint, alpha=0.35, linewidth=0, step="mid")
            volume.plot(place, sign * mean, color=tint, linewidth=0.8)
        volume.axhline(0, color=INK, linewidth=0.6)
        by_kind = np.cumsum(signed_flow_by_kind(line), axis=0)
        for index, kind in enumerate(line.kinds):
            if by_kind[:, index].any():
                over_time(signed, by_kind[:, index], colour(story.run, kind), kind, band=False)
        over_time(signed, by_kind.sum(axis=1), INK, "all", band=False)
        bottom, top = signed.get_ylim()
        signed.set_ylim(bottom, top + 0.35 * (top - bottom))
        signed.legend(loc="upper left", ncols=5)
    else:
        for axes in (volume, signed):
            empty(axes, "there were no trades")


def what_happened(story: Story, rates: Axes) -> None:
    """Arrivals, submissions, cancels and trades a timestep."""
    kinds = story.line.events["kind"]
    for label, code, tint, style in (
        ("arrivals (turns)", KIND_TURN, INK, "-"), ("submissions", KIND_ACCEPT, BID, "-"), ("cancels", KIND_CANCEL, ASK, "--"), ("trades", KIND_TRADE, GREEN, "-"),
    ):  # fmt: skip
        place, mean, *_ = binned(story.line.per_timestep(kinds == code), FEW_POINTS)
        if (mean > 0).any():
            rates.plot(
                place,
                np.where(mean > 0, mean, np.nan),
                color=tint,
                linestyle=style,
                label=label,
                marker="." if len(place) < 5 else None,
            )
    if not rates.lines:
        empty(rates, "nothing happened")
        return
    rates.set_yscale("log")
    rates.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    rates.set_xlim(0, max(1, story.run.timesteps))
    low, high = rates.get_ylim()
    rates.set_ylim(low, high * (high / low) ** 0.35)  # room for the legend
    rates.legend(loc="upper left", ncols=4)


def price_discovery(story: Story) -> Figure:
    """How the price moved through resting orders."""
    figure = page("Price discovery: how the price moved through resting orders")
    moves = story.moves
    total = sum(moves.count.values())
    if not total:
        empty(figure.subplots(), "the mid never moved between two-sided books")
        caption(figure, f"{moves.prints:,} trades, jumps without touching resting orders: {moves.jumps}.")
        return figure
    panels = figure.subplot_mosaic([["path", "path", "shares"], ["levels", "impact", "text"]])
    path, shares, levels, impact, text = (panels[name] for name in ("path", "shares", "levels", "impact", "text"))
    path_by_cause(moves, path)
    shares_by_cause(moves, shares)
    levels_emptied(moves, levels, impact)
    text.axis("off")
    text.set_title("Jumps without touching resting orders")
    text.text(
        0, 0.95,
        f"{moves.prints:,} trades, {moves.off_touch} of them not at the best\nresting price of the side that they hit.\n\n"
        f"{moves.unexplained} changes of a best price that are neither from\nthe price of the event's own trade or cancel, nor to\nthe limit of its own order.\n\n"
        f"Jumps: {moves.jumps}. Counted over every event of the log,\n{len(story.line.events):,} in all, against the book just before it.",
        va="top", fontsize=9, color=INK,
    )  # fmt: skip
    multi = sum(count for level, count in moves.levels.items() if level > 1)
    orders = sum(moves.levels.values())
    caption(
        figure,
        f"{total:,} moves of {sum(moves.ticks.values()):,.0f} ticks in all; "
        + (f"{multi / orders:.1%} of {orders:,} aggressors' orders emptied more than one level; " if orders else "")
        + (
            f"{moves.consumed:.2f} levels were emptied for each change of a best price by one; "
            if moves.consumed is not None
            else ""
        )
        + f"jumps: {moves.jumps}.",
    )
    return figure


def path_by_cause(moves: discovery.Moves, path: Axes) -> None:
    """Running sums of the mid's moves by cause."""
    path.set(
        title="Where the mid's path came from: running sums of its moves by cause",
        xlabel="time (timesteps)",
        ylabel="ticks",
    )
    running = {cause: np.cumsum(moves.changes[cause]) for cause in discovery.CAUSES}
    for cause, values in running.items():
        over_time(path, values, CAUSE_COLOURS[cause], cause, band=False)
    over_time(path, sum(running.values(), np.zeros(1)), INK, "all", band=False)
    path.legend(loc="best", ncols=4)


def shares_by_cause(moves: discovery.Moves, shares: Axes) -> None:
    """Each cause's share of the moves and of their ticks."""
    shares.set(title="Moves of the mid by cause", ylabel="share")
    total = sum(moves.count.values())
    place = np.arange(len(discovery.CAUSES))
    ticks = sum(moves.ticks.values())
    shares.bar(
        place - 0.2,
        [moves.count[c] / total for c in discovery.CAUSES],
        0.38,
        color=[CAUSE_COLOURS[c] for c in discovery.CAUSES],
    )
    shares.bar(
        place + 0.2, [moves.ticks[c] / ticks for c in discovery.CAUSES], 0.38,
        color=[CAUSE_COLOURS[c] for c in discovery.CAUSES], alpha=0.45,
    )  # fmt: skip
    shares.set_xticks(place, [f"{cause}\n{moves.count[cause]:,}" for cause in discovery.CAUSES])
    shares.legend(handles=[Patch(color=MUTED, label="of moves"), Patch(color=MUTED, alpha=0.45, label="of ticks")])


def levels_emptied(moves: discovery.Moves, levels: Axes, impact: Axes) -> None:
    """How many levels aggressors' orders emptied, and how far the mid moved with them."""
    names = [f"{level}{'+' * (level == discovery.MOST_LEVELS)}" for level in moves.levels]
    levels.set(title="Levels that aggressors' orders emptied", xlabel="levels emptied", ylabel="orders (log scale)")
    impact.set(
        title="The mid's move with such an order",
        xlabel="levels emptied",
        ylabel="ticks in its direction, 95 % interval",
    )
    if moves.levels:
        levels.bar(names, list(moves.levels.values()), color=BID)
        levels.set_yscale("log")
        for bar, count in enumerate(moves.levels.values()):
            levels.text(bar, count, f"{count:,}", ha="center", va="bottom", fontsize=7.5)
        levels.margins(y=0.15)
        with_interval(impact, [mean_of(moves.impact[level]) for level in moves.levels], BID, names)
    else:
        for axes in (levels, impact):
            empty(axes, "there were no trades")


def with_interval(
    axes: Axes,
    points: list[Interval],
    color: str,
    names: list[str] | None = None,
    label: str | None = None,
    shift: float = 0.0,
) -> None:
    """Means with their intervals, one a name; ``shift`` sets two beside each other."""
    place = np.arange(len(points)) + shift
    means = np.array([point.mean for point in points])
    spans = np.array([[point.mean - point.low, point.high - point.mean] for point in points]).T
    axes.errorbar(
        place, means, np.nan_to_num(spans), color=color, marker="o", markersize=4, linewidth=1, capsize=3, label=label
    )
    if names:
        axes.set_xticks(range(len(points)), names)


def pressure(story: Story) -> Figure:
    """Depth of the two sides by signed flow, and after large orders."""
    figure = page("Asymmetry under pressure, and recovery after large orders")
    left, right = figure.subplots(1, 2)
    found, back = story.pressure, story.recovery
    left.set(
        title=f"Depth within {story.line.near_ticks} ticks of the mid by signed flow",
        xlabel=f"aggressors' net lots in {liquidity.PRESSURE_TIMESTEPS} timesteps, mean of each group", ylabel="lots, mean and 95 % interval",
    )  # fmt: skip
    parts = []
    if found is None:
        empty(left, "too few trades: no buying and selling of two sizes each")
    else:
        names = [
            f"{name.replace(' ', chr(10))}\n{'none' if np.isnan(flow) else f'{round(flow):+,d}'}"
            for name, flow in zip(liquidity.PRESSURES, found.flow, strict=True)
        ]
        for side, tint, label in ((0, BID, "bid"), (1, ASK, "ask")):
            with_interval(left, found.depth[side], tint, names, label, 0.08 * (side - 0.5))
        left.set_ylim(bottom=0)
        left.legend()
        if found.difference:
            gap = found.difference
            parts.append(
                f"bid less ask depth, heavy buying against heavy selling: {gap.mean:+.1f} lots [{gap.low:+.1f}, {gap.high:+.1f}]"
            )
    right.set(
        title="Depth after a large aggressor's order", xlabel="timesteps after it (ends of timesteps)",
        ylabel="depth after over depth just before, sums, 95 % interval",
    )  # fmt: skip
    if back is None:
        empty(right, "fewer than ten large orders with depth on both sides")
    else:
        place = np.array([-2.0, *range(len(back.path))])
        for points, tint, style, label in (
            ([back.after, *back.path], INK, "o-", "the side that it hit"),
            (back.other, ASK, "--", "the other side"),
            (back.small, BID, ":", "the side that smaller orders hit"),
        ):
            low, high = (np.array([getattr(point, end) for point in points]) for end in ("low", "high"))
            right.fill_between(place, low, high, color=tint, alpha=0.15, linewidth=0)
            right.plot(place, [point.mean for point in points], style, color=tint, markersize=3, label=label)
        right.axhline(1, color=MUTED, linewidth=0.8, linestyle="--")
        right.set_ylim(0, 1.12 * right.get_ylim()[1])
        right.set_xticks([-2, *range(0, len(back.path), 5)], ["just\nafter", *map(str, range(0, len(back.path), 5))])
        right.legend(loc="upper left", ncols=3)
        parts.append(recovered(back))
    caption(figure, (". ".join(part[0].upper() + part[1:] for part in parts) or "Nothing could be measured") + ".")
    return figure


def recovered(back: liquidity.Recovery) -> str:
    """How depth comes back after large orders, and whether it stays."""
    who, means = f"{back.orders:,} orders of {back.smallest} lots or more", [point.mean for point in back.path]
    if not back.after.mean < 1 or np.isnan(means).all():
        return f"{who} leave no less depth than they meet"
    best = int(np.nanargmax(means))

    def after(count: int) -> str:
        return "by the end of their own timestep" if count == 0 else f"{count} timestep{'s' * (count > 1)} later"

    half = (
        f"half of that is back {after(back.half_life)}"
        if back.half_life is not None
        else f"less than half of that is back within {len(means) - 1} timesteps"
    )
    later = f"at its largest it is {means[best]:.0%} of what it was before, {after(best)}"
    later += f", and {means[-1]:.0%} at the end" if means[-1] < means[best] - 0.05 else ""
    return f"{who} take {1 - back.after.mean:.1%} of the depth they meet; {half}; {later}"


def thinning(story: Story) -> Figure:
    """Episodes of thin liquidity, and the arrivals around them."""
    figure = page("Liquidity thinning: does the book thin when arrivals cluster?")
    found, run, line = story.thinning, story.run, story.line
    names = ("study", "aggression", "shape", "left")
    mosaic = figure.subplot_mosaic([["depth"] * 4, ["arrivals"] * 4, list(names)], height_ratios=(1.3, 1, 1.8))
    depth, arrivals = mosaic["depth"], mosaic["arrivals"]
    arrivals.sharex(depth)
    depth.set_title(
        f"Depth within {line.near_ticks} ticks of the mid; shaded: from below {found.thin:.0%} of its usual level to {found.back:.0%}"
    )
    depth.set_ylabel("lots")
    arrivals.set_title("Arrivals: turns of all agents")
    arrivals.set(ylabel="turns a timestep", xlabel="time (timesteps)", xlim=(0, max(1, run.timesteps)))
    if run.timesteps:
        episodes_over_time(story, depth, arrivals)
    panels = [mosaic[name] for name in names]
    study, aggression, shape, left = panels
    titles = (
        "Arrivals around the start",
        "Lots taken around the start",
        "Depth around the start",
        "Lots near the mid, by owner",
    )
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title)
    if not found.episodes:
        for axes in panels:
            empty(axes, "no episode of\nthin liquidity")
        caption(
            figure,
            f"Depth never fell below {found.thin:.0%} of its usual level after the first 50 timesteps: nothing to study.",
        )
        return figure
    around_the_start(found, study, aggression, shape)
    who_left(story, left)
    took = f"; recovery takes {np.median(found.recovery):.0f} timesteps (median)" if found.recovery else ""
    words = {
        "clear": "clear evidence of clustering", "weak": "weak evidence of clustering", "no": "no evidence of clustering",
        "few": f"fewer than {liquidity.FEWEST_EPISODES} episodes: nothing is claimed",
    }  # fmt: skip
    count = len(found.episodes)
    caption(
        figure,
        f"{count} episode{'s' * (count > 1)}; {number(found.before, '.1f')} turns a timestep up to their start, {number(found.elsewhere, '.1f')} elsewhere, "
        f"p = {number(found.p_value, '.3f')}: {words[found.verdict]}{took}.",
    )
    return figure


def episodes_over_time(story: Story, depth: Axes, arrivals: Axes) -> None:
    """Depth near the mid against its usual level, and arrivals, the episodes shaded."""
    found, run, line = story.thinning, story.run, story.line
    over_time(depth, line.near_depth.sum(axis=1).astype(np.float64), INK)
    over_time(depth, found.usual, BID, "usual level", band=False)
    over_time(depth, found.thin * found.usual, ASK, "threshold", band=False)
    depth.set_ylim(bottom=0)
    depth.legend(loc="lower right", ncols=2, bbox_to_anchor=(1, 1), borderaxespad=0.1)
    over_time(arrivals, story.turns, INK)
    for axes in (depth, arrivals):
        for start, end in found.episodes[:500]:
            axes.axvspan(start, max(end, start + run.timesteps / 700), color=ASK, alpha=0.22, linewidth=0)


def around_the_start(found: liquidity.Thinning, study: Axes, aggression: Axes, shape: Axes) -> None:
    """Arrivals, lots taken and depth around the starts of episodes."""
    lags = liquidity.STUDY
    for axes, seen, label in (
        (study, found.arrivals, "turns a timestep"),
        (aggression, found.aggression, "lots a timestep"),
        (shape, found.depth, "relative to usual"),
    ):
        axes.fill_between(lags, seen.low, seen.high, color=BAND, linewidth=0, label="95 % of shifted starts")
        axes.plot(lags, seen.mean, color=INK, label="mean over episodes")
        axes.set_ylabel(label)
        axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # room for the legend
    study.legend(loc="upper left", fontsize=6.5, frameon=True, framealpha=1.0, edgecolor="none")
    shape.axhline(found.thin, color=ASK, linewidth=0.8, linestyle="--")
    for axes in (study, aggression, shape):
        axes.axvline(0, color=ASK, linewidth=0.8)
        axes.set_xlabel("timesteps from start")


def who_left(story: Story, left: Axes) -> None:
    """By kind what left as episodes began."""
    found, run = story.thinning, story.run
    kinds = list(found.left)
    left.barh(
        [short(kind) for kind in kinds],
        [found.left[kind] for kind in kinds],
        color=[colour(run, kind) for kind in kinds],
    )
    middle = [sum(found.left_by_chance[kind]) / 2 for kind in kinds]
    reach = [(found.left_by_chance[kind][1] - found.left_by_chance[kind][0]) / 2 for kind in kinds]
    left.errorbar(
        middle, np.arange(len(kinds)), xerr=reach, fmt="none", color=MUTED, capsize=3, label="95 % of shifted starts"
    )
    left.axvline(0, color=INK, linewidth=0.7)
    left.legend(loc="lower left", fontsize=6.5)
    left.set(xlabel=f"change in {liquidity.BEFORE} timesteps, lots")
    left.invert_yaxis()
