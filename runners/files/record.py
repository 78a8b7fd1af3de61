"""What is written of a run, and when.

Events go to parts of 500 timesteps; a part is complete once its name appears. The other tables are made from the events
when the run ends. Nothing here decides anything about the market: the engine writes events, the recorder moves them to
disk. Cost: under a second for 5,000 timesteps.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from market_env.actions import CANCELS, WIDTH
from market_env.config import MarketConfig
from market_env.engine import state
from market_env.engine.tables import DEPTH_LEVELS
from runners.files.derive import Rows, Tables, derive, news, wealth_of
from runners.files.schema import TABLES, VERSION, arrow_schema
from runners.files.whole import whole_file

PART_TIMESTEPS = 500
"""Timesteps of one part of the event log."""


def arrow_table(name: str, columns: dict[str, Any], version: int = VERSION) -> pa.Table:
    """A table of the schema."""
    schema = arrow_schema(name, version)
    arrays = [
        values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values, field.type)
        for field in schema
        for values in [columns[field.name]]
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def table_columns(
    name: str,
    config: MarketConfig,
    seed: int,
    events: Rows,
    tables: Tables,
    actions: NDArray[np.integer[Any]],
    rewards: NDArray[np.float64],
) -> dict[str, Any]:
    """Columns of a table of the schema, by its name: made from events, actions and rewards; the news are the seed's."""
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
            return turn_columns(events, config, actions, rewards)
        case "news":
            return news(config, seed, len(tables.quotes))._asdict()
    raise KeyError(name)


def write_table(path: Path, name: str, columns: dict[str, Any], version: int = VERSION) -> None:
    """Write a table of the schema, whole or not at all."""
    with whole_file(path) as partial:
        pq.write_table(arrow_table(name, columns, version), partial, compression="zstd", compression_level=3)


ROW_GROUP = 2**20
"""Rows that Parquet writes together, as many as it does by itself."""


def write_pieces(path: Path, name: str, pieces: Iterable[dict[str, Any]]) -> None:
    """Write a table of the schema that comes in pieces: the same bytes as :func:`write_table` of the whole, less memory."""
    schema = arrow_schema(name)
    waiting = schema.empty_table()
    with (
        whole_file(path) as partial,
        pq.ParquetWriter(partial, schema, compression="zstd", compression_level=3) as writer,
    ):
        for columns in pieces:
            waiting = pa.concat_tables([waiting, arrow_table(name, columns)])
            while len(waiting) >= ROW_GROUP:
                writer.write_table(waiting[:ROW_GROUP].combine_chunks(), ROW_GROUP)
                waiting = waiting[ROW_GROUP:]
        if len(waiting):
            writer.write_table(waiting.combine_chunks())


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


def quote_columns(quotes: Rows) -> dict[str, Any]:
    """Columns of the quotes table."""
    bid, ask = quotes["best_bid"] > 0, quotes["best_ask"] > 0
    both = bid & ask
    bid_lots, ask_lots = quotes["bid_lots"].astype(np.float64), quotes["ask_lots"].astype(np.float64)
    total = np.where(both, bid_lots + ask_lots, 1.0)
    return {
        "timestep": np.arange(len(quotes), dtype=np.int32),
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


def depth_columns(ladders: Rows) -> dict[str, Any]:
    """Columns of the depth table."""
    columns: dict[str, Any] = {"timestep": np.arange(len(ladders), dtype=np.int32)}
    for level in range(DEPTH_LEVELS):
        for side in ("bid", "ask"):
            prices = np.ascontiguousarray(ladders[f"{side}_price"][:, level])
            columns[f"{side}_price_{level + 1}"] = maybe(prices, prices > 0, pa.int32())
            columns[f"{side}_lots_{level + 1}"] = np.ascontiguousarray(ladders[f"{side}_lots"][:, level])
    return columns


def agent_pieces(tables: Tables, agent_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The agents table, by far the longest, some thousand rows after the others."""
    steps = max(1, ROW_GROUP // 4 // len(agent_ids))
    for first in range(0, len(tables.quotes), steps):
        part = Tables(*(table[first : first + steps] for table in tables))
        columns = agent_columns(part, agent_ids)
        yield columns | {"timestep": columns["timestep"] + np.int32(first)}


def agent_columns(tables: Tables, agent_ids: Sequence[str]) -> dict[str, Any]:
    """Columns of the agents table."""
    count = len(tables.quotes)
    rows = tables.agents.ravel()
    mid = np.repeat(tables.quotes["reference"], len(agent_ids))
    return {
        "timestep": np.repeat(np.arange(count, dtype=np.int32), len(agent_ids)),
        "agent": text(np.tile(np.arange(len(agent_ids)), count), agent_ids),
        **{name: np.ascontiguousarray(rows[name]) for name in rows.dtype.names or ()},
        "wealth": wealth_of(rows, mid),
    }


def turn_columns(
    events: Rows, config: MarketConfig, actions: NDArray[np.integer[Any]], rewards: NDArray[np.float64]
) -> dict[str, Any]:
    """Columns of the turns table; turns beyond ``actions`` have none recorded, a NaN reward is null."""
    turns = events[events["kind"] == state.KIND_TURN]
    count = len(turns)
    known = np.arange(count) < len(actions)
    codes = np.zeros((count, WIDTH), np.int64)
    codes[: len(actions)] = actions[:count]
    reward = np.full(count, np.nan)
    reward[: len(rewards)] = rewards[:count]
    offsets = np.array([*config.offsets, 0], np.int32)
    lots = np.array(config.lots, np.int32)
    market_code = len(config.offsets)
    seqs = turns["seq"]
    return {
        "turn": np.arange(count, dtype=np.int64),
        **{name: turns[name] for name in ("time", "timestep")},
        "agent": text(turns["agent"], config.agent_ids),
        "cancel": text(np.where(known, codes[:, 0], -1), CANCELS),
        "bid_offset": maybe(offsets[codes[:, 1]], known & (codes[:, 1] != market_code), pa.int32()),
        "bid_lots": maybe(lots[codes[:, 2]], known, pa.int32()),
        "ask_offset": maybe(offsets[codes[:, 3]], known & (codes[:, 3] != market_code), pa.int32()),
        "ask_lots": maybe(lots[codes[:, 4]], known, pa.int32()),
        "reward": maybe(reward, ~np.isnan(reward), pa.float64()),
        "first_seq": seqs,
        "last_seq": np.append(seqs[1:] - 1, events["seq"][-1]) if count else seqs,
    }


class Recorder:
    """Moves a run's events to disk as it goes, and writes its tables at the end.

    Args:
        path: an opened run folder.
        config: the market.
        seed: the run's.
    """

    def __init__(self, path: Path, config: MarketConfig, seed: int) -> None:
        self.path = path
        self.config = config
        self.seed = seed
        self.parts = 0
        self.events: list[Rows] = []
        self.actions = array("h")
        """Codes of each turn's action, :data:`market_env.actions.WIDTH` of them."""
        self.rewards = array("d")
        """Of each turn; NaN while it is not settled."""
        self._open: Rows = np.zeros(0, state.EVENT)
        self._last_turn: dict[str, int] = {}
        self._settled = array("q")
        """For each turn the number of turns begun when its reward was settled."""

    def part_ends(self) -> int:
        """First timestep of the next part."""
        return (self.parts + 1) * PART_TIMESTEPS

    def acted(self, agent: str, action: NDArray[np.int64]) -> None:
        """An agent's action, in the order of turns."""
        self._last_turn[agent] = len(self.rewards)
        self.actions.extend(action.tolist())
        self.rewards.append(np.nan)
        self._settled.append(-1)

    def rewarded(self, agent: str, reward: float) -> None:
        """The reward of the agent's last turn."""
        turn = self._last_turn.get(agent)
        if turn is not None:
            self.rewards[turn] = reward
            self._settled[turn] = len(self.rewards)

    def keep(self, events: Rows, timestep: int) -> None:
        """Take drained events; write every part that ``timestep`` has passed."""
        self._open = np.concatenate([self._open, events])
        while timestep >= self.part_ends():
            self._close_part(int(np.searchsorted(self._open["timestep"], self.part_ends())))

    def _close_part(self, count: int) -> None:
        rows, self._open = self._open[:count], self._open[count:]
        path = self.path / "events" / f"part-{self.parts:05d}.parquet"
        write_table(path, "events", event_columns(rows, self.config.agent_ids))
        self.events.append(rows)
        self.parts += 1

    def finish(self, timesteps: int) -> tuple[Rows, Tables]:
        """Write the last part and all tables, cut after ``timesteps`` whole timesteps; return events and tables."""
        cut = int(np.searchsorted(self._open["timestep"], timesteps))
        self._open = self._open[:cut]
        if cut:
            self._close_part(cut)
        events = self._joined()
        if timesteps < self.config.timesteps:
            # What was settled after the cut is nothing that the log still tells.
            kept = int(np.count_nonzero(events["kind"] == state.KIND_TURN))
            lost = np.frombuffer(self._settled, np.int64) >= kept
            np.frombuffer(self.rewards, np.float64)[lost] = np.nan
        tables = derive(self.config, events, timesteps)
        self.write_tables(events, tables)
        return events, tables

    def _joined(self) -> Rows:
        """All events as one array; each part goes as it is copied, so that they are never there twice."""
        events = np.zeros(sum(map(len, self.events)), state.EVENT)
        place = 0
        self.events.reverse()
        while self.events:
            rows = self.events.pop()
            events[place : place + len(rows)] = rows
            place += len(rows)
        return events

    def write_tables(self, events: Rows, tables: Tables) -> None:
        """Write the tables that are derived from events, and the news, which are from the seed."""
        actions = np.frombuffer(self.actions, np.int16).reshape(-1, WIDTH)
        rewards = np.frombuffer(self.rewards, np.float64)
        for name in TABLES:
            if name == "agents" and len(tables.agents):
                write_pieces(self.path / f"{name}.parquet", name, agent_pieces(tables, self.config.agent_ids))
            elif name != "events":
                columns = table_columns(name, self.config, self.seed, events, tables, actions, rewards)
                write_table(self.path / f"{name}.parquet", name, columns)
