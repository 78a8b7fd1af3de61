"""Intervals for means of dependent data: the moving-block bootstrap, and the permutation test by circular shifts.

Both draw from a fixed generator, so a report is the same each time it is made.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 1_000
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


def blocks(count: int, block: int, draws: int = DRAWS) -> NDArray[np.int64]:
    """Indices of resampled series, blocks of ``block`` neighbours (Künsch 1989), shape (draws, count)."""
    rng = np.random.default_rng(0)
    block = max(1, min(block, count))
    starts = rng.integers(0, count - block + 1, (draws, -(-count // block)))
    found: NDArray[np.int64] = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :count]
    return found


def block_means(values: Floats, groups: NDArray[np.int64], count: int, block: int) -> Floats:
    """Bootstrap draws of the mean of ``values`` in each of ``count`` groups, shape (draws, count).

    Whole blocks of time are drawn, so neighbours stay together whatever group they are in. Groups below 0 are left out.
    """
    size = len(values)
    block = max(1, min(block, size))
    pieces = -(-size // block)
    place = np.arange(size) // block
    known = groups >= 0
    sums = np.zeros((pieces, count))
    counts = np.zeros((pieces, count))
    np.add.at(sums, (place[known], groups[known]), values[known])
    np.add.at(counts, (place[known], groups[known]), 1)
    drawn = np.random.default_rng(0).integers(0, pieces, (DRAWS, pieces))
    times = np.apply_along_axis(np.bincount, 1, drawn, minlength=pieces)
    with np.errstate(invalid="ignore"):
        means: Floats = (times @ sums) / (times @ counts)
    return means


def interval(draws: Floats, mean: float) -> Interval:
    """The percentile interval of bootstrap draws."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return Interval(mean, np.nan, np.nan)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean, float(low), float(high))


def mean_of(values: Floats, block: int = 1) -> Interval:
    """Mean of a series with its block-bootstrap interval; undefined (NaN) for an empty one."""
    if not len(values):
        return Interval(np.nan, np.nan, np.nan)
    draws = block_means(values, np.zeros(len(values), np.int64), 1, block)[:, 0]
    return interval(draws, float(values.mean()))


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
