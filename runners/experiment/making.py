"""Policies for the market-making task, paired by seed: ``python -m runners.experiment making``.

A preset: the seat of ``market_env/Learner-v1``, its baselines and the published policy, 64 seeds that nothing was trained or tuned on.
``python -m runners.evaluate`` compares any policies in any seat of any market the same way. Cost: a second for 64 seeds of six policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from market_env.config import LEARNER, ConfigError
from runners.command import command
from runners.experiment.experiment import check_enough, parse_seeds
from runners.experiment.orders import names_of
from runners.files.whole import write_json
from runners.learn.evaluation import compare, draw_differences, table
from runners.learn.rivals import RIVALS
from scripted_agents.frozen_ppo import DEFAULT_MODEL, FrozenPPO
from scripted_agents.populations import DEFAULT, population
from scripted_agents.standards import STANDARDS


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Make markets in the learner's seat by several policies on the same seeds: what it earns, and the paired differences."""

    population: str = DEFAULT
    """Who else trades."""
    timesteps: int = 5_000
    """Of an episode."""
    model: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FILE.zip", help_behavior_hint="")
    ] = ()
    """Frozen policies beside the baselines, the published one if none is given. Give it several times."""
    seeds: tuple[str, ...] = (f"{STANDARDS.test_seeds.start}..{STANDARDS.test_seeds.stop - 1}",)
    """Numbers, ranges, or both; by default 64 that nothing was trained or tuned on."""
    json: Path | None = None
    """File that also gets the figures."""
    picture: Path | None = None
    """File that also gets a picture (.png)."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m runners.experiment making")
    seeds = check_enough(parse_seeds(arguments.seeds))
    for file, kind in ((arguments.picture, ".png"), (arguments.json, ".json")):
        if file and (file.suffix != kind or not file.parent.is_dir()):
            raise ConfigError(f"expected a {kind} file in a folder that is there, got {file}")
    of = population(arguments.population, timesteps=arguments.timesteps)
    models = arguments.model or (DEFAULT_MODEL,)
    candidates = dict(zip(names_of(models), map(FrozenPPO, models), strict=True))
    found = compare(of, LEARNER, candidates, seeds)
    print(table(found, list(RIVALS)))
    if arguments.json:
        write_json(arguments.json, found)
        print(f"wrote {arguments.json}")
    if arguments.picture:
        draw_differences(found, list(RIVALS), arguments.picture)
        print(f"wrote {arguments.picture}")
    return 0
