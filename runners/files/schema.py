"""The record's schema, defined once: tables, columns, types, units and meanings.

The Parquet files carry it as Arrow metadata, the docs page is made from it (``python -m runners.docs``), and
whoever writes or reads a table takes it from here.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from market_env.engine.tables import DEPTH_LEVELS

VERSION = 4
"""Version of the schema that is written."""
OLDEST = 1
"""Oldest version that is read. Version 1 had no ``turn`` in its events, and the market's fields beside the others in
``config.json``; version 2 no table of news, and no seat that takes the best level only; version 3 no fees, latency and halts."""

TEXT = pa.dictionary(pa.int32(), pa.string())


class Column(NamedTuple):
    """One column of one table."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    nullable: bool = False


def _depth_columns() -> list[Column]:
    columns = []
    for level in range(1, DEPTH_LEVELS + 1):
        for side in ("bid", "ask"):
            columns.append(Column(f"{side}_price_{level}", pa.int32(), "ticks", f"price of {side} level {level}", True))
            columns.append(Column(f"{side}_lots_{level}", pa.int64(), "lots", "resting lots there; 0 beyond the book"))
    return columns


TIMESTEP = Column("timestep", pa.int32(), "timesteps", "the timestep whose end this row shows")

TABLES: dict[str, tuple[str, tuple[Column, ...]]] = {
    "events": (
        "The exchange's log, a row an event. The truth: all else but actions and rewards is derived from it.",
        (
            Column("seq", pa.int64(), "", "0, 1, 2, … without gaps"),
            Column("time", pa.float64(), "timesteps", "market time"),
            Column("timestep", pa.int32(), "timesteps", "its floor"),
            Column("turn", pa.int64(), "", "the turn that sent the message that this comes of, which latency may have delayed; of a cancel by the exchange the one whose messages it was carrying out; of a resume the last that began"),
            Column("kind", TEXT, "", "turn, accept, trade, cancel, reject, halt or resume"),
            Column("agent", TEXT, "", "owner of the order; of a trade the taker; of a halt and a resume whose message set the halt off"),
            Column("order_id", pa.int64(), "", "the order; of a trade the taker's; -1 on turn, reject, halt and resume"),
            Column("side", TEXT, "", "buy or sell, of that order; null on turn, halt and resume", True),
            Column("price", pa.int32(), "ticks", "limit price (of an IOC its protection price; of a reject it may be below 1); of a trade the price printed; null on turn, halt and resume", True),
            Column("lots", pa.int32(), "lots", "accepted, traded, cancelled or rejected; 0 on turn, halt and resume"),
            Column("maker_order_id", pa.int64(), "", "of a trade the resting order, else -1"),
            Column("maker", TEXT, "", "of a trade the resting order's owner, else null", True),
            Column("reason", TEXT, "", "of a cancel: agent, self_trade, ioc, price_band; of a reject: inventory, cash, price_band, open_orders, self_cross, post_only, best_only, halt, under_way; else null", True),
        ),
    ),
    "trades": (
        "A row a trade.",
        (
            Column("seq", pa.int64(), "", "of its event"),
            Column("time", pa.float64(), "timesteps", "market time"),
            Column("timestep", pa.int32(), "timesteps", "its floor"),
            Column("price", pa.int32(), "ticks", "price of the resting order"),
            Column("lots", pa.int32(), "lots", "quantity"),
            Column("buyer", TEXT, "", "agent that bought"),
            Column("seller", TEXT, "", "agent that sold"),
            Column("aggressor", TEXT, "", "agent whose incoming order traded"),
            Column("maker_order_id", pa.int64(), "", "the resting order"),
            Column("taker_order_id", pa.int64(), "", "the incoming order"),
        ),
    ),
    "quotes": (
        "L1, a row at the end of every timestep.",
        (
            TIMESTEP,
            Column("best_bid", pa.int32(), "ticks", "highest bid", True),
            Column("bid_lots", pa.int64(), "lots", "resting there; 0 if there is no bid"),
            Column("best_ask", pa.int32(), "ticks", "lowest ask", True),
            Column("ask_lots", pa.int64(), "lots", "resting there; 0 if there is no ask"),
            Column("spread", pa.int32(), "ticks", "best ask - best bid; null unless two-sided", True),
            Column("microprice", pa.float64(), "ticks", "mid weighted by the opposite side's lots; null unless two-sided", True),
            Column("imbalance", pa.float64(), "", "(bid lots - ask lots) / sum at the touch; null unless two-sided", True),
            Column("mid", pa.float64(), "ticks", "the reference price: the mid, or its last value as one-sided books move it"),
        ),
    ),
    "depth": (
        f"L2, the best {DEPTH_LEVELS} levels of each side, a row at the end of every timestep.",
        (TIMESTEP, *_depth_columns()),
    ),
    "agents": (
        "Accounts, a row per agent at the end of every timestep.",
        (
            TIMESTEP,
            Column("agent", TEXT, "", "agent id"),
            Column("inventory", pa.int64(), "lots", "signed"),
            Column("cash", pa.int64(), "tick-lots", "cash, before fees"),
            Column("fees", pa.int64(), "thousandths of a tick-lot", "fees paid since the start less rebates"),
            Column("wealth", pa.float64(), "tick-lots", "cash - fees + inventory x mid"),
            Column("open_bid_lots", pa.int64(), "lots", "resting in own bids"),
            Column("open_ask_lots", pa.int64(), "lots", "resting in own asks"),
            Column("turns", pa.int32(), "", "turns within the timestep"),
            Column("maker_lots", pa.int64(), "lots", "traded by own resting orders within the timestep"),
            Column("taker_lots", pa.int64(), "lots", "traded by own incoming orders within the timestep"),
        ),
    ),
    "turns": (
        "A row a turn. Action and reward are recorded (null where a run was cut off before they were), the rest derived.",
        (
            Column("turn", pa.int64(), "", "0, 1, 2, … without gaps"),
            Column("time", pa.float64(), "timesteps", "market time"),
            Column("timestep", pa.int32(), "timesteps", "its floor"),
            Column("agent", TEXT, "", "whose turn"),
            Column("cancel", TEXT, "", "keep, oldest, bids, asks or all", True),
            Column("bid_offset", pa.int32(), "ticks", "below the reference price; null for a market order", True),
            Column("bid_lots", pa.int32(), "lots", "ordered; 0 = no bid", True),
            Column("ask_offset", pa.int32(), "ticks", "above the reference price; null for a market order", True),
            Column("ask_lots", pa.int32(), "lots", "ordered; 0 = no ask", True),
            Column("reward", pa.float64(), "reward", "of this turn, settled at the agent's next or at the end; config.json has its parameters", True),
            Column("first_seq", pa.int64(), "", "first event of the turn"),
            Column("last_seq", pa.int64(), "", "last event of the turn"),
        ),
    ),
    "news": (
        "News about the asset's value, a row a piece; none in a market without a value. No agent and no export sees it.",
        (
            Column("time", pa.float64(), "timesteps", "market time"),
            Column("jump", pa.float64(), "ticks", "by which the value jumped"),
            Column("value", pa.float64(), "ticks", "just after"),
        ),
    ),
}  # fmt: skip


YOUNGER = {"news": 3, "events.turn": 2, "agents.fees": 4, "best_only": 3, "halt": 4, "resume": 4, "under_way": 4}
"""The first version of tables, columns, kinds of events and reasons that not every version has."""


def known(name: str, version: int = VERSION) -> bool:
    """Whether a version has a table, a column (``table.column``), a kind of events or a reason."""
    return YOUNGER.get(name, OLDEST) <= version


def tables_of(version: int = VERSION) -> list[str]:
    """Names of the tables that a version has beside the events."""
    return [name for name in TABLES if name != "events" and known(name, version)]


def columns_of(table: str, version: int = VERSION) -> list[Column]:
    """The columns that a table has in a version."""
    return [column for column in TABLES[table][1] if known(f"{table}.{column.name}", version)]


def arrow_schema(table: str, version: int = VERSION) -> pa.Schema:
    """The Arrow schema of a table in a version, with units and meanings as metadata."""
    return pa.schema(
        [
            pa.field(c.name, c.type, c.nullable, metadata={"unit": c.unit, "meaning": c.meaning})
            for c in columns_of(table, version)
        ],
        metadata={"table": table, "description": TABLES[table][0], "schema_version": str(version)},
    )


def markdown() -> str:
    """The docs page of the schema."""
    lines = [
        "# The files of a run",
        "",
        "Made by `python -m runners.docs` from `runners/files/schema.py`. Strings are dictionary-encoded.",
        f"Schema version {VERSION}; types, units and meanings also stand in each file's Arrow metadata.",
        "",
        "Prices are whole ticks, quantities whole lots, cash tick-lots, times timesteps; `config.json` has the sizes of",
        "tick and lot, the roster with starting values, the seed and all versions; `summary.json` the run's figures.",
        "Fees are thousandths of a tick-lot; wealth, in tick-lots, takes off fees / 1,000.",
    ]
    for name, (description, columns) in TABLES.items():
        where = "events/part-*.parquet" if name == "events" else f"{name}.parquet"
        lines += [
            "",
            f"## {name} (`{where}`)",
            "",
            description,
            "",
            "| column | type | unit | meaning |",
            "|---|---|---|---|",
        ]
        for column in columns:
            kind = "string" if column.type == TEXT else str(column.type)
            null = ", null allowed" if column.nullable else ""
            if name == "depth" and column.name.endswith(tuple(f"_{n}" for n in range(2, DEPTH_LEVELS + 1))):
                continue
            shown = column.name.replace("_1", "_1 … " + str(DEPTH_LEVELS)) if name == "depth" else column.name
            meaning = column.meaning.replace("level 1", "each level, best first") if name == "depth" else column.meaning
            lines.append(f"| `{shown}` | {kind}{null} | {column.unit} | {meaning} |")
    return "\n".join(lines) + "\n"
