"""PPO over the compiled batch, in one folder, from start to end or from its last checkpoint on.

The deterministic policy is judged on validation seeds as training goes on and the best is kept as ``policy.zip``; test
seeds are for the model card and for evaluation.

Promise: same arguments, same machine and packages, same weights, stopped and resumed or not. Cost: half of it is the update's
matrix products (``python -m benchmarks train``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from tqdm import tqdm

from market_env.config import ConfigError, to_json
from market_env.engine.kernel import announced
from runners.files.folder import make_folder
from runners.files.versions import versions_of
from runners.files.whole import write_json
from runners.learn import checkpoint
from runners.learn.fast import FastPPO
from runners.learn.imitation import imitate
from runners.learn.schedule import BoardOutput, Schedule
from runners.learn.settings import CONFIG, PACKAGES, RESULT, Training
from runners.learn.vec_env import MarketVecEnv
from scripted_agents.baselines import DoNothing
from scripted_agents.standards import STANDARDS, Standards


class NoPolicyError(ConfigError):
    """A training ended without a policy that may be kept; its result is written."""


def weights_hash(model: PPO) -> str:
    """SHA-256 of all weights, hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.policy.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def compile_first(env: MarketVecEnv) -> None:
    """Compile what a training needs, and say so where it takes long."""
    with announced("a batch of markets"):
        env.reset()
        env.step(np.zeros((env.num_envs, 5), np.int64))


def build(training: Training) -> tuple[PPO, MarketVecEnv]:
    """Model and environment of a training, at its start."""
    seats = training.seats()
    env = MarketVecEnv(
        training.markets,
        training.market_of(training.episode),
        seats[: training.learners],
        # Empty until the league takes them.
        policies={**training.others(), **{seat: DoNothing() for seat in seats[training.learners :]}},
        reward=training.rewarded(),
    )
    compile_first(env)
    model = FastPPO(
        "MlpPolicy",
        env,
        seed=training.seed,
        n_steps=training.n_steps,
        batch_size=training.batch_size,
        n_epochs=training.n_epochs,
        learning_rate=lambda left: training.learning_rate * (0.1 + 0.9 * left),
        gamma=training.gamma,
        gae_lambda=training.gae_lambda,
        ent_coef=training.ent_coef,
        policy_kwargs={
            "activation_fn": torch.nn.Tanh,
            "net_arch": {"pi": list(training.hidden), "vf": list(training.hidden)},
        },
        device="cpu",
    )
    return model, env


def learn(model: PPO, schedule: Schedule, board: BoardOutput, resume: bool) -> None:
    """Train to the end, judge the last policy and write the last checkpoint."""
    model.set_logger(Logger(str(schedule.folder), [board]))
    left = schedule.training.total_timesteps - model.num_timesteps
    if left > 0:
        model.learn(left, callback=schedule, reset_num_timesteps=not resume)
        if schedule.stopped is not None:
            return
    else:
        schedule.init_callback(model)
        schedule.num_timesteps = model.num_timesteps
    if not schedule.curve or schedule.curve[-1]["timesteps"] < model.num_timesteps:
        schedule.judge()
    schedule.next["checkpoint"] = model.num_timesteps
    schedule.save()
    model.logger.dump(model.num_timesteps)


def train(
    training: Training,
    folder: Path,
    resume: bool = False,
    standards: Standards = STANDARDS,
    until: int | None = None,
    differing: Collection[str] = (),
) -> dict[str, Any]:
    """Train, and leave the best policy and what became of it in ``folder``; return the latter.

    Args:
        training: its settings.
        folder: for everything that it writes.
        resume: whether to go on from the folder's checkpoint; without one it begins.
        standards: what a policy must meet to be kept, and the seeds that say so.
        until: turns after which it stops at a checkpoint, to be resumed; None for its end.
        differing: names of settings in which trainings beside this one have others.

    Raises:
        ConfigError: the checkpoint is damaged or of another training; no policy within its limits was found.
    """
    model, env = build(training)
    schedule = Schedule(training, folder, env, standards, until, f"{folder.name}  " if differing else "")
    resume = resume and (folder / checkpoint.FILE).exists()
    if resume:
        schedule.go_on(*checkpoint.load(folder, model, env, schedule.purpose))
    else:
        make_folder(folder)
        write_json(folder / CONFIG, to_json(training))
        if training.imitate is not None:
            tqdm.write(f"imitating {training.imitate} ...")
            agreement = imitate(model, env, training.rivals()[training.imitate])
            tqdm.write(f"begins as {training.imitate}: does what that would on {agreement:.1%} of its turns")
    # What a killed process wrote after its last checkpoint comes once more.
    board = BoardOutput(folder / "tensorboard", model.num_timesteps + 1 if resume else None, differing)
    try:
        learn(model, schedule, board, resume)
    except BaseException:
        board.abandon()
        raise
    board.close()
    result = {
        "training": to_json(training),
        "versions": versions_of(PACKAGES),
        "timesteps": model.num_timesteps,
        "seconds": round(schedule.spent()),
        "weights": weights_hash(model),
        "best": schedule.best,
        "curve": schedule.curve,
    }
    if schedule.stopped is not None:
        return {**result, "timesteps": schedule.stopped}
    write_json(folder / RESULT, result)
    if schedule.best is None:
        limits = schedule.standards.limits().replace("their", "its")
        raise NoPolicyError(f"training: no policy was kept: at no validation did it {limits}")
    return result
