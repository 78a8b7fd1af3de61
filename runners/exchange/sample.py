"""A stretch of a market's messages and levels, as every fact and distance looks at it.

A run or a pair of LOBSTER files gives the same :class:`Sample`. Cost: some arrays as long as the messages, made when first
asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runners.exchange import pairs, window
from runners.files.once import once

LEVELS = 10
"""Levels that are looked at; more of a pair are left out, with the messages behind them."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Messages of a stretch of time, and the levels before the first and after each.

    Args:
        messages: :data:`runners.exchange.window.MESSAGE`, shape (rows,).
        books: int64, shape (rows + 1, 4 K): row 0 is the book before the first message.
        start: seconds.
        end: seconds, whole ones after ``start``.
        tick: price units.
    """

    messages: NDArray[np.void]
    books: NDArray[np.int64]
    start: float
    end: float
    tick: float

    @once
    def sides(self) -> dict[int, tuple[Floats, Floats]]:
        """By direction: prices in ticks and sizes, shape (rows + 1, K), NaN where a level is empty."""
        found = {}
        for direction, column in ((-1, 0), (1, 2)):
            sizes = self.books[:, column + 1 :: 4].astype(np.float64)
            prices = np.where(sizes > 0, self.books[:, column::4] / self.tick, np.nan)
            sizes[sizes == 0] = np.nan
            found[direction] = (prices, sizes)
        return found

    @once
    def mid(self) -> Floats:
        """Mid after each message in ticks, the last one where a side is empty; shape (rows + 1,)."""
        mid = (self.sides[1][0][:, 0] + self.sides[-1][0][:, 0]) / 2
        known = np.maximum.accumulate(np.where(np.isnan(mid), 0, np.arange(len(mid))))
        filled: Floats = mid[known]
        return filled

    @once
    def weights(self) -> Floats:
        """Seconds for which each book stood, shape (rows + 1,)."""
        return np.diff(np.concatenate([[self.start], self.messages["time"], [self.end]]))

    def touch(self) -> Sample:
        """The same with the first level only."""
        return Sample(self.messages, self.books[:, :4].copy(), self.start, self.end, self.tick)

    def mid_at(self, seconds: int) -> Floats:
        """Mid at the start and after every so many seconds, undefined ones at the start left out."""
        grid = np.arange(self.start, self.end + 1e-9, seconds)
        mids = self.mid[np.searchsorted(self.messages["time"], grid, side="right")]
        return mids[~np.isnan(mids)]

    def returns(self, seconds: int = 1) -> Floats:
        """Log mid returns."""
        return np.diff(np.log(self.mid_at(seconds)))

    @once
    def counts(self) -> Floats:
        """Messages in each second."""
        bins = int(self.end - self.start)
        index = np.minimum((self.messages["time"] - self.start).astype(np.int64), bins - 1)
        return np.bincount(index, minlength=bins).astype(np.float64)

    def of_type(self, *types: int) -> NDArray[np.bool_]:
        """Which messages are of these types."""
        return np.isin(self.messages["type"], types)

    @once
    def orders(self) -> NDArray[np.int64]:
        """Rows where a market order begins to trade; visible executions of one moment and side are one order's."""
        rows = np.flatnonzero(self.of_type(window.EXECUTE))
        prints = self.messages[rows]
        new = np.ones(len(rows), np.bool_)
        new[1:] = (np.diff(prints["time"]) > 0) | (np.diff(prints["direction"]) != 0)
        return rows[new]

    @once
    def signs(self) -> Floats:
        """Signs of market orders, buys 1."""
        return -self.messages["direction"][self.orders].astype(np.float64)

    def mean_over_time(self, values: Floats) -> float | None:
        """Time-weighted mean of what each book shows, where it is defined."""
        known = ~np.isnan(values)
        total = self.weights[known].sum()
        return float((values[known] * self.weights[known]).sum() / total) if total > 0 else None


def finite(value: float) -> float | None:
    """The value; None if it is undefined."""
    return float(value) if math.isfinite(value) else None


def number(value: float | None) -> str:
    """A fact as text."""
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def ratio(part: float, whole: float) -> float | None:
    """Their ratio; None if there is nothing to divide by."""
    return finite(part / whole) if whole else None


def autocorrelation(values: Floats, lag: int) -> float | None:
    """Autocorrelation at a lag; None if the values are fewer than ten lags or all equal."""
    if len(values) < max(10 * lag, 10):
        return None
    apart = values - values.mean()
    return ratio(float((apart[:-lag] * apart[lag:]).sum()), float((apart**2).sum()))


def excess_kurtosis(values: Floats) -> float | None:
    """Fisher's excess kurtosis; None for fewer than ten values or equal ones."""
    if len(values) < 10 or not values.std() > 0:
        return None
    squares = (values - values.mean()) ** 2
    if squares.mean() <= (np.finfo(np.float64).resolution * values.mean()) ** 2:
        return None  # rounding alone
    return finite((squares**2).mean() / squares.mean() ** 2 - 3.0)


def hill(values: Floats, share: float) -> float | None:
    """Hill's estimator on the largest share of absolute non-zero values (Hill 1975); None for fewer than five."""
    sizes = np.sort(np.abs(values[values != 0]))[::-1]
    count = int(share * len(sizes))
    if count < 5:
        return None
    return ratio(1.0, float(np.mean(np.log(sizes[:count] / sizes[count]))))


def order_flow_imbalance(sample: Sample) -> Floats:
    """Each message's contribution (Cont, Kukanov and Stoikov 2014, eq. 4), shape (rows,)."""
    flow = np.zeros(len(sample.messages))
    for direction in (1, -1):
        prices, sizes = (values[:, 0] for values in sample.sides[direction])
        worst = -np.inf if direction == 1 else np.inf
        price = np.where(np.isnan(prices), worst, prices) * direction
        size = np.nan_to_num(sizes)
        flow += direction * (size[1:] * (price[1:] >= price[:-1]) - size[:-1] * (price[1:] <= price[:-1]))
    return flow


def span_of(pair: pairs.Pair) -> tuple[float, float]:
    """A pair's first whole second and the end of its last."""
    times = pair.messages["time"]
    return math.floor(times[0]), math.floor(times[-1]) + 1.0


def sample_of(pair: pairs.Pair, start: float, end: float, tick: float, most: int = LEVELS) -> Sample:
    """A pair's first ``most`` levels, with the messages that changed them, between two moments.

    Messages about hidden orders, crosses and halts stay. Before the first row stands what the pair knows of that, else
    the first row's own book.
    """
    books = pair.books[:, : 4 * most]
    seen = np.ones(len(pair.messages), np.bool_)
    if pair.levels > most:
        seen[1:] = (books[1:] != books[:-1]).any(axis=1) | (pair.messages["type"][1:] > window.EXECUTE)
    times = pair.messages["time"]
    within = seen & (times >= start) & (times < end)
    rows = np.flatnonzero(within)
    before = int(np.searchsorted(times, start)) - 1
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and before == rows[0] - 1 >= 0:
        return Sample(pair.messages[rows[0] : rows[-1] + 1], books[before : rows[-1] + 1], start, end, tick)  # in place
    opening = pair.before[: 4 * most] if before < 0 and pair.before is not None else books[max(before, 0)]
    return Sample(pair.messages[rows], np.concatenate([opening[None], books[rows]]), start, end, tick)
