"""Rebuild a run from its log and audit it: ``python -m runners.replay RUN_DIR``.

:mod:`runners.audit` says how. ``--at`` prints the market at a moment instead, ``--complete`` writes the tables of a run that
was cut off.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import polars as pl
import tyro

from runners.audit.compare import audit, keep_result, report_of, result_of
from runners.audit.complete import complete
from runners.command import command
from runners.files.run import state_at


@dataclass(frozen=True)
class Arguments:
    """Rebuild a run from its log with the plain-Python book, and audit all that was recorded."""

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """A run's folder."""
    at: Annotated[int | None, tyro.conf.arg(metavar="TIMESTEP")] = None
    """Print the book and the accounts at the end of this timestep instead."""
    complete: bool = False
    """Write the tables of a run that was cut off, from its finished parts, and mark it incomplete."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 if nothing differs, 1 if something does, 2 for bad input."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m runners.replay")
    path = arguments.run_dir
    if arguments.complete:
        timesteps = complete(path)
        print(f"wrote the tables of {path}: {timesteps:,} whole timesteps, marked incomplete")
        return 0
    if arguments.at is not None:
        print_state(*state_at(path, arguments.at))
        return 0
    rebuilt = audit(path)
    print(report_of(rebuilt))
    if (path / "summary.json").is_file() and os.access(path, os.W_OK):
        keep_result(result_of(rebuilt, path), path)
    return 1 if rebuilt.failed.total() else 0


def print_state(book: pl.DataFrame, accounts: pl.DataFrame) -> None:
    """Print a ladder, asks above bids, and the accounts."""
    print(f"{'price':>8} {'lots':>7} {'orders':>7}")
    for side, rule in (("sell", "-" * 24), ("buy", "")):
        levels = book.filter(pl.col("side") == side).sort("price", descending=True)
        for _, price, lots, orders in levels.iter_rows():
            print(f"{price:>8} {lots:>7} {orders:>7}")
        if rule:
            print(rule)
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=200,
        fmt_float="full",
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
    ):
        print(accounts)


if __name__ == "__main__":
    sys.exit(main())
