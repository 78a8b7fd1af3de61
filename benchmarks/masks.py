"""``python -m benchmarks.masks``: does it help a learner to be told which actions can have no effect?

MaskablePPO of sb3-contrib, with the published policy's settings but a constant learning rate, trains in the default market over three seeds with ``action_masks()`` and without. What counts is the
change in wealth on the validation seeds, played with masks where it learned with them, the best of its validations. Cost: three quarters of an hour on two cores.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from torch import nn

from runners.learn.settings import Training
from runners.vec_env import MarketVecEnv
from scripted_agents.standards import STANDARDS

SEEDS = (5, 6, 7)
TURNS = 500_000
VALIDATIONS = 2
"""In a training."""


def begun(training: Training, seed: int) -> MaskablePPO:
    """A model at its start."""
    env = MarketVecEnv(training.markets, training.market_of(training.episode), reward=training.rewarded())
    return MaskablePPO(
        "MlpPolicy", env, seed=seed, n_steps=training.n_steps, batch_size=training.batch_size, n_epochs=training.n_epochs,
        learning_rate=training.learning_rate, gamma=training.gamma, gae_lambda=training.gae_lambda, ent_coef=training.ent_coef,
        policy_kwargs={"activation_fn": nn.Tanh, "net_arch": list(training.hidden)}, device="cpu",
    )  # fmt: skip


def gains(model: MaskablePPO, training: Training, masked: bool) -> tuple[NDArray[np.float64], float]:
    """Changes in wealth of the deterministic policy on each validation seed, and the share of its turns that were refused something."""
    seeds = STANDARDS.validation_seeds
    env = MarketVecEnv(len(seeds), training.judged_in("validation"))
    env.seed(seeds.start)
    seen = env.reset()
    assert isinstance(seen, np.ndarray)
    first = np.array([info["wealth"] for info in env.reset_infos])
    refused, over = [], False
    while not over:
        masks = env.action_masks() if masked else None
        actions, _ = model.predict(seen, deterministic=True, action_masks=masks)
        env.step_async(actions)
        seen, _, done, infos = env.step_wait()
        assert isinstance(seen, np.ndarray)
        refused.append(np.mean([info["rejected_lots"] > 0 for info in infos]))
        over = bool(done.all())
    return np.array([info["wealth"] for info in infos]) - first, float(np.mean(refused))


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    if arguments:
        print(__doc__)
        return arguments != ["--help"]
    training = Training()
    print(f"{'':<14}{'seed':>5}{'best gain, tick-lots':>34}{'refused, share of turns':>26}{'minutes':>9}")
    for seed in SEEDS:
        for masked in (True, False):
            model = begun(training, seed)
            began, best = time.perf_counter(), (np.full(1, -np.inf), 0.0)
            for number in range(VALIDATIONS):
                model.learn(TURNS // VALIDATIONS, reset_num_timesteps=number == 0, use_masking=masked)
                found = gains(model, training, masked)
                best = max(best, found, key=lambda own: float(own[0].mean()))
            error = 1.96 * best[0].std(ddof=1) / len(best[0]) ** 0.5
            print(
                f"{'with masks' if masked else 'without':<14}{seed:>5}{f'{best[0].mean():+,.0f} +- {error:,.0f}':>34}"
                f"{best[1]:>26.1%}{(time.perf_counter() - began) / 60:>9.1f}",
                flush=True,
            )
    print(f"MaskablePPO, {TURNS:,} turns in the default market, {len(STANDARDS.validation_seeds)} validation seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
