"""A policy that begins as an imitation of a scripted one, before PPO lets it learn.

Behaviour cloning (Pomerleau 1991) with the states that the imitation itself comes to (DAgger; Ross, Gordon and Bagnell 2011, "A reduction of
imitation learning and structured prediction to no-regret online learning"): the first round is played by the teacher, the others by the pupil,
and the teacher says at every turn what it would do. The value learns the discounted rewards of the same turns, so that PPO's first
updates do not undo what was learned. Cost: about half a minute for 128 markets.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO

from runners.learn.replicas import Replicas
from runners.learn.vec_env import MarketVecEnv
from scripted_agents.policy import PolicyConfig

ROUNDS = 3
TURNS = 360
"""Of each learner in a round: an episode of the execution task."""
PASSES = 8
"""Over all rounds so far, after each."""
MINIBATCH = 512
STEP = 2e-3
"""Adam's at the start of a round; falls linearly to a tenth."""
FORGOTTEN = 0.05
"""A turn's rewards count until what is left of the discount is less than this, or the episode is over."""


def returns_of(
    rewards: NDArray[np.float32], ends: NDArray[np.bool_], gamma: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Discounted sums of rewards to come, shape (turns, places), and which of them are whole but for :data:`FORGOTTEN`."""
    sums, whole = np.zeros(rewards.shape, np.float32), np.zeros(rewards.shape, np.bool_)
    following, left = np.zeros(rewards.shape[1]), np.ones(rewards.shape[1])
    for turn in range(len(rewards) - 1, -1, -1):
        following = rewards[turn] + gamma * np.where(ends[turn], 0.0, following)
        left = np.where(ends[turn], 0.0, left) * gamma
        sums[turn], whole[turn] = following, left < FORGOTTEN
    return sums, whole


def imitate(model: PPO, env: MarketVecEnv, teacher: PolicyConfig) -> float:
    """Let a model's policy become an imitation; return on what share of the last round's turns it does what the teacher would.

    Args:
        model: it, at the start of its training.
        env: where both play.
        teacher: parameters of a compiled policy.
    """
    policy = model.policy
    taught = Replicas(teacher, env.config, env.num_envs, model.seed or 0)
    seen: list[NDArray[np.float32]] = []
    told: list[NDArray[np.int64]] = []
    sums: list[NDArray[np.float32]] = []
    whole: list[NDArray[np.bool_]] = []
    agreement = 0.0
    for number in range(ROUNDS):
        observations: NDArray[np.float32] = env.reset()
        agreed = []
        taught.begin(np.ones(env.num_envs, np.bool_))
        rewards, ends = [], []
        for _ in range(TURNS):
            seen.append(observations)
            told.append(taught.act(observations))
            agreed.append((policy.predict(observations, deterministic=True)[0] == told[-1]).all(axis=1).mean())
            with torch.no_grad():
                actions = told[-1] if number == 0 else policy(torch.from_numpy(observations))[0].numpy()
            env.step_async(actions)
            following, reward, done, _ = env.step_wait()
            assert isinstance(following, np.ndarray)
            observations = following
            taught.begin(done)
            rewards.append(reward)
            ends.append(done)
        agreement = float(np.mean(agreed))
        known = returns_of(np.array(rewards), np.array(ends), model.gamma)
        sums.append(known[0].reshape(-1))
        whole.append(known[1].reshape(-1))
        fit(
            policy, torch.from_numpy(np.concatenate(seen)), torch.from_numpy(np.concatenate(told)),
            torch.from_numpy(np.concatenate(sums)), torch.from_numpy(np.concatenate(whole).astype(np.float32)),
        )  # fmt: skip
    return agreement


def fit(
    policy: torch.nn.Module, seen: torch.Tensor, told: torch.Tensor, sums: torch.Tensor, whole: torch.Tensor
) -> None:
    """Bring a policy nearer to what it was told, and its value to the sums that are whole."""
    optimizer = torch.optim.Adam(policy.parameters(), lr=STEP)
    for number in range(PASSES):
        for group in optimizer.param_groups:
            group["lr"] = STEP * (1.0 - 0.9 * number / (PASSES - 1))
        for rows in torch.split(torch.randperm(len(seen)), MINIBATCH):
            values, log_probs, _ = policy.evaluate_actions(seen[rows], told[rows])  # type: ignore[operator]
            errors = (values[:, 0] - sums[rows]) ** 2 * whole[rows]
            loss = 0.5 * errors.mean() - log_probs.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
