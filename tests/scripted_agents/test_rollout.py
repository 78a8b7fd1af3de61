"""The AEC loop and the compiled rollout give the same trajectory, bit for bit; policies of one's own take part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import scripted_agents
from market_env.aec import raw_env
from market_env.config import AgentConfig, ConfigError, Every, MarketConfig, Poisson, roster
from market_env.engine import state
from market_env.engine.kernel import policy_kernel
from market_env.engine.streams import integer
from market_env.market import Market
from runners.simulation.drive import drive
from scripted_agents.policy import OWN, CompiledPolicy
from scripted_agents.rollout import CompiledBackground, PythonBackground, run_compiled
from tests.kit import ruled


@policy_kernel
def join_the_touch(observation, parameters, memory, stream, action):
    """A user's own policy: a bid or an ask at a fixed offset."""
    side = integer(stream, 2)
    action[1 + 2 * side] = int(parameters[OWN])
    action[2 + 2 * side] = 1


@policy_kernel
def out_of_range(observation, parameters, memory, stream, action):
    """A user's mistake."""
    action[0] = 9


@policy_kernel
def split(observation, parameters, memory, stream, action):
    """Works an order in children: memory holds its turns, and what is left of it."""
    if memory[0] == 0.0:
        memory[1] = parameters[OWN]
    memory[0] += 1.0
    if memory[1] > 0.0 and memory[0] % 3.0 == 0.0:
        memory[1] -= 1.0
        action[1] = int(parameters[0])
        action[2] = 1


def by_aec(config: MarketConfig, policies: dict[str, Any], seed: int) -> NDArray[np.void]:
    env = raw_env(config=config, log=True)
    assert drive(env, policies, seed)
    return env.drain()


def by_rollout(config: MarketConfig, policies: dict[str, Any], seed: int) -> NDArray[np.void]:
    market = Market(config, log=True)
    market.reset(seed)
    return run_compiled(market, policies)


@pytest.mark.parametrize(
    "config",
    [
        MarketConfig(timesteps=400),
        MarketConfig(timesteps=150, agents=roster(ppo=2, noise=60, maker=7, momentum=4)),
        MarketConfig(timesteps=300, agents=roster(ppo=0, noise=3, maker=0, momentum=1)),
        MarketConfig(timesteps=300, first_price=20, price_band=40, protection_ticks=10),
        ruled(MarketConfig(timesteps=400)),
    ],
    ids=["default", "large", "no makers", "cheap", "fees, latency, halts"],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_aec_loop_and_the_rollout_write_the_same_log(config: MarketConfig, seed: int) -> None:
    policies = scripted_agents.build(config)
    one, other = by_aec(config, policies, seed), by_rollout(config, policies, seed)
    assert len(one) > 500
    assert one.tobytes() == other.tobytes()


def test_a_users_own_compiled_policy_takes_part_in_both() -> None:
    guest = AgentConfig("guest_0", "guest", arrivals=Poisson(2.0))
    config = MarketConfig(timesteps=100, agents=(*roster(ppo=0), guest))
    policies = scripted_agents.build(config, {"guest": scripted_agents.DoNothing()})
    policies["guest_0"] = CompiledPolicy(join_the_touch, config, [6])
    one, other = by_aec(config, policies, 3), by_rollout(config, policies, 3)
    assert one.tobytes() == other.tobytes()
    assert (one["agent"] == config.agent_ids.index("guest_0")).sum() > 200


def test_a_policys_memory_is_zero_at_reset_kept_from_turn_to_turn_and_the_same_on_both_ways() -> None:
    guest = AgentConfig("guest_0", "guest", arrivals=Every(1.0))
    config = MarketConfig(timesteps=100, agents=(*roster(ppo=0), guest))
    policies = scripted_agents.build(config, {"guest": scripted_agents.DoNothing()})
    policies["guest_0"] = CompiledPolicy(split, config, [20])
    one, other = by_aec(config, policies, 3), by_rollout(config, policies, 3)
    assert one.tobytes() == other.tobytes()
    seat = config.agent_ids.index("guest_0")
    accepted = one[(one["agent"] == seat) & (one["kind"] == state.KIND_ACCEPT)]
    assert len(accepted) == 20
    market = Market(config)
    for seed in (1, 2):
        market.reset(seed)
        assert not market.policy_memory(seat).any()
        run_compiled(market, policies)
        assert market.policy_memory(seat)[:2].tolist() == [100, 0]


def test_a_policys_memory_is_saved_and_restored_with_the_market_for_compiled_and_python_policies() -> None:
    class Counter:
        def reset(self, stream: NDArray[np.uint64], memory: NDArray[np.float64]) -> None:
            self.memory = memory

        def act(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
            self.memory[0] += 1.0
            return np.array([0, 9, int(self.memory[0] % 3 == 0), 9, int(self.memory[0] % 5 == 0)])

    config = MarketConfig(timesteps=60)
    policies = {**scripted_agents.build(config), "ppo_0": Counter(), "momentum_0": CompiledPolicy(split, config, [3])}
    env = raw_env(config=config, log=True)

    def play(turns: int) -> bytes:
        for _ in range(turns):
            if not env.truncations[env.agent_selection]:
                env.step(policies[env.agent_selection].act(env.observe(env.agent_selection)))
        return env.drain().tobytes()

    env.reset(seed=4)
    for agent, policy in policies.items():
        policy.reset(env.policy_stream(agent), env.policy_memory(agent))
    play(150)
    saved = env.save()
    first = play(150)
    assert env.policy_memory("ppo_0")[0] > 10
    env.restore(saved)
    assert play(150) == first


def test_a_plain_python_policy_takes_part_in_the_aec_loop() -> None:
    class Contrarian:
        def reset(self, stream: NDArray[np.uint64], memory: NDArray[np.float64]) -> None:
            self.rng = np.random.default_rng(stream)

        def act(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
            return np.array([4, 8, self.rng.integers(3), 8, self.rng.integers(3)])

    config = MarketConfig(timesteps=60)
    policies = {**scripted_agents.build(config), "momentum_0": Contrarian()}
    assert by_aec(config, policies, 3).tobytes() == by_aec(config, policies, 3).tobytes()
    market = Market(config, log=True)
    market.reset(3)
    background = PythonBackground(policies)
    background.reset(market)
    background.play(market)
    assert market.drain().tobytes() == by_aec(config, policies, 3).tobytes()


def test_an_action_out_of_range_names_the_agent() -> None:
    config = MarketConfig(timesteps=10, agents=(AgentConfig("guest_0", "guest", arrivals=Every(1.0)),))
    with pytest.raises(ValueError, match=r"policy of guest_0: action out of range: \[9, 0, 0, 0, 0\]"):
        by_rollout(config, {"guest_0": CompiledPolicy(out_of_range, config, [])}, 1)
    with pytest.raises(ValueError, match="action of guest_0: cancel must be an integer from 0 to 4, got 9"):
        by_aec(config, {"guest_0": CompiledPolicy(out_of_range, config, [])}, 1)


def test_a_seat_without_a_policy_is_named(small_config: MarketConfig) -> None:
    policies = scripted_agents.build(small_config)
    del policies["maker_0"], policies["noise_1"]
    market = Market(small_config)
    market.reset(1)
    with pytest.raises(ConfigError, match=r"none for \['noise_1', 'maker_0'\]"):
        CompiledBackground(policies, market.agent_ids).play(market, learners=(0,))


def test_policies_for_another_roster_and_a_market_never_reset_are_refused(small_config: MarketConfig) -> None:
    background = CompiledBackground(scripted_agents.build(small_config), small_config.agent_ids)
    market = Market(MarketConfig())
    with pytest.raises(RuntimeError, match="no episode is under way"):
        background.play(market)
    market.reset(1)
    with pytest.raises(ConfigError, match="policies: made for the agents"):
        background.play(market)


def test_nothing_recompiles_after_the_first_run(small_config: MarketConfig) -> None:
    from scripted_agents.rollout import play

    policies = scripted_agents.build(small_config)
    by_rollout(small_config, policies, 1)
    before = len(play.signatures)
    for seed in range(3):
        by_rollout(
            MarketConfig(timesteps=20, agents=roster(noise=5)),
            scripted_agents.build(MarketConfig(agents=roster(noise=5))),
            seed,
        )
    assert len(play.signatures) == before
