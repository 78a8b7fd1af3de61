"""What is written of a run, and when.

Events go to parts of 500 timesteps; a part is complete once its name appears. The other tables are made from the events
when the run ends. Nothing here decides anything about the market: the engine writes events, the recorder moves them to
disk. Cost: under a second for 5,000 timesteps.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from market_env.actions import CANCELS, MAX_GRID, WIDTH
from market_env.config import MarketConfig
from market_env.engine import state
from market_env.engine.tables import DEPTH_LEVELS
from runners.files.derive import Derived, Rows, Tables, news, wealth_of
from runners.files.read import read_part
from runners.files.schema import VERSION, arrow_schema
from runners.files.summary import Figures
from runners.files.whole import cannot_be_written, whole_file

PART_TIMESTEPS = 500
"""Timesteps of one part of the event log."""
MOST_HELD = 2**20
"""Events that are held in memory until the end; those of a longer run are read from its parts again, one after the other."""
NO_EVENTS: Rows = np.zeros(0, state.EVENT)


def arrow_table(name: str, columns: dict[str, Any], version: int = VERSION) -> pa.Table:
    """A table of the schema."""
    schema = arrow_schema(name, version)
    arrays = [
        values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values, field.type)
        for field in schema
        for values in [columns[field.name]]
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def table_columns(name: str, config: MarketConfig, seed: int, events: Rows, tables: Tables) -> dict[str, Any]:
    """Columns of a whole run's table, by its name, where actions and rewards are not known; the news are the seed's."""
    match name:
        case "events":
            return event_columns(events, config.agent_ids)
        case "trades":
            return trade_columns(events, config.agent_ids)
        case "quotes":
            return quote_columns(tables.quotes)
        case "depth":
            return depth_columns(tables.depth)
        case "agents":
            return agent_columns(tables, config.agent_ids)
        case "turns":
            turns = events[events["kind"] == state.KIND_TURN]
            last = np.append(turns["seq"][1:] - 1, events["seq"][-1:])
            return turn_columns(turns, last, config, np.zeros((0, WIDTH), np.int16), np.zeros(0))
        case "news":
            return news(config, seed, len(tables.quotes))._asdict()
    raise KeyError(name)


ROW_GROUP = 2**16
"""Rows that Parquet writes together, and that wait for it: of the depth, the widest, thirty megabytes."""


@contextmanager
def written_in_pieces(path: Path, name: str, version: int = VERSION) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What takes a table of the schema piece by piece: the same bytes as of the whole at once, in less memory."""
    schema = arrow_schema(name, version)
    waiting, begun = schema.empty_table(), False
    # Numbers as they are: with a dictionary for each group files are longer, most of them by a half.
    words = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    with (
        whole_file(path) as partial,
        pq.ParquetWriter(partial, schema, compression="zstd", compression_level=3, use_dictionary=words) as writer,
    ):

        def take(columns: dict[str, Any]) -> None:
            nonlocal waiting, begun
            waiting = pa.concat_tables([waiting, arrow_table(name, columns, version)])
            while len(waiting) >= ROW_GROUP:
                writer.write_table(waiting[:ROW_GROUP].combine_chunks(), ROW_GROUP)
                waiting, begun = waiting[ROW_GROUP:], True

        yield take
        if len(waiting) or not begun:
            writer.write_table(waiting.combine_chunks())


def write_table(path: Path, name: str, columns: dict[str, Any], version: int = VERSION) -> None:
    """Write a table of the schema, whole or not at all."""
    with written_in_pieces(path, name, version) as take:
        take(columns)


def text(codes: NDArray[np.integer[Any]], words: Sequence[str]) -> pa.DictionaryArray:
    """Codes as dictionary-encoded words; negative codes are null."""
    mask = codes < 0
    return pa.DictionaryArray.from_arrays(
        pa.array(np.where(mask, 0, codes).astype(np.int32), mask=mask), pa.array(list(words), pa.string())
    )


def maybe(values: NDArray[Any], known: NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    """Values where ``known``, null elsewhere."""
    return pa.array(values, kind, mask=~known)


def event_columns(events: Rows, agent_ids: Sequence[str]) -> dict[str, Any]:
    """Columns of the events table."""
    of_no_order = np.isin(events["kind"], (state.KIND_TURN, state.KIND_HALT, state.KIND_RESUME))
    return {
        **{name: events[name] for name in ("seq", "time", "timestep", "turn", "order_id", "lots", "maker_order_id")},
        "kind": text(events["kind"], state.KINDS),
        "agent": text(events["agent"], agent_ids),
        "side": text(events["side"], state.SIDES),
        "price": maybe(events["price"], ~of_no_order, pa.int32()),
        "maker": text(events["maker"], agent_ids),
        "reason": text(events["reason"], state.REASONS),
    }


def trade_columns(events: Rows, agent_ids: Sequence[str]) -> dict[str, Any]:
    """Columns of the trades table."""
    trades = events[events["kind"] == state.KIND_TRADE]
    bought = trades["side"] == state.BUY
    return {
        **{name: trades[name] for name in ("seq", "time", "timestep", "price", "lots", "maker_order_id")},
        "taker_order_id": trades["order_id"],
        "buyer": text(np.where(bought, trades["agent"], trades["maker"]), agent_ids),
        "seller": text(np.where(bought, trades["maker"], trades["agent"]), agent_ids),
        "aggressor": text(trades["agent"], agent_ids),
    }


def quote_columns(quotes: Rows, first: int = 0) -> dict[str, Any]:
    """Columns of the quotes table, from timestep ``first`` on."""
    bid, ask = quotes["best_bid"] > 0, quotes["best_ask"] > 0
    both = bid & ask
    bid_lots, ask_lots = quotes["bid_lots"].astype(np.float64), quotes["ask_lots"].astype(np.float64)
    total = np.where(both, bid_lots + ask_lots, 1.0)
    return {
        "timestep": first + np.arange(len(quotes), dtype=np.int32),
        "best_bid": maybe(quotes["best_bid"], bid, pa.int32()),
        "bid_lots": quotes["bid_lots"],
        "best_ask": maybe(quotes["best_ask"], ask, pa.int32()),
        "ask_lots": quotes["ask_lots"],
        "spread": maybe(quotes["best_ask"] - quotes["best_bid"], both, pa.int32()),
        "microprice": maybe(
            (quotes["best_bid"] * ask_lots + quotes["best_ask"] * bid_lots) / total, both, pa.float64()
        ),
        "imbalance": maybe((bid_lots - ask_lots) / total, both, pa.float64()),
        "mid": quotes["reference"],
    }


def depth_columns(ladders: Rows, first: int = 0) -> dict[str, Any]:
    """Columns of the depth table, from timestep ``first`` on."""
    columns: dict[str, Any] = {"timestep": first + np.arange(len(ladders), dtype=np.int32)}
    for level in range(DEPTH_LEVELS):
        for side in ("bid", "ask"):
            prices = np.ascontiguousarray(ladders[f"{side}_price"][:, level])
            columns[f"{side}_price_{level + 1}"] = maybe(prices, prices > 0, pa.int32())
            columns[f"{side}_lots_{level + 1}"] = np.ascontiguousarray(ladders[f"{side}_lots"][:, level])
    return columns


def agent_columns(tables: Tables, agent_ids: Sequence[str], first: int = 0) -> dict[str, Any]:
    """Columns of the agents table, from timestep ``first`` on."""
    count = len(tables.quotes)
    rows = tables.agents.ravel()
    mid = np.repeat(tables.quotes["reference"], len(agent_ids))
    return {
        "timestep": np.repeat(first + np.arange(count, dtype=np.int32), len(agent_ids)),
        "agent": text(np.tile(np.arange(len(agent_ids)), count), agent_ids),
        **{name: np.ascontiguousarray(rows[name]) for name in rows.dtype.names or ()},
        "wealth": wealth_of(rows, mid),
    }


def turn_columns(
    turns: Rows,
    last: NDArray[np.int64],
    config: MarketConfig,
    actions: NDArray[np.integer[Any]],
    rewards: NDArray[np.float64],
    first: int = 0,
) -> dict[str, Any]:
    """Columns of the turns table, from turn ``first`` on.

    Args:
        turns: the events that begin them.
        last: number of the last event of each.
        config: the market.
        actions: codes of each turn's action; those beyond have none recorded.
        rewards: of each turn; NaN, and those beyond, are null.
        first: number of the first one.
    """
    count = len(turns)
    known = np.arange(count) < len(actions)
    codes = np.zeros((count, WIDTH), np.int64)
    codes[: len(actions)] = actions[:count]
    reward = np.full(count, np.nan)
    reward[: len(rewards)] = rewards[:count]
    offsets = np.array([*config.offsets, 0], np.int32)
    lots = np.array(config.lots, np.int32)
    market_code = len(config.offsets)
    return {
        "turn": np.arange(first, first + count, dtype=np.int64),
        **{name: turns[name] for name in ("time", "timestep")},
        "agent": text(turns["agent"], config.agent_ids),
        "cancel": text(np.where(known, codes[:, 0], -1), CANCELS),
        "bid_offset": maybe(offsets[codes[:, 1]], known & (codes[:, 1] != market_code), pa.int32()),
        "bid_lots": maybe(lots[codes[:, 2]], known, pa.int32()),
        "ask_offset": maybe(offsets[codes[:, 3]], known & (codes[:, 3] != market_code), pa.int32()),
        "ask_lots": maybe(lots[codes[:, 4]], known, pa.int32()),
        "reward": maybe(reward, ~np.isnan(reward), pa.float64()),
        "first_seq": turns["seq"],
        "last_seq": last,
    }


TOLD = np.dtype([("codes", np.min_scalar_type(MAX_GRID), (WIDTH,)), ("reward", "f8")])
"""Of a turn: its action and, NaN where none is settled, its reward."""
REWARD_AT = int(TOLD.fields["reward"][1])  # type: ignore[index]
"""Bytes of a row before its reward."""


class Told:
    """Each turn's action and reward: of turns in finished parts in a file without a name, which goes with the process.

    Args:
        path: an opened run folder, on whose disk the file lies.

    Raises:
        RunFolderError: it cannot be written; from every method that does.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turns = self._filed = 0
        """Turns begun, and those in the file."""
        self._codes = array("q")
        """Actions of the others, :data:`market_env.actions.WIDTH` codes each, whatever they are: the market refuses what is none, and says so."""
        self._last_turn: dict[str, int] = {}
        # Rewards settled since the last finished part: of which turn, as which turn began, and how much.
        self._settled, self._as, self._rewards = array("q"), array("q"), array("d")
        with self._on_disk():
            self._file = tempfile.TemporaryFile(dir=path, buffering=0)  # noqa: SIM115 - open as long as the recorder is

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_be_written(self._path / "turns.parquet", error) from None

    def acted(self, agent: str, action: NDArray[np.int64]) -> None:
        """An agent's action, in the order of turns."""
        self._last_turn[agent] = self._turns
        self._codes.extend(action.tolist())
        self._turns += 1

    def rewarded(self, agent: str, reward: float) -> None:
        """The reward of the agent's last turn."""
        turn = self._last_turn.get(agent)
        if turn is not None:
            self._settled.append(turn)
            self._as.append(self._turns)
            self._rewards.append(reward)

    def file(self, turns: int, *, all_settled: bool = False) -> None:
        """Move the first ``turns`` turns to the file, with the rewards that were settled before the next one, or with all."""
        rows = np.zeros(turns - self._filed, TOLD)
        rows["codes"] = np.frombuffer(self._codes[: rows["codes"].size], np.int64).reshape(-1, WIDTH)
        del self._codes[: rows["codes"].size]
        rows["reward"] = np.nan
        settled = len(self._as) if all_settled else bisect.bisect_left(self._as, turns)
        of, rewards = np.array(self._settled[:settled], np.int64), np.array(self._rewards[:settled])
        del self._settled[:settled], self._as[:settled], self._rewards[:settled]
        late = of < self._filed
        rows["reward"][of[~late] - self._filed] = rewards[~late]
        self._write(rows, self._filed * TOLD.itemsize)
        for turn, reward in zip(of[late].tolist(), rewards[late], strict=True):
            self._write(reward, turn * TOLD.itemsize + REWARD_AT)
        self._filed = turns

    def _write(self, what: NDArray[Any] | np.float64, at: int) -> None:
        left = what.tobytes()
        with self._on_disk():
            while left:
                written = os.pwrite(self._file.fileno(), left, at)
                left, at = left[written:], at + written

    def of(self, first: int, end: int) -> Rows:
        """:data:`TOLD` of some turns in the file."""
        found = os.pread(self._file.fileno(), (end - first) * TOLD.itemsize, first * TOLD.itemsize)
        return np.frombuffer(found, TOLD)

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


class Recorder:
    """Moves a run's events to disk as it goes, and writes its tables at the end.

    Args:
        path: an opened run folder.
        config: the market.
        seed: the run's.

    Raises:
        RunFolderError: the disk is full or a file cannot be written; from every method that writes.
    """

    def __init__(self, path: Path, config: MarketConfig, seed: int) -> None:
        self.path = path
        self.config = config
        self.seed = seed
        self.parts = 0
        self.told = Told(path)
        """Actions and rewards, of which the log says nothing."""
        self._recent: list[Rows] | None = []
        """The parts' events, while there are few."""
        self._written = self._turns = 0
        """Events in finished parts, and turns among them."""
        self._open: Rows = np.zeros(0, state.EVENT)

    def part_ends(self) -> int:
        """First timestep of the next part."""
        return (self.parts + 1) * PART_TIMESTEPS

    def keep(self, events: Rows, timestep: int) -> None:
        """Take drained events; write every part that ``timestep`` has passed."""
        self._open = np.concatenate([self._open, events])
        while timestep >= self.part_ends():
            self._close_part(int(np.searchsorted(self._open["timestep"], self.part_ends())))

    def _close_part(self, count: int) -> None:
        rows, self._open = self._open[:count], self._open[count:]
        path = self.path / "events" / f"part-{self.parts:05d}.parquet"
        write_table(path, "events", event_columns(rows, self.config.agent_ids))
        self.parts += 1
        self._written += len(rows)
        self._turns += int(np.count_nonzero(rows["kind"] == state.KIND_TURN))
        self.told.file(self._turns)
        if self._recent is not None:
            self._recent.append(rows)
            if self._written > MOST_HELD:
                self._recent = None

    def finish(self, timesteps: int) -> dict[str, Any]:
        """Write the last part and all tables, cut after ``timesteps`` whole timesteps; return the run's figures.

        Of a long run one part is in memory at a time.
        """
        cut = int(np.searchsorted(self._open["timestep"], timesteps))
        self._open = self._open[:cut]
        if cut:
            self._close_part(cut)
        self.told.file(self._turns, all_settled=timesteps == self.config.timesteps)
        derived, figures = Derived(self.config), Figures(self.config)
        with contextlib.ExitStack() as files:
            pieces = {
                name: files.enter_context(written_in_pieces(self.path / f"{name}.parquet", name))
                for name in ("trades", "quotes", "depth", "agents", "turns")
            }
            turns = Turns(self.config, self.told, pieces["turns"])
            for number in range(-(-timesteps // PART_TIMESTEPS)):
                events, first = self._part(number), derived.end
                tables = derived.add(events, min((number + 1) * PART_TIMESTEPS, timesteps))
                figures.add(events, tables)
                pieces["trades"](trade_columns(events, self.config.agent_ids))
                pieces["quotes"](quote_columns(tables.quotes, first))
                pieces["depth"](depth_columns(tables.depth, first))
                pieces["agents"](agent_columns(tables, self.config.agent_ids, first))
                turns.add(events)
            turns.end()
            if not timesteps:  # not one is whole
                for name, take in pieces.items():
                    take(table_columns(name, self.config, self.seed, NO_EVENTS, derived.add(NO_EVENTS, 0)))
        write_table(self.path / "news.parquet", "news", news(self.config, self.seed, timesteps)._asdict())
        return figures.result()

    def close(self) -> None:
        """Let go what is not part of the run."""
        self.told.close()

    def _part(self, number: int) -> Rows:
        """The events of a part; none of one that was quiet to the end."""
        if number >= self.parts:
            return NO_EVENTS
        if self._recent is not None:
            return self._recent[number]
        return read_part(self.path, self.config, number)


class Turns:
    """Writes the turns of a run as its events come by, each when its last event is known.

    Args:
        config: the market.
        told: their actions and rewards.
        take: what takes their columns.
    """

    def __init__(self, config: MarketConfig, told: Told, take: Callable[[dict[str, Any]], None]) -> None:
        self._config = config
        self._told = told
        self._take = take
        self._written = 0
        self._waiting: Rows = NO_EVENTS
        """The last turn so far."""
        self._last = -1
        """Number of the last event so far."""

    def add(self, events: Rows) -> None:
        """Take the next events."""
        turns = np.concatenate([self._waiting, events[events["kind"] == state.KIND_TURN]])
        self._waiting = turns[-1:]
        if len(events):
            self._last = int(events["seq"][-1])
        self._write(turns[:-1], turns["seq"][1:] - 1)

    def end(self) -> None:
        """All events have come by."""
        self._write(self._waiting, np.full(len(self._waiting), self._last))

    def _write(self, turns: Rows, last: NDArray[np.int64]) -> None:
        first, end = self._written, self._written + len(turns)
        self._written = end
        told = self._told.of(first, end)
        self._take(turn_columns(turns, last, self._config, told["codes"], told["reward"], first))
