"""``python -m benchmarks.limits [SECTION ...]``: what the slowest parts are made of, so that nobody has to guess what limits them.

Promise: each section takes one figure of ``python -m benchmarks.before`` apart, in turn where parts are
compared. Cost: two minutes; book needs a C compiler.
"""

from __future__ import annotations

import contextlib
import cProfile
import io
import pstats
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks.before import HERE, spend
from benchmarks.book import book_alone, minimal_c, streams
from benchmarks.sections import run_sections
from market_env.config import LEARNER, MarketConfig
from market_env.engine import state
from market_env.engine.observe import INFO
from market_env.market import INFO_FORMAT, INFO_NAMES, Market, as_info, configure
from runners import simulate
from runners.audit import compare
from runners.audit.figures import Figures
from runners.audit.rebuild import Replay
from runners.audit.rules import Rules
from scripted_agents.batch import Batch
from scripted_agents.registry import build_others

ROUNDS = 5
"""Of each part, in turn; the best counts."""
MARKETS, GROUP = 4_096, 64
"""Markets of a large batch and of a small one."""
STEPS = 64
"""Of each market."""
MOST_FUNCTIONS = 10
"""Of a profile that are shown."""


def best_of(parts: Mapping[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """CPU seconds of the fastest of some rounds of each part."""
    best = dict.fromkeys(parts, float("inf"))
    for _ in range(rounds):
        for name, part in parts.items():
            begun = time.process_time()
            part()
            best[name] = min(best[name], time.process_time() - begun)
    return best


def info() -> None:
    """An info as a dict of plain numbers, and what a dict and its numbers cost by themselves."""
    market = Market(MarketConfig(timesteps=1_000))
    market.reset(1)
    many = 100_000
    row = np.array([tuple(market.acting_info().values())], INFO)
    values = INFO_FORMAT.unpack_from(row)
    best = best_of(
        {
            "an info": lambda: [as_info(row) for _ in range(many)],
            "its numbers as Python's": lambda: [INFO_FORMAT.unpack_from(row) for _ in range(many)],
            "a dict of numbers that are there": lambda: [dict(zip(INFO_NAMES, values)) for _ in range(many)],  # noqa: B905
        }
    )
    print(f"an info of {len(INFO_NAMES)} numbers, us")
    for name, seconds in best.items():
        print(f"  {name:<62}{seconds / many * 1e6:>10.2f}")


def batch() -> None:
    """A large batch, and as many markets in small ones, whose records stay in the caches or do not."""
    numba.set_num_threads(1)
    config = MarketConfig(timesteps=10**9)

    def made(markets: int, first: int = 0) -> Batch:
        found = Batch(config, build_others(config, [LEARNER]), [LEARNER], markets)
        found.reset(range(first, first + markets))
        return found

    large, small = made(MARKETS), [made(GROUP, first) for first in range(0, MARKETS, GROUP)]
    nothing = {count: np.zeros((count, 1, 5), np.int64) for count in (GROUP, MARKETS)}

    def step(one: Batch, steps: int) -> None:
        for _ in range(steps):
            one.step(nothing[len(one.records)])

    def each(steps: int) -> None:
        for _ in range(STEPS // steps):
            for one in small:
                step(one, steps)

    def turns() -> int:
        return int(large.records["turns"].sum()) + sum(int(one.records["turns"].sum()) for one in small)

    parts = {
        f"one batch, {STEPS} steps: what lies ahead is fetched": lambda: step(large, STEPS),
        f"{len(small)} batches of {GROUP}, a step of each in turn: nothing is fetched": lambda: each(1),
        f"{len(small)} batches of {GROUP}, {STEPS} steps of each in turn: it is there": lambda: each(STEPS),
    }
    for part in parts.values():
        part()  # books fill
    rates = dict.fromkeys(parts, 0.0)
    for _ in range(ROUNDS):
        for name, part in parts.items():
            before, begun = turns(), time.process_time()
            part()
            rates[name] = max(rates[name], (turns() - before) / (time.process_time() - begun))
    print(f"{MARKETS:,} markets on one core, {large.records.itemsize / 1024:.0f} KiB each, M turns/s (ns a turn)")
    for name, rate in rates.items():
        print(f"  {name:<66}{rate / 1e6:>6.2f}{1e9 / rate:>8.0f}")


def book() -> None:
    """The engine's book, a minimal C version, and one that keeps owners, their orders and fills as the engine's does."""
    print("the book alone, M messages/s")
    with tempfile.TemporaryDirectory() as folder:
        for stream in streams():
            columns = [np.ascontiguousarray(column) for column in stream.rows.T]
            slots = np.full(int(stream.rows[:, 1].max()) + 1, -1, np.int32)
            records = np.zeros(1, configure(MarketConfig(), state.fitting(1, stream.open_orders)).dtype)
            minimal, owning = (
                minimal_c(Path(folder), columns, len(records[0]["orders"]), owners=owners) for owners in (False, True)
            )
            if minimal is None or owning is None:
                print("  no C compiler")
                return
            parts: dict[str, Callable[[], tuple[int, int]]] = {
                "minimal C version": minimal,
                "C version with owners, their orders and fills": owning,
                "the engine's": partial(book_alone, records, *columns, slots),
            }
            for name, part in parts.items():
                if (found := part()) != stream.expected:
                    raise RuntimeError(f"{name}: expected trades and lots {stream.expected}, got {found}")
            best = best_of(parts, 2 * ROUNDS)
            for name, seconds in best.items():
                rate, beside = len(stream.rows) / seconds, best["C version with owners, their orders and fills"]
                print(f"  {f'{stream.name}: {name}':<66}{rate / 1e6:>6.1f}{beside / seconds:>8.2f} x C with owners")


@contextlib.contextmanager
def timed(spent: Counter[str], owner: Any, method: str, name: str) -> Iterator[None]:
    """Add up what a method takes while this lasts."""
    own = getattr(owner, method)

    def around(*arguments: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        try:
            return own(*arguments, **named)
        finally:
            spent[name] += time.perf_counter() - begun  # type: ignore[assignment]

    setattr(owner, method, around)
    try:
        yield
    finally:
        setattr(owner, method, own)


def audit() -> None:
    """An audit of 5,000 timesteps: its parts, and the functions that take most of it by themselves."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        quick = ["--population", "day6", "--no-report", "--no-audit", "--no-tensorboard", "--run-dir", str(path)]
        with contextlib.redirect_stdout(io.StringIO()):
            simulate.main(quick)
        compare.audit(path)
        spent: Counter[str] = Counter()
        parts = [
            (Replay, "feed", "the log, event by event, into the plain-Python book"),
            (Rules, "add", "every action carried out once more by the plain-Python market"),
            (compare, "compare_actions", "actions held against the log"),
            (compare.Recorded, "add", "tables, column by column"),
            (compare.Rewards, "add", "rewards"),
            (Figures, "add", "figures"),
        ]
        with contextlib.ExitStack() as watched:
            for part in parts:
                watched.enter_context(timed(spent, *part))
            begun = time.perf_counter()
            rebuilt = compare.audit(path)
            whole = time.perf_counter() - begun
        spent["the rest: files, events as Python objects"] = whole - sum(spent.values())  # type: ignore[assignment]
        profile = cProfile.Profile()
        profile.runcall(compare.audit, path)
    events, checks = sum(rebuilt.kinds.values()), rebuilt.checked.total()
    print(f"an audit of {events:,} events, {checks:,} checks: {whole:.2f} s, {whole / events * 1e6:.0f} us an event")
    for name, seconds in spent.most_common():
        print(f"  {name:<66}{seconds:>6.2f}{seconds / whole:>8.0%}")
    print("functions by the time that they take themselves, under Python's profiler")
    # By file, line and name: calls of itself and all, calls, time by itself.
    functions = {where: entry[2] for where, entry in pstats.Stats(profile).stats.items()}  # type: ignore[attr-defined]
    total = sum(functions.values())
    for (file, line, name), seconds in sorted(functions.items(), key=lambda item: -item[1])[:MOST_FUNCTIONS]:
        where = f"{Path(file).name}:{line} " if line else ""
        print(f"  {where + name:<66}{seconds / total:>14.0%}")


def run() -> None:
    """The command without a report, and what is left as one thing after the other is left out."""
    with tempfile.TemporaryDirectory() as folder:
        base = ["run_simulation.py", "--population", "day6", "--overwrite", "--run-dir", f"{folder}/run", "--no-report"]
        commands: dict[str, Sequence[str]] = {
            "--no-report": base,
            "--no-report --no-audit": [*base, "--no-audit"],
            "--no-report --no-audit --no-tensorboard": [*base, "--no-audit", "--no-tensorboard"],
            "  of one timestep": [*base, "--no-audit", "--no-tensorboard", "--timesteps", "1"],
            "Python and the imports": ["-c", "import runners.simulate"],
            "Python": ["-c", "pass"],
        }
        best = dict.fromkeys(commands, float("inf"))
        for _ in range(ROUNDS):
            for name, command in commands.items():
                best[name] = min(best[name], spend(HERE, command).seconds)
    print("a run of 5,000 timesteps, warm, s")
    for name, seconds in best.items():
        print(f"  {name:<66}{seconds:>6.2f}")


SECTIONS: dict[str, Callable[[], None]] = {"info": info, "batch": batch, "book": book, "audit": audit, "run": run}

if __name__ == "__main__":
    sys.exit(run_sections(SECTIONS, __doc__, sys.argv[1:]))
