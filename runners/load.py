"""Read a run: ``load_run(path)`` gives its tables as polars data frames, and the book at any time.

A table is read when first asked for. The files are plain Parquet, so any reader works on them directly too.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from market_env.config import ConfigError, MarketConfig
from market_env.engine.state import EVENT, KINDS, NONE, REASONS, SIDES
from runners.derive import Rows
from runners.rebuild import market_of, read_parts
from runners.replay import state_at

SUMMARY = (("timesteps", int), ("complete", bool), ("trades", int), ("events", dict), ("kinds", dict), ("agents", dict))
"""What every summary has, with its types."""
NAMES = ("trades", "quotes", "depth", "agents", "turns")
"""Tables beside the events."""


IF_CUT_OFF = "if the run was cut off: python -m runners.replay {} --complete"


class Run:
    """A recorded run; a table that is missing or damaged is an error when it is asked for.

    Args:
        path: its folder.

    Raises:
        ConfigError: there is no run, its summary is missing or damaged, or it is of another schema version.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config: dict[str, Any]
        """What ``config.json`` holds."""
        self.config, self.market = market_of(self.path)
        if not (self.path / "summary.json").is_file():
            raise ConfigError(f"run {self.path}: summary.json is missing; {IF_CUT_OFF.format(self.path)}")
        self.summary = read_summary(self.path, self.market)

    def __repr__(self) -> str:
        """Where it lies and how long it is."""
        return f"Run({str(self.path)!r}, {self.timesteps:,} timesteps, {', '.join(NAMES)}, events)"

    def _table(self, name: str) -> pl.DataFrame:
        if not (self.path / f"{name}.parquet").is_file():
            raise ConfigError(f"run {self.path}: {name}.parquet is missing; {IF_CUT_OFF.format(self.path)}")
        try:
            return pl.read_parquet(self.path / f"{name}.parquet")
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ConfigError(f"run {self.path}: {name}.parquet is damaged: {str(error).splitlines()[0]}") from None

    @functools.cached_property
    def trades(self) -> pl.DataFrame:
        """A row a trade."""
        return self._table("trades")

    @functools.cached_property
    def quotes(self) -> pl.DataFrame:
        """L1 at the end of every timestep."""
        return self._table("quotes")

    @functools.cached_property
    def depth(self) -> pl.DataFrame:
        """L2 at the end of every timestep."""
        return self._table("depth")

    @functools.cached_property
    def agents(self) -> pl.DataFrame:
        """Accounts, a row an agent at the end of every timestep."""
        return self._table("agents")

    @functools.cached_property
    def turns(self) -> pl.DataFrame:
        """A row a turn, with action and reward."""
        return self._table("turns")

    @functools.cached_property
    def events(self) -> pl.DataFrame:
        """The log, all parts."""
        return pl.concat([rows for _, rows in read_parts(self.path)])

    @property
    def timesteps(self) -> int:
        """Timesteps recorded."""
        return int(self.summary["timesteps"])

    @property
    def kinds(self) -> list[str]:
        """Kinds of agents in the roster's order."""
        return list(dict.fromkeys(agent.kind for agent in self.market.agents))

    def state_at(self, timestep: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The book (side, price, lots, orders; best first) and the accounts at the end of a timestep, from the log.

        Raises:
            ConfigError: the timestep is not one of the run's.
        """
        return state_at(self.path, timestep)


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


def load_run(path: Path | str) -> Run:
    """Read a run's folder.

    Raises:
        ConfigError: there is no run, a file is missing or damaged, or it is of another schema version.
    """
    run = Run(path)
    for name in NAMES:
        if not (run.path / f"{name}.parquet").is_file():
            raise ConfigError(f"run {run.path}: {name}.parquet is missing; {IF_CUT_OFF.format(run.path)}")
    return run
