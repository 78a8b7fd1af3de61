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
    assert covered[50] >= 107  # 95 % of 120 is 114
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


def test_the_difference_of_two_groups_of_a_dependent_series_is_seldom_claimed_where_there_is_none() -> None:
    rng = np.random.default_rng(2)
    claims = 0
    for _ in range(100):
        shocks = rng.normal(size=3_000)
        series = np.zeros(3_000)
        for step in range(1, 3_000):
            series[step] = 0.9 * series[step - 1] + shocks[step]
        flow = np.convolve(rng.normal(size=3_000), np.ones(10), "same")
        groups = np.searchsorted(np.quantile(flow, [0.2, 0.4, 0.6, 0.8]), flow)
        draws = intervals.block_means(series, groups, 5, 100)
        mean = series[groups == 4].mean() - series[groups == 0].mean()
        claims += intervals.interval(draws[:, 4] - draws[:, 0], float(mean), 30).excludes_zero
    assert claims <= 12  # 5 % of 100, and what chance adds


def test_a_ratio_is_resampled_as_one() -> None:
    rng = np.random.default_rng(3)
    wholes = rng.integers(1, 40, 2_000).astype(float)
    found = intervals.ratio_of(2.5 * wholes, wholes, 20)
    assert np.allclose(found, 2.5)
