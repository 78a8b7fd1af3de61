"""SuperSuit over the parallel environment: streams, seeds and bootstrapping come through its wrappers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer

import scripted_agents
from market_env.config import AgentConfig, Every, MarketConfig, roster
from market_env.parallel import parallel_env
from tests.kit import random_actions

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import supersuit

SEATS = tuple(AgentConfig(f"ppo_{n}", "ppo", arrivals=Every(1.0, 0.0)) for n in range(2))
CONFIG = MarketConfig(timesteps=20, agents=(*SEATS, *roster(ppo=0, noise=6, maker=2)))
NAMES = ["ppo_0", "ppo_1"]


def env() -> parallel_env:
    return scripted_agents.parallel_env(CONFIG, NAMES)


def vector(copies: int) -> Any:
    """The form that works with Stable-Baselines3: wrap, copy, then seed each copy by a reset of its own."""
    single = supersuit.pettingzoo_env_to_vec_env_v1(env())
    return supersuit.concat_vec_envs_v1(single, copies, num_cpus=1, base_class="stable_baselines3")


def seed_copies(vec: Any, seed: int) -> None:
    """Seed every copy; the resets that a trainer makes go on from there."""
    for number, copy in enumerate(vec.venv.vec_envs):
        copy.reset(seed=seed + number)


def test_a_vector_environment_of_one_market_is_the_market() -> None:
    vec = supersuit.pettingzoo_env_to_vec_env_v1(env())
    plain = env()
    observations, _ = vec.reset(seed=3)
    expected, _ = plain.reset(seed=3)
    assert np.array_equal(observations, np.stack(list(expected.values())))
    for action in random_actions(CONFIG, 1, 40).reshape(20, 2, 5):
        observations, rewards, terminations, truncations, infos = vec.step(action)
        expected, given, _, over, _ = plain.step(dict(zip(NAMES, action, strict=True)))
        assert rewards.tolist() == pytest.approx(list(given.values()), rel=1e-6)
        assert not terminations.any()
        assert truncations.tolist() == list(over.values())
    # The episode is over: the wrapper has begun the next, and keeps what the last one ended with.
    for number, info in enumerate(infos):
        assert info["TimeLimit.truncated"]
        assert np.array_equal(info["terminal_observation"], expected[NAMES[number]])
        assert not np.array_equal(info["terminal_observation"], observations[number])


def test_copies_have_streams_of_their_own_and_a_seed_gives_them_again() -> None:
    def play(seed: int | None) -> list[bytes]:
        vec = vector(3)
        if seed is not None:
            seed_copies(vec, seed)
        seen = [vec.reset()]
        for _ in range(45):  # past two ends of episodes
            seen.append(vec.step(np.tile([0, 5, 1, 5, 1], (6, 1)))[0])
        every = np.stack(seen)  # (steps, copies x learners, features)
        return [every[:, 2 * copy].tobytes() for copy in range(3)]

    first = play(7)
    assert len(set(first)) == 3
    assert play(7) == first
    assert not set(play(8)) & {first[0]}
    unseeded = play(None)
    assert len(set(unseeded)) == 3
    assert not set(unseeded) & set(play(None))


def test_a_trainer_bootstraps_at_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    vec = vector(1)
    seed_copies(vec, 1)
    model = PPO("MlpPolicy", vec, n_steps=32, batch_size=64, n_epochs=1, gamma=0.9, learning_rate=0.0, device="cpu")
    stored: list[tuple[np.ndarray, np.ndarray]] = []
    add = RolloutBuffer.add

    def watched(self: Any, observation: Any, action: Any, reward: Any, *rest: Any) -> None:
        stored.append((np.array(reward), np.array(action)))
        add(self, observation, action, reward, *rest)

    monkeypatch.setattr(RolloutBuffer, "add", watched)
    model.learn(32)
    # The same actions in the market itself: the last step's stored reward is its own plus the discounted value of what
    # came last, since the market ends by the clock alone.
    plain = env()
    plain.reset(seed=1)
    plain.reset()
    for step in range(20):
        observations, rewards, *_ = plain.step(dict(zip(NAMES, stored[step][1].astype(int), strict=True)))
        reward = np.array(list(rewards.values()))
        if step < 19:
            assert stored[step][0] == pytest.approx(reward, rel=1e-5, abs=1e-6)
    # At a step of 0 the weights are still those that valued it.
    value = model.policy.predict_values(model.policy.obs_to_tensor(np.stack(list(observations.values())))[0])
    assert stored[19][0] - reward == pytest.approx(0.9 * value.detach().numpy().ravel(), abs=1e-5)
    assert (np.abs(stored[19][0] - reward) > 1e-6).all()


def test_stacked_frames_and_agent_indicators() -> None:
    stacked = supersuit.frame_stack_v2(env(), 3)
    observations, _ = stacked.reset(seed=1)
    size = len(env().reset(seed=1)[0]["ppo_0"])
    assert observations["ppo_0"].shape == (3 * size,)
    first = observations["ppo_0"][-size:].copy()  # the wrapper writes into what it gave
    for _ in range(2):
        observations, *_ = stacked.step(dict.fromkeys(NAMES, np.zeros(5, np.int64)))
    assert np.array_equal(observations["ppo_0"][:size], first)
    marked = supersuit.agent_indicator_v0(env())
    observations, _ = marked.reset(seed=1)
    assert observations["ppo_0"].shape == (size + 2,)
    assert observations["ppo_0"][-2:].tolist() != observations["ppo_1"][-2:].tolist()
    assert marked.observation_space("ppo_0").contains(observations["ppo_0"])


def test_black_death_changes_nothing_but_tells_the_end_a_step_late() -> None:
    """Nobody dies here, so nobody needs it; it takes an end for one only if it is a termination and a truncation."""
    plain, covered = env(), supersuit.black_death_v3(env())
    plain.reset(seed=2)
    covered.reset(seed=2)
    for action in random_actions(CONFIG, 2, 40).reshape(20, 2, 5):
        assert covered.agents == NAMES
        decided = dict(zip(NAMES, action, strict=True))
        wanted, got = plain.step(decided), covered.step(decided)
        for name in NAMES:
            assert np.array_equal(wanted[0][name], got[0][name])
            assert wanted[1][name] == got[1][name]
            assert not got[3][name]
    assert wanted[3] == dict.fromkeys(NAMES, True)
    observations, rewards, _, truncations, _ = covered.step(dict.fromkeys(NAMES, np.zeros(5, np.int64)))
    assert truncations == dict.fromkeys(NAMES, True)
    assert rewards == dict.fromkeys(NAMES, 0.0)
    assert not any(observation.any() for observation in observations.values())
    assert covered.agents == []


def test_frames_are_skipped() -> None:
    skipped = supersuit.frame_skip_v0(scripted_agents.parallel_env(CONFIG, NAMES), 3)
    plain = scripted_agents.parallel_env(CONFIG, NAMES)
    skipped.reset(seed=4)
    plain.reset(seed=4)
    actions = {name: np.zeros(5, np.int64) for name in NAMES}
    for _ in range(4):
        seen, rewards, *_ = skipped.step(actions)
        steps = [plain.step(actions) for _ in range(3)]
        assert np.array_equal(seen[NAMES[0]], steps[-1][0][NAMES[0]])
        assert rewards[NAMES[0]] == pytest.approx(sum(step[1][NAMES[0]] for step in steps))
