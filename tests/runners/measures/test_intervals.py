"""Intervals hold what they should about as often as they say."""

from __future__ import annotations

import numpy as np

from runners.measures import intervals


def test_a_block_bootstrap_interval_covers_the_mean_of_a_dependent_series() -> None:
    rng = np.random.default_rng(1)
    covered = {1: 0, 50: 0}
    for _ in range(120):
        noise = rng.normal(size=2_000)
        series = np.convolve(noise, np.ones(10) / 10, "same") + 3.0
        for block in covered:
            low, high = intervals.mean_of(series, block)[1:]
            covered[block] += low <= 3.0 <= high
    assert covered[50] >= 105  # 95 % of 120 is 114
    assert covered[1] < 80  # neighbours are not independent


def test_group_means_are_drawn_together() -> None:
    values = np.repeat([1.0, 5.0], 500)
    groups = np.tile([0, 1], 500)
    groups[::10] = -1
    draws = intervals.block_means(values, groups, 2, 20)
    assert draws.shape == (intervals.DRAWS, 2)
    assert np.corrcoef(draws.T)[0, 1] > 0.99


def test_an_interval_of_nothing_is_undefined_and_says_nothing() -> None:
    empty = intervals.mean_of(np.zeros(0))
    assert np.isnan(empty.mean)
    assert not empty.excludes_zero
    assert intervals.Interval(2.0, 1.0, 3.0).excludes_zero
    assert not intervals.Interval(2.0, -1.0, 3.0).excludes_zero


def test_a_series_around_moments_ends_where_it_ends() -> None:
    found = intervals.around(np.arange(5.0), np.array([0, 4]), np.array([-1, 0, 1]))
    assert np.array_equal(found, [[np.nan, 0, 1], [3, 4, np.nan]], equal_nan=True)


def test_shifted_moments_keep_their_distances_and_never_stay() -> None:
    moved = intervals.shifted(100, np.array([3, 10, 90]))
    assert moved.shape == (intervals.DRAWS, 3)
    assert ((moved[:, 1] - moved[:, 0]) % 100 == 7).all()
    assert (moved[:, 0] != 3).all()
