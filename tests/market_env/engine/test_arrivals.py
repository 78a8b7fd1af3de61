"""Arrival processes: their rates, their clustering, their ties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from market_env.config import AgentConfig, Every, Hawkes, MarketConfig, Poisson
from market_env.engine.state import KIND_TURN
from market_env.market import Market
from tests.market_env.engine.test_streams import arrivals_of


def crowd(arrivals: Every | Poisson | Hawkes, members: int, timesteps: int) -> MarketConfig:
    return MarketConfig(
        timesteps=timesteps,
        agents=tuple(AgentConfig(f"noise_{n}", "noise", arrivals=arrivals) for n in range(members)),
    )


def test_every_arrives_at_its_phase_and_then_each_period() -> None:
    times = arrivals_of(crowd(Every(2.5, 0.5), 1, 100), 1)["noise_0"]
    assert times == [0.5 + 2.5 * n for n in range(40)]


def test_every_draws_its_phase_once_within_the_period() -> None:
    times = np.array(arrivals_of(crowd(Every(4.0), 1, 1_000), 3)["noise_0"])
    assert 0.0 <= times[0] < 4.0
    np.testing.assert_allclose(np.diff(times), 4.0)


def test_poisson_has_its_rate_and_no_clustering() -> None:
    times = np.array(arrivals_of(crowd(Poisson(2.0), 1, 20_000), 5)["noise_0"])
    counts = np.bincount(times.astype(int), minlength=20_000)
    assert counts.mean() == pytest.approx(2.0, rel=0.03)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.05)


def test_hawkes_has_its_stationary_rate_and_the_dispersion_that_theory_gives() -> None:
    rate, branching, decay, members = 0.5, 0.6, 1.0, 4
    times = arrivals_of(crowd(Hawkes(rate, branching, decay), members, 40_000), 9)
    assert [len(t) / 40_000 for t in times.values()] == pytest.approx([rate] * members, rel=0.06)
    merged = np.sort(np.concatenate(list(times.values())))
    window = 50
    counts = np.bincount((merged // window).astype(int), minlength=40_000 // window)
    # Long windows: variance / mean tends to 1 / (1 - n)^2 (Hawkes, 1971), here 6.25; a window of 50 gives 5.5.
    n, b = branching, decay * (1 - branching)
    expected = 1 / (1 - n) ** 2 + (1 - 1 / (1 - n) ** 2) * (1 - np.exp(-b * window)) / (b * window)
    assert counts.var() / counts.mean() == pytest.approx(expected, rel=0.15)


def test_hawkes_begins_in_its_stationary_state() -> None:
    config = crowd(Hawkes(0.5, 0.8, 0.5), 4, 60)
    market = Market(config, log=True)
    nothing = np.zeros(5, np.int64)
    counts = []
    for seed in range(1_500):
        going = market.reset(seed)
        while going:
            going = market.act(nothing)
        events = market.drain()
        turns = events["timestep"][events["kind"] == KIND_TURN]
        counts.append([np.count_nonzero(turns < 5), np.count_nonzero(turns >= 55)])
    first, last = np.array(counts).T
    # Not the mean alone: a process that starts at its mean intensity has it too, but hardly varies at first.
    assert first.mean() == pytest.approx(10.0, rel=0.08)
    assert first.var() == pytest.approx(last.var(), rel=0.2)


def test_ties_are_broken_by_seed_and_timestep_and_favour_nobody() -> None:
    config = crowd(Every(1.0, 0.0), 4, 4_000)
    market = Market(config)
    nothing = np.zeros(5, np.int64)
    first = []
    going, last = market.reset(2), -1
    while going:
        timestep = int(market.records[0]["timestep"])
        if timestep != last:
            first.append(market.acting)
            last = timestep
        going = market.act(nothing)
    shares = np.bincount(first, minlength=4) / len(first)
    assert shares == pytest.approx([0.25] * 4, abs=0.03)


def test_a_market_in_which_nobody_arrives_is_over_at_once() -> None:
    config = replace(crowd(Every(10.0, 9.0), 1, 5))
    market = Market(config)
    assert market.reset(1) is False
    assert market.acting == -1
