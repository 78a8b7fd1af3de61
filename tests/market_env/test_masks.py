"""Of a masked order nothing is accepted; what is open can have an effect; every face says the same."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import market_env
import scripted_agents
from market_env.config import LEARNER, MarketConfig
from market_env.engine.state import KIND_ACCEPT, KIND_CANCEL, REASON_AGENT
from market_env.market import Market
from runners.vec_env import MarketVecEnv
from tests.kit import market_configs


def parts(config: MarketConfig, mask: np.ndarray) -> list[np.ndarray]:
    """The mask of each component."""
    grid = [5, len(config.offsets) + 1, len(config.lots), len(config.offsets) + 1, len(config.lots)]
    assert len(mask) == sum(grid)
    return np.split(mask, np.cumsum(grid)[:-1])


def after(market: Market, action: list[int]) -> np.ndarray:
    """What a turn logs, of a copy of the market as it stands."""
    copy = Market(market.config, log=True)
    copy.restore(market.save())
    copy.drain()
    agent = copy.acting
    copy.act(np.array(action))
    events = copy.drain()
    return events[(events["agent"] == agent) & (events["turn"] == events["turn"][0])] if len(events) else events


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(market_configs(), st.integers(0, 2**32), st.data())
def test_of_a_masked_order_no_lot_is_accepted_and_a_masked_cancel_takes_nothing_out(
    config: MarketConfig, seed: int, data: st.DataObject
) -> None:
    market = Market(config, log=True)
    market.reset(seed)
    rng = np.random.default_rng(seed)
    space = market_env.actions.space(config.offsets, config.lots)
    for _ in range(int(rng.integers(1, 60))):
        if market.acting < 0 or not market.act(rng.integers(0, space.nvec)):
            return
    agent = market.acting
    if agent < 0:
        return
    cancel, bid, bid_lots, ask, ask_lots = parts(config, market.action_masks(agent))
    for component in (cancel, bid, bid_lots, ask, ask_lots):
        assert component.any()
    assert cancel[0]
    assert bid_lots[0]
    assert ask_lots[0]
    which = data.draw(st.sampled_from(range(5)))
    # Cancels: none of the agent's orders goes.
    for code in np.flatnonzero(~cancel):
        logged = after(market, [int(code), 0, 0, 0, 0])
        assert not ((logged["kind"] == KIND_CANCEL) & (logged["reason"] == REASON_AGENT)).any()
    # Orders: none is accepted, the other one left out.
    for offsets, sizes, at in ((bid, bid_lots, 1), (ask, ask_lots, 3)):
        size = int(rng.integers(1, len(sizes)))
        for code in np.flatnonzero(~offsets):
            action = [which, 0, 0, 0, 0]
            action[at], action[at + 1] = int(code), size
            assert KIND_ACCEPT not in after(market, action)["kind"]
        for code in np.flatnonzero(~sizes):
            action = [which, 0, 0, 0, 0]
            action[at], action[at + 1] = int(rng.integers(0, len(offsets))), int(code)
            assert KIND_ACCEPT not in after(market, action)["kind"]


def test_what_is_open_has_an_effect_in_a_market_that_runs() -> None:
    of = scripted_agents.population("day6", timesteps=300)
    policies = scripted_agents.build(of.market, of.policies)
    market = Market(of.market, log=True)
    market.reset(1)
    for agent, policy in policies.items():
        policy.reset(market.policy_stream(market.index[agent]), market.policy_memory(market.index[agent]))
    effective = looked = 0
    while market.acting >= 0:
        agent = market.acting
        if of.market.agents[agent].kind == "maker" and market.records["time"][0] > 100:
            cancel, *_ = parts(of.market, market.action_masks(agent))
            logged = after(market, [2, 0, 0, 0, 0])
            gone = ((logged["kind"] == KIND_CANCEL) & (logged["reason"] == REASON_AGENT)).any()
            assert gone == cancel[2]
            looked += 1
            effective += gone
        if not market.act(policies[of.market.agent_ids[agent]].act(market.observe(agent))):
            break
    assert looked > 300
    assert effective > 100


@pytest.mark.parametrize(
    ("changes", "component", "masked"),
    [
        ({"inventory": 100, "inventory_bound": 100}, 2, "lots"),  # no room to buy
        ({"inventory": -100, "inventory_bound": 100}, 4, "lots"),  # none to sell
        ({"cash": 0}, 2, "lots"),  # nothing to buy with
        ({}, 0, "cancels"),  # nothing open
    ],
)
def test_each_reason_masks_what_it_must(changes: dict[str, int], component: int, masked: str) -> None:
    seat = market_env.AgentConfig(LEARNER, "ppo", arrivals=market_env.Every(1.0, 0.0), **changes)
    config = MarketConfig(timesteps=5, agents=(seat,))
    market = Market(config)
    market.reset(1)
    found = parts(config, market.action_masks(0))
    assert not found[component][1:].any(), masked
    assert found[component][0]
    other = {2: 4, 4: 2, 0: 2}[component]
    assert found[other].all()


def test_a_quote_that_would_cross_is_masked_for_who_may_only_post() -> None:
    poster = market_env.AgentConfig("poster_0", "maker", post_only=True, arrivals=market_env.Every(1.0, 0.5))
    other = market_env.AgentConfig("other_0", "noise", arrivals=market_env.Every(1.0, 0.0))
    config = MarketConfig(timesteps=5, agents=(other, poster))
    market = Market(config, log=True)
    market.reset(1)
    market.act(np.array([0, 0, 0, config.offsets.index(1), 3]))  # an ask a tick above the reference price
    assert market.acting == 1
    _, bids, _, asks, _ = parts(config, market.action_masks(1))
    best = market.depth(1)[2][0]
    prices = [int(np.floor(market.reference - offset)) for offset in config.offsets]
    assert bids[:-1].tolist() == [price < best for price in prices]
    assert bids[-1]  # a market order rests nowhere
    assert asks.all()


def test_a_seat_with_latency_may_do_anything() -> None:
    seat = market_env.AgentConfig(
        LEARNER, "ppo", cash=0, arrivals=market_env.Every(1.0, 0.0), latency=market_env.Latency(0.5)
    )
    market = Market(MarketConfig(timesteps=5, agents=(seat,)))
    market.reset(1)
    assert market.action_masks(0).all()


def test_every_face_says_the_same() -> None:
    of = scripted_agents.population("default", timesteps=40)
    learner = scripted_agents.learner_env(of)
    envs = gymnasium.make_vec("market_env/Learner-v1", num_envs=2, config=of)
    batch = MarketVecEnv(2, of)
    parallel = scripted_agents.parallel_env(of, [LEARNER])
    learner.reset(seed=3)
    envs.reset(seed=3)
    batch.seed(3)
    batch.reset()
    parallel.reset(seed=3)
    rng = np.random.default_rng(0)
    aec = market_env.env(config=of.market)
    aec.reset(seed=3)
    assert np.array_equal(aec.unwrapped.action_masks(), aec.unwrapped.action_masks(aec.agent_selection))
    seen = set()
    for _ in range(30):
        mask = learner.action_masks()
        assert np.array_equal(envs.call("action_masks")[0], mask)
        assert np.array_equal(envs.seats[0].action_masks(), mask)
        assert np.array_equal(batch.env_method("action_masks")[0], mask)
        assert np.array_equal(batch.env_method("action_masks", indices=[0])[0], mask)
        assert np.array_equal(parallel.action_masks(LEARNER), mask)
        assert mask.dtype == np.bool_
        seen.add(mask.tobytes())
        action = rng.integers(0, learner.action_space.nvec)
        learner.step(action)
        envs.step(np.stack([action, action]))
        batch.step(np.stack([action, action]))
        parallel.step({LEARNER: action})
    assert len(seen) > 1


def test_before_an_episode_there_is_none() -> None:
    with pytest.raises(RuntimeError):
        scripted_agents.learner_env(scripted_agents.population("day6")).action_masks()
