"""How far large orders move the price, by size: ``python -m runners.experiment impact``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from market_env.config import ConfigError
from runners.cluster.experiments import executor_at
from runners.cluster.session import with_local
from runners.command import command
from runners.experiment.experiment import check_enough, parse_seeds, play
from runners.experiment.metaorder import (
    AFTER,
    SIZES,
    SLICES,
    TOKYO,
    Impact,
    Law,
    Plan,
    arms_of,
    check,
    impacts,
    law_of,
    measures_of,
    table,
)
from runners.experiment.store import Store
from runners.files.whole import whole_file
from runners.report.style import MUTED, STYLE
from scripted_agents.kind import BLUE, BLUISH_GREEN, GREY, ORANGE
from scripted_agents.populations import DEFAULT
from scripted_agents.standards import STANDARDS

COLOURS = (BLUE, ORANGE, BLUISH_GREEN, GREY)
FLOOR = 0.1
"""Ticks at which the picture of impact begins; an interval that reaches 0 goes down to it."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Work metaorders of many sizes by TWAP, paired with the same seeds without them: impact, decay and cost."""

    population: str = DEFAULT
    """Where."""
    sizes: tuple[int, ...] = SIZES
    """Lots, ascending."""
    turns: int = 300
    """Timesteps over which each is worked."""
    seeds: tuple[str, ...] = (f"{STANDARDS.test_seeds.start}..{STANDARDS.test_seeds.stop - 1}",)
    """Numbers, ranges, or both; by default 64 that nothing was tuned on."""
    out: Path | None = None
    """Folder of the rows and the picture, runs/impact-<population> by default; what is there is not played again."""
    picture: Path | None = None
    """File that also gets the picture (.png)."""
    ray: Annotated[str | None, tyro.conf.arg(metavar="[HOST:PORT]", help_behavior_hint="")] = None
    """Play on Ray: --ray alone on this machine, or the address of a cluster's head."""


def draw(found: Sequence[Impact], law: Law | None, plan: Plan, name: str) -> Figure:
    """Impact against size, its path, and cost against size."""
    figure = Figure(figsize=(11, 3.7), layout="constrained")
    against, path, cost = figure.subplots(1, 3)
    sizes = np.array([own.executed.mean for own in found], np.float64)
    for axes, attribute, title in (
        (against, "end", "impact as it ends"),
        (cost, "cost", "cost against the price as it began"),
    ):
        for size, own in zip(sizes, found, strict=True):
            value = getattr(own, attribute)
            if value.low is not None and value.mean > 0:
                axes.plot([size, size], [max(value.low, FLOOR), value.high], color=BLUE, linewidth=2)
                axes.plot(size, value.mean, "o", color=BLUE, markersize=5)
        axes.set(xscale="log", yscale="log", xlabel="lots executed", ylabel="ticks", title=title)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    against.set_ylim(bottom=FLOOR)
    if law:
        span = np.array([sizes[0], sizes[-1]])
        against.plot(
            span,
            law.factor * span**law.exponent,
            color=BLUE,
            linewidth=1,
            label=f"lots ^ {law.exponent:.2f} [{law.low:.2f}, {law.high:.2f}]",
        )
        shown = [own for own in found if own.lots in law.sizes]
        middle = shown[len(shown) // 2]
        scale = (middle.end.mean or 1.0) / (middle.executed.mean or 1.0) ** TOKYO
        against.plot(span, scale * span**TOKYO, "--", color=GREY, linewidth=1, label=f"lots ^ {TOKYO} (Tokyo)")
        against.legend(loc="upper left")
    places = np.array([0, *range(1, SLICES * (1 + AFTER) + 1)]) / SLICES
    largest = [own for own in found if own.end.low is not None and own.end.low > 0][-4:]
    for own, colour in zip(largest, COLOURS, strict=False):
        means = np.array([np.nan if value.mean is None else value.mean for value in own.path])
        path.plot(places, means / means[SLICES], color=colour, linewidth=1.2, label=f"{own.lots:,} lots")
    path.axvspan(0, 1, color="#EEEEEE", zorder=0)
    path.axhline(0, color=GREY, linewidth=0.8)
    path.set(
        xlabel=f"time since it began, in its {plan.turns} timesteps",
        ylabel="impact over impact as it ends",
        title="path and decay",
    )
    if largest:
        path.legend(loc="best")
    figure.supxlabel(f"{name}: paired with the same seeds without the order; 95 % intervals", fontsize=7.5, color=MUTED)
    return figure


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(
        Arguments, args=with_local(sys.argv[1:] if argv is None else argv), prog="python -m runners.experiment impact"
    )
    plan = check(Plan(arguments.sizes, arguments.turns))
    seeds = check_enough(parse_seeds(arguments.seeds))
    if arguments.picture and (arguments.picture.suffix != ".png" or not arguments.picture.parent.is_dir()):
        raise ConfigError(f"--picture: expected a .png file in a folder that is there, got {arguments.picture}")
    out = arguments.out or Path("runs") / f"impact-{arguments.population}"
    store = Store(out, arms_of(arguments.population, plan), seeds, measures_of(plan))
    with executor_at(arguments.ray) as executor:
        play(store, executor=executor)
    found = impacts(store.write_results(), seeds, plan)
    law = law_of(found)
    print(table(found, law, plan, arguments.population, len(seeds)))
    with mpl.rc_context(fname=STYLE):
        for path in filter(None, (out / "impact.png", arguments.picture)):
            with whole_file(path) as partial:
                draw(found, law, plan, arguments.population).savefig(partial, format="png", dpi=110)
            print(f"wrote {path}")
    return 0
