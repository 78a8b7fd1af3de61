"""The seam between an experiment and who plays it: jobs in, rows out.

A job is one arm on one seed. :func:`runners.experiment.execute.in_threads` plays jobs in this process with a log that measures read,
:func:`runners.experiment.seat.in_batch` without one for what a seat does; a job array plays a part of the jobs on each of several machines
(``--block 3/10``), and the rows meet in one folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runners.experiment.arms import Arm

if TYPE_CHECKING:
    from runners.experiment.measures import Measure

Row = dict[str, float | None]
"""A run's measures by name."""


@dataclass(frozen=True, eq=False)
class Job:
    """One arm on one seed."""

    arm: Arm
    key: str
    """The arm's."""
    seed: int
    measures: tuple[Measure, ...]
    """Those that are asked of it."""


Executor = Callable[[Sequence[Job]], Iterable[tuple[Job, Row]]]
"""Plays jobs, in any order, and gives each one's row as it comes."""
