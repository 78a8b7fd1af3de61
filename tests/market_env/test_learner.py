"""The Gymnasium face: both checkers, and the same market as the AEC one to the bit."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import scripted_agents
from market_env.aec import raw_env
from market_env.config import MarketConfig
from tests.kit import random_actions, same


def learner_env(config: MarketConfig, **arguments: Any) -> scripted_agents.learner_env:
    return scripted_agents.learner_env(config, **arguments)


def test_gymnasiums_checker_on_the_registered_environment() -> None:
    env = gymnasium.make("market_env/Learner-v1", config=MarketConfig(timesteps=50), render_mode="rgb_array")
    check_env(env.unwrapped)


def test_stable_baselines_checker() -> None:
    sb3_check_env(learner_env(MarketConfig(timesteps=50)), warn=True)


def told_by_aec(config: MarketConfig, seed: int, actions: np.ndarray) -> list[tuple[Any, ...]]:
    env = raw_env(config=config)
    env.reset(seed=seed)
    others = {"ppo": scripted_agents.DoNothing()}
    policies = scripted_agents.build(config, others)
    for agent, policy in policies.items():
        policy.reset(env.policy_stream(agent), env.policy_memory(agent))
    told = []
    turns = iter(actions)
    for agent in env.agent_iter():
        observation, reward, _, truncated, info = env.last()
        if agent == "ppo_0":
            # The Gymnasium face leaves out what is undefined, since Gymnasium's vectors cannot hold None.
            told.append((observation, reward, truncated, {k: v for k, v in info.items() if v is not None}))
        if truncated:
            env.step(None)
        else:
            env.step(next(turns) if agent == "ppo_0" else policies[agent].act(observation))
    return told


@pytest.mark.parametrize("compiled", [True, False])
def test_a_learner_sees_what_its_seat_sees_in_the_aec_environment(compiled: bool) -> None:
    config = MarketConfig(timesteps=120)
    actions = random_actions(config, 6, 1_000)
    expected = told_by_aec(config, 31, actions)
    env = learner_env(config)
    if not compiled:
        policies = scripted_agents.build(config, {"ppo": scripted_agents.DoNothing()})
        env.background = scripted_agents.PythonBackground({a: p for a, p in policies.items() if a != "ppo_0"})
    observation, info = env.reset(seed=31)
    told: list[tuple[Any, ...]] = [(observation, 0.0, False, info)]
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        assert not terminated
        told.append((observation, reward, truncated, info))
        if truncated:
            break
    assert len(told) == len(expected) == 121
    for got, wanted in zip(told, expected, strict=True):
        assert all(map(same, got, wanted))


def test_an_episode_is_truncated_once_and_stepping_on_is_one_clear_error(small_config: MarketConfig) -> None:
    env = learner_env(small_config)
    with pytest.raises(RuntimeError, match="no episode is under way"):
        env.step(np.zeros(5, np.int64))
    env.reset(seed=1)
    steps, truncated = 0, False
    while not truncated:
        _, _, terminated, truncated, info = env.step(np.zeros(5, np.int64))
        steps += 1
        assert not terminated
    assert steps == small_config.timesteps
    assert info["time"] == small_config.timesteps
    with pytest.raises(RuntimeError, match="no episode is under way"):
        env.step(np.zeros(5, np.int64))


def test_seeds_decide_and_resets_without_one_go_on(small_config: MarketConfig) -> None:
    env, other = learner_env(small_config), learner_env(small_config)
    keys = []
    for one in (env, other):
        one.reset(seed=8)
        found = [one.market.records["key"][0].item()]
        for _ in range(3):
            one.reset()
            found.append(one.market.records["key"][0].item())
        keys.append(found)
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 4


def test_an_unknown_learner_is_one_clear_error(small_config: MarketConfig) -> None:
    with pytest.raises(ValueError, match=r"learners: expected one or more of \['ppo_0', .*\], got 'ppo_7'"):
        learner_env(small_config, learner="ppo_7")


def test_the_learner_is_rendered(small_config: MarketConfig) -> None:
    env = learner_env(small_config, render_mode="ansi")
    env.reset(seed=1)
    env.step(np.zeros(5, np.int64))
    assert "reference" in env.render()
