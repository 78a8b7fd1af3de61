"""What many seeds say: means, paired differences, their intervals, corrections, and how many seeds would decide.

Intervals are Student's t for means and paired differences; the bootstrap, bias-corrected and accelerated (Efron 1987), is
for statistics that no t interval knows. ``python -m benchmarks.experiments`` shows how often they cover what is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

LEVEL = 0.95
"""Of every interval."""
FEWEST_SEEDS = 8
"""Seeds below which nothing is claimed and no interval is given."""
POWER = 0.8
"""Chance with which as many seeds as would decide do decide, if the difference is as large as it seems."""
MOST_SEEDS = 10_000
"""Beyond so many seeds a difference counts as too small for seeds to show."""


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with its interval."""

    n: int
    mean: float | None
    low: float | None
    """None below :data:`FEWEST_SEEDS`, like ``high``."""
    high: float | None
    deviation: float | None
    """Standard deviation over seeds."""

    @property
    def decided(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Difference(Mean):
    """A paired difference over seeds."""

    p: float | None
    """Of the paired t test."""
    adjusted: float | None
    """The same after Holm's correction over the measures of its question."""
    correlation: float | None
    """Of the two arms over seeds."""
    saved: float | None
    """How many times as many seeds an unpaired comparison would take; 1: pairing saves nothing."""
    deciding: int | None
    """Seeds that would decide with a chance of 80 % if the difference is as large as it seems; None where that is more than
    :data:`MOST_SEEDS`."""

    @property
    def verdict(self) -> str:
        """None (too few seeds), same (no seed differs), higher, lower or undecided, at 5 % after the correction."""
        if self.mean is None or self.n < FEWEST_SEEDS:
            return "none"
        if self.deviation == 0.0:
            return "same" if self.mean == 0.0 else "higher" if self.mean > 0 else "lower"
        if self.adjusted is not None and self.adjusted < 1 - LEVEL:
            return "higher" if self.mean > 0 else "lower"
        return "undecided"


def mean_of(values: Floats) -> Mean:
    """Mean of the values that are known, NaN being none, with its t interval."""
    known = values[~np.isnan(values)]
    n = len(known)
    if not n:
        return Mean(0, None, None, None, None)
    mean = float(known.mean())
    if n < 2:
        return Mean(n, mean, None, None, None)
    # Equal values have no deviation, whatever rounding says.
    deviation = float(known.std(ddof=1)) if np.ptp(known) > 0 else 0.0
    if n < FEWEST_SEEDS:
        return Mean(n, mean, None, None, deviation)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * deviation / np.sqrt(n)
    return Mean(n, mean, mean - reach, mean + reach, deviation)


def difference_of(values: Floats, base: Floats) -> Difference:
    """The paired difference of two arms, seed by seed, those left out where one of them is undefined (NaN)."""
    known = ~(np.isnan(values) | np.isnan(base))
    first, second = values[known], base[known]
    found = mean_of(first - second)
    correlation = saved = p = None
    if found.n >= FEWEST_SEEDS and found.mean is not None:
        spread = float(first.var(ddof=1) + second.var(ddof=1))
        if np.ptp(first) > 0 and np.ptp(second) > 0:
            correlation = float(np.corrcoef(first, second)[0, 1])
        if found.deviation:
            saved = spread / found.deviation**2
            t = abs(found.mean) / (found.deviation / np.sqrt(found.n))
            p = float(2 * stats.t.sf(t, found.n - 1))
        else:
            p = 1.0 if found.mean == 0.0 else 0.0
    return Difference(
        found.n, found.mean, found.low, found.high, found.deviation, p, p, correlation, saved, deciding(found)
    )


def deciding(found: Mean, tests: float = 1.0) -> int | None:
    """Seeds that would decide with a chance of :data:`POWER`, were mean and deviation as they seem.

    None if more than :data:`MOST_SEEDS` would.

    Args:
        found: a mean.
        tests: by how much its p value is multiplied before it is judged.
    """
    if not found.mean or found.deviation is None or found.n < 2:
        return None
    tail = 1 - (1 - LEVEL) / (2 * tests)
    shift = abs(found.mean) / found.deviation if found.deviation else np.inf
    n = max(FEWEST_SEEDS, int(np.ceil(((stats.norm.ppf(tail) + stats.norm.ppf(POWER)) / shift) ** 2)))
    while n <= MOST_SEEDS and stats.nct.sf(stats.t.ppf(tail, n - 1), n - 1, shift * np.sqrt(n)) < POWER:
        n += max(1, n // 50)
    return n if n <= MOST_SEEDS else None


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """Differences that answer one question, with Holm's correction over them."""
    p_values = [own.p for own in differences]
    known = sorted(p for p in p_values if p is not None)
    return [
        # What comes after r smaller ones of m is judged by m - r times its p value.
        replace(
            own, adjusted=adjusted, deciding=deciding(own, len(known) - known.index(own.p) if own.p is not None else 1)
        )
        for own, adjusted in zip(differences, holm(p_values), strict=True)
    ]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction (1979) over the p values that there are."""
    known = [place for place, p in enumerate(p_values) if p is not None]
    order = sorted(known, key=lambda place: p_values[place] or 0.0)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * (p_values[place] or 0.0)))
        adjusted[place] = largest
    return adjusted


def bootstrap_interval(values: Floats, statistic: Any = np.mean) -> tuple[float, float]:
    """95 % bootstrap interval of a statistic, bias-corrected and accelerated; the value twice if all are equal."""
    if np.ptp(values) == 0.0:
        return float(values[0]), float(values[0])
    found = stats.bootstrap((values,), statistic, n_resamples=9_999, rng=np.random.default_rng(0)).confidence_interval
    return float(found.low), float(found.high)
