"""What lies in a run's folder, read and checked: its config, its summary, and the parts of its log.

Every command that reads a run begins here, so each says the same of what is missing, damaged or out of order. Cost:
about 1 µs an event.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from market_env.config import ConfigError, MarketConfig
from market_env.engine.state import EVENT, KINDS, NONE, REASONS, SIDES
from market_env.outside import read_json
from runners.files.config import read_config
from runners.files.derive import Rows
from runners.files.schema import arrow_schema
from runners.files.summary import read_summary

UNKNOWN = -2
"""In place of the code of a word that is none of its column's."""


def recorded_parts(path: Path) -> list[str]:
    """Names of the parts that a run's summary lists, in order; none if it has no readable summary."""
    try:
        hashes = read_json(path / "summary.json", "summary.json").get("sha256")
    except ConfigError:
        return []
    return sorted(name for name in hashes if name.startswith("events/")) if isinstance(hashes, dict) else []


def read_parts(path: Path) -> Iterator[tuple[Path, pl.DataFrame]]:
    """A run's parts in order.

    Raises:
        ConfigError: a part is missing, damaged, of another schema, or its rows do not follow on.
    """
    version = read_config(path)[0]["schema"]
    parts = sorted((path / "events").glob("part-*.parquet"))
    found = {f"events/{part.name}" for part in parts}
    for name in recorded_parts(path):
        if name not in found:
            raise ConfigError(f"run {path}: {name} is missing, which summary.json lists")
    following = turns = 0
    for number, part in enumerate(parts):
        if part.name != f"part-{number:05d}.parquet":
            raise ConfigError(
                f"run {path}: events/part-{number:05d}.parquet is missing, found {part.name} in its place"
            )
        try:
            table = pq.read_table(part)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"{part}: damaged: {str(error).splitlines()[0]}") from None
        if not table.schema.equals(arrow_schema("events", version)):
            raise ConfigError(f"{part}: expected the columns and types of the events table, found {table.schema.names}")
        rows: pl.DataFrame = pl.from_arrow(table)  # type: ignore[assignment]
        if version == 1:
            counted = turns + (rows["kind"] == "turn").cum_sum().cast(pl.Int64) - 1
            rows.insert_column(rows.columns.index("timestep") + 1, counted.alias("turn"))
            turns = int(counted[-1]) + 1 if len(counted) else turns
        seqs = rows["seq"].to_numpy()
        for row in np.flatnonzero(seqs != np.arange(following, following + len(seqs))).tolist():
            raise ConfigError(f"{part}: row {row}: expected seq {following + row}, found {seqs[row]}")
        following += len(seqs)
        yield part, rows


def read_part(path: Path, config: MarketConfig, number: int) -> Rows:
    """A part that this process has written, as rows of :data:`market_env.engine.state.EVENT`."""
    table = pq.read_table(path / "events" / f"part-{number:05d}.parquet")
    rows: pl.DataFrame = pl.from_arrow(table)  # type: ignore[assignment]
    return as_rows(path, config, rows)


def load_events(path: Path) -> Rows:
    """A run's log as the engine writes it: rows of :data:`market_env.engine.state.EVENT`.

    Raises:
        ConfigError: there is no run, or a part is missing, damaged or out of order.
    """
    _, config = read_config(path)
    events, filled = np.zeros(0, EVENT), 0
    for part, rows in read_parts(path):
        if filled + rows.height > len(events):
            # As many as all parts say that they hold, where that is not too much to be believed before it is read.
            expected = sum(rows_of(other) for other in part.parent.glob("part-*.parquet"))
            grown = np.zeros(min(max(expected, filled + rows.height), MOST_AT_ONCE * (filled + rows.height)), EVENT)
            grown[:filled] = events[:filled]
            events = grown
        events[filled : filled + rows.height] = as_rows(path, config, rows)
        filled += rows.height
    if not filled and not any((path / "events").glob("part-*.parquet")):
        raise ConfigError(f"run {path}: expected parts in events/, found none")
    events = events[:filled]
    time = events["time"]
    for seq in np.flatnonzero(~(time[1:] >= time[:-1])) + 1:
        raise ConfigError(f"run {path}: seq {seq}: time: expected {time[seq - 1]!r} or later, found {time[seq]!r}")
    for seq in np.flatnonzero(events["timestep"] != np.floor(time)):
        raise ConfigError(
            f"run {path}: seq {seq}: timestep: expected {np.floor(time[seq]):.0f}, found {events['timestep'][seq]}"
        )
    return events


MOST_AT_ONCE = 32
"""Times the rows read so far that room is made for at most: a file may say that it holds any number."""


def rows_of(part: Path) -> int:
    """Rows that a Parquet file says that it holds; none if it cannot be read."""
    try:
        return int(pq.read_metadata(part).num_rows)
    except (OSError, pa.ArrowException):
        return 0


def as_rows(path: Path, config: MarketConfig, part: pl.DataFrame) -> Rows:
    """A part of a run's log as rows of :data:`market_env.engine.state.EVENT`.

    Raises:
        ConfigError: it has a word that is none of its column's.
    """
    events = np.zeros(part.height, EVENT)
    words = {"kind": KINDS, "side": SIDES, "reason": REASONS, "agent": config.agent_ids, "maker": config.agent_ids}
    absent = {"price": 0}
    for name in EVENT.names or ():
        column = part[name]
        if name in words:
            codes = {word: code for code, word in enumerate(words[name])}
            written = column.to_arrow()
            of_word = np.array([codes.get(word, UNKNOWN) for word in written.dictionary.to_pylist()] or [UNKNOWN])
            known = column.is_not_null().to_numpy()
            found = of_word[written.indices.fill_null(0).to_numpy()]
            for row in np.flatnonzero(known & (found == UNKNOWN)).tolist():
                raise ConfigError(
                    f"run {path}: seq {part['seq'][row]}: {name}: expected one of {', '.join(codes)}, found {column[row]!r}"
                )
            events[name] = np.where(known, found, NONE)
            continue
        events[name] = column.fill_null(absent.get(name, NONE)).to_numpy()
    return events


def recorded_timesteps(path: Path) -> int:
    """Timesteps of a run's log: what its summary says; of a run that was cut off, the whole ones in its parts.

    Raises:
        ConfigError: there is no readable run.
    """
    _, config = read_config(path)
    if (path / "summary.json").exists():
        return int(read_summary(path, config)["timesteps"])
    return min(config.timesteps, int(load_events(path)["timestep"][-1]) + 1)
