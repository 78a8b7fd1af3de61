"""Publish the best policy of some trainings with its model card: ``python -m runners.card RUN ...``.

:mod:`runners.learn.card` says which is the best. Cost: half a minute.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from market_env.config import ConfigError
from runners.command import command
from runners.learn import evaluation, order_card, rivals
from runners.learn.card import publish, read_trainings
from scripted_agents.standards import STANDARDS, Standards


@dataclass(frozen=True)
class Arguments:
    """Publish the best policy of some trainings, by validation seeds, with its model card from test seeds."""

    trainings: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of trainings that have ended; they differ in the seed alone."""
    out: Path
    """File for the policy (.zip); card and pictures go beside it, and replace what lies there."""
    beside: Path | None = None
    """Folder of a training in another seat, whose figures the card reports as well."""


@command
def main(argv: Sequence[str] | None = None, standards: Standards = STANDARDS) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m runners.card")
    if arguments.out.suffix != ".zip":
        raise ConfigError(f"out: expected a file ending in .zip, got {arguments.out}")
    print("playing the validation and the test seeds, half a minute ...", flush=True)
    if read_trainings(arguments.trainings)[0].training.task == "making":
        card = publish(arguments.trainings, arguments.out, standards, arguments.beside)
        print(evaluation.table(card["results"], list(rivals.RIVALS)))
    elif arguments.beside is not None:
        raise ConfigError("beside: is for market making; these trainings are of another task")
    else:
        order_card.publish(arguments.trainings, arguments.out, standards)
    print(f"wrote {arguments.out} and its card")
    return 0


if __name__ == "__main__":
    sys.exit(main())
