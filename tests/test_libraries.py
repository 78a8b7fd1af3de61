"""Other libraries' environments over ours. TorchRL installs with the others; RLlib and Tianshou are tried where they are.

``pip install 'ray[rllib]==2.60.0' tianshou==2.0.1`` in an environment of its own, then ``pytest tests/test_libraries.py``.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import market_env
import scripted_agents
from market_env.config import MarketConfig, roster

NAMES = ["ppo_0", "ppo_1"]
CONFIG = MarketConfig(timesteps=12, agents=roster(ppo=2, noise=4, maker=1))
SMALL = MarketConfig(timesteps=4, agents=roster(ppo=1, noise=2, maker=1, momentum=0))

# Importing and using them warns of their own dependencies' ways.
pytestmark = [pytest.mark.libraries, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def torchrl() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchrl.envs.libs import gym, pettingzoo
        from torchrl.envs.utils import MarlGroupMapType, check_env_specs
    return gym, pettingzoo, MarlGroupMapType, check_env_specs


def test_torchrl_checks_and_plays_the_parallel_environment(torchrl: Any) -> None:
    _, pettingzoo, _, check_env_specs = torchrl
    env = pettingzoo.PettingZooWrapper(scripted_agents.parallel_env(CONFIG, NAMES), use_mask=False, group_map=None)
    check_env_specs(env)
    played = env.rollout(20)
    assert played.shape[0] == CONFIG.timesteps
    assert played["next", "truncated"][-1].all()


def test_torchrl_checks_and_plays_the_aec_environment(torchrl: Any) -> None:
    _, pettingzoo, groups, check_env_specs = torchrl
    env = pettingzoo.PettingZooWrapper(
        market_env.env(config=SMALL), use_mask=True, group_map=groups.ONE_GROUP_PER_AGENT
    )
    check_env_specs(env)
    assert env.rollout(8).shape[0] == 8


def test_torchrl_checks_and_plays_one_learner(torchrl: Any) -> None:
    gym, _, _, check_env_specs = torchrl
    env = gym.GymWrapper(scripted_agents.learner_env(CONFIG))
    check_env_specs(env)
    assert env.rollout(20).shape[0] == CONFIG.timesteps


def test_rllib_plays_both_of_pettingzoos_interfaces() -> None:
    wrappers = pytest.importorskip("ray.rllib.env.wrappers.pettingzoo_env")
    env = wrappers.ParallelPettingZooEnv(scripted_agents.parallel_env(CONFIG, NAMES))
    observations, infos = env.reset(seed=1)
    steps, over = 0, False
    while not over:
        actions = {name: env.action_space[name].sample() for name in observations}
        observations, _, _, truncations, infos = env.step(actions)
        steps, over = steps + 1, truncations["__all__"]
    assert steps == CONFIG.timesteps
    assert np.isfinite(list(infos["ppo_0"].values())).all()
    turns = wrappers.PettingZooEnv(market_env.env(config=SMALL))
    observations, _ = turns.reset(seed=1)
    (agent,) = observations
    observations, _, _, _, infos = turns.step({agent: turns.action_space[agent].sample()})
    assert list(observations) == list(infos)


def test_tianshou_plays_one_learner_and_the_aec_environment() -> None:
    envs = pytest.importorskip("tianshou.env")
    vector = envs.DummyVectorEnv([lambda: scripted_agents.learner_env(CONFIG) for _ in range(2)])
    vector.reset(seed=1)
    for _ in range(CONFIG.timesteps):
        *_, truncated, infos = vector.step(np.zeros((2, 5), np.int64))
    assert truncated.all()
    assert np.isfinite([info["spread"] for info in infos]).all()
    env = envs.PettingZooEnv(market_env.env(config=SMALL))
    observation, _ = env.reset()
    assert observation["agent_id"] in env.agents
