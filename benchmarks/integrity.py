"""``python -m benchmarks.integrity``: full-size audits and mutations, as tables.

``audits`` records the default market and twenty of random population, arrivals, bounds, cash and price, each for 5,000
timesteps, and audits them; ``mutations`` changes one thing at a time in the files of a short run, in every table and
column, makes the checksums fit, and counts what the audit notices. Cost: some minutes each.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import tyro

from market_env.config import ConfigError
from runners import simulate
from runners.audit import compare
from runners.files.folder import file_hashes
from runners.files.schema import TABLES
from tests import kit


def recorded(config: dict[str, Any], folder: Path) -> Path:
    """A recorded run."""
    given = folder / "given.json"
    given.write_text(json.dumps(config))
    path = folder / "run"
    arguments = ["--config", str(given), "--run-dir", str(path), "--no-audit", "--no-report", "--no-tensorboard"]
    with contextlib.redirect_stdout(io.StringIO()):
        if simulate.main(arguments) != 0:
            raise RuntimeError(f"run {config} failed")
    return path


def audits(runs: int, timesteps: int) -> int:
    """Audit the default market and random ones; return how many values differ."""
    print(f"{'run':<12}{'agents':>7}{'first price':>12}{'events':>10}{'checked':>12}{'differ':>8}{'replay':>9}")
    total: Counter[str] = Counter()
    for number in range(-1, runs):
        config = kit.random_run(number, timesteps) if number >= 0 else {"market": {"timesteps": timesteps}}
        with tempfile.TemporaryDirectory() as folder:
            path = recorded(config, Path(folder))
            begun = time.perf_counter()
            rebuilt = compare.audit(path)
            seconds = time.perf_counter() - begun
        counts = {
            "events": sum(rebuilt.kinds.values()),
            "checked": rebuilt.checked.total(),
            "differ": rebuilt.failed.total(),
        }
        total.update(counts)
        print(
            f"{f'random {number}' if number >= 0 else 'default':<12}{len(rebuilt.config.agents):>7}"
            f"{rebuilt.config.first_price:>12,}{counts['events']:>10,}{counts['checked']:>12,}{counts['differ']:>8,}"
            f"{seconds:>7.1f} s",
            flush=True,
        )
    print(f"{'all':<12}{'':>7}{'':>12}{total['events']:>10,}{total['checked']:>12,}{total['differ']:>8,}")
    return total["differ"]


def noticed(path: Path) -> bool:
    """Whether the audit notices anything."""
    try:
        return bool(compare.audit(path).failed)
    except ConfigError:
        return True


def mutations(repeats: int) -> int:
    """Try mutations of every table and column; return how many nothing noticed."""
    print(f"{'table':<10}{'mutation':<28}{'tried':>7}{'rebuilding':>12}{'checksum alone':>16}{'missed':>8}")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        original = recorded(kit.SMALL_RUN, Path(folder))
        path = Path(folder) / "changed"
        shutil.copytree(original, path)
        summary = (original / "summary.json").read_bytes()
        for table in TABLES:
            name = "events/part-00001.parquet" if table == "events" else f"{table}.parquet"
            columns = pq.read_table(original / name).to_pydict()
            counts: dict[str, Counter[str]] = {}
            for repeat in range(repeats):
                rng = np.random.default_rng((len(table), repeat))
                for what, mutate in [*kit.mutations(columns, rng), ("the file cut short", None)]:
                    if mutate is None:
                        whole = (original / name).read_bytes()
                        (path / name).write_bytes(whole[: int(rng.integers(1, len(whole)))])
                    else:
                        kit.rewrite(path / name, table, mutate(columns))
                    fitting = json.loads(summary) | {"sha256": file_hashes(path)}
                    (path / "summary.json").write_text(json.dumps(fitting))
                    found = "rebuilding" if noticed(path) else None
                    (path / "summary.json").write_bytes(summary)
                    found = found or ("checksum" if noticed(path) else "missed")
                    if found == "missed":
                        print(f"missed: {table}: {what}", file=sys.stderr)
                    row = f"one value, {len(columns)} columns" if what.startswith("one value") else what
                    counts.setdefault(row, Counter()).update(["tried", found])
            shutil.copy(original / name, path / name)
            for what, count in counts.items():
                print(
                    f"{table:<10}{what:<28}{count['tried']:>7}{count['rebuilding']:>12}{count['checksum']:>16}"
                    f"{count['missed']:>8}",
                    flush=True,
                )
                missed += count["missed"]
    return missed


@dataclass(frozen=True)
class Arguments:
    """Audit full-size runs, and count which mutations of a record the audit notices."""

    sections: Annotated[tuple[str, ...], tyro.conf.Positional] = ("audits", "mutations")
    """What to do: audits, mutations."""
    runs: int = 20
    """Random runs to audit beside the default one."""
    timesteps: int = 5_000
    """Their length."""
    repeats: int = 3
    """Mutations of each kind, at rows drawn anew."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 if nothing differs and no mutation was missed."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m benchmarks.integrity")
    unknown = [section for section in arguments.sections if section not in ("audits", "mutations")]
    if unknown:
        print(f"error: sections: expected some of audits, mutations, got {unknown[0]!r}", file=sys.stderr)
        return 2
    wrong = 0
    if "audits" in arguments.sections:
        wrong += audits(arguments.runs, arguments.timesteps)
    if "mutations" in arguments.sections:
        wrong += mutations(arguments.repeats)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
