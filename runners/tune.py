"""Tune the market maker for a learner's seat on the validation seeds: ``python -m runners.tune``.

:mod:`runners.learn.tuning` says how. Cost: about half an hour on two cores.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro
from tqdm import tqdm

from market_env.config import LEARNER, ConfigError, check_learners
from runners.arguments import Population, Start
from runners.command import command
from runners.learn.tuning import tune


@dataclass(frozen=True, kw_only=True)
class Arguments(Population):
    """Tune the market maker in a learner's seat on the validation seeds."""

    agent: str = LEARNER
    """The seat."""
    generations: int = 25
    """Generations of the search."""
    seed: int = 1
    """Of the search."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    start = Start(argv, anywhere=True)
    default = Arguments(**start.flags())
    arguments = tyro.cli(Arguments, args=argv, default=default, prog="python -m runners.tune")
    run = start.populated(arguments)
    check_learners("agent", run.market, [arguments.agent])
    if arguments.generations < 1:
        raise ConfigError(f"generations: expected at least 1, got {arguments.generations}")

    with tqdm(total=arguments.generations, unit=" generations", disable=None) as bar:

        def progress(gain: float) -> None:
            bar.update()
            bar.set_postfix_str(f"best liquidation gain {gain:,.0f}")

        found, gain = tune(run.market, arguments.agent, arguments.generations, arguments.seed, progress, run.policies)
    print(f"mean liquidation gain on the validation seeds {gain:,.0f} with {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
