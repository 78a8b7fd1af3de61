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

from market_env.config import ConfigError, MarketConfig, amend
from runners.command import command
from runners.files.whole import whole_file
from runners.learn.evaluation import PICTURES, compare, draw, table
from runners.learn.rivals import RIVALS, TEST_SEEDS, VALIDATION_SEEDS
from scripted_agents.frozen_ppo import DEFAULT_MODEL, FrozenPPO
from scripted_agents.policy import PolicyConfig


@dataclass(frozen=True)
class Arguments:
    """Compare policies in one seat, paired by seed."""

    policies: Annotated[tuple[str, ...], tyro.conf.Positional] = (DEFAULT_MODEL,)
    """Files of frozen policies, or names among nothing, random, noise, momentum, maker."""
    against: tuple[str, ...] = tuple(RIVALS)
    """What they are compared with: such files or names."""
    seeds: tuple[int, ...] = ()
    """Seeds to play; if none are named, 64 that training never sees."""
    validation: bool = False
    """Play the 16 validation seeds instead: for all looks but the last."""
    timesteps: int = 5_000
    """Length of an episode."""
    agent: str = "ppo_0"
    """Seat that the policies take."""
    json: Path | None = None
    """File that also gets the figures as JSON."""
    picture: Path | None = None
    """File that also gets the differences as a picture (.png, .svg, .pdf)."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m runners.evaluate")
    config = amend(MarketConfig(), timesteps=arguments.timesteps)

    def named(names: Sequence[str]) -> dict[str, PolicyConfig]:
        for name in names:
            if name not in RIVALS and not name.endswith(".zip"):
                raise ConfigError(f"policies: expected a .zip file or one of {', '.join(RIVALS)}, got {name!r}")
        return {name: RIVALS[name] if name in RIVALS else FrozenPPO(name) for name in names}

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
    seeds = VALIDATION_SEEDS if arguments.validation else arguments.seeds or TEST_SEEDS
    results = compare(config, arguments.agent, candidates, seeds, rivals)
    print(table(results, list(rivals)))
    if arguments.json:
        text = json.dumps({"arguments": asdict(arguments), "results": results}, indent=2, default=str)
        with whole_file(arguments.json) as path:
            path.write_text(text + "\n")
    if arguments.picture:
        draw(results, list(rivals), arguments.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
