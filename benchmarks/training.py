"""Speed of many markets at once, and of training: the batch against the AEC loop, PPO over it against PPO over plain environments.

All figures of a section come from one run of it, one core first.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import market_env
import scripted_agents
from market_env import observations
from market_env.config import LEARNER, MarketConfig
from market_env.engine.state import MEMORY
from runners.learn.fast import FastPPO
from runners.learn.settings import Training
from runners.learn.vec_env import MarketVecEnv
from runners.simulation.drive import drive
from scripted_agents.batch import Batch, market_bytes
from scripted_agents.frozen_ppo import DEFAULT_MODEL, FrozenPPO
from scripted_agents.populations import population
from scripted_agents.registry import build_others


def batch_speed(markets: int, seconds: float = 1.0) -> tuple[float, float]:
    """Turns and timesteps a second of a warm batch whose learner does nothing: the median of five stretches."""
    config = MarketConfig(timesteps=10**9)
    batch = Batch(config, build_others(config, [LEARNER]), [LEARNER], markets)
    batch.reset(range(markets))
    nothing = np.zeros((markets, 1, 5), np.int64)

    def play(steps: int) -> tuple[float, float]:
        turns, timesteps = batch.records["turns"].sum(), batch.records["timestep"].sum()
        begun = time.perf_counter()
        for _ in range(steps):
            batch.step(nothing)
        taken = time.perf_counter() - begun
        return (
            float(batch.records["turns"].sum() - turns) / taken,
            float(batch.records["timestep"].sum() - timesteps) / taken,
        )

    # A book is as deep as it gets after some hundred timesteps; large batches are left at fewer.
    play(max(20, min(500, 50_000 // markets)))
    steps = max(3, int(seconds / 5 * play(3)[1] / markets))
    found = sorted(play(steps) for _ in range(5))
    return found[2]


def bench_batch(show: Callable[[str, str, str], None]) -> None:
    """Turns a second of the batch, of 1 to 4,096 markets on one core and two, against the AEC loop."""
    config = MarketConfig()
    policies = scripted_agents.build(config, {"ppo": scripted_agents.DoNothing()})
    env = market_env.env(config=config)
    times = []
    for _ in range(4):
        begun = time.perf_counter()
        drive(env, policies, 1)
        times.append(time.perf_counter() - begun)
    turns = int(env.unwrapped.market.records["turns"][0])
    floor = turns / statistics.median(times[1:])
    show("AEC loop, a learner that does nothing (the floor)", f"{floor / 1e3:.1f} k", "turns/s")
    show("memory of a market in the batch", f"{market_bytes(config) / 1024:.0f} KiB", "")
    cores = numba.get_num_threads()
    one: dict[int, float] = {}
    try:
        for threads in sorted({1, min(2, cores)}):
            numba.set_num_threads(threads)
            for markets in (1, 4, 16, 64, 256, 1_024, 4_096):
                turns_a_second, timesteps_a_second = batch_speed(markets)
                one.setdefault(markets, turns_a_second)
                more = f", {turns_a_second / one[markets]:.2f} x one core" if threads > 1 else ""
                show(
                    f"batch of {markets:,}, {threads} core{'s' * (threads > 1)}",
                    f"{turns_a_second / 1e6:.2f} M",
                    f"turns/s, {timesteps_a_second / 1e3:.0f} k timesteps/s, {turns_a_second / floor:.0f} x the floor{more}",
                )
    finally:
        numba.set_num_threads(cores)


class Timed:
    """A vector environment whose steps are timed."""

    def __init__(self, env: VecEnv) -> None:
        self.seconds = 0.0
        step_wait = env.step_wait

        def timed() -> Any:
            begun = time.perf_counter()
            result = step_wait()
            self.seconds += time.perf_counter() - begun
            return result

        env.step_wait = timed  # type: ignore[method-assign]


def bench_train(show: Callable[[str, str, str], None]) -> None:
    """Turns a second of PPO, Stable-Baselines3's and the project's own, over the batch and over plain environments."""
    training = Training()
    config = training.market_of(training.episode)
    torch.set_num_threads(1)

    def plain() -> VecEnv:
        return DummyVecEnv(
            [lambda: Monitor(scripted_agents.learner_env(config, policies=training.others(), reward=training.reward))]
            * training.markets
        )

    batch = partial(MarketVecEnv, training.markets, config, policies=training.others(), reward=training.reward)
    kinds: dict[str, tuple[type[PPO], Callable[[], VecEnv]]] = {
        "PPO over plain Gymnasium environments (the floor)": (PPO, plain),
        "PPO over the batch": (PPO, batch),
        "the project's own training": (FastPPO, batch),
    }
    an_update = training.markets * training.n_steps
    models: dict[str, PPO] = {}
    envs: dict[str, Timed] = {}
    taken: dict[str, list[float]] = {label: [] for label in kinds}
    for label, (kind, make) in kinds.items():
        envs[label] = Timed(env := make())
        models[label] = kind(
            "MlpPolicy", env, n_steps=training.n_steps, batch_size=training.batch_size, n_epochs=training.n_epochs,
            seed=1, device="cpu", policy_kwargs={"activation_fn": torch.nn.Tanh},
        ).learn(an_update)  # fmt: skip
        envs[label].seconds = 0.0
    torch.set_num_threads(1)
    for _ in range(6):  # in turn, so that what else the machine does meets all of them
        for label, model in models.items():
            begun = time.perf_counter()
            model.learn(an_update, reset_num_timesteps=False)
            taken[label].append(time.perf_counter() - begun)
    floor = sum(next(iter(taken.values())))
    for label, times in taken.items():
        seconds = sum(times)
        show(
            label,
            f"{6 * an_update / seconds / 1e3:.1f} k",
            f"turns/s, {envs[label].seconds / seconds:.1%} of the time in the environment, {floor / seconds:.2f} x the floor",
        )
    bench_threads(show)
    decide(show)


PLAIN = """
import sys, time
from stable_baselines3 import PPO
from runners.vec_env import MarketVecEnv

if sys.argv[1] == "as it comes":
    env = MarketVecEnv(16)
else:
    env = MarketVecEnv(16, torch_threads=int(sys.argv[1]))
model = PPO("MlpPolicy", env, n_steps=32, device="cpu")
model.learn(512)
begun = time.perf_counter()
model.learn(1_024, reset_num_timesteps=False)
print(1_024 / (time.perf_counter() - begun))
"""


def bench_threads(show: Callable[[str, str, str], None]) -> None:
    """Turns a second of a plain Stable-Baselines3 script that sets nothing, over those with the best number of threads."""

    def speed(setting: str) -> float:
        done = subprocess.run([sys.executable, "-c", PLAIN, setting], capture_output=True, text=True, check=True)
        return float(done.stdout)

    for label, busy in (("idle", 0), ("one core busy with something else", 1)):
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            runs = {s: statistics.median(speed(s) for _ in range(3)) for s in ("as it comes", "1", str(os.cpu_count()))}
        finally:
            for other in others:
                other.kill()
        best = max((s for s in runs if s != "as it comes"), key=lambda s: runs[s])
        show(
            f"PPO over 16 markets, nothing set, {label}",
            f"{runs['as it comes'] / 1e3:.2f} k",
            f"turns/s, {runs['as it comes'] / runs[best]:.2f} x the best setting "
            f"(PyTorch threads: {', '.join(f'{s}: {runs[s] / 1e3:.2f} k' for s in runs if s != 'as it comes')})",
        )


def decide(show: Callable[[str, str, str], None]) -> None:
    """Cost of a frozen decision as a policy of the AEC loop makes it, against Stable-Baselines3's ``predict``."""
    of = population(timesteps=300)
    path = Path(DEFAULT_MODEL)
    model = PPO.load(path, device="cpu")
    policy = FrozenPPO(str(path)).build(of.market)
    env = scripted_agents.learner_env(of)
    seen = [env.reset(seed=1)[0]]
    for _ in range(299):
        seen.append(env.step(policy.act(seen[-1]))[0])
    policy.reset(np.zeros(4, np.uint64), np.zeros(MEMORY))
    costs = {}
    own = [observations.INDEX[name] for name in model.market["features"]]  # those that it was trained on
    for label, act in (
        ("predict of Stable-Baselines3 (the floor)", lambda o: model.predict(o[own], deterministic=True)),
        ("the frozen policy", policy.act),
    ):
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            for observation in seen:
                act(observation)
            times.append((time.perf_counter() - begun) / len(seen))
        costs[label] = statistics.median(times)
        floor = next(iter(costs.values()))
        show(
            f"a decision, {label}", f"{costs[label] * 1e6:.1f} us", f"{floor / costs[label]:.0f} x as fast as the floor"
        )
