"""The observation is what its table says: bounded, named, and about the market as it stands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_env import observations
from market_env.config import AgentConfig, Every, MarketConfig
from market_env.engine import observe
from market_env.market import Market
from tests.kit import market_configs, random_actions


@settings(max_examples=40)
@given(market_configs(), st.integers(0, 2**32))
def test_every_observation_lies_in_its_space_and_looking_changes_nothing(config: MarketConfig, seed: int) -> None:
    market = Market(config)
    space = observations.space()
    actions = random_actions(config, seed, 300)
    going = market.reset(seed)
    for action in actions:
        if not going:
            break
        before = market.save().tobytes()
        for agent in range(len(config.agents)):
            seen = market.observe(agent)
            assert space.contains(seen), dict(zip(observations.NAMES, seen.tolist(), strict=True))
            info = market.info(agent)
            assert all(value == value for value in info.values()), "an info holds NaN"
        assert market.save().tobytes() == before
        assert market.observation.tobytes() == market.observe(market.acting).tobytes()
        going = market.act(action)


def unwritten(market: Market, size: int) -> list[int]:
    """Places of an observation of ``size`` features that looking leaves as they were."""
    poisoned = np.full(size, np.nan, np.float32)
    agent = market.acting
    observe.observe(market.records[0], agent, market.records["agents"][0, agent]["outcome"], poisoned, observe.ALL)
    return np.flatnonzero(np.isnan(poisoned)).tolist()


@settings(max_examples=20)
@given(market_configs(), st.integers(0, 2**32))
def test_looking_writes_every_feature_and_one_that_it_does_not_is_found(config: MarketConfig, seed: int) -> None:
    market = Market(config)
    going = market.reset(seed)
    for action in random_actions(config, seed, 30):
        if not going:
            break
        assert unwritten(market, observations.SIZE) == []
        # Appended to the table, and nowhere written.
        assert unwritten(market, observations.SIZE + 1) == [observations.SIZE]
        going = market.act(action)


@pytest.fixture
def book() -> tuple[Market, MarketConfig]:
    """Two agents in turn; a_0 has a bid of 5 at 98 and an ask of 2 at 103, a_1 a bid of 9 at 97."""
    config = MarketConfig(
        timesteps=1_000,
        first_price=100,
        offsets=(-4, -3, -1, 0, 1, 2, 3, 4),
        lots=(0, 1, 2, 5, 9),
        agents=tuple(
            AgentConfig(f"a_{n}", "a", cash=10_000, inventory_bound=20, arrivals=Every(1.0, n / 2)) for n in range(2)
        ),
    )
    market = Market(config)
    market.reset(1)
    market.act(np.array([0, 5, 3, 6, 2]))  # bid 2 below 100 for 5, ask 3 above for 2
    market.act(np.array([0, 6, 4, 0, 0]))  # reference 100.5: bid floor(97.5) for 9
    return market, config


def test_features_say_what_they_are_named_for(book: tuple[Market, MarketConfig]) -> None:
    market, _ = book
    seen = dict(zip(observations.NAMES, market.observe(0).tolist(), strict=True))
    assert market.reference == 100.5
    assert seen["bid_distance_1"] * 32 == 2.5
    assert seen["bid_distance_2"] * 32 == 3.5
    assert seen["bid_distance_3"] == 1.0
    assert seen["ask_distance_1"] * 32 == 2.5
    assert seen["bid_lots_2"] == pytest.approx(np.log(10) / 7)
    assert seen["ask_lots_2"] == 0.0
    assert seen["spread"] * 32 == 5.0
    assert seen["imbalance"] == pytest.approx(3 / 7)
    assert seen["imbalance_5"] == pytest.approx(12 / 16)
    assert seen["microprice"] * 32 == pytest.approx(0.5 * 3 / 7 * 5)
    assert seen["depth_mid"] * 32 == pytest.approx(0.5 * (2.5 - (5 * 2.5 + 9 * 3.5) / 14))
    assert seen["return_1"] == 0.0  # nothing has moved since the end of timestep 0
    assert seen["return_5"] * 64 == 0.5
    assert seen["inventory"] == 0.0
    assert seen["open_bid_lots"] == pytest.approx(5 / 40)
    assert seen["open_ask_lots"] == pytest.approx(2 / 40)
    assert seen["open_orders"] == pytest.approx(2 / 16)
    assert seen["own_bid_distance"] * 64 == 2.5
    assert seen["own_ask_distance"] * 64 == 2.5
    assert (seen["own_bid_at_touch"], seen["own_ask_at_touch"]) == (1.0, 1.0)
    assert seen["oldest_order_age"] * 60 == pytest.approx(1.0)
    assert seen["waited"] * 60 == pytest.approx(1.0)
    assert seen["time_left"] == 1.0
    assert seen["cash"] == pytest.approx((10_000 - 5 * 98) / (10_000 - 5 * 98 + 20 * 100.5))
    assert seen["flow_fast"] == 0.0
    other = dict(zip(observations.NAMES, market.observe(1).tolist(), strict=True))
    assert other["own_bid_distance"] * 64 == 3.5
    assert other["own_ask_distance"] == 1.0
    assert other["own_bid_at_touch"] == 0.0


def test_flow_and_inventory_follow_a_trade(book: tuple[Market, MarketConfig]) -> None:
    market, config = book
    market.act(np.zeros(5, np.int64))
    market.act(np.array([0, 0, 0, len(config.offsets), 3]))  # a_1 sells 5 at market: all of a_0's bid at 98
    seen = dict(zip(observations.NAMES, market.observe(0).tolist(), strict=True))
    assert seen["inventory"] == pytest.approx(5 / 20)
    assert seen["flow_fast"] == pytest.approx(-1.0)
    assert seen["flow_slow"] == pytest.approx(-1.0)
    assert seen["volume_fast"] > 0.0
    assert market.info(0)["maker_lots"] == 5
    assert market.info(0)["cash"] == 10_000 - 5 * 98


def test_time_left_saturates_so_that_it_means_the_same_in_runs_of_any_length() -> None:
    ends = {}
    for timesteps in (600, 900):
        config = MarketConfig(timesteps=timesteps, agents=(AgentConfig("a_0", "a"),))
        market = Market(config)
        going = market.reset(1)
        left = []
        while going:
            left.append(float(market.observe(0)[observations.INDEX["time_left"]]))
            going = market.act(np.zeros(5, np.int64))
        assert left[0] == 1.0
        ends[timesteps] = np.array(left[-400:])
    np.testing.assert_allclose(ends[600], ends[900], atol=1e-6)


def test_names_are_unique_and_bounds_ordered() -> None:
    assert len(set(observations.NAMES)) == observations.SIZE
    assert (observations.LOW < observations.HIGH).all()


def test_volatility_is_the_root_of_the_moving_average_of_squared_returns() -> None:
    config = MarketConfig(
        timesteps=40,
        first_price=100,
        agents=tuple(AgentConfig(f"a_{n}", "a", cash=10**6, arrivals=Every(1.0, n / 2)) for n in range(2)),
    )
    market = Market(config)
    market.reset(1)
    rng = np.random.default_rng(1)
    past, variance = [100.0], [0.0, 0.0]
    timestep, going = 0, True
    while going:
        going = market.act([4, rng.integers(len(config.offsets)), 1, rng.integers(len(config.offsets)), 1])
        if not going:
            break
        now = int(market.records["timestep"][0])
        if now != timestep:
            timestep = now
            square = (market.reference - past[-1]) ** 2
            past.append(market.reference)
            variance = [v + (square - v) / tau for v, tau in zip(variance, (5.0, 60.0), strict=True)]
        seen = dict(zip(observations.NAMES, market.observe(0).tolist(), strict=True))
        assert seen["volatility_fast"] * 32 == pytest.approx(min(variance[0] ** 0.5, 32.0), rel=1e-5)
        assert seen["volatility_slow"] * 32 == pytest.approx(min(variance[1] ** 0.5, 32.0), rel=1e-5)
    assert variance[0] > 0.0
