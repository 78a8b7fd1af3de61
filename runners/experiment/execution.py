"""Policies for the execution task, paired by seed: ``python -m runners.experiment execution``.

The order of ``market_env/Execution-v1`` (:mod:`scripted_agents.execution`) is worked by each policy on the same seeds, and what it costs is the
implementation shortfall against the arrival price (Perold 1988), what is left at the end closed through the others' orders. The price
moves as much by itself as a good execution saves, so policies are compared seed by seed. Cost: a second for 64 seeds of six policies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from market_env.config import LEARNER, ConfigError
from market_env.outside import shown
from runners.command import command
from runners.experiment.experiment import check_enough, parse_seeds
from runners.experiment.jobs import Job, Row
from runners.experiment.seat import in_batch, seat_arm
from runners.files.whole import whole_file, write_json
from runners.measures.over_seeds import Mean, mean_of
from scripted_agents.execution import LOTS, TIMESTEPS, Side, baselines, execution
from scripted_agents.frozen_ppo import FrozenPPO
from scripted_agents.populations import DEFAULT
from scripted_agents.standards import STANDARDS

AGAINST = "TWAP"
"""What the others are set against, seed by seed."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Work one large order by several policies on the same seeds: what it costs, and the paired differences to TWAP."""

    side: Side = "sell"
    """What is done with the order."""
    lots: int = LOTS
    """Of the order."""
    timesteps: int = TIMESTEPS
    """Within which it is worked."""
    population: str = DEFAULT
    """Who else trades."""
    model: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FILE.zip", help_behavior_hint="")
    ] = ()
    """Frozen policies beside the baselines. Give it several times."""
    seeds: tuple[str, ...] = (f"{STANDARDS.test_seeds.start}..{STANDARDS.test_seeds.stop - 1}",)
    """Numbers, ranges, or both; by default 64 that nothing was trained or tuned on."""
    json: Path | None = None
    """File that also gets the figures."""
    picture: Path | None = None
    """File that also gets a picture (.png)."""


@dataclass(frozen=True)
class Executed:
    """What a policy made of the order, over seeds."""

    shortfall: Mean
    """Ticks a lot of the order: the first price less the mean price got (of a purchase paid less the first price)."""
    saved: Mean
    """By how much it is less than that of :data:`AGAINST`, seed by seed."""
    left: Mean
    """Lots that were left at the end and closed through the others' orders."""
    held: Mean
    """Lots still to be traded, mean over time: how early it trades."""


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
        **{Path(model).name: FrozenPPO(model) for model in models},
    }
    arms = [seat_arm(name, of.market, LEARNER, policy, None, of.policies) for name, policy in policies.items()]
    rows: dict[str, list[Row]] = {name: [] for name in policies}
    for job, row in in_batch(LEARNER)([Job(arm, arm.name, seed, ()) for arm in arms for seed in seeds]):
        rows[job.arm.name].append(row)
    costs = {name: -np.array([row["liquidation_gain"] for row in own], np.float64) / lots for name, own in rows.items()}
    return {
        name: Executed(
            mean_of(costs[name]),
            mean_of(costs[AGAINST] - costs[name]),
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


def table(found: Mapping[str, Executed], title: str) -> str:
    """The comparison as text."""
    lines = [
        f"{'policy':<20} {'shortfall, ticks a lot':>26} {f'saved against {AGAINST}':>24} {'lots left':>12} {'held, lots':>12}"
    ]
    for name, own in found.items():
        saved = "-" if name == AGAINST else cell(own.saved, "+.2f")
        lines.append(
            f"{name:<20} {cell(own.shortfall):>26} {saved:>24} {own.left.mean or 0.0:>12.1f} {own.held.mean or 0.0:>12.1f}"
        )
    return "\n".join([*lines, title])


def draw(found: Mapping[str, Executed], title: str, path: Path) -> None:
    """What each policy saves against TWAP, as a picture."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from runners.report.style import MUTED, STYLE
    from scripted_agents.kind import BLUE

    with mpl.rc_context(fname=STYLE):
        names = [name for name in found if name != AGAINST]
        figure = Figure(figsize=(7.5, 0.9 + 0.4 * len(names)), layout="constrained")
        axes = figure.subplots()
        for place, name in enumerate(names):
            own = found[name].saved
            if own.mean is not None and own.low is not None and own.high is not None:
                axes.plot([own.low, own.high], [place, place], color=BLUE, linewidth=2)
                axes.plot(own.mean, place, "o", color=BLUE, markersize=5)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set(xlabel=f"ticks a lot saved against {AGAINST}, paired by seed, 95 % interval", title=title)
        with whole_file(path) as partial:
            figure.savefig(partial, format="png", dpi=110)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m runners.experiment execution")
    seeds = check_enough(parse_seeds(arguments.seeds))
    if arguments.timesteps < 1:
        raise ConfigError(f"timesteps: expected 1 or more, got {shown(arguments.timesteps)}")
    for file, kind in ((arguments.picture, ".png"), (arguments.json, ".json")):
        if file and (file.suffix != kind or not file.parent.is_dir()):
            raise ConfigError(f"expected a {kind} file in a folder that is there, got {file}")
    found = executed(arguments.side, arguments.lots, arguments.timesteps, arguments.population, arguments.model, seeds)
    title = (
        f"{arguments.side} {arguments.lots:,} lots within {arguments.timesteps:,} timesteps of {arguments.population}; "
        f"{len(seeds)} seeds, 95 % intervals"
    )
    print(table(found, title))
    if arguments.json:
        write_json(arguments.json, {"title": title, "policies": {name: asdict(own) for name, own in found.items()}})
        print(f"wrote {arguments.json}")
    if arguments.picture:
        draw(found, title, arguments.picture)
        print(f"wrote {arguments.picture}")
    return 0
