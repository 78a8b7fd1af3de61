"""What lies in a run's folder, read and checked: its config, its summary, and the parts of its log.

Every command that reads a run begins here, so each says the same of what is missing, damaged or out of order. Cost:
about 1 µs an event.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from market_env.config import ConfigError, MarketConfig, parse_json
from market_env.engine.state import EVENT, KINDS, NONE, REASONS, SIDES
from runners.files.derive import Rows
from runners.files.schema import VERSION, arrow_schema

SUMMARY = (("timesteps", int), ("complete", bool), ("trades", int), ("events", dict), ("kinds", dict), ("agents", dict))
"""What every summary has, with its types."""


def market_of(path: Path) -> tuple[dict[str, Any], MarketConfig]:
    """A run's ``config.json``, whole and as a market.

    Raises:
        ConfigError: there is no run, or it is of another schema version.
    """
    file = path / "config.json"
    if not file.is_file():
        raise ConfigError(
            f"run {path}: expected a run folder with config.json, found {'none' if path.is_dir() else 'no folder'}"
        )
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"run {path}: config.json is damaged: {error}") from None
    if not isinstance(data, dict) or data.get("schema") != VERSION:
        found = data.get("schema") if isinstance(data, dict) else data
        raise ConfigError(f"run {path}: expected schema version {VERSION}, found {found!r}")
    names = MarketConfig.__dataclass_fields__
    return data, parse_json(MarketConfig, json.dumps({name: data[name] for name in names if name in data}))


def recorded_parts(path: Path) -> list[str]:
    """Names of the parts that a run's summary lists, in order; none if it has no readable summary."""
    try:
        summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
        return sorted(name for name in summary["sha256"] if name.startswith("events/"))
    except (OSError, ValueError, KeyError, TypeError):
        return []


def read_parts(path: Path) -> Iterator[tuple[Path, pl.DataFrame]]:
    """A run's parts in order.

    Raises:
        ConfigError: a part is missing, damaged, of another schema, or its rows do not follow on.
    """
    parts = sorted((path / "events").glob("part-*.parquet"))
    found = {f"events/{part.name}" for part in parts}
    for name in recorded_parts(path):
        if name not in found:
            raise ConfigError(f"run {path}: {name} is missing, which summary.json lists")
    following = 0
    for number, part in enumerate(parts):
        if part.name != f"part-{number:05d}.parquet":
            raise ConfigError(
                f"run {path}: events/part-{number:05d}.parquet is missing, found {part.name} in its place"
            )
        try:
            table = pq.read_table(part)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"{part}: damaged: {str(error).splitlines()[0]}") from None
        if not table.schema.equals(arrow_schema("events")):
            raise ConfigError(f"{part}: expected the columns and types of the events table, found {table.schema.names}")
        rows: pl.DataFrame = pl.from_arrow(table)  # type: ignore[assignment]
        for row, seq in enumerate(rows["seq"].to_list()):
            if seq != following:
                raise ConfigError(f"{part}: row {row}: expected seq {following}, found {seq}")
            following += 1
        yield part, rows


def read_summary(path: Path, config: MarketConfig) -> dict[str, Any]:
    """A run's ``summary.json``.

    Raises:
        ConfigError: it cannot be read, or lacks what every summary has.
    """
    where = f"run {path}: summary.json"
    try:
        found = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{where} is damaged: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: expected a JSON object, found {type(found).__name__}")
    for name, kind in SUMMARY:
        if not isinstance(found.get(name), kind):
            raise ConfigError(f"{where}: {name}: expected {kind.__name__}, found {found.get(name, 'nothing')!r}")
    if not 0 <= found["timesteps"] <= config.timesteps:
        raise ConfigError(f"{where}: timesteps: expected 0 to {config.timesteps}, found {found['timesteps']}")
    return found


def load_events(path: Path) -> Rows:
    """A run's log as the engine writes it: rows of :data:`market_env.engine.state.EVENT`.

    Raises:
        ConfigError: there is no run, or a part is missing, damaged or out of order.
    """
    _, config = market_of(path)
    frames = [rows for _, rows in read_parts(path)]
    if not frames:
        raise ConfigError(f"run {path}: expected parts in events/, found none")
    frame = pl.concat(frames)
    events = np.zeros(frame.height, EVENT)
    words = {"kind": KINDS, "side": SIDES, "reason": REASONS, "agent": config.agent_ids, "maker": config.agent_ids}
    absent = {"price": 0}
    for name in EVENT.names or ():
        column = frame[name]
        if name in words:
            codes = {word: code for code, word in enumerate(words[name])}
            written = column.cast(pl.String)
            column = written.replace_strict(codes, default=None, return_dtype=pl.Int32)
            for seq in (column.is_null() & written.is_not_null()).arg_true():
                raise ConfigError(
                    f"run {path}: seq {seq}: {name}: expected one of {', '.join(codes)}, found {written[seq]!r}"
                )
        events[name] = column.fill_null(absent.get(name, NONE)).to_numpy()
    time = events["time"]
    for seq in np.flatnonzero(~(time[1:] >= time[:-1])) + 1:
        raise ConfigError(f"run {path}: seq {seq}: time: expected {time[seq - 1]!r} or later, found {time[seq]!r}")
    for seq in np.flatnonzero(events["timestep"] != np.floor(time)):
        raise ConfigError(
            f"run {path}: seq {seq}: timestep: expected {np.floor(time[seq]):.0f}, found {events['timestep'][seq]}"
        )
    return events


def recorded_timesteps(path: Path) -> int:
    """Timesteps of a run's log: what its summary says; of a run that was cut off, the whole ones in its parts.

    Raises:
        ConfigError: there is no readable run.
    """
    _, config = market_of(path)
    if (path / "summary.json").exists():
        return int(read_summary(path, config)["timesteps"])
    return min(config.timesteps, int(load_events(path)["timestep"][-1]) + 1)
