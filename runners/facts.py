"""Statistics of a market beside those of real ones: ``python -m runners.facts RUN_DIR`` or ``MESSAGE.csv ORDERBOOK.csv``.

:mod:`runners.exchange.facts` has the measures, ``market_facts.json`` beside it the definitions and the real ranges.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from market_env.config import ConfigError
from runners.command import command
from runners.exchange.facts import facts_of_pair, facts_of_run, table


@dataclass(frozen=True)
class Arguments:
    """Statistics of a run, or of a pair of LOBSTER files, beside those of real markets."""

    paths: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN_DIR | MESSAGE ORDERBOOK", help_behavior_hint=""),
    ]
    """A run's folder, or a message file and its order-book file."""
    tick_size: Annotated[float, tyro.conf.arg(help_behavior_hint="")] = math.nan
    """Tick of a LOBSTER pair in currency units, 0.01 unless given; a run has its own."""
    json: bool = False
    """Print JSON instead of a table."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m runners.facts")
    given = not math.isnan(arguments.tick_size)
    if given and not arguments.tick_size > 0:
        raise ConfigError(f"--tick-size: expected above 0, got {arguments.tick_size:g}")
    first, *others = arguments.paths or (Path(),)
    if not arguments.paths or len(others) > 1 or (others and first.is_dir()):
        raise ConfigError(
            f"expected a run's folder, or a message and an order-book file, got {len(arguments.paths)} paths"
            + (f", the first of them a folder, {first}" if others and first.is_dir() else "")
        )
    if others:
        found = facts_of_pair(first, others[0], arguments.tick_size if given else 0.01)
    elif first.is_file():
        raise ConfigError(
            f"{first}: expected its order-book file beside it: python -m runners.facts MESSAGE.csv ORDERBOOK.csv"
        )
    elif given:
        raise ConfigError("--tick-size: a run has its own tick; leave it out")
    else:
        found = facts_of_run(first)
    print(json.dumps(found, indent=2) if arguments.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
