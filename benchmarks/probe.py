"""One measurement, made in whatever tree stands first on ``PYTHONPATH``: ``python benchmarks/probe.py NAME [ARGUMENT ...]``.

:mod:`benchmarks.before` runs it in two trees in turn. It imports nothing of this package, and knows the names that an older
tree has for things. It prints JSON: figures by name.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def fastest(run: Callable[[], Any], repetitions: int = 7) -> float:
    """CPU seconds of the fastest of some calls."""
    times = []
    for _ in range(repetitions):
        begun = time.process_time()
        run()
        times.append(time.process_time() - begun)
    return min(times)


def day6() -> tuple[Any, dict[str, Any]]:
    """The market of the four kinds, and a policy for each agent but the learner, who does nothing."""
    import scripted_agents
    from market_env.config import MarketConfig

    config = MarketConfig(timesteps=1_000_000)
    return config, scripted_agents.build(config, {"ppo": scripted_agents.DoNothing()})


def memory_of(market: Any, index: int) -> list[Any]:
    """What a policy is reset with: its stream, and where there is one its memory."""
    remembers = hasattr(market, "policy_memory")
    return [market.policy_stream(index), *([market.policy_memory(index)] if remembers else [])]


def env() -> dict[str, float]:
    """Microseconds of a turn through ``env()``, ``raw_env`` and an environment that does nothing under PettingZoo's own wrapper."""
    from pettingzoo import AECEnv
    from pettingzoo.utils.wrappers import OrderEnforcingWrapper

    import market_env
    from market_env.market import Market

    turns = 20_000
    config, policies = day6()
    market = Market(config)
    market.reset(1)
    for agent, policy in policies.items():
        policy.reset(*memory_of(market, market.index[agent]))
    codes = np.zeros((turns, 5), np.int64)
    for number in range(turns):
        codes[number] = policies[market.agent_ids[market.acting]].act(market.observation)
        market.act(codes[number])

    class NoOp(AECEnv):  # type: ignore[misc]
        metadata = {"name": "no_op_v0", "render_modes": []}  # noqa: RUF012

        def __init__(self) -> None:
            super().__init__()
            self.possible_agents = config.agent_ids
            self.seen = market.observation

        def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
            self.agents = list(self.possible_agents)
            self.rewards = dict.fromkeys(self.agents, 0.0)
            self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
            self.terminations = dict.fromkeys(self.agents, False)
            self.truncations = dict.fromkeys(self.agents, False)
            self.infos: dict[str, Any] = {agent: {} for agent in self.agents}
            self.agent_selection = self.agents[0]
            self.turn = 0

        def observe(self, agent: str) -> Any:
            return self.seen

        def step(self, action: Any) -> None:
            self.turn += 1
            self.agent_selection = self.possible_agents[self.turn % len(self.possible_agents)]

    def loop(environment: Any) -> None:
        environment.reset(seed=1)
        for number, _ in enumerate(environment.agent_iter(turns)):
            environment.last()
            environment.step(codes[number])

    found = {}
    for name, environment in (
        ("no-op", OrderEnforcingWrapper(NoOp())),
        ("env", market_env.env(config=config)),
        ("raw_env", market_env.raw_env(config=config)),
    ):
        found[name] = fastest(lambda environment=environment: loop(environment)) / turns * 1e6

    def advance() -> None:
        market.reset(1)
        for action in codes:
            market.act(action)

    found["advance"] = fastest(advance) / turns * 1e6
    raw = market_env.raw_env(config=config)
    raw.reset(seed=1)
    for number in range(1_000):
        raw.step(codes[number])
    for name, part in (
        ("info", raw.market.acting_info),
        ("reward", lambda: float(raw.reward(raw.market.acting_outcome()))),
        ("observation", lambda: raw.observe(raw.agent_selection)),
    ):
        found[name] = fastest(lambda part=part: [part() for _ in range(turns)]) / turns * 1e6
    return found


def loop() -> dict[str, float]:
    """Turns a second of the AEC loop whose learner does nothing."""
    import market_env
    import scripted_agents
    from market_env.config import MarketConfig
    from runners.drive import drive

    config = MarketConfig()
    policies = scripted_agents.build(config, {"ppo": scripted_agents.DoNothing()})
    environment = market_env.env(config=config)
    seconds = fastest(lambda: drive(environment, policies, 1), 5)
    return {"turns/s": float(environment.unwrapped.market.records["turns"][0]) / seconds}


def batch(markets: str, threads: str) -> dict[str, float]:
    """Turns a second of a warm batch whose learner does nothing."""
    import numba

    from market_env.config import MarketConfig
    from scripted_agents.batch import Batch

    # An older name first: what a tree lacks may be found in an installed one.
    try:
        from scripted_agents.population import build_others
    except ImportError:
        from scripted_agents.registry import build_others
    numba.set_num_threads(int(threads))
    count, config = int(markets), MarketConfig(timesteps=10**9)
    played = Batch(config, build_others(config, ["ppo_0"]), ["ppo_0"], count)
    played.reset(range(count))
    nothing = np.zeros((count, 1, 5), np.int64)

    def play(steps: int) -> float:
        before = played.records["turns"].sum()
        begun = time.perf_counter()
        for _ in range(steps):
            played.step(nothing)
        return float(played.records["turns"].sum() - before) / (time.perf_counter() - begun)

    # A book is as deep as it gets after some hundred timesteps; large batches are left at fewer.
    play(max(20, min(500, 50_000 // count)))
    steps = max(3, int(0.15 * play(3) / count / 9))
    return {"turns/s": max(play(steps) for _ in range(7))}


def decide() -> dict[str, float]:
    """Microseconds of a frozen decision as a policy of the AEC loop makes it."""
    from market_env import observations
    from market_env.config import MarketConfig
    from market_env.market import Market
    from scripted_agents.frozen_ppo import FrozenPPO

    config = MarketConfig()
    model = next(name for name in ("models/ppo_day6.zip", "models/ppo_day5.zip") if Path(name).exists())
    policy = FrozenPPO(model).build(config)
    market = Market(config)
    market.reset(1)
    policy.reset(*memory_of(market, 0))
    seen = np.random.default_rng(0).uniform(observations.LOW, observations.HIGH, (2_000, observations.SIZE))
    rows = list(seen.astype(np.float32))
    return {"us": fastest(lambda: [policy.act(row) for row in rows]) / len(rows) * 1e6}


def train(updates: str) -> dict[str, float]:
    """Turns a second of the training, validation apart: wall time and CPU time."""
    import torch

    from market_env.config import MarketConfig

    torch.set_num_threads(1)
    import runners

    if (Path(runners.__path__[0]) / "learn").is_dir():
        from runners.learn.fast import FastPPO

        algorithm = FastPPO
    else:
        from stable_baselines3 import PPO

        algorithm = PPO
    from runners.vec_env import MarketVecEnv

    markets, steps = 128, 64
    environment = MarketVecEnv(markets, MarketConfig(timesteps=500))
    torch.set_num_threads(1)
    model = algorithm(
        "MlpPolicy", environment, n_steps=steps, batch_size=512, n_epochs=5, seed=1, device="cpu",
        policy_kwargs={"activation_fn": torch.nn.Tanh},
    )  # fmt: skip
    model.learn(markets * steps)
    found = []
    for _ in range(int(updates)):
        wall, used = time.perf_counter(), time.process_time()
        model.learn(markets * steps, reset_num_timesteps=False)
        found.append((time.perf_counter() - wall, time.process_time() - used))
    wall_taken, used_taken = np.median(found, axis=0)
    return {"turns/s": markets * steps / wall_taken, "turns/CPU s": markets * steps / used_taken}


def book(file: str) -> dict[str, float]:
    """Messages a second of the book alone, over a stream that lies in a file."""
    from market_env.engine import book as orders
    from market_env.engine.kernel import kernel
    from market_env.engine.state import PRESETS, market_dtype

    @kernel
    def alone(markets, kinds, ids, sides, prices, lots, slots):  # type: ignore[no-untyped-def]
        market = markets[0]
        orders.clear(market)
        for agent in range(2):
            market.agents[agent].open_orders = 0
            market.agents[agent].oldest = -1
            market.agents[agent].newest = -1
        total = 0
        for i in range(len(kinds)):
            if kinds[i] == 1:
                slot = slots[ids[i]]
                if slot >= 0 and market.orders[slot].id == ids[i] - 1:
                    orders.remove(market, slot)
            else:
                slot = orders.submit(market, 0 if kinds[i] == 0 else 1, sides[i], prices[i], lots[i], 0.0)
                slots[ids[i]] = slot
                total += lots[i]
                if slot != -1:
                    total -= market.orders[slot].lots
        return total

    columns = list(np.load(file))
    market = np.zeros(1, market_dtype(PRESETS[1] if len(columns[0]) < 10**6 else PRESETS[2]))
    slots = np.full(int(columns[1].max()) + 1, -1, np.int32)
    alone(market, *columns, slots)
    return {"messages/s": len(columns[0]) / fastest(lambda: alone(market, *columns, slots))}


if __name__ == "__main__":
    name, *given = sys.argv[1:]
    print(json.dumps(globals()[name](*given)))
