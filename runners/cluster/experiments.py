"""The executor of a cluster: blocks of jobs out, rows back as Arrow tables.

A task is a block of jobs, never one, since a run costs some tens of milliseconds to play and measure, and a task some milliseconds to send. A worker
plays its block as :func:`runners.experiment.execute.in_threads` does in this process, so the rows are the same to the
bit; one that has other code or other versions of what decides a row refuses. Rows are written by who asked, as they come. Compiling happens
once a node, while its other workers wait.
"""

from __future__ import annotations

import fcntl
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from market_env.config import ConfigError
from market_env.engine.kernel import cache_root
from runners.cluster.session import Cluster, session
from runners.experiment.execute import in_threads
from runners.experiment.jobs import Executor, Job, Row
from runners.experiment.store import PACKAGES, code_hash
from runners.files.versions import versions_of

if TYPE_CHECKING:
    from runners.experiment.arms import Arm
    from runners.experiment.measures import Measure

LARGEST, SMALLEST = 64, 4
"""Jobs of a block, where nobody says how many; between, so many that each processor has some blocks."""
BLOCKS = 4
"""Of each processor."""

OURS = {"market_env", "scripted_agents", "runners"}

Asked = tuple["Arm", str, tuple["Measure", ...], dict[str, str]]
"""What jobs share: an arm, its key, what is asked, and its models' hashes."""


def sources() -> dict[str, Any]:
    """What decides a row, beside the job."""
    return {"code": code_hash(), **versions_of(PACKAGES)}


@contextmanager
def alone_on_node() -> Iterator[None]:
    """Within, no other worker that shares this one's compiled code is within."""
    root = cache_root()
    if root is None:
        yield
        return
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".ray-worker").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def play_block(shared: tuple[Sequence[Asked], dict[str, Any]], block: Sequence[tuple[int, int]]) -> pa.Table:
    """Play a block in a worker.

    Args:
        shared: what jobs share, and :func:`sources` of who asks.
        block: for each job the number of what it shares, and its seed.

    Raises:
        ConfigError: this worker would make other rows.
    """
    asked, expected = shared
    if (own := sources()) != expected:
        name = next(name for name in expected if own.get(name) != expected[name])
        raise ConfigError(
            f"--ray: node {socket.gethostname()} has {name} {own.get(name)}, this process {expected[name]}: its rows could differ; "
            "install the same on all nodes"
        )
    for number in {number for number, _ in block}:
        arm, *_, models = asked[number]
        if (found := arm.models()) != models:
            name = next(name for name in models if found.get(name) != models[name])
            raise ConfigError(f"--ray: node {socket.gethostname()} has another file as {name}; its rows would differ")
    jobs = [Job(*asked[number][:2], seed, asked[number][2]) for number, seed in block]
    places = {job: place for place, job in enumerate(jobs)}
    played = in_threads(jobs, 1)
    with alone_on_node():  # the first one compiles, in the node's first block
        rows = [next(played)]
    rows += played
    names = sorted({measure.name for job in jobs for measure in job.measures})
    return pa.table(
        {
            "job": pa.array([places[job] for job, _ in rows], pa.int32()),
            **{name: pa.array([row.get(name) for _, row in rows], pa.float64()) for name in names},
        }
    )


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
        for number, table in cluster.run(play_block, (asked, sources()), blocks):
            own = jobs[number * most :]
            for row in table.to_pylist():
                job = own[row["job"]]
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
