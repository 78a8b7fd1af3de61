"""What policies make of one large order: played on the same seeds, compared seed by seed.

What an order costs is the implementation shortfall against the arrival price (Perold 1988), what is left at the end closed through the others' orders. The price
moves as much by itself as a good execution saves, so policies are compared seed by seed. Cost: a second for 64 seeds of six policies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from market_env.config import LEARNER, ConfigError
from market_env.outside import shown
from runners.experiment.jobs import Job, Row
from runners.experiment.seat import in_batch, seat_arm
from runners.files.whole import whole_file
from runners.measures.over_seeds import Mean, mean_of
from scripted_agents.execution import Side, baselines, execution
from scripted_agents.frozen_ppo import FrozenPPO

TWAP = "TWAP"
"""What the others are set against, unless another is asked for."""


@dataclass(frozen=True)
class Executed:
    """What a policy made of the order, over seeds."""

    shortfall: Mean
    """Ticks a lot of the order: the first price less the mean price got (of a purchase paid less the first price)."""
    saved: dict[str, Mean]
    """By how much it is less than that of each baseline, seed by seed."""
    left: Mean
    """Lots that were left at the end and closed through the others' orders."""
    held: Mean
    """Lots still to be traded, mean over time: how early it trades."""


def names_of(models: Sequence[str]) -> list[str]:
    """Files' names, or as much more of their paths as tells them apart.

    Raises:
        ConfigError: a file is given twice.
    """
    whole = [Path(model).resolve() for model in models]
    for length in range(1, max((len(path.parts) for path in whole), default=0) + 1):
        names = [str(Path(*path.parts[-length:])) for path in whole]
        if len(set(names)) == len(names):
            return names
    if whole:
        raise ConfigError(f"--model: expected each file once, got {shown(list(models))}")
    return []


def executed(
    side: Side, lots: int, timesteps: int, population: str, models: Sequence[str], seeds: Sequence[int]
) -> dict[str, Executed]:
    """What each policy made of the order, by name.

    Raises:
        ConfigError: the order, the population or a model is bad.
    """
    of = execution(side, lots, timesteps, population)
    policies: dict[str, Any] = {
        **baselines(lots, timesteps),
        **dict(zip(names_of(models), map(FrozenPPO, models), strict=True)),
    }
    arms = [seat_arm(name, of.market, LEARNER, policy, None, of.policies) for name, policy in policies.items()]
    rows: dict[str, list[Row]] = {name: [] for name in policies}
    for job, row in in_batch(LEARNER)([Job(arm, arm.name, seed, ()) for arm in arms for seed in seeds]):
        rows[job.arm.name].append(row)
    costs = {name: -np.array([row["liquidation_gain"] for row in own], np.float64) / lots for name, own in rows.items()}
    return {
        name: Executed(
            mean_of(costs[name]),
            {other: mean_of(costs[other] - costs[name]) for other in baselines() if other != name},
            mean_of(np.abs(np.array([row["left"] for row in own], np.float64))),
            mean_of(np.array([row["mean_abs_inventory"] for row in own], np.float64)),
        )
        for name, own in rows.items()
    }


def cell(value: Mean, form: str = ".2f") -> str:
    """A mean with its interval."""
    if value.mean is None:
        return "undefined"
    span = "" if value.low is None else f" [{value.low:{form}}, {value.high:{form}}]"
    return f"{value.mean:{form}}{span}"


def table(found: Mapping[str, Executed], title: str, against: str = TWAP) -> str:
    """The comparison as text."""
    lines = [
        f"{'policy':<20} {'shortfall, ticks a lot':>26} {f'saved against {against}':>24} {'lots left':>12} {'held, lots':>12}"
    ]
    for name, own in found.items():
        saved = "-" if name == against else cell(own.saved[against], "+.2f")
        lines.append(
            f"{name:<20} {cell(own.shortfall):>26} {saved:>24} {own.left.mean or 0.0:>12.1f} {own.held.mean or 0.0:>12.1f}"
        )
    return "\n".join([*lines, title])


def draw(found: Mapping[str, Executed], title: str, path: Path, against: str = TWAP) -> None:
    """What each policy saves against a baseline, as a picture."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from runners.report.style import MUTED, STYLE
    from scripted_agents.kind import BLUE

    with mpl.rc_context(fname=STYLE):
        names = [name for name in found if name != against]
        figure = Figure(figsize=(7.5, 0.9 + 0.4 * len(names)), layout="constrained")
        axes = figure.subplots()
        for place, name in enumerate(names):
            own = found[name].saved[against]
            if own.mean is not None and own.low is not None and own.high is not None:
                axes.plot([own.low, own.high], [place, place], color=BLUE, linewidth=2)
                axes.plot(own.mean, place, "o", color=BLUE, markersize=5)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(xlabel=f"ticks a lot saved against {against}, paired by seed, 95 % interval", title=title)
        with whole_file(path) as partial:
            figure.savefig(partial, format="png", dpi=110)
