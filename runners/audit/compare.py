"""A run held against its own log: everything rebuilt from ``config.json`` and ``events/`` alone, and compared.

Trades, quotes, depth, accounts, turns with their actions and rewards, and the summary's figures are rebuilt with the
plain-Python book and never the engine, and compared with what was recorded, column by column; then the plain-Python
market carries out every recorded action and must write the same log. All of it goes along the log piece by piece: some seconds
for 5,000 timesteps, and memory that grows little with the length (``python -m benchmarks.before growth``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from market_env.actions import COMPONENTS
from market_env.config import ConfigError, parse_json
from market_env.outside import leaves, read_json
from market_env.rewards import DEFAULT_REWARD, WealthReward
from runners.audit.figures import Figures
from runners.audit.rebuild import Event, Piece, Replay
from runners.audit.rules import Rules, compare_actions
from runners.files.config import read_config
from runners.files.folder import file_hashes
from runners.files.read import read_parts
from runners.files.schema import VERSION, arrow_schema
from runners.files.whole import write_json

ROWS = 2**14
"""Rows that are rebuilt and looked at together."""


def replay(path: Path) -> tuple[Replay, Iterator[Piece]]:
    """A run to be rebuilt from ``config.json`` and ``events/``, and its pieces, which rebuild it up to its last whole timestep.

    Raises:
        ConfigError: there is no run; and as the pieces are taken, a part is missing, damaged or out of order.
    """
    data, config = read_config(path)
    reward = parse_json(WealthReward, json.dumps(data["reward"])) if "reward" in data else DEFAULT_REWARD
    rebuilt = Replay(config, reward, data["seed"], data["schema"])
    return rebuilt, _pieces(rebuilt, path)


def _pieces(rebuilt: Replay, path: Path) -> Iterator[Piece]:
    timesteps, last = rebuilt.config.timesteps, -1
    for part, rows in read_parts(path):
        for row, values in enumerate(rows.iter_rows()):
            event = Event(*values)
            if event.agent not in rebuilt.accounts:
                raise ConfigError(f"{part}: row {row}: agent: expected one of the roster, found {event.agent!r}")
            if not 0 <= event.timestep < timesteps:
                raise ConfigError(f"{part}: row {row}: timestep: expected 0 to {timesteps - 1}, found {event.timestep}")
            try:
                rebuilt.feed(event)
            except (AssertionError, LookupError, OverflowError, TypeError, ValueError):
                raise ConfigError(f"{part}: row {row}: cannot stand here: {event}") from None
            last = event.timestep
            if event.kind == "turn" and rebuilt.held >= ROWS:
                yield rebuilt.take()
    summary = path / "summary.json"
    recorded = read_json(summary, str(summary)).get("timesteps") if summary.is_file() else None
    # A log cannot tell of quiet timesteps at its end: a finished run says how many there were.
    rebuilt.finish(recorded if isinstance(recorded, int) and last < recorded <= timesteps else last + 1)
    yield rebuilt.take()


def actions_lost(path: Path) -> bool:
    """Whether the run was cut off and its tables were made from its parts: then no action or reward is known."""
    summary = path / "summary.json"
    return summary.is_file() and read_json(summary, str(summary)).get("parameters_after", "") is None


def values_of(column: pa.ChunkedArray) -> list[Any]:
    """A column as Python values, as ``to_pylist`` has them, in a seventh of its time."""
    if not pa.types.is_dictionary(column.type):
        return pl.Series(column).to_list()
    found: list[Any] = []
    for chunk in column.chunks:
        words = [*chunk.dictionary.to_pylist(), None]
        found += map(words.__getitem__, chunk.indices.fill_null(len(words) - 1).to_numpy().tolist())
    return found


class Recorded:
    """A recorded table, held against the rebuilt one as its rows come.

    Args:
        rebuilt: is told what was checked and what differs.
        path: the run's folder.
        name: the table's.
        lost: whether actions and rewards are.
    """

    def __init__(self, rebuilt: Replay, path: Path, name: str, *, lost: bool) -> None:
        self.name = f"{name}.parquet"
        self._rebuilt = rebuilt
        self._lost = lost
        self._rows = self._compared = 0
        self._waiting: deque[pa.RecordBatch] = deque()
        self._file = self._batches = None
        schema = arrow_schema(name, rebuilt.version)
        try:
            self._file = pq.ParquetFile(path / self.name)
            found = self._file.schema_arrow
            if not found.equals(schema, check_metadata=rebuilt.version == VERSION):  # words have changed since
                rebuilt.differ(self.name, None, None, "columns, types, metadata", found.names, schema.names)
                return
            self._batches = self._file.iter_batches(ROWS)
        except FileNotFoundError:
            rebuilt.differ(self.name, None, None, "file", "missing", "a table")
        except (OSError, pa.ArrowException) as error:
            self._damaged(error)

    def _damaged(self, error: Exception) -> None:
        self._batches = None
        self._rebuilt.differ(self.name, None, None, "file", f"damaged: {str(error).splitlines()[0]}", "a table")

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()

    def _take(self, count: int) -> pa.Table:
        """The next rows, as many as there are."""
        assert self._batches is not None
        found: list[pa.RecordBatch] = []
        while count:
            if not self._waiting:
                batch = next(self._batches, None)
                if batch is None:
                    break
                self._waiting.append(batch)
            batch = self._waiting.popleft()
            if len(batch) > count:
                self._waiting.append(batch.slice(count))
                batch = batch.slice(0, count)
            found.append(batch)
            count -= len(batch)
        assert self._file is not None
        return pa.Table.from_batches(found, self._file.schema_arrow)

    def add(self, columns: Mapping[str, list[Any]]) -> pa.Table | None:
        """Compare the next rows, and return those that are recorded; None where nothing can be read."""
        count = len(next(iter(columns.values())))
        self._rows += count
        if self._batches is None:
            return None
        try:
            table = self._take(count)
        except (OSError, pa.ArrowException) as error:
            self._damaged(error)
            return None
        self._compared += len(table)
        for name in table.schema.names:
            if self.name == "turns.parquet" and name in (*COMPONENTS, "reward"):  # which the log does not say
                if not self._lost:
                    continue
                expected: list[Any] = [None] * count
            else:
                expected = columns[name]
            self._rebuilt.checked[self.name] += len(table)
            if len(expected) != count:  # a column that the schema has, and nothing here makes
                self._rebuilt.differ(self.name, None, None, f"column {name}", f"{count} values", "the rebuild has none")
                continue
            recorded = values_of(table.column(name))
            if recorded == expected:
                continue
            for row, (found, wanted) in enumerate(zip(recorded, expected, strict=False)):
                if found != wanted:
                    at = {key: columns[key][row] for key in ("timestep", "seq", "first_seq") if key in columns}
                    place = at.get("timestep"), at.get("seq", at.get("first_seq"))
                    self._rebuilt.differ(self.name, *place, name, found, wanted)
        return table

    def end(self) -> None:
        """All rows have come."""
        if self._batches is None:
            return
        try:  # what is there, whatever its footer says
            recorded = self._compared + sum(len(batch) for batch in (*self._waiting, *self._batches))
        except (OSError, pa.ArrowException) as error:
            self._damaged(error)
            return
        self._rebuilt.expect(self.name, None, "number of rows", recorded, self._rows)


class Rewards:
    """Recorded rewards, held against what the log says as turns are settled.

    Args:
        rebuilt: is told what was checked and what differs.
    """

    def __init__(self, rebuilt: Replay) -> None:
        self._rebuilt = rebuilt
        self._open: dict[int, tuple[int, int, float | None]] = {}
        """Of turns that are not settled: timestep, first event, recorded reward."""

    def add(self, piece: Piece, recorded: Sequence[float | None]) -> None:
        """Take the next turns' rewards."""
        rows = piece.tables["turns"]
        for row, timestep, seq, found in zip(rows["turn"], rows["timestep"], rows["first_seq"], recorded, strict=False):
            self._open[row] = (timestep, seq, found)
        for row, reward in piece.rewards:
            if row in self._open:
                self._compare(row, reward)
        if piece.last:
            for row in list(self._open):
                self._compare(row, None)  # the run was cut off before

    def _compare(self, row: int, wanted: float | None) -> None:
        timestep, seq, found = self._open.pop(row)
        self._rebuilt.checked["turns.parquet"] += 1
        if found != wanted:
            self._rebuilt.differ("turns.parquet", timestep, seq, "reward", found, wanted)


def carried_out(piece: Piece, table: pa.Table) -> list[dict[str, Any]]:
    """What the market does with each recorded action."""
    names = ("first_seq", *COMPONENTS)
    rows = zip(*(values_of(table.column(name)) for name in names), strict=True)
    return [turn.carried_out(dict(zip(names, row, strict=True))) for row, turn in zip(rows, piece.turns, strict=True)]


def compare_summary(rebuilt: Replay, figures: Figures, path: Path) -> None:
    """Compare the recorded summary's figures with the rebuilt ones."""
    file = path / "summary.json"
    if not file.is_file():
        rebuilt.differ("summary.json", None, None, "file", "missing", "a summary")
        return
    recorded, data = read_json(file, str(file)), read_config(path)[0]
    lost = actions_lost(path)
    expected = {
        "complete": recorded.get("timesteps") == rebuilt.config.timesteps and not lost,
        **figures.result(),
        "learning": False,
        "parameters_before": data.get("parameters"),
        "parameters_after": None if lost else data.get("parameters"),
        "parameters_unchanged": None if lost else True,
        "sha256": file_hashes(path),
    }
    if rebuilt.config.tape is not None and expected["complete"]:
        expected["tape"] = rebuilt.tape or recorded.get("tape")  # which only the rules can tell
    for name, found, wanted in leaves(recorded, expected):
        rebuilt.checked["summary.json"] += 1
        close = isinstance(found, float) and isinstance(wanted, float) and math.isclose(found, wanted, rel_tol=1e-12)
        if (found != wanted or isinstance(found, bool) != isinstance(wanted, bool)) and not close:
            rebuilt.differ("summary.json", None, None, name, found, wanted)


def audit(path: Path) -> Replay:
    """Rebuild a run, check every rule, and compare all that was recorded.

    Raises:
        ConfigError: there is no run, it was cut off and not completed, or a part is missing, damaged or out of order.
    """
    rebuilt, pieces = replay(path)
    figures, lost = Figures(rebuilt), actions_lost(path)
    rebuilt.lost = lost
    with contextlib.ExitStack() as files:
        recorded = {name: Recorded(rebuilt, path, name, lost=lost) for name in rebuilt.tables}
        for table in recorded.values():
            files.callback(table.close)
        rewards, rules = Rewards(rebuilt), Rules(rebuilt)
        for piece in pieces:
            tables = {name: recorded[name].add(columns) for name, columns in piece.tables.items()}
            figures.add(piece)
            turns = tables["turns"]
            if turns is None or lost:
                continue
            rewards.add(piece, values_of(turns.column("reward")))
            if len(turns) == len(piece.turns):
                actions = carried_out(piece, turns)
                compare_actions(rebuilt, piece, actions)
                rules.add(piece, actions)
        for table in recorded.values():
            table.end()
    missing = [name for name in rebuilt.tables if not (path / f"{name}.parquet").is_file()]
    if len(missing) == len(rebuilt.tables) and not (path / "summary.json").is_file():
        if not rebuilt.kinds:
            raise ConfigError(f"run {path}: expected at least one finished part in events/, found none")
        raise ConfigError(
            f"run {path}: expected tables and summary.json, found none: it was cut off after {rebuilt.timestep:,} whole timesteps; "
            f"python -m runners.replay {path} --complete writes them"
        )
    compare_summary(rebuilt, figures, path)
    return rebuilt


def report_of(rebuilt: Replay) -> str:
    """The audit as a short table: what was checked, how many, how many differ; then the first differences."""
    names = sorted(
        rebuilt.checked.keys() | rebuilt.failed.keys(), key=lambda name: (name.endswith((".parquet", ".json")), name)
    )
    lines = [f"{'checked':<30} {'how many':>10} {'differ':>8}"]
    lines += [f"{name:<30} {rebuilt.checked[name]:>10,} {rebuilt.failed[name]:>8,}" for name in names]
    if not rebuilt.checked["actions"] and rebuilt.kinds["turn"]:
        why = "the run was cut off before they were recorded" if rebuilt.lost else "turns.parquet does not tell them"
        lines.append(f"actions, rewards, rules: not checked, since {why}")
    lines += [f"not checked: {what}" for what in rebuilt.unchecked]
    if rebuilt.timestep < rebuilt.config.timesteps:
        lines.append(f"incomplete: {rebuilt.timestep:,} of {rebuilt.config.timesteps:,} timesteps")
    if rebuilt.differences:
        lines += ["", f"first difference: {rebuilt.differences[0]}"]
        lines += [f"  then: {difference}" for difference in rebuilt.differences[1:5]]
    else:
        lines += ["", "nothing differs"]
    return "\n".join(lines)


def result_of(rebuilt: Replay, path: Path) -> dict[str, Any]:
    """What ``audit.json`` holds, which the report quotes: what was checked and what differs, and of which summary."""
    return {
        "summary_sha256": hashlib.sha256((path / "summary.json").read_bytes()).hexdigest(),
        "checked": rebuilt.checked.total(),
        "differ": rebuilt.failed.total(),
        "first_difference": str(rebuilt.differences[0]) if rebuilt.differences else None,
        "checks": {
            name: {"checked": count, "differ": rebuilt.failed[name]} for name, count in sorted(rebuilt.checked.items())
        },
    }


def keep_result(result: Mapping[str, Any], path: Path) -> None:
    """Write ``audit.json``.

    Raises:
        RunFolderError: it cannot be written.
    """
    write_json(path / "audit.json", result)
