"""Liquidity: walls, depth under pressure, recovery after large orders, and thinning with the arrivals around it.

Every threshold is a constant here, and the report quotes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from market_env.engine.state import BUY, KIND_TURN, SELL
from runners.files.summary import OPENING
from runners.measures.intervals import Floats, Interval, around, block_means, interval, ratio_of, shifted
from runners.measures.timeline import Timeline

WALL_SIZE = 4.0
"""A wall has at least so many times the lots of a typical level,"""
WALL_TIMESTEPS = 30
"""for at least so many timesteps without a break,"""
WALL_REACH = 5
"""and begins within so many times the distance that counts as near the mid."""

PRESSURE_TIMESTEPS = 10
"""Signed flow is summed over so many timesteps, and depth is looked at when they end."""
PRESSURES = ("heavy selling", "selling", "no net flow", "buying", "heavy buying")
"""Groups of such stretches: those of net selling and of net buying in halves, and the others."""
PRESSURE_BLOCK = 100
"""Timesteps of a block of the bootstrap: flow overlaps for ten, and depth remembers for longer;"""
FEWEST_BLOCKS = 20
"""with fewer blocks no interval is given."""

LARGE_SHARE = 0.05
"""Large orders are the largest of this share of all aggressors' orders, by lots traded."""
MOST_SMALL = 5_000
"""Smaller orders that are looked at beside them at most, evenly chosen."""
RECOVERY = 31
"""Ends of timesteps after a large order that are looked at."""

THIN_SHARE = 0.7
"""Liquidity is thin when depth near the mid is below this share of its usual level,"""
THIN_OFTEN = 0.2
"""or, in a market whose depth is below it in more than this much of the time,"""
THIN_QUANTILE = 0.05
"""below the share that it is below in so much of the time,"""
USUAL_TIMESTEPS = 501
"""the median over so many timesteps around; a shorter run's own median."""
BACK = 0.5
"""An episode ends when so much of the way from there to the usual level is made."""
BEFORE = 5
"""Arrivals in so many timesteps up to an episode's start are compared with those at other times."""
STUDY = np.arange(-20, 21)
BAND_DRAWS = 200
"""Shifted starts that a band is drawn from, a fifth of those that the evidence is judged by."""
FEWEST_EPISODES = 5
"""With fewer episodes nothing is claimed."""
CLEAR, WEAK = 0.01, 0.05
"""Evidence is clear or weak when so small a share of shifted starts shows as many arrivals."""


class Wall(NamedTuple):
    """A level that was far above the typical size and stayed."""

    side: int
    price: int
    start: int
    end: int
    """Timesteps at whose ends it stood: start … end - 1."""
    mean_lots: float
    most_lots: int
    owners: dict[str, float]
    """Share of its lots over time, by agent, largest first."""
    kinds: dict[str, float]
    """The same by kind."""
    traded_lots: int
    """Lots that were traded out of it."""


@dataclass(frozen=True)
class Walls:
    """All walls of a run, longest first, and what they were measured against."""

    walls: list[Wall]
    typical_lots: float
    """Median lots, over levels and time, of an occupied level within ``reach`` of the mid."""
    reach: int
    """Ticks from the mid within which levels are looked at."""
    kinds: dict[str, float]
    """Share of all walls' lots over time by owner's kind."""


def level_pieces(line: Timeline) -> tuple[NDArray[np.int64], ...]:
    """Every level's lots over time as pieces: side, price, first timestep, timestep after the last, lots at their ends."""
    sides = []
    for side in (BUY, SELL):  # a side at a time, which halves the room that it takes
        rows = line.stretches[(line.stretches["first"] < line.stretches["last"]) & (line.stretches["side"] == side)]
        price = np.tile(rows["price"], 2)
        when = np.concatenate([rows["first"], rows["last"]])
        change = np.concatenate([rows["lots"], -rows["lots"]])
        order = np.lexsort((when, price))
        price, when, change = price[order], when[order], change[order]
        lots = np.cumsum(change, dtype=np.int64)  # each level ends empty, so the sum starts anew by itself
        end = np.append(when[1:], 0)
        same_level = np.append(price[1:] == price[:-1], np.False_)
        keep = same_level & (end > when) & (lots > 0)
        sides.append((np.full(np.count_nonzero(keep), side), price[keep], when[keep], end[keep], lots[keep]))
    return tuple(np.concatenate(parts).astype(np.int64) for parts in zip(*sides, strict=True))


def walls(line: Timeline) -> Walls:
    """Find the walls."""
    reach = WALL_REACH * line.near_ticks
    side, price, first, end, lots = level_pieces(line)
    if not len(lots):
        return Walls([], 0.0, reach, {})
    close = np.abs(price - line.mid[first]) <= reach
    steps = np.bincount(lots[close], (end - first)[close])
    typical = float(np.searchsorted(np.cumsum(steps), steps.sum() / 2))
    large = lots >= WALL_SIZE * typical
    if not large.any():
        return Walls([], typical, reach, {})
    side, price, first, end, close = side[large], price[large], first[large], end[large], close[large]
    goes_on = np.append(np.False_, (side[1:] == side[:-1]) & (price[1:] == price[:-1]) & (first[1:] == end[:-1]))
    begins = np.flatnonzero(~goes_on)
    lasts = np.append(begins[1:], len(first))[: len(begins)] - 1
    rows, trades = line.stretches, line.events[line.trades]
    by_level = Grouped(rows["price"].astype(np.int64) * 2 + rows["side"], rows)
    # A resting buy is hit by an aggressor that sells.
    by_print = Grouped(trades["price"].astype(np.int64) * 2 + (1 - trades["side"]), trades)
    result = [
        _wall(line, by_level, by_print, int(side[i]), int(price[i]), int(first[i]), int(end[last]))
        for i, last in zip(begins, lasts, strict=True)
        if end[last] - first[i] >= WALL_TIMESTEPS and close[i]
    ]
    result.sort(key=lambda wall: wall.start - wall.end)
    weights: dict[str, float] = {}
    for wall in result:
        for kind, share in wall.kinds.items():
            weights[kind] = weights.get(kind, 0.0) + share * wall.mean_lots * (wall.end - wall.start)
    total = sum(weights.values())
    kinds = {kind: weight / total for kind, weight in sorted(weights.items(), key=lambda item: -item[1])}
    return Walls(result, typical, reach, kinds)


class Grouped:
    """Rows by key, found without looking at the others."""

    def __init__(self, keys: NDArray[np.int64], rows: NDArray[np.void]) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]

    def __getitem__(self, key: int) -> NDArray[np.void]:
        low, high = np.searchsorted(self._keys, [key, key + 1])
        return self._rows[low:high]


def _wall(line: Timeline, by_level: Grouped, by_print: Grouped, side: int, price: int, start: int, end: int) -> Wall:
    rows = by_level[2 * price + side]
    rows = rows[(rows["last"] > start) & (rows["first"] < end)]
    steps = np.minimum(rows["last"], end) - np.maximum(rows["first"], start)
    weight = np.bincount(rows["agent"], steps * rows["lots"], len(line.kind_of))
    total = weight.sum()
    owners = {line.run.market.agents[i].id: float(weight[i] / total) for i in np.argsort(-weight) if weight[i]}
    by_kind = np.bincount(line.kind_of, weight, len(line.kinds)) / total
    kinds = {line.kinds[i]: float(by_kind[i]) for i in np.argsort(-by_kind) if by_kind[i]}
    change = np.zeros(end - start + 1, np.int64)
    np.add.at(change, np.maximum(rows["first"], start) - start, rows["lots"])
    np.subtract.at(change, np.minimum(rows["last"], end) - start, rows["lots"])
    trades = by_print[2 * price + side]
    hit = (trades["timestep"] >= start) & (trades["timestep"] < end)
    return Wall(
        side, price, start, end, float(total / (end - start)), int(np.cumsum(change)[:-1].max()), owners, kinds,
        int(trades["lots"][hit].sum()),
    )  # fmt: skip


@dataclass(frozen=True)
class Pressure:
    """Depth near the mid after stretches of selling and buying, see :data:`PRESSURES`."""

    flow: list[float]
    """Mean signed flow of each group, lots; NaN for one without a stretch."""
    depth: dict[int, list[Interval]]
    """Lots near the mid by side and group."""
    difference: Interval | None
    """(bid depth - ask depth) after heavy buying less that after heavy selling; None if the run is too short to say."""


def pressure(line: Timeline) -> Pressure | None:
    """Bid against ask depth conditional on signed flow; None without selling and buying of two sizes each."""
    total = np.concatenate([[0.0], np.cumsum(line.signed_flow)])
    if len(total) <= 5 * PRESSURE_TIMESTEPS:
        return None
    flow = total[PRESSURE_TIMESTEPS:] - total[:-PRESSURE_TIMESTEPS]
    depth = line.near_depth[PRESSURE_TIMESTEPS - 1 :].astype(np.float64)
    groups = np.full(len(flow), PRESSURES.index("no net flow"))
    for sign, heavy, light in ((-1, 0, 1), (1, 4, 3)):
        under = sign * flow > 0
        if not under.any():
            return None
        much = np.median(np.abs(flow[under]))
        groups[under] = np.where(np.abs(flow[under]) > much, heavy, light)
    count = len(PRESSURES)
    if not {0, 4} <= set(groups.tolist()):
        return None
    means = [float(flow[groups == number].mean()) if (groups == number).any() else np.nan for number in range(count)]
    found = {}
    blocks = len(flow) // PRESSURE_BLOCK
    enough = blocks if blocks >= FEWEST_BLOCKS else 0

    def mean(values: Floats, number: int) -> float:
        chosen = values[groups == number]
        return float(chosen.mean()) if len(chosen) else np.nan

    for side in (BUY, SELL):
        draws = block_means(depth[:, side], groups, count, PRESSURE_BLOCK)
        found[side] = [interval(draws[:, number], mean(depth[:, side], number), enough) for number in range(count)]
    if not enough:
        return Pressure(means, found, None)
    apart = depth[:, BUY] - depth[:, SELL]
    draws = block_means(apart, groups, count, PRESSURE_BLOCK)
    return Pressure(means, found, interval(draws[:, 4] - draws[:, 0], mean(apart, 4) - mean(apart, 0), blocks))


@dataclass(frozen=True)
class Recovery:
    """Depth after aggressors' orders, relative to that just before them (Degryse et al. 2005, Large 2007).

    Sums over orders of depth after, over sums of depth before: a mean of ratios would drift upwards by itself.
    """

    orders: int
    """Large ones."""
    smallest: int
    """Lots of the smallest of them."""
    after: Interval
    """On the side that they hit, just after them."""
    path: list[Interval]
    """At the end of the order's timestep and of the :data:`RECOVERY` - 1 following ones."""
    other: list[Interval]
    """Depth of the other side, just after them and then at the same ends of timesteps."""
    small: list[Interval]
    """Depth of the side that the smaller orders hit, at the same moments: what depth does anyway. Of :data:`MOST_SMALL` at most."""
    half_life: int | None
    """Ends of timesteps until half of what was lost is back; None if that does not happen within them."""


def recovery(line: Timeline) -> Recovery | None:
    """Depth after large orders; None with fewer than twenty of them."""
    trades = line.events[line.trades]
    if not len(trades):
        return None
    orders, first, group = np.unique(trades["order_id"], return_index=True, return_inverse=True)
    lots = np.bincount(group, trades["lots"])
    last = np.zeros(len(orders), np.int64)
    np.maximum.at(last, group, line.trades)
    first = line.trades[first]
    hit = 1 - line.events["side"][first].astype(np.int64)
    base = line.quotes["depth"][first - 1].astype(np.float64)  # an accept or a trade stands before every trade
    inside = base.min(axis=1) > 0
    smallest = float(np.quantile(lots, 1 - LARGE_SHARE))
    large = (lots >= smallest) & inside
    if np.count_nonzero(large) < 20:
        return None
    moments = line.events["timestep"][first].astype(np.int64)
    depth = line.near_depth.astype(np.float64)
    lags = np.arange(RECOVERY)

    def paths(chosen: NDArray[np.bool_], sides: NDArray[np.int64]) -> tuple[Floats, Floats]:
        rows = np.arange(len(chosen))[chosen]
        series = np.stack([around(depth[:, side], moments[rows], lags) for side in (BUY, SELL)])
        after = series[sides[rows], np.arange(len(rows))]
        just = line.quotes["depth"][last[rows], sides[rows]]
        return np.column_stack([just, after]), base[rows, sides[rows]]

    def over(parts: Floats, wholes: Floats, column: int) -> tuple[Floats, Floats]:
        known = ~np.isnan(parts[:, column])
        return parts[known, column], wholes[known]

    def with_intervals(chosen: NDArray[np.bool_], sides: NDArray[np.int64]) -> list[Interval]:
        found, wholes = paths(chosen, sides)
        # Orders in a row share much of their windows: blocks of as many as two windows hold on average.
        block = max(5, int(2 * RECOVERY * len(found) / max(1, line.run.timesteps)))
        return [ratio_of(*over(found, wholes, column), block) for column in range(RECOVERY + 1)]

    small = np.flatnonzero(inside & ~large)
    few = np.zeros(len(orders), np.bool_)
    few[small[:: -(-len(small) // MOST_SMALL) or 1]] = True
    after, *path = with_intervals(large, hit)
    back = [lag for lag, point in enumerate(path) if point.mean >= 1 - (1 - after.mean) / 2]
    return Recovery(
        orders=int(np.count_nonzero(large)),
        smallest=int(np.ceil(smallest)),
        after=after,
        path=path,
        other=with_intervals(large, 1 - hit),
        small=with_intervals(few, hit),
        half_life=back[0] if after.mean < 1 and back else None,
    )


class Study(NamedTuple):
    """A series around the starts of episodes at each lag of :data:`STUDY`."""

    mean: Floats
    """Over episodes."""
    low: Floats
    high: Floats
    """Where 95 % of shifted starts lie, lag by lag."""


@dataclass(frozen=True)
class Thinning:
    """Episodes of thin liquidity, and whether arrivals cluster as they begin."""

    usual: Floats
    """Usual depth near the mid, shape (timesteps,)."""
    thin: float
    """Share of it below which liquidity is thin."""
    back: float
    """Share of it above which it is no longer."""
    episodes: list[tuple[int, int]]
    """First timestep of each and the first one at which depth is back; the run's end if it never is."""
    arrivals: Study
    """Turns a timestep."""
    aggression: Study
    """Lots taken a timestep."""
    depth: Study
    """Depth relative to its usual level."""
    before: float | None
    """Mean turns a timestep in the :data:`BEFORE` timesteps up to the start."""
    elsewhere: float | None
    """Mean over shifted starts."""
    p_value: float | None
    """Share of shifted starts with at least as many arrivals before them."""
    left: dict[str, float]
    """Mean change in lots near the mid from :data:`BEFORE` timesteps before to the start, by kind: traded, cancelled, or
    left behind as the mid moved, less what came."""
    left_by_chance: dict[str, tuple[float, float]]
    """The same where 95 % of shifted starts lie."""
    shares: dict[str, float]
    """Each kind's share of the lots near the mid, over the whole run."""
    recovery: list[int]
    """Timesteps that each ended episode took."""

    @property
    def verdict(self) -> str:
        """none, few, no, weak or clear: what the evidence says of arrivals clustering around thinning."""
        if not self.episodes:
            return "none"
        if len(self.episodes) < FEWEST_EPISODES or self.p_value is None:
            return "few"
        return "clear" if self.p_value < CLEAR else "weak" if self.p_value < WEAK else "no"


def thinning(line: Timeline) -> Thinning:
    """Find episodes of thin liquidity and study the arrivals around their starts."""
    depth = line.near_depth.sum(axis=1).astype(np.float64)
    usual = rolling_median(depth, USUAL_TIMESTEPS)
    thin, back = thin_shares(depth, usual)
    episodes = thin_episodes(depth, usual, thin, back)
    starts = np.array([start for start, _ in episodes], np.int64)
    turns = line.per_timestep(line.events["kind"] == KIND_TURN)
    taken = np.bincount(
        line.events["timestep"][line.trades], line.events["lots"][line.trades], line.run.timesteps
    ).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(usual > 0, depth / usual, np.nan)
    before = np.arange(-BEFORE + 1, 1)
    if not len(starts):
        none = Study(*(np.full(len(STUDY), np.nan) for _ in Study._fields))
        return Thinning(usual, thin, back, [], none, none, none, None, None, None, {}, {}, {}, [])
    moved = shifted(len(depth), starts)
    # One draw at a time: all at once are thousands of times the episodes.
    null = np.array([np.nanmean(around(turns, draw, before)) for draw in moved])
    seen = float(np.nanmean(around(turns, starts, before)))
    few = moved[:BAND_DRAWS]

    def study(series: Floats) -> Study:
        by_chance = np.stack([nan_mean(around(series, draw, STUDY), 0) for draw in few])
        with np.errstate(all="ignore"):
            low, high = np.nanquantile(by_chance, [0.025, 0.975], axis=0)
        return Study(nan_mean(around(series, starts, STUDY), 0), low, high)

    def change(series: Floats, when: NDArray[np.int64]) -> float:
        return float(np.mean(series[when] - series[np.maximum(when - BEFORE, 0)]))

    kinds, by_chance = {}, {}
    total = line.near.sum(axis=1)
    held = total.sum(axis=0) / max(1, total.sum())
    for number, kind in enumerate(line.kinds):
        series = total[:, number].astype(np.float64)
        kinds[kind] = change(series, starts)
        low, high = np.quantile([change(series, draw) for draw in few], [0.025, 0.975])
        by_chance[kind] = (float(low), float(high))
    return Thinning(
        usual=usual,
        thin=thin,
        back=back,
        episodes=episodes,
        arrivals=study(turns),
        aggression=study(taken),
        depth=study(relative),
        before=seen,
        elsewhere=float(null.mean()),
        p_value=float((1 + np.count_nonzero(null >= seen)) / (1 + len(null))),
        left=kinds,
        left_by_chance=by_chance,
        shares=dict(zip(line.kinds, held.tolist(), strict=True)),
        recovery=[end - start for start, end in episodes if end < len(depth)],
    )


def nan_mean(values: Floats, axis: int) -> Floats:
    """Mean of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    means: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means


def rolling_median(values: Floats, width: int) -> Floats:
    """Median over a window around each entry; near the ends over the first or last whole window."""
    if len(values) <= width:
        return np.full(len(values), np.median(values) if len(values) else 0.0)
    # One window in twenty, and straight lines between: the usual level moves slowly.
    centres = np.arange(width // 2, len(values) - width // 2, 20)
    windows = np.lib.stride_tricks.sliding_window_view(values, width)[centres - width // 2]
    found: Floats = np.interp(np.arange(len(values)), centres, np.median(windows, axis=1))
    return found


def thin_shares(depth: NDArray[np.floating], usual: Floats) -> tuple[float, float]:
    """The shares of the usual depth at which episodes begin and end, see :data:`THIN_SHARE` and :data:`BACK`."""
    known = (usual > 0) & (np.arange(len(depth)) >= OPENING)
    relative = depth[known] / usual[known]
    often = np.count_nonzero(relative < THIN_SHARE) > THIN_OFTEN * len(relative)
    thin = float(np.quantile(relative, THIN_QUANTILE)) if often else THIN_SHARE
    return thin, thin + BACK * (1.0 - thin)


def thin_episodes(
    depth: NDArray[np.floating], usual: Floats, thin_share: float, back_share: float
) -> list[tuple[int, int]]:
    """First timesteps of episodes and the first ones after them at which depth is back; none while the book fills."""
    thin, back = depth < thin_share * usual, depth >= back_share * usual
    episodes = []
    start = None
    for step in np.flatnonzero(thin | back).tolist():
        if start is None and thin[step] and step >= OPENING:
            start = step
        elif start is not None and back[step]:
            episodes.append((start, step))
            start = None
    if start is not None:
        episodes.append((start, len(depth)))
    return episodes
