"""``python -m benchmarks.push``: how far a pusher moves the price, paired by seed with a run in which its seat is empty.

Its move is half the difference of what it does to the mid in the last hundred timesteps of its rises and of its falls, in
ticks and in standard deviations of the mid's change over a minute in the runs without it. Cost: some seconds.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

from market_env.config import LEARNER
from market_env.market import Market
from runners.files.derive import derive
from runners.measures.over_seeds import mean_of
from scripted_agents.baselines import DoNothing
from scripted_agents.populations import population
from scripted_agents.pusher import Pusher
from scripted_agents.registry import build
from scripted_agents.rollout import run_compiled
from scripted_agents.standards import STANDARDS

TIMESTEPS, PERIOD, LAST, LARGE = 3_000, 300, 100, 10
SEEDS = STANDARDS.test_seeds[:32]


class Push(NamedTuple):
    """What a pusher does to the mid."""

    ticks: float
    """Mean over seeds."""
    low: float
    high: float
    """95 % interval of the mean, ticks."""
    minute: float
    """Standard deviation of the mid's change over 60 timesteps without it, ticks."""
    reached: float
    """Largest position that it holds, lots, mean over seeds."""


def push(name: str, seeds: range = SEEDS) -> Push:
    """A pusher in the learner's seat of a population."""
    of = population(name, timesteps=TIMESTEPS)
    market = Market(of.market, log=True)
    seat = of.market.agent_ids.index(LEARNER)
    place = np.arange(TIMESTEPS) % PERIOD >= PERIOD - LAST
    rises = np.arange(TIMESTEPS) // PERIOD % 2 == 0
    moves, minutes, reached = [], [], []
    players = [build(of.market, of.over({LEARNER: rule})) for rule in (Pusher(period=PERIOD), DoNothing())]
    for seed in seeds:
        mids = []
        for policies in players:
            market.reset(seed)
            tables = derive(of.market, run_compiled(market, policies))
            mids.append(tables.quotes["reference"])
            if policies is players[0]:
                reached.append(float(np.abs(tables.agents[:, seat]["inventory"]).max()))
        apart = mids[0] - mids[1]
        moves.append(0.5 * (apart[place & rises].mean() - apart[place & ~rises].mean()))
        minutes.append((mids[1][60:] - mids[1][:-60]).std())
    return Push(*over_seeds(moves), float(np.mean(minutes)), float(np.mean(reached)))


def over_seeds(values: list[float]) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % interval (Student's t)."""
    found = mean_of(np.array(values))
    if found.mean is None or found.low is None or found.high is None:
        raise ValueError(f"too few seeds: {len(values)}")
    return found.mean, found.low, found.high


def presence(name: str, seeds: range = SEEDS) -> tuple[float, float, float]:
    """How far a population's own policy moves the mid the way of its position, against paired runs with its seat empty.

    The mid's difference times the sign of the inventory, mean over the timesteps in which it holds ten lots or more, then over
    seeds, and the ends of its 95 % interval, ticks. A policy that presses holds the price up while it is long.
    """
    of = population(name, timesteps=TIMESTEPS)
    market = Market(of.market, log=True)
    seat = of.market.agent_ids.index(LEARNER)
    players = [build(of.market, of.policies), build(of.market, of.over({LEARNER: DoNothing()}))]
    apart = []
    for seed in seeds:
        mids = []
        held = np.zeros(TIMESTEPS)
        for policies in players:
            market.reset(seed)
            tables = derive(of.market, run_compiled(market, policies))
            mids.append(tables.quotes["reference"])
            if policies is players[0]:
                held = tables.agents[:, seat]["inventory"].astype(np.float64)
        large = np.abs(held) >= LARGE
        if large.any():
            apart.append(float((np.sign(held) * (mids[0] - mids[1]))[large].mean()))
    return over_seeds(apart)


def main() -> int:
    """Run the command; return its exit status."""
    print(f"{'who':<28}{'ticks':>8}{'interval':>18}{'in minutes':>12}{'interval':>18}{'reached':>9}")
    for name in ("day6", "default"):
        found = push(name)
        cells = [
            f"[{low:+.2f}, {high:+.2f}]"
            for low, high in ((found.low, found.high), (found.low / found.minute, found.high / found.minute))
        ]
        print(
            f"{f'pusher in {name}':<28}{found.ticks:>+8.2f}{cells[0]:>18}{found.ticks / found.minute:>+12.3f}{cells[1]:>18}"
            f"{found.reached:>9.0f}"
        )
    mean, low, high = presence("default")
    print(f"{'frozen PPO, its own way':<28}{mean:>+8.2f}{f'[{low:+.2f}, {high:+.2f}]':>18}")
    print(
        f"{len(SEEDS)} seeds, {TIMESTEPS:,} timesteps; a minute: standard deviation of the mid's change over 60 timesteps; reached: lots"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
