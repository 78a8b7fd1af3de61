"""Market impact: metaorders of many sizes against the same seeds without them.

A :class:`scripted_agents.twap.Twap` in a seat of its own buys, or sells, so many lots over so many timesteps. Its impact is the mid
with it less the mid without it on the same seed, the way that it trades; buying and selling are averaged seed by seed. Impact
against size is fitted as a power law over sizes; the square-root law says 0.5, and 0.489 was measured over all traders of the Tokyo exchange
(Sato and Kanazawa 2024, arXiv:2411.13965).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from market_env.config import AgentConfig, ConfigError, Every, amend
from market_env.engine.state import KIND_TRADE
from runners.experiment.arms import Arm
from runners.experiment.compare import by_seed
from runners.experiment.measures import Measure, Seen
from runners.measures.over_seeds import LEVEL, Floats, Mean, mean_of
from scripted_agents.baselines import DoNothing
from scripted_agents.policy import PolicyConfig
from scripted_agents.populations import population
from scripted_agents.twap import Twap

SEAT = "metaorder_0"
BOUND = 100_000
CASH = 2**40
SIZES = (4, 12, 40, 120, 400, 1_200, 4_000)
BEGIN = 300
SLICES = 10
"""Looks at the mid while it is worked;"""
AFTER = 4
"""and then for so many times as long."""
TOKYO = 0.489
DRAWS = 2_000


@dataclass(frozen=True)
class Plan:
    """What is worked, and when it is looked at."""

    sizes: tuple[int, ...]
    """Lots, ascending."""
    turns: int
    """Timesteps over which each is worked."""

    @property
    def looks(self) -> list[int]:
        """Timesteps at whose ends the mid is looked at: just before the first order, and after each slice of time."""
        step = self.turns / SLICES
        return [BEGIN - 1, *(BEGIN - 1 + round(step * number) for number in range(1, SLICES * (1 + AFTER) + 1))]

    @property
    def timesteps(self) -> int:
        """Length of an episode."""
        return self.looks[-1] + 1


def arms_of(name: str, plan: Plan) -> list[Arm]:
    """The population with the seat empty, then with each metaorder, bought and sold.

    Raises:
        ConfigError: the population is unknown.
    """
    of = population(name, timesteps=plan.timesteps)
    seat = AgentConfig(SEAT, "splitter", cash=CASH, inventory_bound=BOUND, arrivals=Every(1.0, 0.0))
    market = amend(of.market, agents=(*of.market.agents, seat))

    def arm(label: str, policy: PolicyConfig) -> Arm:
        return Arm(label, market, {**of.policies, SEAT: policy})

    found = [arm("none", DoNothing())]
    for size in plan.sizes:
        for way, sign in (("buy", 1), ("sell", -1)):
            order = Twap(lots=float(sign * size), begin=float(BEGIN), turns=float(plan.turns), bound=float(BOUND))
            found.append(arm(f"{way} {size}", order))
    return found


def _mid_at(timestep: int) -> Measure:
    return Measure(
        f"mid_{timestep}",
        "ticks",
        f"mid at the end of timestep {timestep}",
        lambda run: float(run.run.derived.quotes["reference"][timestep]),
    )


def _executed(run: Seen) -> float:
    return _own(run)[0]


def _price(run: Seen) -> float | None:
    lots, cash = _own(run)
    return cash / lots if lots else None


def _own(run: Seen) -> tuple[float, float]:
    """Lots that the metaorder traded, and what they came to, tick-lots."""
    seat = run.run.market.agent_ids.index(SEAT)
    trades = run.run.log[run.run.log["kind"] == KIND_TRADE]
    trades = trades[trades["agent"] == seat]
    return float(trades["lots"].sum()), float((trades["lots"] * trades["price"].astype(np.float64)).sum())


def measures_of(plan: Plan) -> list[Measure]:
    """What is measured of each run."""
    return [
        *(_mid_at(look) for look in plan.looks),
        Measure("executed", "lots", "lots that the metaorder traded", _executed),
        Measure("price", "ticks", "mean price of its trades", _price),
    ]


@dataclass(frozen=True)
class Impact:
    """What a metaorder of one size does."""

    lots: int
    executed: Mean
    """Lots that traded."""
    path: list[Mean]
    """How far it has moved the mid its way at each look, ticks."""
    end: Mean
    """The same as it ends."""
    left: Mean
    """The same at the last look."""
    cost: Mean
    """Mean price of its trades against the mid as it began, its way: ticks a lot."""
    each: Floats
    """Impact as it ends on each seed."""


@dataclass(frozen=True)
class Law:
    """Impact against size, as a power law."""

    exponent: float
    low: float
    high: float
    """Bootstrap interval over seeds."""
    factor: float
    """Impact at one lot by the fit, ticks."""
    sizes: list[int]
    """What it is fitted on: sizes whose impact is above 0 by its interval."""


def impacts(rows: pl.DataFrame, seeds: Sequence[int], plan: Plan) -> list[Impact]:
    """What each size does."""
    looks = [f"mid_{look}" for look in plan.looks]
    without = np.stack([by_seed(rows, "none", seeds, look) for look in looks])
    found = []
    for size in plan.sizes:
        sides: list[dict[str, Any]] = []
        for way, sign in (("buy", 1.0), ("sell", -1.0)):
            arm = f"{way} {size}"
            mids = np.stack([by_seed(rows, arm, seeds, look) for look in looks])
            price = by_seed(rows, arm, seeds, "price")
            sides.append(
                {
                    "path": sign * (mids - without),
                    "executed": by_seed(rows, arm, seeds, "executed"),
                    "cost": sign * (price - mids[0]),
                }
            )
        path = (sides[0]["path"] + sides[1]["path"]) / 2
        found.append(
            Impact(
                lots=size,
                executed=mean_of((sides[0]["executed"] + sides[1]["executed"]) / 2),
                path=[mean_of(row) for row in path],
                end=mean_of(path[SLICES]),
                left=mean_of(path[-1]),
                cost=mean_of((sides[0]["cost"] + sides[1]["cost"]) / 2),
                each=path[SLICES],
            )
        )
    return found


def fit(sizes: Floats, moves: Floats) -> tuple[float, float]:
    """Slope and factor of a line through logarithms."""
    slope, level = np.polyfit(np.log(sizes), np.log(moves), 1)
    return float(slope), float(np.exp(level))


def law_of(found: Sequence[Impact]) -> Law | None:
    """The power law over all sizes whose impact is shown; None below three of them."""
    shown = [own for own in found if own.end.low is not None and own.end.low > 0]
    if len(shown) < 3:
        return None
    sizes = np.array([own.executed.mean for own in shown], np.float64)
    each = np.stack([own.each for own in shown])
    slope, factor = fit(sizes, np.nanmean(each, axis=1))
    rng = np.random.default_rng(0)
    slopes = []
    for _ in range(DRAWS):
        means = np.nanmean(each[:, rng.integers(0, each.shape[1], each.shape[1])], axis=1)
        if (means > 0).all():
            slopes.append(fit(sizes, means)[0])
    low, high = np.quantile(slopes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Law(slope, float(low), float(high), factor, [own.lots for own in shown])


def table(found: Sequence[Impact], law: Law | None, plan: Plan, name: str, seeds: int) -> str:
    """The impacts as lines of text."""

    def cell(value: Mean) -> str:
        if value.mean is None:
            return "-"
        return f"{value.mean:,.2f}" + ("" if value.low is None else f" [{value.low:,.2f}, {value.high:,.2f}]")

    lines = [
        f"{name}: metaorders worked by TWAP over {plan.turns} timesteps, {seeds} seeds bought and sold, paired with the same seeds without them",
        "",
        f"{'lots':>6}{'executed':>12}{'impact as it ends, ticks':>28}{f'{AFTER * plan.turns:,} timesteps later, ticks':>30}{'cost a lot, ticks':>26}",
    ]
    for own in found:
        executed = "-" if own.executed.mean is None else f"{own.executed.mean:,.1f}"
        lines.append(f"{own.lots:>6,}{executed:>12}{cell(own.end):>28}{cell(own.left):>30}{cell(own.cost):>26}")
    lines.append("")
    if law is None:
        lines.append("fewer than three sizes have an impact that is shown: no law is fitted")
    else:
        close = "within" if law.low <= TOKYO <= law.high else "away from"
        lines += [
            f"impact ~ lots ^ {law.exponent:.2f} [{law.low:.2f}, {law.high:.2f}] over {law.sizes[0]:,} to {law.sizes[-1]:,} lots: {close} the square-root law's "
            f"{TOKYO} (Tokyo, all traders)",
        ]
    lines.append("cost: mean price of its trades against the mid as it began; [95 % intervals over seeds]")
    return "\n".join(lines)


def check(plan: Plan) -> Plan:
    """The plan.

    Raises:
        ConfigError: sizes are none, not ascending or too large; it is too short.
    """
    if (
        not plan.sizes
        or list(plan.sizes) != sorted(set(plan.sizes))
        or not plan.sizes[0] >= 1
        or plan.sizes[-1] > BOUND
    ):
        raise ConfigError(f"--sizes: expected some lots from 1 to {BOUND:,}, ascending, got {plan.sizes}")
    if plan.turns < SLICES:
        raise ConfigError(f"--turns: expected at least {SLICES} timesteps, got {plan.turns}")
    return plan
