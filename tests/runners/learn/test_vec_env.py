"""The batch as a Stable-Baselines3 VecEnv: the same as its own over monitored single environments, to the bit."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecNormalize

import scripted_agents
from market_env.config import AgentConfig, ConfigError, Every, MarketConfig, roster
from runners.learn.vec_env import MarketVecEnv
from scripted_agents import DoNothing
from tests.kit import random_actions, same

CONFIG = MarketConfig(timesteps=25)
SEATS = tuple(AgentConfig(f"ppo_{n}", "ppo", arrivals=Every(1.0, 0.0)) for n in range(2))
SHARED = MarketConfig(timesteps=25, agents=(*SEATS, *roster(ppo=0)))


def test_it_is_a_dummy_vector_of_monitored_single_environments_to_the_bit() -> None:
    dummy = DummyVecEnv([lambda: Monitor(scripted_agents.learner_env(CONFIG))] * 3)
    ours = MarketVecEnv(3, CONFIG)
    rng = np.random.default_rng(1)
    for seed in (4, None):
        if seed is not None:
            assert dummy.seed(seed) == ours.seed(seed)
        assert np.array_equal(dummy.reset(), ours.reset())
        assert all(map(same, dummy.reset_infos, ours.reset_infos))
        for step in range(60):
            actions = rng.integers(0, dummy.action_space.nvec, (3, 5))
            wanted, got = dummy.step(actions), ours.step(actions)
            for expected, found in zip(wanted[:3], got[:3], strict=True):
                assert np.array_equal(expected, found)
                assert expected.dtype == found.dtype
            for number in range(3):
                expected, found = wanted[3][number], got[3][number]
                assert expected["TimeLimit.truncated"] == found["TimeLimit.truncated"] == (step % 25 == 24)
                if found["TimeLimit.truncated"]:
                    assert np.array_equal(expected.pop("terminal_observation"), found.pop("terminal_observation"))
                    assert expected["episode"].pop("t") >= 0.0
                    assert found["episode"].pop("t") >= 0.0
                    assert same(expected, found)
    dummy.close()
    ours.close()


def test_one_policy_learns_from_all_seats_of_a_market() -> None:
    env = MarketVecEnv(2, SHARED, ["ppo_0", "ppo_1"])
    assert env.num_envs == 4
    assert env.get_attr("learner") == ["ppo_0", "ppo_1", "ppo_0", "ppo_1"]
    env.seed(3)
    env.reset()
    actions = np.zeros((4, 5), np.int64)
    actions[1] = [0, len(CONFIG.offsets), 2, 0, 0]  # ppo_1 of the first market buys
    for _ in range(5):
        env.step(actions)
    held = [info["inventory"] for info in env.env_method("info")]
    assert held[1] > 0
    assert [held[0], held[2], held[3]] == [0, 0, 0]
    assert env.env_method("liquidation_wealth", indices=[1])[0] < 2_000_000
    assert env.get_attr("market", 1)[0].records["timestep"][0] == 5


def test_ppo_trains_on_it_from_a_seed_and_comes_out_the_same() -> None:
    def train() -> tuple[np.ndarray, Any]:
        model = PPO("MlpPolicy", MarketVecEnv(4, CONFIG), n_steps=32, batch_size=64, n_epochs=2, seed=3, device="cpu")
        model.learn(400)
        assert [info["l"] for info in model.ep_info_buffer] == [25] * len(model.ep_info_buffer) != []
        return np.concatenate([tensor.numpy().ravel() for tensor in model.policy.state_dict().values()]), model

    (first, model), (second, _) = train(), train()
    assert first.tobytes() == second.tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # evaluate_policy warns where episode statistics are missing
        env = MarketVecEnv(2, CONFIG)
        env.seed(1)
        returns, lengths = evaluate_policy(model, env, 4, return_episode_rewards=True)
    assert lengths == [25] * 4
    assert len(set(returns)) > 1


def test_the_last_observations_of_an_episode_do_not_hold_the_whole_batch() -> None:
    env = MarketVecEnv(4, CONFIG)
    env.reset()
    for _ in range(25):
        _, _, _, infos = env.step(np.zeros((4, 5), np.int64))
    assert all(info["terminal_observation"].base is None for info in infos)


def test_a_reward_that_is_no_number_is_one_clear_error() -> None:
    env = MarketVecEnv(2, CONFIG, reward=lambda rows: rows["wealth"] * np.nan)
    env.reset()
    with pytest.raises(ConfigError, match="reward: expected finite numbers"):
        env.step(np.zeros((2, 5), np.int64))


def test_stable_baselines_wrappers_fit_around_it() -> None:
    env = VecNormalize(VecCheckNan(MarketVecEnv(2, CONFIG), raise_exception=True))
    env.seed(1)
    assert env.reset().shape == env.observation_space.sample()[None].repeat(2, 0).shape
    env.step(np.zeros((2, 5), np.int64))


def test_images_and_seats() -> None:
    env = MarketVecEnv(2, SHARED, ["ppo_0", "ppo_1"], render_mode="rgb_array")
    env.reset()
    env.step(np.zeros((4, 5), np.int64))
    assert env.render().dtype == np.uint8
    assert len(env.get_images()) == 4
    assert env.env_is_wrapped(Monitor) == [True] * 4
    assert env.env_is_wrapped(type(env)) == [False] * 4
    assert env.get_attr("action_space")[0] == env.action_space
    with pytest.raises(ValueError, match="render_mode: expected 'rgb_array' or None, got 'ansi'"):
        MarketVecEnv(2, CONFIG, render_mode="ansi")


def test_bad_input_is_one_clear_error() -> None:
    for arguments, message in (
        ({"markets": 0}, "markets: expected an integer of at least 1"),
        ({"learners": []}, "learners: expected one or more of"),
        ({"learners": ["noise_0", "ppo_0"]}, "arrivals of noise_0"),
    ):
        with pytest.raises(ConfigError, match=message):
            MarketVecEnv(**{"markets": 2, "config": CONFIG, **arguments})
    env = MarketVecEnv(2, CONFIG)
    with pytest.raises(RuntimeError, match="no episode"):
        env.step(np.zeros((2, 5), np.int64))
    env.reset()
    for bad, error in (
        (np.zeros((3, 5), np.int64), ValueError),
        (np.full((2, 5), 99), ValueError),
        (np.zeros((2, 5)), TypeError),
    ):
        with pytest.raises(error, match="action"):
            env.step(bad)
    with pytest.raises(AttributeError, match="cannot be changed one by one"):
        env.set_attr("reward", None)


def test_options_that_ask_for_another_market_are_refused() -> None:
    env = MarketVecEnv(2, SHARED)
    env.set_options({"config": MarketConfig()})
    with pytest.raises(ValueError, match="config"):
        env.reset()


def test_a_list_of_configs_is_dealt_to_the_markets_in_turn() -> None:
    configs = [MarketConfig(timesteps=30, agents=roster(noise=count)) for count in (2, 6)]
    mixed = MarketVecEnv(5, configs, policies=[{}, {"maker": DoNothing()}])
    assert [len(config.agents) for config in mixed.get_attr("config")] == [8, 12, 8, 12, 8]
    mixed.seed(4)
    alone = MarketVecEnv(1, configs[1], policies={"maker": DoNothing()})
    alone.seed(4 + 3)
    seen, expected = mixed.reset(), alone.reset()
    for action in random_actions(configs[0], 8, 40):
        assert np.array_equal(seen[3], expected[0])
        seen, *_ = mixed.step(np.repeat(action[None], 5, axis=0))
        expected, *_ = alone.step(action[None])
    # A model that learned in one population goes on in another: a curriculum.
    model = PPO("MlpPolicy", mixed, n_steps=8, batch_size=8, device="cpu")
    model.learn(40)
    model.set_env(MarketVecEnv(5, MarketConfig(timesteps=30)))
    model.learn(40, reset_num_timesteps=False)
    assert model.num_timesteps == 80
