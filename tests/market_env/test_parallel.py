"""The parallel face: PettingZoo's kit, the AEC market to the bit, and what wrappers and trainers need of it."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest
from pettingzoo.test import max_cycles_test, parallel_api_test, parallel_seed_test

import market_env
import scripted_agents
from market_env.aec import raw_env
from market_env.config import AgentConfig, ConfigError, Every, MarketConfig, Poisson, roster
from market_env.parallel import parallel_env
from tests.kit import random_actions, same

AT_ONCE = Every(1.0, 0.0)


def market(learners: int, timesteps: int = 120) -> tuple[MarketConfig, list[str]]:
    """A default population with so many learners, one of which ties with a maker in every timestep."""
    seats = tuple(AgentConfig(f"ppo_{n}", "ppo", arrivals=AT_ONCE) for n in range(learners))
    tied = AgentConfig("maker_9", "maker", post_only=True, arrivals=AT_ONCE)
    config = MarketConfig(timesteps=timesteps, agents=(*seats, *roster(ppo=0), tied))
    return config, [seat.id for seat in seats]


def made(config: MarketConfig, learners: list[str], **arguments: Any) -> parallel_env:
    return parallel_env(config, scripted_agents.background(config, learners), learners, **arguments)


def test_api() -> None:
    config, learners = market(3, timesteps=1_000)
    parallel_api_test(made(config, learners), num_cycles=1_200)


def test_seed() -> None:
    config, learners = market(2)
    parallel_seed_test(lambda: made(config, learners), num_cycles=60)


def test_an_episode_has_as_many_steps_as_the_aec_environment_has_turns_of_each_agent() -> None:
    seats = tuple(AgentConfig(f"ppo_{n}", "ppo", arrivals=AT_ONCE) for n in range(3))

    def config(max_cycles: int) -> MarketConfig:
        return MarketConfig(timesteps=max_cycles, agents=seats)

    module = types.SimpleNamespace(
        parallel_env=lambda max_cycles: made(config(max_cycles), ["ppo_0", "ppo_1", "ppo_2"]),
        env=lambda max_cycles: market_env.env(config=config(max_cycles)),
    )
    max_cycles_test(module)


def told_by_aec(config: MarketConfig, learners: list[str], seed: int, actions: np.ndarray) -> list[tuple[Any, ...]]:
    """What every learner is told at its turns, when the AEC environment is fed ``actions`` by turn and learner."""
    env = raw_env(config=config)
    env.reset(seed=seed)
    policies = scripted_agents.build(config, dict.fromkeys(learners, scripted_agents.DoNothing()))
    for agent, policy in policies.items():
        policy.reset(env.policy_stream(agent), env.policy_memory(agent))
    turns = dict.fromkeys(learners, 0)
    told = []
    for agent in env.agent_iter():
        observation, reward, _, truncated, info = env.last()
        if agent in learners:
            told.append((agent, observation, reward, truncated, info))
        if truncated:
            env.step(None)
        elif agent in learners:
            env.step(actions[turns[agent], learners.index(agent)])
            turns[agent] += 1
        else:
            env.step(policies[agent].act(observation))
    return [(env.market.save()["agents"], env.market.save()["orders"], env.market.save()["turns"]), *told]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_one_learner_it_is_the_aec_environment_to_the_bit(seed: int) -> None:
    config, learners = market(1)
    actions = random_actions(config, seed, 120).reshape(120, 1, 5)
    (_, *expected) = told_by_aec(config, learners, seed, actions)
    env = made(config, learners)
    observations, infos = env.reset(seed=seed)
    assert infos["ppo_0"].pop("TimeLimit.truncated") is False
    told: list[tuple[Any, ...]] = [("ppo_0", observations["ppo_0"], 0.0, False, infos["ppo_0"])]
    for action in actions:
        results = env.step({"ppo_0": action[0]})
        observation, reward, terminated, truncated, info = (result["ppo_0"] for result in results)
        assert not terminated
        assert info.pop("TimeLimit.truncated") == truncated
        told.append(("ppo_0", observation, reward, truncated, info))
    assert env.agents == []
    assert env.step({}) == ({}, {}, {}, {}, {})
    with pytest.raises(RuntimeError, match="no episode"):
        env.step({"ppo_0": actions[0, 0]})
    assert len(told) == len(expected) == 121
    for got, wanted in zip(told, expected, strict=True):
        assert all(map(same, got, wanted))


@pytest.mark.parametrize("learners", [2, 5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_several_learners_the_market_is_the_aec_environments_fed_the_same_actions(
    learners: int, seed: int
) -> None:
    config, names = market(learners)
    actions = random_actions(config, seed, 120 * learners).reshape(120, learners, 5)
    (end, *told) = told_by_aec(config, names, seed, actions)
    env = made(config, names)
    env.reset(seed=seed)
    total = dict.fromkeys(names, 0.0)
    maker_lots = dict.fromkeys(names, 0)
    for action in actions:
        _, rewards, _, _, infos = env.step(dict(zip(names, action, strict=True)))
        for name in names:
            total[name] += rewards[name]
            maker_lots[name] += infos[name]["maker_lots"]
    saved = env.market.save()
    assert all(
        saved[part].tobytes() == wanted.tobytes()
        for part, wanted in zip(("agents", "orders", "turns"), end, strict=True)
    )
    last = {agent: info for agent, _, _, _, info in told}
    # Steps are counted from look to look, turns from turn to turn: in sum they say the same.
    for name in names:
        assert maker_lots[name] == sum(info["maker_lots"] for agent, _, _, _, info in told if agent == name)
        assert infos[name]["wealth"] == last[name]["wealth"]


def test_learners_see_the_book_as_it_stands_when_the_step_begins_and_act_in_the_order_of_their_turns() -> None:
    """Three learners and nobody else: of two that want it, the first to act takes the only resting lot, the other finds it gone."""
    seats = tuple(AgentConfig(f"ppo_{n}", "ppo", arrivals=AT_ONCE) for n in range(3))
    config = MarketConfig(timesteps=50, first_price=100, agents=seats)
    env = made(config, [seat.id for seat in seats])
    env.reset(seed=4)
    nothing, market_code = np.zeros(5, np.int64), len(config.offsets)
    offer = np.array([0, 0, 0, config.offsets.index(2), 1])
    take = np.array([0, market_code, 1, 0, 0])
    firsts = []
    for _ in range(20):
        seen, *_ = env.step({"ppo_0": offer, "ppo_1": nothing, "ppo_2": nothing})
        assert seen["ppo_1"][2:].tolist() != seen["ppo_0"][2:].tolist()  # own orders and account differ
        assert all(seen[name][10] == seen["ppo_0"][10] < 1.0 for name in ("ppo_1", "ppo_2"))  # the offer, alike
        before = env.market.records["trades"][0]
        _, _, _, _, infos = env.step({"ppo_0": nothing, "ppo_1": take, "ppo_2": take})
        assert env.market.records["trades"][0] == before + 1
        firsts.append(infos["ppo_1"]["taker_lots"])
        assert infos["ppo_1"]["taker_lots"] + infos["ppo_2"]["taker_lots"] == 1
        assert infos["ppo_0"]["maker_lots"] == 1
    assert {0, 1} == set(firsts)  # ties are drawn anew each timestep


def test_rewards_of_a_step_add_up_to_the_change_in_wealth() -> None:
    config, names = market(4)
    env = made(config, names, reward=market_env.WealthReward(inventory_penalty=0.0, scale=1.0))
    env.reset(seed=9)
    actions = random_actions(config, 9, 480).reshape(120, 4, 5)
    total = np.zeros(4)
    for action in actions:
        _, rewards, _, _, infos = env.step(dict(zip(names, action, strict=True)))
        total += list(rewards.values())
    start = [config.agents[number].cash for number in range(4)]
    assert total == pytest.approx([infos[name]["wealth"] - cash for name, cash in zip(names, start, strict=True)])


def test_state_and_pictures() -> None:
    config, names = market(1, timesteps=20)
    env = made(config, names, render_mode="rgb_array")
    env.reset(seed=1)
    assert env.state_space.contains(env.state())
    assert env.render().dtype == np.uint8
    env = made(config, names, render_mode="ansi")
    env.reset(seed=1)
    assert "reference" in env.render()
    env = made(config, names)
    with pytest.raises(ValueError, match="render"):
        env.render()


def test_bad_input_is_one_clear_error_and_changes_nothing() -> None:
    config, names = market(2, timesteps=10)
    for learners, message in (
        ([], "learners: expected one or more of"),
        (["ppo_9"], "got 'ppo_9'"),
        (["ppo_0", "ppo_0"], "got 'ppo_0' twice"),
        (["noise_0"], "arrivals of noise_0: learners that act at once must arrive Every"),
    ):
        with pytest.raises(ConfigError, match=message):
            parallel_env(config, scripted_agents.background(config, names), learners)
    late = MarketConfig(agents=(AgentConfig("ppo_0", "ppo", arrivals=Every(1.0, 0.5)),))
    with pytest.raises(ConfigError, match=r"got Every\(period=1.0, phase=0.5"):
        parallel_env(late, scripted_agents.background(late, ["ppo_0"]))
    slow = MarketConfig(agents=(AgentConfig("ppo_0", "ppo", arrivals=Poisson(1.0)),))
    with pytest.raises(ConfigError, match="arrivals of ppo_0"):
        parallel_env(slow, scripted_agents.background(slow, ["ppo_0"]))
    with pytest.raises(ValueError, match="render_mode"):
        made(config, names, render_mode="film")
    env = made(config, names)
    nothing = np.zeros(5, np.int64)
    for actions in ({"ppo_0": nothing, "ppo_1": nothing}, {}):
        with pytest.raises(RuntimeError, match="no episode"):
            env.step(actions)
    env.reset(seed=1)
    before = env.market.save().tobytes()
    for actions, error, message in (
        ({"ppo_0": nothing}, ValueError, r"expected one for each of \['ppo_0', 'ppo_1'\], got them for \['ppo_0'\]"),
        ({"ppo_0": nothing, "ppo_1": nothing, "noise_0": nothing}, ValueError, "expected one for each"),
        ({"ppo_0": nothing, "ppo_1": nothing + 99}, ValueError, "action of ppo_1: cancel must be an integer from 0"),
        ({"ppo_0": nothing, "ppo_1": [0.5] * 5}, TypeError, "action of ppo_1: cancel must be an integer, got 0.5"),
    ):
        with pytest.raises(error, match=message):
            env.step(actions)
    assert env.market.save().tobytes() == before
