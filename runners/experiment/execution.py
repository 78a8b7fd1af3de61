"""Policies for the execution task, paired by seed: ``python -m runners.experiment execution``.

The order of ``market_env/Execution-v1`` (:mod:`scripted_agents.execution`) is worked by each policy on the same seeds (:mod:`runners.experiment.orders`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from market_env.config import ConfigError
from market_env.outside import shown
from runners.command import command
from runners.experiment.experiment import check_enough, parse_seeds
from runners.experiment.orders import TWAP, draw, executed, table
from runners.files.whole import write_json
from scripted_agents.execution import LOTS, TIMESTEPS, Side, baselines
from scripted_agents.populations import DEFAULT
from scripted_agents.standards import STANDARDS


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
    against: str = TWAP
    """Baseline that the others are set against, seed by seed."""
    seeds: tuple[str, ...] = (f"{STANDARDS.test_seeds.start}..{STANDARDS.test_seeds.stop - 1}",)
    """Numbers, ranges, or both; by default 64 that nothing was trained or tuned on."""
    json: Path | None = None
    """File that also gets the figures."""
    picture: Path | None = None
    """File that also gets a picture (.png)."""


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
    if arguments.against not in baselines():
        raise ConfigError(f"against: expected one of {', '.join(baselines())}, got {shown(arguments.against)}")
    found = executed(arguments.side, arguments.lots, arguments.timesteps, arguments.population, arguments.model, seeds)
    title = (
        f"{arguments.side} {arguments.lots:,} lots within {arguments.timesteps:,} timesteps of {arguments.population}; "
        f"{len(seeds)} seeds, 95 % intervals"
    )
    print(table(found, title, arguments.against))
    if arguments.json:
        write_json(arguments.json, {"title": title, "policies": {name: asdict(own) for name, own in found.items()}})
        print(f"wrote {arguments.json}")
    if arguments.picture:
        draw(found, title, arguments.picture, arguments.against)
        print(f"wrote {arguments.picture}")
    return 0
