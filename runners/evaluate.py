"""Compare policies in one seat over many seeds, paired by seed: ``python -m runners.evaluate MODEL ...``.

:mod:`runners.learn.evaluation` says how; 64 seeds of 5,000 timesteps take about a second.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from market_env.config import LEARNER, ConfigError
from market_env.outside import shown
from runners.arguments import Population, Start, users_own
from runners.command import command
from runners.files.whole import whole_file
from runners.learn.evaluation import PICTURES, compare, draw_differences, table
from runners.learn.rivals import RIVALS
from scripted_agents.frozen_ppo import DEFAULT_MODEL, FrozenPPO
from scripted_agents.policy import Policy, PolicyConfig
from scripted_agents.standards import STANDARDS


@dataclass(frozen=True, kw_only=True)
class Arguments(Population):
    """Compare policies in one seat, paired by seed."""

    policies: Annotated[tuple[str, ...], tyro.conf.Positional] = (DEFAULT_MODEL,)
    """Files of frozen policies, names among nothing, random, noise, momentum, maker, or module:name of a policy of your own
    (an object with reset and act, or with build)."""
    against: tuple[str, ...] = tuple(RIVALS)
    """What they are compared with: such files or names."""
    seeds: tuple[int, ...] = ()
    """Seeds to play; if none are named, 64 that training never sees."""
    validation: bool = False
    """Play the 64 validation seeds instead: for all looks but the last."""
    agent: str = LEARNER
    """Seat that the policies take."""
    json: Path | None = None
    """File that also gets the figures as JSON."""
    picture: Path | None = None
    """File that also gets the differences as a picture (.png, .svg, .pdf)."""


def named(names: Sequence[str]) -> dict[str, PolicyConfig | Policy]:
    """The policies that a command line names.

    Raises:
        ConfigError: a name is of none.
    """
    found: dict[str, PolicyConfig | Policy] = {}
    for name in names:
        if name in RIVALS:
            found[name] = RIVALS[name]
        elif name.endswith(".zip"):
            found[name] = FrozenPPO(name)
        elif ":" in name:
            found[name] = users_own(name, "policies")
        else:
            raise ConfigError(
                f"policies: expected a .zip file, module:name or one of {', '.join(RIVALS)}, got {shown(name)}"
            )
    return found


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    start = Start(argv, anywhere=True)
    default = Arguments(**start.flags())
    arguments = tyro.cli(Arguments, args=argv, default=default, prog="python -m runners.evaluate")
    run = start.populated(arguments)
    rivals = named(arguments.against)
    candidates = {name: policy for name, policy in named(arguments.policies).items() if name not in rivals}
    if not candidates:
        raise ConfigError(
            f"policies: expected one that is not among those to compare with (see --against), got {arguments.policies}"
        )
    for file in (arguments.json, arguments.picture):
        if file and not file.parent.is_dir():
            raise ConfigError(f"{file}: expected a folder to write to, found none")
    if arguments.picture and arguments.picture.suffix not in PICTURES:
        raise ConfigError(f"picture: expected a file ending in {', '.join(PICTURES)}, got {arguments.picture}")
    if arguments.validation and arguments.seeds:
        raise ConfigError("seeds: give seeds or --validation, not both")
    seeds = STANDARDS.validation_seeds if arguments.validation else arguments.seeds or STANDARDS.test_seeds
    results = compare(run.market, arguments.agent, candidates, seeds, rivals, policies=run.policies)
    print(table(results, list(rivals)))
    if arguments.json:
        text = json.dumps({"arguments": asdict(arguments), "results": results}, indent=2, default=str)
        with whole_file(arguments.json) as path:
            path.write_text(text + "\n")
    if arguments.picture:
        draw_differences(results, list(rivals), arguments.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
