"""Read a run: ``load_run(path)`` gives its tables as polars data frames, and the book at any time.

A table is read when first asked for. The files are plain Parquet, so any reader works on them directly too. :class:`History` is
what a run on disk and one just played (:class:`runners.files.played.Played`) have in common, so that one code measures both.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from market_env.config import ConfigError, MarketConfig
from runners.files import derive
from runners.files.config import read_config
from runners.files.derive import Rows
from runners.files.once import once
from runners.files.read import load_events, read_parts, recorded_timesteps
from runners.files.schema import TABLES, known, tables_of
from runners.files.summary import read_summary

Value = TypeVar("Value")
IF_CUT_OFF = "if the run was cut off: python -m runners.replay {} --complete"


class History:
    """What happened in a market, from the log: a run on disk, or one that was just played."""

    market: MarketConfig
    """Rules and roster."""
    timesteps: int
    """Timesteps recorded."""
    name: str
    """As errors call it."""

    @property
    def log(self) -> Rows:
        """The log of the recorded timesteps as the engine writes it: rows of :data:`market_env.engine.state.EVENT`."""
        raise NotImplementedError

    @property
    def summary(self) -> dict[str, Any]:
        """Its figures, see :class:`runners.files.summary.Summary`."""
        raise NotImplementedError

    def table(self, name: str) -> pl.DataFrame:
        """A table of the schema by name."""
        raise NotImplementedError

    @once
    def trades(self) -> pl.DataFrame:
        """A row a trade."""
        return self.table("trades")

    @once
    def quotes(self) -> pl.DataFrame:
        """L1 at the end of every timestep."""
        return self.table("quotes")

    @once
    def depth(self) -> pl.DataFrame:
        """L2 at the end of every timestep."""
        return self.table("depth")

    @once
    def agents(self) -> pl.DataFrame:
        """Accounts, a row an agent at the end of every timestep."""
        return self.table("agents")

    @once
    def turns(self) -> pl.DataFrame:
        """A row a turn, with action and reward."""
        return self.table("turns")

    @once
    def news(self) -> pl.DataFrame:
        """News about the value, a row a piece; none in a market without one."""
        return self.table("news")

    @once
    def events(self) -> pl.DataFrame:
        """The log, a row an event."""
        return self.table("events")

    def account(self, column: str) -> NDArray[Any]:
        """A column of the accounts, shape (timesteps, agents).

        Raises:
            ConfigError: the table is missing, damaged, or has not a row for every agent and timestep.
        """
        found, agents = self.column("agents", column), len(self.market.agents)
        if len(found) != self.timesteps * agents:
            raise ConfigError(
                f"{self.name}: agents.parquet: expected {self.timesteps * agents:,} rows, found {len(found):,}; "
                "python -m runners.replay says more"
            )
        return found.reshape(-1, agents)

    def column(self, name: str, column: str) -> NDArray[Any]:
        """A column of a table."""
        return getattr(self, name)[column].to_numpy()  # type: ignore[no-any-return]

    def turns_of(self, agent: str) -> pl.DataFrame:
        """The rows of :attr:`turns` of one agent."""
        return self.turns.filter(pl.col("agent") == agent)

    @property
    def kinds(self) -> list[str]:
        """Kinds of agents in the roster's order."""
        return list(dict.fromkeys(agent.kind for agent in self.market.agents))


class Run(History):
    """A recorded run; a table that is missing or damaged is an error when it is asked for.

    Args:
        path: its folder.

    Raises:
        ConfigError: there is no run, its summary is missing or damaged, or it is of another schema version.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.name = f"run {self.path}"
        self.config: dict[str, Any]
        """What ``config.json`` holds."""
        self.config, self.market = read_config(self.path)
        if not (self.path / "summary.json").is_file():
            raise ConfigError(f"run {self.path}: summary.json is missing; {IF_CUT_OFF.format(self.path)}")
        self._summary = read_summary(self.path, self.market)
        self.timesteps = int(self._summary["timesteps"])

    @property
    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` holds."""
        return self._summary

    @property
    def tables(self) -> list[str]:
        """Names of its tables beside the events."""
        return tables_of(self.config["schema"])

    @property
    def log(self) -> Rows:
        """The log of the recorded timesteps; read anew each time.

        Raises:
            ConfigError: a part is missing, damaged or out of order.
        """
        events = load_events(self.path)
        recorded = int(np.count_nonzero(events["timestep"] < self.timesteps))
        return events[:recorded]  # they are in order

    def __repr__(self) -> str:
        """Where it lies and how long it is."""
        return f"Run({str(self.path)!r}, {self.timesteps:,} timesteps, {', '.join(self.tables)}, events)"

    def table(self, name: str) -> pl.DataFrame:
        """A table of the schema by name; runs of before there were news or fees have none of them."""
        if name == "events":
            return pl.concat([rows for _, rows in read_parts(self.path)])
        if name == "news" and name not in self.tables:
            return pl.DataFrame({column.name: pl.Series([], dtype=pl.Float64) for column in TABLES["news"][1]})
        frame = self._read(name, pl.read_parquet)
        return frame if name != "agents" or "fees" in frame else frame.with_columns(pl.lit(0, pl.Int64).alias("fees"))

    def column(self, name: str, column: str) -> NDArray[Any]:
        """A column of a table, read anew each time and without the others."""
        if column == "fees" and not known("agents.fees", self.config["schema"]):
            return np.zeros(len(self.column(name, "cash")), np.int64)
        return self._read(name, lambda file: pl.read_parquet(file, columns=[column]))[column].to_numpy()

    def turns_of(self, agent: str) -> pl.DataFrame:
        """The rows of :attr:`turns` of one agent, read without the others'."""
        return self._read("turns", lambda file: pl.scan_parquet(file).filter(pl.col("agent") == agent).collect())

    def check(self, name: str) -> None:
        """Read a table through without keeping it.

        Raises:
            ConfigError: it is missing or damaged.
        """

        def through(file: Path) -> None:
            with pq.ParquetFile(file) as table:
                for _ in table.iter_batches():
                    pass

        self._read(name, through)

    def _read(self, name: str, how: Callable[[Path], Value]) -> Value:
        file = self.path / f"{name}.parquet"
        if not file.is_file():
            raise ConfigError(f"run {self.path}: {name}.parquet is missing; {IF_CUT_OFF.format(self.path)}")
        try:
            return how(file)
        except (OSError, pl.exceptions.PolarsError, pa.ArrowException) as error:
            raise ConfigError(f"run {self.path}: {name}.parquet is damaged: {str(error).splitlines()[0]}") from None

    def state_at(self, timestep: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The book (side, price, lots, orders; best first) and the accounts at the end of a timestep, from the log.

        Raises:
            ConfigError: the timestep is not one of the run's.
        """
        return state_at(self.path, timestep)


def state_at(path: Path, timestep: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The book (side, price, lots, orders; best first) and the accounts of a run, cut off or not, at the end of a timestep.

    Raises:
        ConfigError: there is no run, its log is damaged, or the timestep is not one of its own.
    """
    _, config = read_config(path)
    events = load_events(path)
    timesteps = recorded_timesteps(path)
    if not 0 <= timestep < timesteps:
        raise ConfigError(f"timestep: expected 0 to {timesteps - 1}, which were recorded, got {timestep}")
    return derive.state_at(config, events, timestep)


def load_run(path: Path | str) -> Run:
    """Read a run's folder.

    Raises:
        ConfigError: there is no run, a file is missing or damaged, or it is of another schema version.
    """
    run = Run(path)
    for name in run.tables:
        if not (run.path / f"{name}.parquet").is_file():
            raise ConfigError(f"run {run.path}: {name}.parquet is missing; {IF_CUT_OFF.format(run.path)}")
    return run
