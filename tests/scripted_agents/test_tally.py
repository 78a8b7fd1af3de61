"""What a seat did in whole episodes, counted in the kernel, is what the events of the same markets say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import scripted_agents
from market_env.config import AgentConfig, ConfigError, Every, MarketConfig, Poisson, roster
from market_env.engine import state
from market_env.engine.kernel import policy_kernel
from market_env.market import Market
from runners.files.derive import derive
from scripted_agents import MarketMaker, RandomActions, run_compiled
from scripted_agents.policy import CompiledPolicy
from scripted_agents.registry import build_others
from scripted_agents.tally import AT_ONCE, tally_episodes
from tests.kit import turns_with_trades

RARE = AgentConfig("guest_0", "guest", arrivals=Poisson(0.3), inventory_bound=20)
CASES: dict[str, tuple[MarketConfig, str, Any]] = {
    "maker": (MarketConfig(timesteps=200), "ppo_0", MarketMaker()),
    "random": (MarketConfig(timesteps=200), "ppo_0", RandomActions()),
    "rare": (MarketConfig(timesteps=200, agents=(*roster(ppo=0), RARE)), "guest_0", RandomActions()),
    "alone": (MarketConfig(timesteps=50, agents=(AgentConfig("guest_0", "guest"),)), "guest_0", RandomActions()),
    "with a start": (
        MarketConfig(timesteps=100, agents=(*roster(ppo=0), AgentConfig("guest_0", "guest", inventory=90))),
        "guest_0",
        MarketMaker(),
    ),
    "never": (
        MarketConfig(
            timesteps=20, agents=(*roster(ppo=0), AgentConfig("guest_0", "guest", arrivals=Every(50.0, 40.0)))
        ),
        "guest_0",
        RandomActions(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_tally_is_what_the_events_say(case: str) -> None:
    config, agent, chosen = CASES[case]
    policies = {**build_others(config, [agent]), agent: chosen.build(config)}
    seeds = [5, 6, 2**62]
    rows = tally_episodes(config, policies, agent, seeds)
    seat = config.agent_ids.index(agent)
    for seed, row in zip(seeds, rows, strict=True):
        market = Market(config, log=True)
        market.reset(seed)
        events = run_compiled(market, policies)
        account = derive(config, events).agents[:, seat]
        held = np.abs(account["inventory"])
        traded = turns_with_trades(events, seat)
        assert row["turns"] == account["turns"].sum()
        assert row["settled_turns"] == len(traded)
        assert row["trading_turns"] == traded.sum()
        own = events[events["agent"] == seat]
        turns = own["seq"][own["kind"] == state.KIND_TURN]
        refused = np.unique(np.searchsorted(turns, own["seq"][own["kind"] == state.KIND_REJECT]))
        assert row["refused_turns"] == len(refused)
        assert row["timesteps"] == config.timesteps
        assert row["inventory_sum"] == held.sum()
        assert row["net_sum"] == account["inventory"].sum()
        assert row["near_timesteps"] == (held > 0.8 * config.agents[seat].inventory_bound).sum()
        assert (row["maker_lots"], row["taker_lots"]) == (account["maker_lots"].sum(), account["taker_lots"].sum())
        assert row["wealth"] == account["cash"][-1] + account["inventory"][-1] * market.reference
        assert row["liquidation_wealth"] == market.liquidation_wealth(seat)


class Asked:
    """A compiled policy behind a plain Python one."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy

    def reset(self, stream: Any, memory: Any) -> None:
        self._policy.reset(stream, memory)

    def act(self, observation: Any) -> list[int]:
        return list(self._policy.act(observation).tolist())


@pytest.mark.parametrize("case", CASES)
def test_a_policy_of_python_is_tallied_as_a_compiled_one(case: str) -> None:
    config, agent, chosen = CASES[case]
    policies = {**build_others(config, [agent]), agent: chosen.build(config)}
    seeds = [5, 6, 2**62]
    asked = {**policies, agent: Asked(policies[agent])}
    assert (
        tally_episodes(config, asked, agent, seeds).tobytes()
        == tally_episodes(config, policies, agent, seeds).tobytes()
    )


def test_more_seeds_than_are_played_at_once_are_all_played() -> None:
    config = MarketConfig(timesteps=5)
    policies = scripted_agents.build(config, {"ppo": RandomActions()})
    seeds = range(AT_ONCE + 3)
    rows = tally_episodes(config, policies, "ppo_0", seeds)
    assert rows["timesteps"].tolist() == [5] * len(seeds)
    again = tally_episodes(config, policies, "ppo_0", seeds[-2:])
    assert again.tobytes() == rows[-2:].tobytes()


@policy_kernel
def wrong(observation, parameters, memory, stream, action):
    """A user's mistake."""
    action[1] = -1


def test_bad_input_is_one_clear_error() -> None:
    config = MarketConfig(timesteps=5)
    policies = scripted_agents.build(config, {"ppo": RandomActions()})
    with pytest.raises(ValueError, match=r"seed 7: policy of ppo_0: action out of range: \[0, -1, 0, 0, 0\]"):
        tally_episodes(config, {**policies, "ppo_0": CompiledPolicy(wrong, config, [])}, "ppo_0", [7])
    with pytest.raises(ValueError, match="seed 7: action of ppo_0: bid_offset must be an integer from 0 to 20, got -1"):
        tally_episodes(config, {**policies, "ppo_0": Asked(CompiledPolicy(wrong, config, []))}, "ppo_0", [7])
    own = {"ppo_0": Asked(policies["ppo_0"]), "noise_0": CompiledPolicy(wrong, config, [])}
    with pytest.raises(ValueError, match=r"seed 7: policy of noise_0: action out of range: \[0, -1, 0, 0, 0\]"):
        tally_episodes(config, policies | own, "ppo_0", [7])
    with pytest.raises(ConfigError, match="policy of noise_0: expected a compiled policy, got Asked"):
        tally_episodes(config, {**policies, "noise_0": Asked(policies["noise_0"])}, "ppo_0", [7])
    with pytest.raises(ValueError, match="seed"):
        tally_episodes(config, policies, "ppo_0", [-1])
    with pytest.raises(ConfigError, match=r"none for \['noise_0'\]"):
        tally_episodes(config, {a: p for a, p in policies.items() if a != "noise_0"}, "ppo_0", [1])
