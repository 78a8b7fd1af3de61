"""Intervals for means of dependent data: the circular block bootstrap, and the permutation test by circular shifts.

Both draw from a fixed generator, so a report is the same each time it is made.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from market_env.engine.kernel import kernel

Floats = NDArray[np.float64]

DRAWS = 1_000
AT_ONCE = 50
"""Draws whose picks are held at once."""
MOST_BLOCKS = 5_000
LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate with its interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0


def block_means(values: Floats, groups: NDArray[np.int64], count: int, block: int) -> Floats:
    """Bootstrap draws of the mean of ``values`` in each of ``count`` groups, shape (draws, count).

    Circular moving blocks of ``block`` neighbours (Politis and Romano 1992), so neighbours stay together whatever group
    they are in. Groups below 0 are left out.
    """
    known = groups >= 0
    sums = np.zeros((len(values), count))
    counts = np.zeros((len(values), count))
    place = np.flatnonzero(known)
    sums[place, groups[known]] = values[known]
    counts[place, groups[known]] = 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = block_sums(np.column_stack([sums, counts]), block)
        means: Floats = drawn[:, :count] / drawn[:, count:]
    return means


def block_sums(rows: Floats, block: int) -> Floats:
    """Sums over resampled rows, whole circular blocks at a time, shape (draws, columns); the same blocks each time.

    Of a long series the blocks are longer, so that there are no more than :data:`MOST_BLOCKS`.
    """
    size = len(rows)
    block = max(1, min(max(block, -(-size // MOST_BLOCKS)), size))
    around_once = np.concatenate([rows, rows[: block - 1]])
    total = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(around_once, axis=0)])
    sums = total[block:] - total[:-block]  # of the block that begins at each row
    rng = np.random.default_rng(0)
    pieces = -(-size // block)
    found = np.zeros((DRAWS, rows.shape[1]))
    for some in np.split(found, DRAWS // AT_ONCE):
        add_picked(sums, rng.integers(0, size, (AT_ONCE, pieces)), some)
    return found


@kernel
def add_picked(sums: Floats, picks: NDArray[np.int64], found: Floats) -> None:
    """Add to each row of ``found`` the rows of ``sums`` that its row of ``picks`` names."""
    for draw in range(picks.shape[0]):
        for piece in range(picks.shape[1]):
            for column in range(sums.shape[1]):
                found[draw, column] += sums[picks[draw, piece], column]


def interval(draws: Floats, mean: float, blocks: int) -> Interval:
    """Mean with a t interval from the spread of its bootstrap draws; undefined where one draw in twenty is.

    Few blocks make a percentile interval too short; the t distribution of as many degrees of freedom as there are blocks
    less one widens it.
    """
    known = draws[~np.isnan(draws)]
    if len(known) < 0.95 * len(draws) or blocks < 2:
        return Interval(mean, np.nan, np.nan)
    reach = float(special.stdtrit(blocks - 1, (1 + LEVEL) / 2) * known.std())
    return Interval(mean, mean - reach, mean + reach)


def mean_of(values: Floats, block: int = 1) -> Interval:
    """Mean of a series with its interval; undefined (NaN) for an empty one."""
    return ratio_of(values, np.ones(len(values)), block)


def ratio_of(parts: Floats, wholes: Floats, block: int = 1) -> Interval:
    """Sum of ``parts`` over sum of ``wholes``, resampled together, with its interval; undefined for nothing."""
    if not len(parts) or not wholes.sum():
        return Interval(np.nan, np.nan, np.nan)
    sums = block_sums(np.column_stack([parts, wholes]), block)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = sums[:, 0] / sums[:, 1]
    return interval(draws, float(parts.sum() / wholes.sum()), -(-len(parts) // max(1, min(block, len(parts)))))


def around(series: Floats, moments: NDArray[np.int64], lags: NDArray[np.int64]) -> Floats:
    """A series around moments, shape (moments, lags); NaN beyond its ends."""
    index = moments[:, None] + lags
    inside = (index >= 0) & (index < len(series))
    return np.where(inside, series[np.clip(index, 0, max(len(series) - 1, 0))], np.nan)


def shifted(count: int, moments: NDArray[np.int64], draws: int = DRAWS) -> NDArray[np.int64]:
    """The moments moved round a circle of ``count`` by one random offset a draw, shape (draws, moments).

    What tells them from the series is gone, what lies between them stays.
    """
    offsets = np.random.default_rng(0).integers(1, max(count, 2), draws)
    found: NDArray[np.int64] = (moments + offsets[:, None]) % max(count, 1)
    return found
