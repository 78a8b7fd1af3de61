"""A record from outside is held to its own rules before a kernel follows its links."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scripted_agents
from market_env.config import Halt, MarketConfig, Value, roster
from market_env.engine import state
from market_env.market import Market
from scripted_agents.rollout import CompiledBackground
from tests.kit import market_configs, random_actions, ruled

CONFIG = MarketConfig(timesteps=60, agents=roster(ppo=0, noise=6, maker=2), value=Value())


@pytest.fixture(scope="module")
def saved() -> np.ndarray:
    """A market in the middle of an episode, orders on both sides."""
    market = Market(CONFIG)
    market.reset(3)
    policies = scripted_agents.build(CONFIG)
    for agent, policy in policies.items():
        policy.reset(market.policy_stream(market.index[agent]), market.policy_memory(market.index[agent]))
    for _ in range(150):
        market.act(policies[market.agent_ids[market.acting]].act(market.observation))
    assert market.records["bid_levels"][0] > 3
    return market.save()


@settings(max_examples=60)
@given(market_configs(timesteps=30), st.integers(0, 2**32), st.integers(0, 200))
def test_every_state_that_a_market_can_be_in_is_sound(config: MarketConfig, seed: int, turns: int) -> None:
    market = Market(config)
    Market(config).restore(market.save())  # never reset
    going = market.reset(seed)
    actions = random_actions(config, seed, 200)
    for action in actions[:turns]:
        if not going:
            break
        going = market.act(action)
    other = Market(config)
    other.restore(market.save())
    assert other.save().tobytes() == market.save().tobytes()


def test_the_end_of_an_episode_is_sound() -> None:
    market = Market(CONFIG)
    market.reset(1)
    CompiledBackground(scripted_agents.build(CONFIG), market.agent_ids).play(market)
    Market(CONFIG).restore(market.save())


def open_slot(record: np.void) -> int:
    return int(np.flatnonzero(record["orders"]["id"] != state.NONE)[0])


BREAKS = {
    "an order's next far outside": lambda r: r["orders"]["next"].__setitem__(open_slot(r), 2**30),
    "an order's own next below": lambda r: r["owned"]["own_next"].__setitem__(open_slot(r), -7),
    "a chain that closes on itself": lambda r: r["owned"]["own_next"].__setitem__(open_slot(r), open_slot(r)),
    "a queue that closes on itself": lambda r: r["orders"]["next"].__setitem__(open_slot(r), open_slot(r)),
    "a price that its owner's list does not know": lambda r: r["owned"]["price"].__setitem__(open_slot(r), 7),
    "a side that its owner's list does not know": lambda r: r["owned"]["side"].__setitem__(open_slot(r), 5),
    "two arrivals of one clock": lambda r: r["heap"]["clock"].__setitem__(1, r["heap"]["clock"][0]),
    "an owner who is none": lambda r: r["orders"]["agent"].__setitem__(open_slot(r), 10**6),
    "a side that is none": lambda r: r["orders"]["side"].__setitem__(open_slot(r), 5),
    "lots below one": lambda r: r["orders"]["lots"].__setitem__(open_slot(r), 0),
    "a level's head": lambda r: r["levels"]["head"].__setitem__(5, 40_000),
    "a level's lots": lambda r: r["levels"]["lots"].__setitem__(5, 3),
    "a free slot far outside": lambda r: r.__setitem__("free", 2**20),
    "a free slot twice": lambda r: r["orders"]["next"].__setitem__(r["free"], r["free"]),
    "an order among the free slots": lambda r: r.__setitem__("free", open_slot(r)),
    "fewer free slots than there are": lambda r: r.__setitem__("free_orders", r["free_orders"] - 1),
    "more free slots than there are": lambda r: r.__setitem__("free_orders", 10**6),
    "the heap": lambda r: r["heap"]["clock"].__setitem__(0, 99),
    "the acting agent": lambda r: r.__setitem__("acting", 31),
    "nobody acting in the middle": lambda r: r.__setitem__("acting", -1),
    "a member of no clock": lambda r: r["heap"]["agent"].__setitem__(0, 27),
    "a time that is no number": lambda r: r.__setitem__("time", np.nan),
    "a clock without end": lambda r: r["heap"]["time"].__setitem__(0, np.inf),
    "a timestep far ahead": lambda r: r.__setitem__("timestep", 2**40),
    "an inventory that has no absolute": lambda r: r["agents"]["inventory"].__setitem__(0, -(2**63)),
    "an account's reserve": lambda r: r["agents"]["reserved"].__setitem__(6, 7),
    "the best bid": lambda r: r.__setitem__("best_bid", 5),
    "levels that are not there": lambda r: r.__setitem__("bid_levels", 900),
    "more fills than there is room for": lambda r: r.__setitem__("fill_count", 10**6),
    "more agents than there are": lambda r: r.__setitem__("agent_count", 1_000),
    "a grid beyond its end": lambda r: r.__setitem__("lots_count", 4_000),
    "members beyond the list": lambda r: r["clocks"]["members"].__setitem__(0, 10**6),
    "a price beyond all prices": lambda r: r.__setitem__("reference", 1e300),
    "a price that is no number": lambda r: r.__setitem__("reference", np.nan),
    "a clock that starts nowhere": lambda r: r["clocks"]["start"].__setitem__(0, np.nan),
    "a clock that counts backwards": lambda r: r["clocks"]["count"].__setitem__(0, -(2**62)),
    "a clock beside itself": lambda r: r["clocks"]["excitation"].__setitem__(slice(None), 1e300),
    "a clock that is late": lambda r: r["heap"]["time"].__setitem__(3, 0.0),
    "a heap that is none": lambda r: r["heap"]["time"].__setitem__(0, 1e6),
    "a clock since when": lambda r: r["clocks"]["since"].__setitem__(0, np.nan),
    "a clock that waits for ever": lambda r: r["clocks"]["wait"].__setitem__(0, np.inf),
    "a clock that was set off in the future": lambda r: r["clocks"]["since"].__setitem__(slice(None), 40.0),
    "news that are overdue by a little": lambda r: r["value"].__setitem__("next", r["value"]["time"]),
    "a level that no price has": lambda r: r["value"].__setitem__("level", np.nan),
    "a level below any price": lambda r: r["value"].__setitem__("level", 0.5),
    "news that are overdue": lambda r: r["value"].__setitem__("next", -1.0),
    "news of the future": lambda r: r["value"].__setitem__("time", 59.0),
    "news counted backwards": lambda r: r["value"].__setitem__("count", -1),
    "news beside themselves": lambda r: r["value"].__setitem__("excitation", 1e300),
    "another value": lambda r: r["value"].__setitem__("jump", 1e6),
    "an agent's signal": lambda r: r["agents"]["signal"].__setitem__(0, 0.0),
    "an agent's bound": lambda r: r["agents"]["inventory_bound"].__setitem__(0, 2**60),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_record_that_breaks_a_rule_is_refused_and_nothing_changes(what: str, saved: np.ndarray) -> None:
    market = Market(CONFIG)
    market.reset(1)
    before = market.save().tobytes()
    broken = saved.copy()
    BREAKS[what](broken[0])
    with pytest.raises(
        ValueError, match=r"state: (market 0 breaks a rule of every record|\w+ is not that of this market's)"
    ):
        market.restore(broken)
    assert market.save().tobytes() == before
    market.restore(saved)


RULED = replace(ruled(replace(CONFIG, timesteps=400)), halt=Halt(2, 5, 40.0))


def packet(record: np.void) -> np.void:
    """A packet under way that submits an order."""
    for place in range(int(record["under_way"])):
        found = record["packets"][record["places"][place]]
        if found["messages"]["kind"][0] == state.MESSAGE_SUBMIT:
            return found
    raise AssertionError("no order is under way")


RULES = {
    "a refusal that is none": lambda r: packet(r)["messages"]["refusal"].__setitem__(0, 2_000_000_000),
    "an immediacy that is none": lambda r: packet(r)["messages"]["immediate"].__setitem__(0, 7),
    "an order's side under way": lambda r: packet(r)["messages"]["side"].__setitem__(0, 3),
    "an order of no lots under way": lambda r: packet(r)["messages"]["lots"].__setitem__(0, 0),
    "a message of no kind": lambda r: packet(r)["messages"]["kind"].__setitem__(0, 9),
    "messages beyond the packet": lambda r: packet(r).__setitem__("count", 4),
    "a sender who is none": lambda r: packet(r).__setitem__("agent", 31),
    "a sender without latency": lambda r: packet(r).__setitem__("agent", 2),
    "a turn to come": lambda r: packet(r).__setitem__("turn", 2**40),
    "an arrival that is over": lambda r: packet(r).__setitem__("time", 0.0),
    "an arrival that is never": lambda r: packet(r).__setitem__("time", np.nan),
    "a place twice": lambda r: r["places"].__setitem__(0, r["places"][1]),
    "a place far outside": lambda r: r["places"].__setitem__(200, 2**20),
    "more packets than there are": lambda r: r.__setitem__("under_way", 2**20),
    "one packet less": lambda r: r.__setitem__("under_way", r["under_way"] - 1),
    "an agent's packets": lambda r: r["delays"]["under_way"].__setitem__(0, 300),
    "two agents' packets": lambda r: r["delays"]["under_way"].__setitem__(
        [0, 1], r["delays"]["under_way"][[0, 1]] + [-1, 1]
    ),
    "an agent's messages": lambda r: r["delays"]["messages"].__setitem__(0, -3),
    "an agent's latency": lambda r: r["delays"]["fixed"].__setitem__(0, 5.0),
    "a turn that is answered before it was": lambda r: r.__setitem__("answering", 2**40),
    "a fee that nobody took": lambda r: r["agents"]["fees"].__setitem__(0, -(10**15)),
    "a fee's reserve": lambda r: r["agents"]["reserved_fees"].__setitem__(0, -(10**15)),
    "another fee": lambda r: r["agents"]["taker_fee"].__setitem__(0, 0),
    "a bill of less than nothing": lambda r: r["bills"]["messages"].__setitem__(0, -(2**40)),
    "a halt by nobody": lambda r: (r.__setitem__("halted", 1), r.__setitem__("halt_agent", 40)),
    "a halt that is over": lambda r: (r.__setitem__("halted", 1), r.__setitem__("halt_end", 0.0)),
    "halts by another rule": lambda r: r.__setitem__("halt_move", 1),
}


@pytest.fixture(scope="module")
def under_way() -> np.ndarray:
    """A market with fees, halts and several messages on their way."""
    market = Market(RULED)
    market.reset(8)
    for action in random_actions(RULED, 8, 3_000):
        market.act(action)
        record = market.records[0]
        if record["under_way"] > 2 and record["agents"]["fees"].any():
            orders = [record["packets"][record["places"][n]]["messages"]["kind"][0] for n in range(record["under_way"])]
            if state.MESSAGE_SUBMIT in orders:
                return market.save()
    raise AssertionError("nothing was ever under way")


@pytest.mark.parametrize("what", RULES)
def test_a_record_that_breaks_a_rule_of_fees_latency_or_halts_is_refused(what: str, under_way: np.ndarray) -> None:
    market = Market(RULED)
    market.restore(under_way)
    broken = under_way.copy()
    RULES[what](broken[0])
    assert broken.tobytes() != under_way.tobytes()
    with pytest.raises(
        ValueError, match=r"state: (market 0 breaks a rule of every record|\w+ is not that of this market's)"
    ):
        market.restore(broken)
    assert market.save().tobytes() == under_way.tobytes()
