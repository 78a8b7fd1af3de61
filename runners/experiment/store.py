"""An experiment's folder: what was played, a row a run.

``experiment.json`` is written first: arms with their configurations, seeds, measures and versions. A run's row is a line of JSON in
``rows/``, where each process that plays has a file of its own and only ever adds to it: interrupted work loses what was
running, work that goes on plays what is missing, and several machines can fill one folder. ``results.parquet`` is all rows in
the order of arms and seeds. Cost: ``python -m benchmarks.cluster speed``, a row kept and a row read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import polars as pl

from market_env.config import ConfigError
from market_env.outside import leaves, load_json, read_json, read_lines, shown
from runners.experiment.arms import Arm
from runners.experiment.jobs import Job, Row
from runners.experiment.measures import Measure
from runners.files.folder import make_folder
from runners.files.versions import versions_of
from runners.files.whole import cannot_be_written, whole_file, write_json

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
"""Bytes of a line."""
VERSION = 2


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
        path: the folder; looked at here, made and written by :meth:`keeping`.
        arms: what is played.
        seeds: of each arm.
        measures: what is asked of each run.
        shared: whether the folder may hold other arms as well, as that of several claims does.

    Raises:
        ConfigError: the folder holds something else, or another experiment: other arms under the same names, or rows made by
            other code or versions, or, unless it is shared, other arms at all.
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
        for arm in self.arms:
            if known.get(arm.name, self.keys[arm.name]) != self.keys[arm.name]:
                apart = self._apart(arm, known[arm.name])
                raise ConfigError(
                    f"{where}: its arm {shown(arm.name)} is another configuration{apart}; give another --out"
                )
        if not shared and set(known) != set(self.keys):
            raise ConfigError(
                f"{where}: expected the arms {shown(list(self.keys))}, found {shown(list(known))}; give another --out"
            )

    def _apart(self, arm: Arm, key: object) -> str:
        """The first setting in which the folder's arm of that key is another one than an arm; nothing where it cannot be told."""
        if not isinstance(key, str) or not key.isalnum():
            return ""
        file = self.path / "arms" / f"{key}.json"
        try:
            found = read_json(file, str(file))
        except ConfigError:
            return ""
        mine = arm.describe()
        apart = next(((path, own, here) for path, own, here in leaves(found, mine) if own != here), None)
        return f" ({shown(apart[0])[1:-1]}: {shown(apart[1])}, here {shown(apart[2])})" if apart else ""

    def _rows(self) -> dict[tuple[str, int], Row]:
        """What is known of each run, by its arm's key and its seed.

        Raises:
            ConfigError: a file is damaged.
        """
        keys, seeds = set(self.keys.values()), set(self.seeds)
        columns = {measure.column: measure.column for measure in self.measures}  # one text of a name, not one a row
        found: dict[tuple[str, int], Row] = {}
        for file in sorted((self.path / "rows").glob("*.jsonl")):
            for where, line in read_lines(file, str(file), LARGEST_ROW):
                key, seed, row = _parsed(line, where)
                asked = {columns[name]: value for name, value in row.items() if name in columns}
                if asked and key in keys and seed in seeds:
                    known = found.setdefault((key, seed), {})
                    for name, value in asked.items():
                        if known.setdefault(name, value) != value:
                            raise ConfigError(
                                f"{where}: its {name} is {value}, and {known[name]} in another row of the same run; remove one of them"
                            )
        return found

    def missing(self, wanted: Mapping[str, Sequence[Measure]] | None = None) -> list[Job]:
        """The runs that are still to be played, by seed and then by arm, so that what is there is paired.

        Args:
            wanted: measures of each arm, where not all are asked of all.
        """
        jobs = []
        rows = self._rows()
        for seed in self.seeds:
            for arm in self.arms:
                own = self.measures if wanted is None else wanted[arm.name]
                known = rows.get((self.keys[arm.name], seed), {})
                if left := tuple(measure for measure in own if measure.column not in known):
                    jobs.append(Job(arm, self.keys[arm.name], seed, left))
        return jobs

    @contextmanager
    def keeping(self) -> Iterator[Callable[[Job, Row], None]]:
        """Within, a function that keeps a run's row, in a file that no other process writes to.

        A row is handed to the system before the function returns: it outlives this process. At the end all are on the disk.

        Raises:
            RunFolderError: it cannot be written.
        """
        make_folder(self.path)
        write_json(self.path / "experiment.json", self.describe())
        rows = self.path / "rows"
        make_folder(rows)
        make_folder(self.path / "arms")
        for arm in self.arms:
            write_json(self.path / "arms" / f"{self.keys[arm.name]}.json", arm.describe())
        file: BinaryIO | None = None

        def keep(job: Job, row: Row) -> None:
            nonlocal file
            known = {measure.column: row[measure.name] for measure in job.measures}
            line = json.dumps({"arm": job.key, "seed": job.seed, "row": known}, allow_nan=False).encode() + b"\n"
            try:
                file = file or _own_file(rows)
                # A disk that is about to be full takes a part first, and then says why it takes no more.
                written = 0
                while written < len(line):
                    written += file.write(line[written:])
            except OSError as error:
                raise cannot_be_written(rows, error) from None

        try:
            yield keep
        finally:
            if file is not None:
                try:
                    with file:
                        os.fsync(file.fileno())
                except OSError as error:
                    raise cannot_be_written(rows, error) from None

    def results(self) -> pl.DataFrame:
        """All rows: ``arm``, ``seed``, ``config`` (the arm's key), then a column a measure; those of runs that were played."""
        known = self._rows()
        played = [
            (arm.name, seed, self.keys[arm.name])
            for arm in self.arms
            for seed in self.seeds
            if (self.keys[arm.name], seed) in known
        ]
        columns = {
            "arm": pl.Series([arm for arm, _, _ in played], dtype=pl.String),
            "seed": pl.Series([seed for _, seed, _ in played], dtype=pl.Int64),
            "config": pl.Series([key for _, _, key in played], dtype=pl.String),
        }
        for own in self.measures:
            values = [known[key, seed].get(own.column) for _, seed, key in played]
            columns[own.name] = pl.Series(values, dtype=pl.Float64)
        return pl.DataFrame(columns)

    def write_results(self) -> pl.DataFrame:
        """Write ``results.parquet``; return it.

        Raises:
            RunFolderError: it cannot be written.
        """
        found = self.results()
        with whole_file(self.path / "results.parquet") as partial:
            found.write_parquet(partial)
        return found


def _own_file(rows: Path) -> BinaryIO:
    """A new file, unbuffered, of the first number that nobody has."""
    number = max((int(path.stem) for path in rows.glob("*.jsonl") if path.stem.isdecimal()), default=0)
    while True:
        number += 1
        with suppress(FileExistsError):  # another process was quicker
            return cast("BinaryIO", (rows / f"{number:06d}.jsonl").open("xb", buffering=0))


def _parsed(line: bytes, where: str) -> tuple[str, int, Row]:
    """An arm's key, a seed and what is known of the run."""
    found = load_json(line, where)
    try:
        row = {str(name): finite_or_none(value) for name, value in found["row"].items()}
        if not isinstance(found["arm"], str) or type(found["seed"]) is not int:
            raise TypeError
        return found["arm"], found["seed"], row
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise ConfigError(
            f"{where}: expected an arm, a seed, and measures by name, each a number or null; remove the line, and it is played again"
        ) from None
