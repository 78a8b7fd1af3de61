"""LOBSTER files, the exchange format of order-book research: ``python -m runners.lobster export``, ``verify`` and ``tape``.

``export`` writes a run as a pair of them; ``verify`` drives the compiled book with any pair and compares every level of
every row (:mod:`runners.exchange`); ``tape`` makes a recorded day of one that agents trade in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from runners.command import command
from runners.exchange.pairs import OPENING, pair_of_run, read_pair, write_pair
from runners.exchange.tape import make, play_back, write
from runners.exchange.verify import verify
from runners.files.read import recorded_timesteps


@dataclass(frozen=True)
class Export:
    """Write a run as a pair of LOBSTER files, message and order book, as readers of that format take them."""

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """A run's folder."""
    out_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT_DIR")]
    """Folder for the two files; made if it is not there."""
    levels: int = 10
    """Levels of the order-book file, 1 to 200; messages behind them are left out, as the format does."""
    ticker: str = "MARKET"
    """First part of the files' names."""
    date: str = "2000-01-03"
    """Second part of the files' names; a run has no date."""
    overwrite: bool = False
    """Replace files of that name."""


@dataclass(frozen=True)
class Verify:
    """Drive the compiled book with a pair of LOBSTER files and compare every level of every row.

    Exit status 0 if every row agrees, 1 if one differs, 2 for bad input.
    """

    message: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MESSAGE")]
    """The message file."""
    orderbook: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ORDERBOOK")]
    """The order-book file of any number of levels."""
    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True)
class MakeTape:
    """Make a tape of a pair: a recorded day that agents trade in (run_simulation.py --tape FILE).

    It is played back without agents first, and every level of every row compared: exit status 0 if all agree, 1 if one differs,
    2 for bad input.
    """

    message: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MESSAGE")]
    """The message file."""
    orderbook: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ORDERBOOK")]
    """The order-book file of any number of levels."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TAPE.npy")]
    """Where the tape goes."""
    tick_size: float = 0.01
    """Currency units of a tick."""
    lot_size: float = 1.0
    """Units of the asset in a lot."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.extras.subcommand_cli_from_dict(
        {"export": Export, "verify": Verify, "tape": MakeTape},
        args=argv,
        prog="python -m runners.lobster",
        description="LOBSTER files: write a run as a pair of them, verify the book against a pair, or make a tape of one.",
    )
    if isinstance(arguments, Export):
        pair = pair_of_run(arguments.run_dir, arguments.levels)
        end = OPENING + recorded_timesteps(arguments.run_dir)
        for path in write_pair(
            pair, arguments.out_dir, arguments.ticker, arguments.date, end, overwrite=arguments.overwrite
        ):
            print(path)
        if end > 86_400:
            print(f"note: the run ends at {end:,} seconds after midnight, beyond the day's 86,400", file=sys.stderr)
        return 0
    if isinstance(arguments, MakeTape):
        pair = read_pair(arguments.message, arguments.orderbook)
        made = make(pair, arguments.tick_size, arguments.lot_size)
        tape = write(made, arguments.out)
        played = play_back(pair, made, tape)
        print(made)
        print(f"played back without agents: {played.agreeing:,} of {played.rows:,} rows agree in all levels")
        print(f"wrote {arguments.out}")
        return 0 if played.agreeing == played.rows else 1
    found = verify(arguments.message, arguments.orderbook)
    print(json.dumps(asdict(found), indent=2) if arguments.json else found)
    return 0 if found.agrees else 1


if __name__ == "__main__":
    sys.exit(main())
