"""Compare policies in one seat over many seeds, paired by seed: ``python -m runners.evaluate MODEL ...``.

Every policy plays the same markets (same seeds, same others) from the same seat, compiled; a seed of 5,000
timesteps takes about 50 ms. Differences are against doing nothing and random actions on the same seed, with
bootstrap intervals of 95 %. An agent that does nothing gains exactly 0.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from scipy import stats

from market_env.config import ConfigError, MarketConfig, amend
from market_env.market import Market
from runners.command import command
from runners.derive import derive, refused_share, turns_with_trades
from scripted_agents import population
from scripted_agents.baselines import DoNothing, RandomActions
from scripted_agents.frozen_ppo import FrozenPPO
from scripted_agents.policy import Policy, PolicyConfig
from scripted_agents.rollout import run_compiled

TEST_SEEDS = range(1_000_000, 1_000_064)
"""Seeds that no training and no choice of checkpoint has seen."""
VALIDATION_SEEDS = range(2_000_000, 2_000_016)
"""Seeds for choosing between checkpoints."""


@dataclass(frozen=True)
class Episode:
    """What one policy did in one market."""

    seed: int
    gain: float
    """Change in wealth, tick-lots."""
    liquidation_gain: float
    """Change in wealth with the inventory closed against the others' orders, tick-lots."""
    trading_turns: float
    """Share of turns since whose predecessor one of its orders traded."""
    near_bound: float
    """Share of timesteps that ended with more than 80 % of the inventory bound."""
    traded_lots: int
    mean_abs_inventory: float
    """Lots."""
    refused_turns: float
    """Share of turns in which risk checks refused an order or a part of one."""


def play(market: Market, policies: Mapping[str, Policy], agent: str, seed: int) -> Episode:
    """Play one seed to its end and say what ``agent`` did."""
    market.reset(seed)
    events = run_compiled(market, policies)
    seat = market.index[agent]
    config = market.config.agents[seat]
    rows = derive(market.config, events).agents[:, seat]
    start = config.cash + config.inventory * market.config.first_price
    inventory = np.abs(rows["inventory"])
    traded = turns_with_trades(events, seat)
    return Episode(
        seed,
        float(rows["cash"][-1] + rows["inventory"][-1] * market.reference - start),
        market.liquidation_wealth(seat) - start,
        float(traded.mean()) if len(traded) else 0.0,
        float((inventory > 0.8 * config.inventory_bound).mean()),
        int(rows["maker_lots"].sum() + rows["taker_lots"].sum()),
        float(inventory.mean()),
        refused_share(events, seat),
    )


def play_seeds(
    config: MarketConfig,
    agent: str,
    chosen: Policy,
    seeds: Sequence[int],
    others: Mapping[str, PolicyConfig] | None = None,
) -> list[Episode]:
    """Play ``chosen`` in ``agent``'s seat over many seeds, the others with their usual policies."""
    policies = population.build(config, {**(others or {}), agent: DoNothing()})
    policies[agent] = chosen
    market = Market(config, log=True)
    return [play(market, policies, agent, seed) for seed in seeds]


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean, bias-corrected and accelerated; the mean twice if all are equal."""
    if np.ptp(values) == 0.0:
        return float(values[0]), float(values[0])
    found = stats.bootstrap((values,), np.mean, n_resamples=9_999, rng=np.random.default_rng(0)).confidence_interval
    return float(found.low), float(found.high)


def summarise(episodes: Sequence[Episode], baselines: Mapping[str, Sequence[Episode]]) -> dict[str, Any]:
    """Means over seeds, and paired differences in wealth to each baseline with intervals."""

    def column(rows: Sequence[Episode], name: str) -> NDArray[np.float64]:
        return np.array([getattr(row, name) for row in rows], np.float64)

    figures: dict[str, Any] = {
        name: float(column(episodes, name).mean())
        for name in (
            "gain",
            "liquidation_gain",
            "trading_turns",
            "near_bound",
            "traded_lots",
            "mean_abs_inventory",
            "refused_turns",
        )
    }
    figures["seeds"] = len(episodes)
    figures["above"] = {
        baseline: {
            measure: {"mean": float(difference.mean()), "interval": interval(difference)}
            for measure in ("gain", "liquidation_gain")
            for difference in [column(episodes, measure) - column(rows, measure)]
        }
        for baseline, rows in baselines.items()
    }
    return figures


def compare(
    config: MarketConfig, agent: str, candidates: Mapping[str, PolicyConfig], seeds: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Figures of every candidate and of the two baselines, by name.

    Raises:
        ConfigError: fewer than two seeds, or a candidate cannot be used.
    """
    if len(seeds) < 2:
        raise ConfigError(f"seeds: expected at least 2 for an interval, got {len(seeds)}")
    baselines: dict[str, PolicyConfig] = {"nothing": DoNothing(), "random": RandomActions()}
    # Everything is built before anything is played, so that a bad file is named at once.
    built = {name: chosen.build(config) for name, chosen in {**candidates, **baselines}.items()}
    played = {name: play_seeds(config, agent, policy, seeds) for name, policy in built.items()}
    return {name: summarise(rows, {b: played[b] for b in baselines if b != name}) for name, rows in played.items()}


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The comparison as text, a line a policy."""
    lines = [
        f"{'policy':<24} {'gain':>10} {'liquid.':>10} {'above nothing (liquid.)':>28} {'above random (liquid.)':>28} "
        f"{'trading':>8} {'> 80 %':>7} {'|inv.|':>7}"
    ]
    for name, figures in results.items():

        def above(baseline: str, figures: Mapping[str, Any] = figures) -> str:
            if baseline not in figures["above"]:
                return "-"
            difference = figures["above"][baseline]["liquidation_gain"]
            low, high = difference["interval"]
            return f"{difference['mean']:.0f} [{low:.0f}, {high:.0f}]"

        lines.append(
            f"{name:<24} {figures['gain']:>10.0f} {figures['liquidation_gain']:>10.0f} {above('nothing'):>28} "
            f"{above('random'):>28} {figures['trading_turns']:>8.1%} {figures['near_bound']:>7.2%} "
            f"{figures['mean_abs_inventory']:>7.1f}"
        )
    lines.append(
        "gain: mean change in wealth, tick-lots; liquid.: with the inventory closed in the book; [95 % interval]"
    )
    return "\n".join(lines)


@dataclass(frozen=True)
class Arguments:
    """Compare frozen policies with doing nothing and with random actions, paired by seed."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional] = ("models/ppo_day5.zip",)
    """Stable-Baselines3 files."""
    seeds: tuple[int, ...] = ()
    """Seeds to play; if none are named, 64 that training never sees."""
    timesteps: int = 5_000
    """Length of an episode."""
    agent: str = "ppo_0"
    """Seat that the policies take."""
    json: Path | None = None
    """File that also gets the figures as JSON."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m runners.evaluate")
    config = amend(MarketConfig(), timesteps=arguments.timesteps)
    if arguments.agent not in config.agent_ids:
        raise ConfigError(f"agent: expected one of {config.agent_ids}, got {arguments.agent!r}")
    seeds = arguments.seeds or TEST_SEEDS
    results = compare(config, arguments.agent, {m: FrozenPPO(m) for m in arguments.models}, seeds)
    print(table(results))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"arguments": asdict(arguments), "results": results}, indent=2, default=str) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
