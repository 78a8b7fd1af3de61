"""An experiment: arms, seeds and measures in, rows, comparisons and pictures out.

Promise: the same arms, seeds and measures give the same ``results.parquet``, byte for byte, in one go, in blocks or after an
interruption. Cost: ``python -m benchmarks.experiments``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from tqdm import tqdm

from market_env.config import ConfigError
from market_env.market import check_seed
from market_env.outside import shown
from runners.experiment.arms import Arm, different
from runners.experiment.compare import Comparison, as_data, compare
from runners.experiment.execute import in_threads
from runners.experiment.jobs import Executor
from runners.experiment.measures import DEFAULT, Measure, find
from runners.experiment.store import Store
from runners.files.whole import write_json
from runners.measures.over_seeds import FEWEST_SEEDS

MOST_SEEDS = 1_000_000


@dataclass(frozen=True)
class Result:
    """What an experiment came to."""

    path: Path
    rows: pl.DataFrame
    """A row a run: ``arm``, ``seed``, ``config``, and a column a measure."""
    comparisons: list[Comparison]
    """One a measure; the first arm is the base."""


def parse_seeds(words: Sequence[str]) -> list[int]:
    """``1..64``, numbers, or both, as seeds.

    Raises:
        ConfigError: a word is none of these, or a seed stands twice.
    """
    found: list[int] = []
    for word in words:
        match = re.fullmatch(r"(\d{1,18})(?:\.\.(\d{1,18}))?", word)
        if not match:
            raise ConfigError(f"seeds: expected numbers or a range such as 1..64, got {shown(word)}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= MOST_SEEDS:
            raise ConfigError(f"seeds: expected a range of 1 to {MOST_SEEDS:,} seeds upwards, got {shown(word)}")
        found += range(first, last + 1)
    if len(set(found)) < len(found):
        raise ConfigError(f"seeds: expected each once, got {shown(words)}")
    return found


def parse_block(text: str) -> tuple[int, int]:
    """``3/10`` as the third of ten blocks.

    Raises:
        ConfigError: it is none.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"--block: expected a block of several such as 3/10, from 1/10 to 10/10, got {shown(text)}")
    return int(match[1]), int(match[2])


def check_enough(seeds: Sequence[int]) -> list[int]:
    """The seeds.

    Raises:
        ConfigError: they are too few for an interval.
    """
    if len(seeds) < FEWEST_SEEDS:
        raise ConfigError(f"seeds: expected at least {FEWEST_SEEDS}, for an interval, got {len(seeds)}")
    return list(seeds)


def chosen(measures: Iterable[str | Measure], arms: Sequence[Arm]) -> list[Measure]:
    """Measures by name, or a user's own.

    Raises:
        ConfigError: a name is unknown, or stands twice.
    """
    markets = [arm.market for arm in arms]
    found = [find(own, markets) if isinstance(own, str) else own for own in measures]
    names = [own.name for own in found]
    if not found:
        raise ConfigError("measure: expected at least one, got none")
    for name in names:
        if names.count(name) > 1 or name in ("arm", "seed", "config"):
            raise ConfigError(f"measure: expected each name once, and none of arm, seed and config, got {shown(name)}")
    return found


def play(
    store: Store,
    wanted: Mapping[str, Sequence[Measure]] | None = None,
    *,
    block: tuple[int, int] = (1, 1),
    executor: Executor = in_threads,
    progress: bool = True,
) -> None:
    """Play what a folder has not yet.

    Args:
        store: the folder.
        wanted: measures of each arm, where not all are asked of all.
        block: number of this block of seeds, and how many there are.
        executor: who plays.
        progress: whether to show a bar.

    Raises:
        ConfigError: a policy cannot be used.
        RunFolderError: a row cannot be written.
    """
    number, of = block
    if of > len(store.seeds):
        raise ConfigError(f"--block: expected at most as many blocks as seeds, {len(store.seeds)}, got {of}")
    own = set(store.seeds[number - 1 :: of])
    jobs = [job for job in store.missing(wanted) if job.seed in own]
    with tqdm(total=len(jobs), unit=" runs", disable=None if progress else True) as bar, store.keeping() as keep:
        rows: Any = iter(executor(jobs))
        with closing(rows):
            for job, row in rows:
                keep(job, row)
                bar.update()


def run_experiment(
    arms: Sequence[Arm],
    seeds: Sequence[int],
    path: Path,
    measures: Iterable[str | Measure] = DEFAULT,
    *,
    block: tuple[int, int] = (1, 1),
    executor: Executor = in_threads,
    progress: bool = True,
) -> Result:
    """Play every arm on every seed, keep the rows, and compare the arms.

    Args:
        arms: the base first.
        seeds: of each arm.
        path: the experiment's folder; what lies there of the same experiment is not played again.
        measures: by name, or made by :func:`runners.experiment.measures.measure`.
        block: number of this block of seeds, and how many there are.
        executor: who plays.
        progress: whether to show a bar.

    Raises:
        ConfigError: something is unknown, or the folder is another's; nothing is played then.
        RunFolderError: a file cannot be written.
    """
    found = chosen(measures, arms)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds: expected some, each once, got {shown(list(seeds))}")
    lengths = {arm.market.timesteps for arm in arms}
    if len(lengths) != 1:
        raise ConfigError(
            f"arms: expected one length, or what is counted differs by itself, got {sorted(lengths)} timesteps"
        )
    store = Store(path, different(arms), [check_seed(seed) for seed in seeds], found)
    play(store, block=block, executor=executor, progress=progress)
    rows = store.write_results()
    comparisons = compare(rows, [arm.name for arm in arms], seeds, found)
    write_json(path / "comparisons.json", as_data(comparisons))
    return Result(path, rows, comparisons)
