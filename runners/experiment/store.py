"""An experiment's folder: what was played, a row a run.

``experiment.json`` is written first: arms with their configurations, seeds, measures and versions. A run's row is one small file
in ``rows/``, named by the arm's key and the seed, whole or absent; so interrupted work loses what was running, work that goes
on plays what is missing, and several machines can fill one folder. ``results.parquet`` is all rows in the order of arms and seeds.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from market_env.config import ConfigError
from market_env.outside import load_json, read_bytes, read_json, shown
from runners.experiment.arms import Arm
from runners.experiment.jobs import Job, Row
from runners.experiment.measures import Measure
from runners.files.folder import make_folder
from runners.files.versions import versions_of
from runners.files.whole import whole_file, write_json

PACKAGES = ("market-env", "numpy", "numba", "scipy", "polars")
"""Whose versions decide a row."""
CODE = (
    "market_env",
    "scripted_agents",
    "runners/files",
    "runners/measures",
    "runners/exchange",
    "runners/experiment/measures.py",
    "runners/experiment/metaorder.py",
)
"""What of this project decides a row."""
LARGEST_ROW = 2**20
VERSION = 1


@functools.cache
def code_hash() -> str:
    """Hash of all sources that decide a row: 16 hexadecimal digits."""
    return hash_of(CODE)


def hash_of(names: Sequence[str]) -> str:
    """Hash of this project's sources in some files and folders: 16 hexadecimal digits."""
    root = Path(__file__).parents[2]
    found = hashlib.sha256()
    for name in names:
        place = root / name
        for source in sorted((*place.rglob("*.py"), *place.rglob("*.json"))) if place.is_dir() else [place]:
            found.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def finite(value: Any) -> float:
    """A number that is none but finite.

    Raises:
        ValueError: it is not, or something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def finite_or_none(value: Any) -> float | None:
    """The same, or None for none."""
    return None if value is None else finite(value)


class Store:
    """An experiment's folder.

    Args:
        path: the folder; made if it is not there.
        arms: what is played.
        seeds: of each arm.
        measures: what is asked of each run.
        shared: whether the folder may hold other arms as well, as that of several claims does.

    Raises:
        ConfigError: the folder holds something else, or another experiment: other arms under the same names, or rows made by
            other code or versions, or, unless it is shared, other arms at all.
        RunFolderError: it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        arms: Sequence[Arm],
        seeds: Sequence[int],
        measures: Sequence[Measure],
        *,
        shared: bool = False,
    ) -> None:
        self.path = path
        self.arms = list(arms)
        self.keys = {arm.name: arm.key for arm in arms}
        self.seeds = list(seeds)
        self.measures = list(measures)
        self._check(shared)
        make_folder(path)
        write_json(path / "experiment.json", self.describe())
        make_folder(path / "rows")
        make_folder(path / "arms")
        for arm in arms:
            write_json(path / "arms" / f"{self.keys[arm.name]}.json", arm.describe())

    def describe(self) -> dict[str, Any]:
        """What ``experiment.json`` holds."""
        return {
            "experiment": VERSION,
            "arms": [
                {
                    "name": arm.name,
                    "key": self.keys[arm.name],
                    "changes": arm.changes,
                    "config": f"arms/{self.keys[arm.name]}.json",
                }
                for arm in self.arms
            ],
            "seeds": self.seeds,
            "timesteps": self.arms[0].market.timesteps,
            "measures": [
                {"name": m.name, "unit": m.unit, "meaning": m.meaning}
                | ({"version": m.version} if m.group == "own" else {})
                for m in self.measures
            ],
            "code": code_hash(),
            "versions": versions_of(PACKAGES),
        }

    def _check(self, shared: bool) -> None:
        """Raise unless the folder is new, empty, or of this experiment."""
        file = self.path / "experiment.json"
        if not file.exists():
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise ConfigError(
                    f"{self.path}: expected an experiment's folder, an empty one or none, found something else"
                )
            return
        where = f"{self.path}: another experiment's folder"
        found = read_json(file, str(file))
        mine = self.describe()
        for name in ("experiment", "code", "versions"):
            if found.get(name) != mine[name]:
                raise ConfigError(
                    f"{where}: its rows were made with {name} {shown(found.get(name))}, this is {shown(mine[name])}; give another --out"
                )
        arms = found.get("arms")
        known = (
            {str(arm.get("name")): arm.get("key") for arm in arms if isinstance(arm, dict)}
            if isinstance(arms, list)
            else {}
        )
        for name, key in self.keys.items():
            if known.get(name, key) != key:
                raise ConfigError(f"{where}: its arm {shown(name)} is another configuration; give another --out")
        if not shared and set(known) != set(self.keys):
            raise ConfigError(
                f"{where}: expected the arms {shown(list(self.keys))}, found {shown(list(known))}; give another --out"
            )

    def _file(self, key: str, seed: int) -> Path:
        return self.path / "rows" / f"{key}-{seed}.json"

    def row(self, arm: str, seed: int) -> Row:
        """What is known of a run; nothing if it was not played.

        Raises:
            ConfigError: its file is damaged.
        """
        file = self._file(self.keys[arm], seed)
        if not file.exists():
            return {}
        found = load_json(read_bytes(file, str(file), LARGEST_ROW), str(file))
        try:
            return {name: finite_or_none(value) for name, value in found.items()}
        except (AttributeError, TypeError, ValueError, OverflowError):
            raise ConfigError(
                f"{file}: expected measures by name, each a number or null; remove it, and it is played again"
            ) from None

    def missing(self, wanted: Mapping[str, Sequence[Measure]] | None = None) -> list[Job]:
        """The runs that are still to be played, by seed and then by arm, so that what is there is paired.

        Args:
            wanted: measures of each arm, where not all are asked of all.
        """
        jobs = []
        for seed in self.seeds:
            for arm in self.arms:
                own = self.measures if wanted is None else wanted[arm.name]
                known = self.row(arm.name, seed)
                if left := tuple(measure for measure in own if measure.column not in known):
                    jobs.append(Job(arm, self.keys[arm.name], seed, left))
        return jobs

    def keep(self, job: Job, row: Row) -> None:
        """Keep a run's row, beside what was known of it.

        Raises:
            RunFolderError: it cannot be written.
        """
        known = {measure.column: row[measure.name] for measure in job.measures}
        write_json(self._file(job.key, job.seed), self.row(job.arm.name, job.seed) | known)

    def results(self) -> pl.DataFrame:
        """All rows: ``arm``, ``seed``, ``config`` (the arm's key), then a column a measure; those of runs that were played."""
        rows = []
        for arm in self.arms:
            for seed in self.seeds:
                if known := self.row(arm.name, seed):
                    rows.append([arm.name, seed, self.keys[arm.name], *(known.get(m.column) for m in self.measures)])
        schema: dict[str, Any] = {"arm": pl.String, "seed": pl.Int64, "config": pl.String}
        return pl.DataFrame(rows, schema | {m.name: pl.Float64 for m in self.measures}, orient="row")

    def write_results(self) -> pl.DataFrame:
        """Write ``results.parquet``; return it.

        Raises:
            RunFolderError: it cannot be written.
        """
        found = self.results()
        with whole_file(self.path / "results.parquet") as partial:
            found.write_parquet(partial)
        return found
