"""``python -m benchmarks.cluster speed|chaos``: experiments on Ray.

``speed``: the same jobs in this process and on Ray, in 1, 4 and 16 blocks, on one processor and on all. ``chaos``: a cluster of three nodes on
this machine, twenty times; each time a worker is killed, then a node, in the middle of an experiment, whose rows must be those of this process.
Cost: two minutes, and ten.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from runners.cluster.experiments import on_ray
from runners.cluster.session import QUIET, session
from runners.experiment.arms import Base, crossed
from runners.experiment.execute import in_threads
from runners.experiment.experiment import chosen
from runners.experiment.jobs import Executor, Job
from runners.experiment.store import Store

TIMES = 20
BLOCKS = (1, 4, 16)
MEASURES = ("spread", "depth", "volatility")
COMMAND = ("--vary", "maker=8,4", "--seeds", "1..24", "--timesteps", "1000", "--measure", *MEASURES)
"""The experiment that is disturbed."""
NODE = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20, "node_ip_address": "127.0.0.1"}


def serve_nodes() -> int:
    """Three nodes on this machine, a processor each, by Ray's own test utility: says the address, takes "node" and "head" for what is to be killed."""
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        others = [cluster.add_node(**NODE) for _ in range(2)]
        print(cluster.address, flush=True)
        for line in sys.stdin:
            cluster.remove_node(others.pop() if line.strip() == "node" else cluster.head_node, allow_graceful=False)
            print("killed", flush=True)
    finally:
        cluster.shutdown()
    return 0


class Nodes:
    """A cluster of three nodes that can be killed, and the environment in which it is reached; in a process of its own, since Ray reads that once."""

    def __init__(self) -> None:
        # Sockets' paths are bounded: a short one.
        self._folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
        self.environment = {
            **os.environ, **QUIET, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": self._folder.name,
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cluster", "nodes"], env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def kill(self, which: str) -> None:
        """Kill a ``node`` or the ``head``, and return when it is dead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(which + "\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def workers(self) -> list[psutil.Process]:
        """Those of its workers that run a task now."""
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any("ray::at_node" in word for word in process.cmdline()):
                    found.append(process)
        return found

    def kill_a_worker(self) -> None:
        """Kill one that runs a task, where there is one."""
        for worker in self.workers()[:1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.send_signal(signal.SIGKILL)

    def begun(self, out: Path, *more: str) -> subprocess.Popen[str]:
        """The experiment on this cluster, as its user starts it, with some more words."""
        words = [sys.executable, "-m", "runners.experiment", *COMMAND, *more, "--out", str(out), "--ray", self.address]
        return subprocess.Popen(words, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rows_in(out: Path) -> int:
    """How many rows an experiment's folder holds."""
    return sum(file.read_bytes().count(b"\n") for file in out.glob("rows/*.jsonl"))


def checkpoints_in(out: Path) -> int:
    """How many trainings in a folder have a checkpoint."""
    return len(list(out.glob("*/checkpoint.pt")))


def wait_for(count: int, of: Callable[[Path], int], out: Path, process: subprocess.Popen[str]) -> None:
    """Return when there are so many, or the command has ended."""
    while of(out) < count and process.poll() is None:
        time.sleep(0.02)


def disturbed(nodes: Nodes, out: Path) -> str:
    """Play the experiment while a worker and then a node are killed; what was said of losses."""
    process = nodes.begun(out)
    wait_for(1, rows_in, out, process)
    nodes.kill_a_worker()
    wait_for(13, rows_in, out, process)
    nodes.kill("node")
    said = process.communicate()[1]
    if process.returncode:
        raise RuntimeError(said)
    return next((line for line in said.splitlines() if "lost with a worker" in line), "")


def chaos() -> int:
    """Twenty times; return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain"
        words = [sys.executable, "-m", "runners.experiment", *COMMAND, "--out", str(plain)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        expected = (plain / "results.parquet").read_bytes()
        same, lost = 0, []
        for number in range(TIMES):
            out = Path(folder) / f"{number}"
            with Nodes() as nodes:
                said = disturbed(nodes, out)
            same += (out / "results.parquet").read_bytes() == expected
            lost.append(int(said.split()[0]) if said else 0)
    print(f"{TIMES} experiments of 48 runs on three nodes, a worker and then a node killed in each")
    print(f"{same} ended with the rows of this process, byte for byte")
    print(f"tasks lost and run again in each: {', '.join(map(str, lost))}")
    return same != TIMES


def jobs_of(count: int) -> list[Job]:
    """So many runs of the default market."""
    (arm,) = crossed(Base.of("default", timesteps=5_000), {})
    measures = tuple(chosen(MEASURES, [arm]))
    return [Job(arm, arm.key, seed, measures) for seed in range(1, count + 1)]


def seconds(executor: Executor, jobs: list[Job]) -> float:
    """That an executor takes."""
    begin = time.perf_counter()
    assert len(list(executor(jobs))) == len(jobs)
    return time.perf_counter() - begin


def nothing(shared: None, task: int) -> int:
    """A task that does nothing."""
    return task


def writing(count: int = 100_000) -> tuple[float, float]:
    """Milliseconds to keep a row, and to read it again when work goes on or ends."""
    (arm,) = crossed(Base.of("default", timesteps=5_000), {})
    measures = chosen(MEASURES, [arm])
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "found", [arm], range(count), measures)
        jobs = store.missing()
        begin = time.perf_counter()
        with store.keeping() as keep:
            for job in jobs:
                keep(job, dict.fromkeys(MEASURES, 1.0 / 3.0))
        middle = time.perf_counter()
        assert store.results().height == count
        end = time.perf_counter()
    return (middle - begin) / count * 1e3, (end - middle) / count * 1e3


def speed() -> int:
    """Measure; return the exit status."""
    jobs = jobs_of(64)
    every = sorted(os.sched_getaffinity(0))
    print(f"{len(jobs)} runs of 5,000 timesteps of default, {len(MEASURES)} measures; seconds, and over this process's")
    for own in (every[:1], every):
        os.sched_setaffinity(0, own)
        here = min(seconds(in_threads, jobs) for _ in range(2))
        print(f"{f'{len(own)} processor' + 's' * (len(own) > 1) + ': this process':>24}{here:>27.1f}")
        begin = time.perf_counter()
        with session() as cluster:
            start = time.perf_counter() - begin
            first = seconds(on_ray(cluster, 1), jobs[: len(own)])
            for blocks in BLOCKS:
                took = seconds(on_ray(cluster, -(-len(jobs) // blocks)), jobs)
                name = f"Ray, {blocks} block{'s' * (blocks > 1)}"
                print(f"{name:>24}{took:>27.1f}{took / here:>8.2f}")
            begin = time.perf_counter()
            assert len(list(cluster.run(nothing, None, range(1_000)))) == 1_000
            empty = time.perf_counter() - begin
        print(f"{'':>12}Ray's own start {start:.1f} s, its workers' first run {first:.1f} s, with compiled code there")
    kept, read = writing()
    print(f"a task that does nothing {empty:.1f} ms; a row kept in {kept:.3f} ms, read again in {read:.3f} ms")
    return 0


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    commands = {"speed": speed, "chaos": chaos, "nodes": serve_nodes}
    if len(arguments) != 1 or arguments[0] not in commands:
        print(__doc__)
        return arguments != ["--help"]
    return commands[arguments[0]]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
