"""Tables from events: quotes, depth and accounts of every timestep, as numpy arrays.

The book is rebuilt by the compiled engine; a run of 5,000 timesteps takes some ms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from market_env.config import FEE_UNIT, ConfigError, MarketConfig
from market_env.engine import state, tables, value
from market_env.engine.streams import run_key
from market_env.market import configure

Rows = NDArray[np.void]


class Tables(NamedTuple):
    """The state at the end of each timestep."""

    quotes: Rows
    """:data:`market_env.engine.tables.QUOTE`, shape (timesteps,)."""
    depth: Rows
    """:data:`market_env.engine.tables.LADDER`, shape (timesteps,)."""
    agents: Rows
    """:data:`market_env.engine.tables.ACCOUNT`, shape (timesteps, agents)."""


class Derived:
    """A run's tables, made part by part: nothing of a part is kept but what the next one begins with.

    Args:
        config: the market.
    """

    def __init__(self, config: MarketConfig) -> None:
        self.market = configure(config)
        """The market's record as it stands at the end of the last part."""
        self.end = 0
        """First timestep of the next part."""
        self._agents = len(config.agents)
        self._working = np.zeros(2, np.int64)
        self._slots = np.zeros(1, np.int32)

    def add(self, events: Rows, end: int) -> Tables:
        """The tables of the timesteps up to ``end``, from their events, those of whole timesteps.

        Raises:
            ConfigError: no market could have written the events.
        """
        count = end - self.end
        result = Tables(
            np.zeros(count, tables.QUOTE),
            np.zeros(count, tables.LADDER),
            np.zeros((count, self._agents), tables.ACCOUNT),
        )
        orders = int(np.count_nonzero(events["kind"] == state.KIND_ACCEPT))
        self._slots = np.concatenate([self._slots, np.zeros(orders, np.int32)])
        bad = tables.derive(self.market, events, self.end, end, self._working, self._slots, *result)
        if bad != state.NONE:
            seq = int(events["seq"][bad])
            raise ConfigError(
                f"events: seq {seq}: the log breaks the market's rules; python -m runners.replay says more"
            )
        self.end = end
        return result


def derive(config: MarketConfig, events: Rows, timesteps: int | None = None) -> Tables:
    """Rebuild the tables of the first ``timesteps`` timesteps (all by default) from a run's events.

    Raises:
        ConfigError: no market could have written the events.
    """
    return Derived(config).add(events, config.timesteps if timesteps is None else timesteps)


def wealth_of(rows: Rows, reference: Any) -> Any:
    """Wealth at reference prices of rows of :data:`market_env.engine.tables.ACCOUNT`, tick-lots, float64."""
    return rows["cash"] - rows["fees"] / FEE_UNIT + rows["inventory"] * reference


class News(NamedTuple):
    """News of a run, in order."""

    time: NDArray[np.float64]
    """Timesteps."""
    jump: NDArray[np.float64]
    """Ticks."""
    value: NDArray[np.float64]
    """Just after, ticks."""


def news(config: MarketConfig, seed: int, end: float) -> News:
    """The news of a run's first ``end`` timesteps: the same whatever its agents do."""
    market, key = configure(config), run_key(seed)
    count = 0
    while True:
        found = News(*(np.zeros(count) for _ in News._fields))
        known, count = count, value.tell(market, key, float(end), *found)
        if known == count:
            return found


def values_at(config: MarketConfig, told: News, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value at some times, just after what is told then, ticks; NaN in a market without one."""
    if config.value is None:
        return np.full(len(times), np.nan)
    before = np.searchsorted(told.time, times, side="right")
    levels = np.concatenate([[float(config.first_price)], told.value])[before]
    since = times - np.concatenate([[0.0], told.time])[before]
    found: NDArray[np.float64] = config.first_price + (levels - config.first_price) * np.exp(
        -config.value.reversion * since
    )
    return found


def state_at(config: MarketConfig, events: Rows, timestep: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The book (side, price, lots, orders; best first) and the accounts at the end of a timestep.

    Raises:
        ConfigError: no market could have written the events.
    """
    derived = Derived(config)
    result, orders = derived.add(events, timestep + 1), derived.market[0]["orders"]
    resting = orders[orders["id"] != state.NONE]
    book = (
        pl.DataFrame({name: resting[name].astype(np.int64) for name in ("side", "price", "lots")})
        .group_by("side", "price")
        .agg(pl.col("lots").sum(), pl.len().cast(pl.Int64).alias("orders"))
        .sort("side", pl.when(pl.col("side") == state.BUY).then(-pl.col("price")).otherwise(pl.col("price")))
        .with_columns(pl.col("side").replace_strict(dict(enumerate(state.SIDES)), return_dtype=pl.String))
    )
    rows, reference = result.agents[-1], result.quotes["reference"][-1]
    accounts = pl.DataFrame(
        {
            "timestep": np.full(len(rows), timestep),
            "agent": config.agent_ids,
            "inventory": rows["inventory"],
            "cash": rows["cash"],
            "fees": rows["fees"],
            "wealth": wealth_of(rows, reference),
            **{name: rows[name] for name in ("open_bid_lots", "open_ask_lots", "turns", "maker_lots", "taker_lots")},
        }
    )
    return book, accounts


class TradingTurns:
    """For each agent how many of its turns but the first there were so far, and before how many one of its orders had traded.

    Args:
        count: of agents.
    """

    def __init__(self, count: int) -> None:
        self.turns = np.zeros(count, np.int64)
        self.trading = np.zeros(count, np.int64)
        self._acted = np.zeros(count, np.bool_)
        self._traded = np.zeros(count, np.bool_)
        """Whether one of its orders has traded since its last turn."""

    def add(self, events: Rows) -> None:
        """Take the next events."""
        count = len(self.turns)
        turns, trades = (events[events["kind"] == kind] for kind in (state.KIND_TURN, state.KIND_TRADE))
        own_turns = _by_agent(turns["agent"], turns["seq"], count)
        took_part = np.concatenate([trades["agent"], trades["maker"]])
        own_trades = _by_agent(took_part, np.tile(trades["seq"], 2), count)
        for agent, (began, traded) in enumerate(zip(own_turns, own_trades, strict=True)):
            before = np.searchsorted(np.sort(traded), began)
            if len(began):
                since = np.diff(before, prepend=0) > 0
                since[0] |= self._traded[agent]
                first = 0 if self._acted[agent] else 1
                self.turns[agent] += len(began) - first
                self.trading[agent] += np.count_nonzero(since[first:])
                self._acted[agent], self._traded[agent] = True, before[-1] < len(traded)
            elif len(traded):
                self._traded[agent] = True


def _by_agent(agents: NDArray[np.int32], seqs: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    order = np.argsort(agents, kind="stable")
    return np.split(seqs[order], np.searchsorted(agents[order], np.arange(1, count)))
