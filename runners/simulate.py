"""The measurement run: one frozen population, learning disabled, everything recorded.

``python run_simulation.py``, ``python -m runners.simulate`` or ``market-env-simulate``. Everything that can be wrong with the
input is found before anything is written. Ctrl-C ends the run at the last whole timestep and keeps what was recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from market_env.config import amend
from runners.arguments import Population, Start
from runners.command import command
from runners.files.folder import fresh_folder
from runners.simulation.config import RunConfig
from runners.simulation.run import simulate

FRESH = Path("runs/seed-SEED-N")
"""Stands for a folder of its own for every run."""


@dataclass(frozen=True, kw_only=True)
class Arguments(Population):
    """Run one frozen population through the market and record everything."""

    seed: int = 1
    """Seed of everything random. The same seed gives the same bytes."""
    run_dir: Path = FRESH
    """Folder for the run; by default a fresh one, N the first number that is free."""
    overwrite: bool = False
    """Replace a run that is already in run-dir."""
    audit: bool = True
    """Rebuild the run from its log alone and compare; of a run of 2,000 timesteps or more in a second process, beside the report."""
    report: bool = True
    """Write report.pdf, its pages as pictures, and heatmap.png."""
    tensorboard: bool = True
    """Write TensorBoard files."""
    watch: bool = False
    """Show order book, trades and inventories in the terminal while it runs; space pauses, s steps."""


def parse(argv: Sequence[str] | None) -> tuple[Arguments, RunConfig]:
    """The command line, and the run that it asks for.

    A file named by ``--config`` gives the defaults that the other flags replace.

    Raises:
        ConfigError: the file or a value is bad.
    """
    start = Start(argv)
    default = Arguments(**start.flags(), seed=start.run.seed)
    arguments = tyro.cli(Arguments, args=argv, default=default, description=Arguments.__doc__)
    return arguments, amend(start.populated(arguments), seed=arguments.seed)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 130 if interrupted, 2 for bad input."""
    try:
        arguments, run = parse(argv)
        path = fresh_folder(f"seed-{run.seed}") if arguments.run_dir == FRESH else arguments.run_dir
        summary = simulate(
            run,
            path,
            overwrite=arguments.overwrite,
            audit=arguments.audit,
            report=arguments.report,
            tensorboard=arguments.tensorboard,
            watch=arguments.watch,
        )
    except KeyboardInterrupt:
        print("interrupted; of a run under way: python -m runners.replay RUN_DIR --complete", file=sys.stderr)
        return 130
    return 0 if summary["complete"] else 130


if __name__ == "__main__":
    sys.exit(main())
