"""Lessons before the training proper: the policy imitates a rival, and learns what its decisions are worth.

Behaviour cloning (Pomerleau, 1991): cross-entropy on the rival's actions in the learners' seats, and squared error
of the value function on the discounted rewards that followed, so that PPO's first advantages are not noise. What
PPO then starts from trades like the rival; what it becomes is judged against it. Cost: about 15 s.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from torch.nn import functional

from market_env.rewards import Reward
from runners.vec_env import MarketVecEnv
from runners.vector import rewards_of
from scripted_agents.policy import CompiledPolicy, PolicyConfig

TURNS = 400_000
"""Turns of the rival that are learned from."""
EPOCHS = 10
BATCH = 512
STEP = 1e-3
"""Adam's."""
FORESIGHT = 1e-2
"""A return is known once what may still come is discounted to this."""


def watch(
    env: MarketVecEnv, rival: PolicyConfig, reward: Reward, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    """Play the rival in all learners' seats: what it saw and did and what that earned, each (steps, seats, ...)."""
    batch = env.batch
    batch.reset(np.random.default_rng([seed, 0]).integers(2**62, size=batch.count).tolist())
    cast: list[CompiledPolicy] = []
    for number in range(env.num_envs):
        policy = rival.build(env.config)
        assert isinstance(policy, CompiledPolicy)
        market, learner = divmod(number, len(batch.learners))
        policy.reset(batch.records["agents"]["policy_stream"][market, batch.agents[learner]])
        cast.append(policy)
    steps = min(-(-TURNS // env.num_envs), env.config.timesteps)
    seen, done, earned = [], [], []
    for _ in range(steps):
        observations = batch.observations.reshape(env.num_envs, -1).copy()
        codes = np.stack([policy.act(row) for policy, row in zip(cast, observations, strict=True)])
        batch.step(codes.reshape(batch.count, -1, 5))
        seen.append(observations)
        done.append(codes)
        earned.append(rewards_of(batch, reward).reshape(-1))
    return np.stack(seen), np.stack(done), np.stack(earned)


def teach(model: PPO, env: MarketVecEnv, rival: PolicyConfig, reward: Reward, seed: int) -> float:
    """Let the model's policy imitate ``rival``; return the share of turns whose whole action it then takes likewise."""
    seen, done, earned = watch(env, rival, reward, seed)
    returns = np.zeros_like(earned)
    following = np.zeros(env.num_envs)
    for step in reversed(range(len(earned))):
        following = returns[step] = earned[step] + model.gamma * following
    # The last steps' returns lack what would have come; what is left out is discounted away for the others.
    horizon = min(int(np.log(FORESIGHT) / np.log(model.gamma)) + 1, len(earned) - 1) if model.gamma < 1.0 else 0
    whole = slice(0, len(earned) - horizon)
    observations = torch.as_tensor(seen[whole].reshape(-1, seen.shape[-1]))
    actions = torch.as_tensor(done[whole].reshape(-1, 5))
    targets = torch.as_tensor(returns[whole].reshape(-1), dtype=torch.float32)
    optimizer = torch.optim.Adam(model.policy.parameters(), lr=STEP)
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = STEP * (1.0 - epoch / EPOCHS)
        for rows in torch.split(torch.randperm(len(observations)), BATCH):
            values, log_likelihood, _ = model.policy.evaluate_actions(observations[rows], actions[rows])
            loss = -log_likelihood.mean() + 0.5 * functional.mse_loss(values.flatten(), targets[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.policy.parameters(), model.max_grad_norm)
            optimizer.step()
    with torch.no_grad():
        sample = torch.randperm(len(observations))[:20_000]
        taken = model.policy.get_distribution(observations[sample]).mode()
    return float((taken == actions[sample]).all(dim=1).float().mean())
