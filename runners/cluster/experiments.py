"""The executor of a cluster: blocks of jobs out, rows back as Arrow tables.

A task is a block of jobs, never one, since a run costs some tens of milliseconds to play and measure, and a task some milliseconds to send. A worker
plays its block as :func:`runners.experiment.execute.in_threads` does in this process, so the rows are the same to the
bit; one that has other code or other versions of what decides a row refuses. Rows are written by who asked, as they come. Compiling happens
once a node, while its other workers wait for it before their first block.
"""

from __future__ import annotations

import fcntl
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pyarrow as pa

from market_env.config import ConfigError
from market_env.engine.kernel import cache_root
from runners.cluster.session import Cluster, session
from runners.experiment.execute import in_threads
from runners.experiment.jobs import Executor, Job, Row

if TYPE_CHECKING:
    from runners.experiment.arms import Arm
    from runners.experiment.measures import Measure

begun = False
"""Whether this process has played a block."""
LARGEST, SMALLEST = 64, 4
"""Jobs of a block, where nobody says how many; between, so many that each processor has some blocks."""
BLOCKS = 4
"""Of each processor."""

OURS = {"market_env", "scripted_agents", "runners"}

Asked = tuple["Arm", str, tuple["Measure", ...], dict[str, str]]
"""What jobs share: an arm, its key, what is asked, and its models' hashes."""


@contextmanager
def alone_on_node() -> Iterator[None]:
    """Within, in the first block of a worker, no other worker that shares its compiled code is in its first one."""
    global begun
    root = cache_root()
    with ExitStack() as stack:
        if not begun and root is not None:
            begun = True
            with suppress(OSError):  # a folder that cannot be written or locked: each compiles what it lacks
                root.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context((root / ".ray-worker").open("w"))
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def play_block(asked: Sequence[Asked], block: Sequence[tuple[int, int]]) -> pa.Table:
    """Play a block in a worker.

    Args:
        asked: what jobs share.
        block: for each job the number of what it shares, and its seed.

    Returns:
        A row a job, in the block's order, and a column a measure.

    Raises:
        ConfigError: this worker would make other rows.
    """
    for number in {number for number, _ in block}:
        arm, *_, models = asked[number]
        if (own := arm.models()) != models:
            name = next(name for name in models if own.get(name) != models[name])
            raise ConfigError(f"--ray: node {socket.gethostname()} has another file as {name}; its rows would differ")
    jobs = [Job(*asked[number][:2], seed, asked[number][2]) for number, seed in block]
    played = in_threads(jobs, 1)
    with alone_on_node():
        first, row = next(played)
    found: dict[Job, Row] = {first: row, **dict(played)}
    rows = [found[job] for job in jobs]
    names = sorted({measure.name for job in jobs for measure in job.measures})
    return pa.table({name: pa.array([row.get(name) for row in rows], pa.float64()) for name in names})


def on_ray(cluster: Cluster, size: int | None = None) -> Executor:
    """An executor that plays on a cluster.

    Args:
        cluster: it.
        size: jobs of a block; by default by their number and the processors.
    """

    def play(jobs: Sequence[Job]) -> Iterator[tuple[Job, Row]]:
        shared: dict[tuple[str, tuple[str, ...]], int] = {}
        asked: list[Asked] = []
        numbered: list[tuple[int, int]] = []
        for job in jobs:
            name = (job.key, tuple(measure.column for measure in job.measures))
            if name not in shared:
                shared[name] = len(asked)
                asked.append((job.arm, job.key, job.measures, job.arm.models()))
            numbered.append((shared[name], job.seed))
        carry_along(asked)
        most = size or max(SMALLEST, min(LARGEST, len(jobs) // (BLOCKS * cluster.processors)))
        blocks = [numbered[begin : begin + most] for begin in range(0, len(jobs), most)]
        for number, table in cluster.run(play_block, asked, blocks):
            for place, row in enumerate(table.to_pylist(), number * most):
                job = jobs[place]
                yield job, {measure.name: row[measure.name] for measure in job.measures}

    return play


def carry_along(asked: Sequence[Asked]) -> None:
    """Let the modules of a user's own measures go with them, since they may lie where no worker finds them."""
    from ray import cloudpickle

    own = {measure.figure.__module__ for _, _, measures, _ in asked for measure in measures if measure.group == "own"}
    for name in own:
        if name.partition(".")[0] not in OURS:
            cloudpickle.register_pickle_by_value(sys.modules[name])  # type: ignore[no-untyped-call]


@contextmanager
def executor_at(address: str | None) -> Iterator[Executor]:
    """Within, an executor: of this process where there is no address, else of a cluster, which is left at the end.

    Raises:
        ConfigError: see :func:`runners.cluster.session.session`.
    """
    if address is None:
        yield in_threads
        return
    with session(address) as cluster:
        yield on_ray(cluster)
        if said := cluster.said():
            print(said, file=sys.stderr)
