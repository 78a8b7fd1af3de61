"""What one seat does in whole episodes: an executor that keeps no log, for comparing policies in a seat.

All seeds of an arm are played at once in the compiled batch, and a row has the seat's figures. A policy that is not compiled may sit
in the seat: it is asked turn by turn, some hundred times slower. Cost: that of :mod:`scripted_agents.tally`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from market_env.config import MarketConfig
from runners.experiment.arms import Arm
from runners.experiment.jobs import Executor, Job, Row
from scripted_agents.policy import Policy, PolicyConfig
from scripted_agents.registry import build_others
from scripted_agents.tally import tally_episodes

FIGURES: dict[str, str] = {
    "gain": "change in wealth, tick-lots",
    "liquidation_gain": "change in wealth with the inventory closed against the others' orders, tick-lots",
    "trading_turns": "share of turns, the last one left out, before whose successor one of its orders traded",
    "near_bound": "share of timesteps that ended with more than 80 % of the inventory bound",
    "traded_lots": "lots traded",
    "mean_abs_inventory": "lots",
    "lean": "mean inventory as a share of its bound, either way: large where a policy sits on one side of the market",
    "refused_turns": "share of turns in which risk checks refused an order or a part of one",
}
"""A row's figures and what they mean; it has ``left`` besides, the inventory at the end, lots."""


@dataclass(frozen=True, eq=False)
class Ready:
    """A policy that is built already, in a configuration's place."""

    made: Policy
    policy: str = "own"

    def build(self, config: MarketConfig) -> Policy:
        """The policy."""
        return self.made


def seat_arm(
    name: str,
    config: MarketConfig,
    agent: str,
    chosen: Policy | PolicyConfig,
    others: Mapping[str, Policy] | None = None,
    policies: Mapping[str, PolicyConfig] | None = None,
) -> Arm:
    """An arm with a policy in a seat.

    Args:
        name: the arm's.
        config: rules and roster.
        agent: the seat.
        chosen: any policy, or parameters that build one.
        others: compiled policies of some other agents, by id.
        policies: parameters of the rest, by agent id or kind, where it is not the kind's default.

    Raises:
        ConfigError: the agent is not in the market, or a policy cannot be built.
    """
    own: dict[str, Any] = {**(others or {}), agent: chosen}
    built = build_others(config, list(own), policies)
    seated = {**built, **own}
    return Arm(name, config, {a: p if hasattr(p, "build") else Ready(p) for a, p in seated.items()})


def in_batch(agent: str) -> Executor:
    """An executor that plays all seeds of an arm at once and measures one seat, whatever measures its jobs name."""

    def play(jobs: Sequence[Job]) -> Iterator[tuple[Job, Row]]:
        arms: dict[int, list[Job]] = {}
        for job in jobs:
            arms.setdefault(id(job.arm), []).append(job)
        for own in arms.values():
            yield from zip(own, rows_of(own[0].arm, agent, [job.seed for job in own]), strict=True)

    return play


def rows_of(arm: Arm, agent: str, seeds: Sequence[int]) -> list[Row]:
    """A seat's figures on each seed.

    Raises:
        ConfigError: another's policy is not compiled.
    """
    config = arm.market
    tallies = tally_episodes(config, {a: p.build(config) for a, p in arm.policies.items()}, agent, seeds)
    seat = config.agents[config.agent_ids.index(agent)]
    start = seat.cash + seat.inventory * config.first_price
    return [
        {
            "gain": float(row["wealth"] - start),
            "liquidation_gain": float(row["liquidation_wealth"] - start),
            "trading_turns": float(row["trading_turns"] / max(row["settled_turns"], 1)),
            "near_bound": float(row["near_timesteps"] / config.timesteps),
            "traded_lots": float(row["maker_lots"] + row["taker_lots"]),
            "mean_abs_inventory": float(row["inventory_sum"] / config.timesteps),
            "lean": abs(float(row["net_sum"] / config.timesteps)) / seat.inventory_bound,
            "refused_turns": float(row["refused_turns"] / max(row["turns"], 1)),
            "left": float(row["inventory"]),
        }
        for row in np.atleast_1d(tallies)
    ]
