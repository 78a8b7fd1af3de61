"""The executor of this process: jobs played in threads, several at once.

Each is the market that ``run_simulation.py`` plays with that configuration and seed, event by event. The market's kernels and most
of the measures' hold no interpreter's lock. Cost: ``python -m benchmarks.experiments speed``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from market_env.engine.kernel import announced
from market_env.market import capacity_of
from runners.experiment.jobs import Job, Row
from runners.experiment.measures import Seen
from runners.files.played import play
from scripted_agents.policy import Policy
from scripted_agents.registry import build


def row_of(job: Job, policies: dict[str, Policy]) -> Row:
    """Play one job and measure it."""
    seen = Seen(play(job.arm.market, policies, job.seed))
    return {measure.name: measure(seen) for measure in job.measures}


def compiled_first(jobs: Sequence[Job], built: Mapping[str, dict[str, Policy]]) -> dict[Job, Row]:
    """The first job of each size of market, played alone: whatever must be compiled is, and said so where it takes long."""
    first = {capacity_of(job.arm.market): job for job in reversed(jobs)}
    with announced("markets and measures"):
        return {job: row_of(job, built[job.key]) for job in first.values()}


def in_threads(jobs: Sequence[Job], workers: int | None = None) -> Iterator[tuple[Job, Row]]:
    """Play jobs in this process, as many at once as there are processors.

    Args:
        jobs: what to play.
        workers: how many at once.

    Raises:
        ConfigError: a policy cannot be built or is not compiled; before anything is played.
    """
    built: dict[str, dict[str, Policy]] = {}
    for job in jobs:
        if job.key not in built:
            built[job.key] = build(job.arm.market, job.arm.policies)
    played = compiled_first(jobs, built)
    yield from played.items()
    count = workers or len(os.sched_getaffinity(0))
    waiting = (job for job in jobs if job not in played)
    running: dict[Future[Row], Job] = {}
    with ThreadPoolExecutor(count) as pool:
        try:
            while True:
                for job in waiting:
                    running[pool.submit(row_of, job, built[job.key])] = job
                    if len(running) >= 2 * count:
                        break
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()
