"""``python -m benchmarks.growth [TIMESTEPS ...]``: time, memory and disk of recorded runs against their length.

Promise: each step of a run is a command of its own, warm, whose largest process counts. Cost: a quarter of an hour, most of it the
audit of a million timesteps.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.before import HERE, Spent, folder_size, run_command, spend

LENGTHS = (5_000, 100_000, 1_000_000)
"""Timesteps of the runs."""


def steps(folder: Path, timesteps: int) -> list[tuple[str, Spent]]:
    """A run of so many timesteps in a folder, its report and its audit."""
    recorded = run_command(HERE, folder, "--timesteps", str(timesteps), "--no-report", "--no-audit")
    commands = {
        "run": recorded,
        "report": ["-m", "runners.report", str(folder)],
        "audit": ["-m", "runners.replay", str(folder)],
    }
    return [(name, spend(HERE, command)) for name, command in commands.items()]


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    if list(arguments) == ["--help"]:
        print(__doc__)
        return 0
    if unfit := [argument for argument in arguments if not argument.isdecimal() or int(argument) < 1]:
        print(f"error: timesteps: expected whole numbers from 1 on, got {unfit[0]!r}", file=sys.stderr)
        return 2
    lengths = [int(argument) for argument in arguments] or LENGTHS
    with tempfile.TemporaryDirectory() as folder:
        spend(HERE, run_command(HERE, Path(folder) / "warm", "--timesteps", "10"))
        print(f"{'timesteps of day6':<20}{'':<10}{'s':>10}{'MiB at its peak':>18}{'ms a timestep':>16}")
        for timesteps in lengths:
            run = Path(folder) / str(timesteps)
            for name, spent in steps(run, timesteps):
                each = spent.seconds / timesteps * 1e3
                print(
                    f"{timesteps:<20,}{name:<10}{spent.seconds:>10.1f}{spent.mebibytes:>18,.0f}{each:>16.3f}",
                    flush=True,
                )
            parquet = sum(file.stat().st_size for file in run.rglob("*.parquet")) / 2**20
            board = folder_size(run / "tensorboard") / 2**20
            print(
                f"{timesteps:<20,}{'on disk':<10}{parquet:>10,.1f} MiB of Parquet, {board:,.1f} of TensorBoard",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
