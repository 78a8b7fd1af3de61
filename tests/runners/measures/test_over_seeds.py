"""What is said over seeds: intervals that cover, corrections, and the seeds that would decide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from runners.measures.over_seeds import (
    FEWEST_SEEDS,
    corrected,
    deciding,
    difference_of,
    holm,
    mean_of,
)

RNG = np.random.default_rng(11)


def test_the_mean_and_its_interval_are_students() -> None:
    values = RNG.normal(3.0, 2.0, 20)
    found = mean_of(np.append(values, np.nan))
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.n == 20
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), expected.low, expected.high))


def test_a_paired_difference_is_the_paired_t_test_over_the_seeds_that_both_know() -> None:
    first, second = RNG.normal(0.0, 1.0, (2, 30))
    second[3] = np.nan
    found = difference_of(first, second)
    known = ~np.isnan(second)
    expected = stats.ttest_rel(first[known], second[known])
    assert found.n == 29
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.correlation == pytest.approx(np.corrcoef(first[known], second[known])[0, 1])


def test_pairing_saves_what_the_correlation_says() -> None:
    common = RNG.normal(0.0, 3.0, 4_000)
    first, second = common + RNG.normal(0.0, 1.0, (2, 4_000))
    found = difference_of(first, second)
    assert found.correlation == pytest.approx(0.9, abs=0.02)
    assert found.saved == pytest.approx(10.0, rel=0.1)  # (10 + 10) / 2


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "same"), (2.0, "higher"), (-2.0, "lower")])
def test_arms_that_differ_alike_in_every_seed_are_decided_without_a_deviation(shift: float, verdict: str) -> None:
    base = RNG.normal(0.0, 1.0, 12).round(2)
    found = difference_of(base + shift if shift else base, base)
    assert found.verdict == verdict
    assert found.mean == pytest.approx(shift)


def test_below_the_fewest_seeds_nothing_is_claimed() -> None:
    values = 100.0 + np.arange(FEWEST_SEEDS - 1.0)
    assert mean_of(values).low is None
    found = difference_of(values, np.zeros(len(values)))
    assert (found.verdict, found.p, found.low) == ("none", None, None)
    assert difference_of(np.append(values, 107.0), np.zeros(FEWEST_SEEDS)).verdict == "higher"
    assert difference_of(np.full(20, np.nan), np.zeros(20)).verdict == "none"


@given(st.lists(st.one_of(st.none(), st.floats(0.0, 1.0)), max_size=12))
def test_holms_correction_is_the_definitions(p_values: list[float | None]) -> None:
    known = sorted(p for p in p_values if p is not None)
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        if p is None:
            assert adjusted is None
            continue
        expected = max(min(1.0, (len(known) - rank) * other) for rank, other in enumerate(known) if other <= p)
        assert adjusted == pytest.approx(expected)


def test_the_correction_takes_back_what_one_of_many_tests_would_claim() -> None:
    rng = np.random.default_rng(2)
    alone = claimed = 0
    for _ in range(200):
        tests = [difference_of(rng.normal(0, 1, 16), np.zeros(16)) for _ in range(10)]
        alone += any(own.verdict in ("higher", "lower") for own in tests)
        claimed += any(own.verdict in ("higher", "lower") for own in corrected(tests))
    assert alone / 200 > 0.3
    assert claimed / 200 < 0.09


def test_as_many_seeds_as_would_decide_do_so_four_times_of_five() -> None:
    values = np.array([-1.0, 1.0] * 8) + 0.3
    found = difference_of(values, np.zeros(16))
    assert found.verdict == "undecided"
    assert found.deciding is not None
    rng = np.random.default_rng(8)
    decided = [
        difference_of(rng.normal(0.3, float(found.deviation or 0.0), found.deciding), np.zeros(found.deciding)).verdict == "higher"
        for _ in range(500)
    ]  # fmt: skip
    assert 0.75 <= np.mean(decided) <= 0.86
    assert deciding(found, 10.0) is not None
    assert (deciding(found, 10.0) or 0) > found.deciding  # a correction asks for more
    assert difference_of(np.array([-1.0, 1.0] * 8) + 1e-6, np.zeros(16)).deciding is None
    # The smallest of three is judged by three times its p value, the largest by its own.
    several = corrected([difference_of(shift + np.array([-1.0, 1.0] * 8), np.zeros(16)) for shift in (0.4, 0.3, 0.2)])
    assert [own.deciding for own in several] == [
        deciding(own, tests) for own, tests in zip(several, (3, 2, 1), strict=True)
    ]


@pytest.mark.parametrize("paired", [True, False])
def test_the_interval_of_no_difference_covers_it_as_often_as_it_says(paired: bool) -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(1_000):
        common = rng.exponential(2.0, 16) if paired else 0.0
        first, second = common + rng.exponential(1.0, (2, 16))
        found = difference_of(first, second)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
    assert 0.93 <= covered / 1_000 <= 0.98
