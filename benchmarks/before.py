"""``python -m benchmarks.before [SECTION ...]``: this tree against an older one, in one run.

Promise: each figure is measured in both trees in turn, ``ROUNDS`` times, and the best of each counts, so that what else the
machine does meets both; the older tree is ``COMMIT``, in a worktree of its own, and the population is ``day6``, the only one that it
had. Cost: a quarter of an hour; growth alone half of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.book import minimal_c, streams
from benchmarks.sections import run_sections

COMMIT = "18f1aeb"
"""What this tree is compared with."""
ROUNDS = 3
"""Of each measurement, in turn."""
HERE = Path(__file__).resolve().parents[1]
PROBE = Path(__file__).with_name("probe.py")
HEADER = f"{'':<64} {'before':>10} {'now':>10} {'ratio':>7}   asked"


class Trees(NamedTuple):
    """Both trees."""

    before: Path
    now: Path


class Spent(NamedTuple):
    """What a command took."""

    seconds: float
    mebibytes: float
    """At its peak, the largest process."""


@contextlib.contextmanager
def worktree() -> Iterator[Trees]:
    """The older tree, checked out for as long as this lasts."""
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before"
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(before), COMMIT], check=True)
        try:
            yield Trees(before, HERE)
        finally:
            subprocess.run([*git, "remove", "--force", str(before)], check=True)


def environment(tree: Path, **more: str) -> dict[str, str]:
    """What a process needs to import from a tree."""
    return {**os.environ, "PYTHONPATH": str(tree), **more}


def probe(trees: Trees, *arguments: str) -> tuple[dict[str, float], dict[str, float]]:
    """Figures of a probe by name, before and now: the larger of a rate, the smaller of a cost."""
    found: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for _ in range(ROUNDS):
        for best, tree in zip(found, trees, strict=True):
            command = [sys.executable, str(PROBE), *arguments]
            done = subprocess.run(
                command, cwd=tree, env=environment(tree), stdout=subprocess.PIPE, text=True, check=True
            )
            for name, figure in json.loads(done.stdout).items():
                better = max if "/" in name else min
                best[name] = better(best.get(name, figure), figure)
    return found


# A small process of its own, whose children are the command alone.
WATCHED = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
print(json.dumps([time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024]))
"""


def spend(tree: Path, arguments: Sequence[str], **more: str) -> Spent:
    """Run a command of Python's in a tree."""
    command = [sys.executable, "-c", WATCHED, sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=tree, env=environment(tree, **more), stdout=subprocess.PIPE, text=True, check=True
    )
    return Spent(*json.loads(done.stdout))


def run_command(tree: Path, folder: Path, *flags: str) -> list[str]:
    """The measurement run in a tree: of the four kinds, which an older tree runs without being asked."""
    named = ["--population", "day6"] if tree == HERE else []
    return ["run_simulation.py", "--run-dir", str(folder), "--overwrite", *named, *flags]


def line(label: str, before: float, now: float, form: str, asked: str = "", *, rate: bool = False) -> None:
    """One line of the table; the ratio says how many times as fast, or what share of the cost."""
    ratio = now / before
    print(f"{label:<64} {before:>10{form}} {now:>10{form}} {ratio:>6.2f}{'x' if rate else ' '}   {asked}", flush=True)


def env(trees: Trees) -> None:
    """A turn through PettingZoo's faces."""
    before, now = probe(trees, "env")
    line("env(), us a turn", before["env"], now["env"], ".2f")
    shares = [costs["env"] / costs["no-op"] for costs in (before, now)]
    line("env() over a no-op environment under PettingZoo's wrapper", *shares, ".2f", "at most 1.1")
    line("raw_env, us a turn", before["raw_env"], now["raw_env"], ".2f", "at most 0.60")
    for name in ("advance", "info", "reward", "observation"):
        line(f"  of it {name}", before[name], now[name], ".2f")


def batch(trees: Trees) -> None:
    """Many markets at once."""
    before, now = probe(trees, "loop")
    floor = before["turns/s"]
    line("AEC loop, k turns/s", floor / 1e3, now["turns/s"] / 1e3, ".1f", rate=True)
    rates: dict[tuple[str, str], tuple[float, float]] = {}
    for markets, threads in (("64", "1"), ("4096", "1"), ("64", "2"), ("4096", "2")):
        before, now = probe(trees, "batch", markets, threads)
        rates[markets, threads] = before["turns/s"], now["turns/s"]
        cores = f"{threads} core{'s' * (threads != '1')}"
        millions = [rate / 1e6 for rate in rates[markets, threads]]
        line(f"batch of {int(markets):,} markets, {cores}, M turns/s", *millions, ".2f", rate=True)
    for label, part, whole, asked in (
        ("batch of 64 on one core, times the AEC loop of before", rates["64", "1"], (floor, floor), "at least 60"),
        ("4,096 markets over 64, one core", rates["4096", "1"], rates["64", "1"], "at least 0.70"),
        ("two cores over one, 64 markets", rates["64", "2"], rates["64", "1"], "at least 1.8"),
    ):
        shares = [one / other for one, other in zip(part, whole, strict=True)]
        line(label, *shares, ".2f", asked)


def policy(trees: Trees) -> None:
    """A frozen decision."""
    before, now = probe(trees, "decide")
    line("a frozen decision, us", before["us"], now["us"], ".2f", "at most 2.5 us")


def train(trees: Trees) -> None:
    """Training."""
    before, now = probe(trees, "train", "6")
    line("training, k turns/s", before["turns/s"] / 1e3, now["turns/s"] / 1e3, ".1f", "at least 2.2 x", rate=True)
    label = "training, k turns a CPU second"
    line(label, before["turns/CPU s"] / 1e3, now["turns/CPU s"] / 1e3, ".1f", rate=True)


def book(trees: Trees) -> None:
    """The book alone, and against C."""
    with tempfile.TemporaryDirectory() as folder:
        for number, stream in enumerate(streams()):
            columns = np.ascontiguousarray(stream.rows.T)
            file = Path(folder) / f"{number}.npy"
            np.save(file, columns)
            before, now = probe(trees, "book", str(file))
            rates = before["messages/s"], now["messages/s"]
            line(f"the book, {stream.name}, M messages/s", *(rate / 1e6 for rate in rates), ".1f", rate=True)
            in_c = minimal_c(Path(folder), list(columns), 16_384)
            if in_c is not None:
                times = []
                for _ in range(9):
                    begun = time.process_time()
                    assert in_c() == stream.expected
                    times.append(time.process_time() - begun)
                rate = columns.shape[1] / min(times)
                line(
                    f"  over a minimal C version ({rate / 1e6:.0f} M)",
                    *(r / rate for r in rates),
                    ".2f",
                    "at least 0.70",
                )


def run(trees: Trees) -> None:
    """The whole run, warm."""
    with tempfile.TemporaryDirectory() as folder:
        for label, flags, asked in (
            ("the whole run of 5,000 timesteps, s", (), "at most 0.45 and 8 s"),
            ("  --no-report, s", ("--no-report",), "under 3 s"),
            ("  --no-report --no-audit, s", ("--no-report", "--no-audit"), ""),
        ):
            best = [Spent(np.inf, 0.0)] * 2
            for _ in range(ROUNDS):
                for place, tree in enumerate(trees):
                    arguments = run_command(tree, Path(folder) / f"run-{place}", *flags)
                    best[place] = min(best[place], spend(tree, arguments))
            line(label, best[0].seconds, best[1].seconds, ".2f", asked)
            if not flags:
                line("  its peak memory, MiB", best[0].mebibytes, best[1].mebibytes, ".0f")


def start(trees: Trees) -> None:
    """What compiling costs: a run with nothing compiled on disk."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--no-report", "--no-tensorboard")
        took = []
        for place, tree in enumerate(trees):
            arguments = run_command(tree, Path(folder) / f"run-{place}", *flags)
            cold = spend(tree, arguments, MARKET_ENV_CACHE=str(Path(folder) / f"cache-{place}"))
            warm = spend(tree, arguments, MARKET_ENV_CACHE=str(Path(folder) / f"cache-{place}"))
            took.append(cold.seconds - warm.seconds)
        line("compiling what a run needs, s", *took, ".1f", "under 10 s")


def growth(trees: Trees) -> None:
    """A thousand agents with everything on, and a run of 100,000 timesteps."""
    with tempfile.TemporaryDirectory() as folder:
        many = ("--noise", "994", "--timesteps", "500")
        took = [spend(tree, run_command(tree, Path(folder) / f"many-{i}", *many)) for i, tree in enumerate(trees)]
        line("1,000 agents, 500 timesteps, everything on, s", took[0].seconds, took[1].seconds, ".1f")
        stages: dict[str, Callable[[Path, Path], list[str]]] = {
            "run": partial(run_command_long),
            "audit": lambda tree, path: ["-m", "runners.replay", str(path)],
            "report": lambda tree, path: ["-m", "runners.report", str(path)],
        }
        for name, command in stages.items():
            took = [spend(tree, command(tree, Path(folder) / f"long-{i}")) for i, tree in enumerate(trees)]
            line(f"100,000 timesteps: {name}, s", took[0].seconds, took[1].seconds, ".1f")
            line("  its peak memory, MiB", took[0].mebibytes, took[1].mebibytes, ".0f")
        sizes = [folder_size(Path(folder) / f"long-{i}" / "tensorboard") / 2**20 for i in range(2)]
        line("  TensorBoard on disk, MiB", *sizes, ".1f")


def run_command_long(tree: Path, path: Path) -> list[str]:
    """A run of 100,000 timesteps in a tree."""
    return run_command(tree, path, "--timesteps", "100000", "--no-report", "--no-audit")


def folder_size(folder: Path) -> int:
    """Bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


PARTS: dict[str, Callable[[Trees], Any]] = {
    "env": env, "batch": batch, "policy": policy, "train": train, "book": book, "run": run, "start": start, "growth": growth,
}  # fmt: skip


def main(names: list[str]) -> int:
    """Run the command; return its exit status."""
    if names == ["--help"] or any(name not in PARTS for name in names):
        return run_sections({name: lambda: None for name in PARTS}, __doc__, names)
    with worktree() as trees:
        print(HEADER)
        return run_sections({name: partial(part, trees) for name, part in PARTS.items()}, __doc__, names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
