"""Who traded with whom, on what terms, and what came of it: by agent, by kind, and for the learner's seat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from market_env.engine.state import BUY, KIND_TRADE
from runners.measures.discovery import touch_before
from runners.measures.intervals import Floats, Interval, ratio_of
from runners.measures.timeline import Timeline
from scripted_agents.standards import NEAR_BOUND, STANDARDS

HORIZON = 5
"""A trade's price is compared with the mid at the end of the timestep so many after its own (realised spread)."""
BLOCK = 20
"""Trades in a row that are drawn together for the intervals of terms."""
INVENTORY_BINS = (-1.0, -0.3, -0.1, 0.1, 0.3, 1.0)
"""Edges of inventory as a share of its bound, and of"""
IMBALANCE_BINS = (-1.0, -0.6, -0.2, 0.2, 0.6, 1.0)
"""touch imbalance, in the table of what the policy does."""
SELECTIVE = (STANDARDS.least_trading, STANDARDS.most_trading)
"""A policy that trades on a share of its turns within these is called selective."""


@dataclass(frozen=True)
class Spreads:
    """What resting orders of a kind earned a lot, ticks, lots weighted (Huang and Stoll 1996)."""

    lots: int
    effective: Interval
    """Half-spread: signed distance of the price from the mid just before the aggressor's order."""
    realised: Interval
    """Signed distance of the price from the mid :data:`HORIZON` timesteps later: what is left of it."""
    impact: Interval
    """Their difference: adverse selection."""


@dataclass(frozen=True)
class Trading:
    """Terms and counterparties of all trades."""

    matrix: NDArray[np.int64]
    """Lots by the taker's and the maker's kind, shape (kinds, kinds)."""
    spreads: dict[str, Spreads]
    """By the maker's kind, those that made."""
    quoted: float | None
    """Time-averaged half of the quoted spread at the ends of timesteps, ticks."""
    fill_rate: dict[str, float | None]
    """Share of the lots that came to rest which were traded, by kind."""
    gains: NDArray[np.float64]
    """What a kind gained from another as they traded: lots times the price's distance from the mid just before
    the aggressor's order, tick-lots, shape (kinds, kinds)."""


def trading(line: Timeline) -> Trading:
    """Measure all trades."""
    events, rows = line.events, line.trades
    kinds = line.kind_of
    count = len(line.kinds)
    trades = events[rows]
    taker, maker = kinds[trades["agent"]], kinds[trades["maker"]]
    lots = trades["lots"].astype(np.float64)
    matrix = np.zeros((count, count), np.int64)
    np.add.at(matrix, (taker, maker), trades["lots"])

    before = mid_before_order(line)
    later = trades["timestep"] + HORIZON
    after = np.where(later < line.run.timesteps, line.mid[np.minimum(later, line.run.timesteps - 1)], np.nan)
    sign, price = line.trade_signs, trades["price"]
    effective, realised = sign * (price - before), sign * (price - after)
    spreads = {}
    for number, kind in enumerate(line.kinds):
        chosen = (maker == number) & ~np.isnan(effective) & ~np.isnan(realised)
        if chosen.any():
            terms = [
                ratio_of(values[chosen] * lots[chosen], lots[chosen], BLOCK)
                for values in (effective, realised, effective - realised)
            ]
            spreads[kind] = Spreads(int(lots[maker == number].sum()), *terms)

    quoted = line.spread[~np.isnan(line.spread)]
    gains = np.zeros((count, count))
    edge = np.nan_to_num(effective) * lots
    np.add.at(gains, (maker, taker), edge)
    np.add.at(gains, (taker, maker), -edge)
    first_of = np.unique(line.stretches["order_id"], return_index=True)[1]
    rested = line.stretches[first_of]
    rested_lots = np.bincount(kinds[rested["agent"]], rested["lots"], count)
    made = np.bincount(maker, lots, count)
    return Trading(
        matrix=matrix,
        spreads=spreads,
        quoted=float(quoted.mean()) / 2 if len(quoted) else None,
        fill_rate={
            kind: float(made[number] / rested_lots[number]) if rested_lots[number] else None
            for number, kind in enumerate(line.kinds)
        },
        gains=gains,
    )


def mid_before_order(line: Timeline) -> Floats:
    """Mid just before the aggressor's order of each trade; NaN unless two-sided. Later prints of a sweep keep the first's."""
    ids = line.events["order_id"][line.trades]
    _, first, group = np.unique(ids, return_index=True, return_inverse=True)
    bid, ask = (prices[line.trades[first]] if len(first) else prices[:0] for prices in touch_before(line))
    return np.where((bid > 0) & (ask > 0), (bid + ask) / 2.0, np.nan)[group]


@dataclass(frozen=True)
class Seat:
    """What one agent did, turn by turn."""

    agent: str
    turns: pl.DataFrame
    """Its turns: timestep, action, the inventory (lots and share of the bound) and touch imbalance that it found, and
    whether it traded before its next turn."""
    ordering: float | None
    """Share of turns in which it ordered anything; None where actions were not recorded."""
    trading: float
    """Share of turns after which an order of it traded before its next turn."""
    near_bound: float
    """Share of timesteps that it ended beyond :data:`NEAR_BOUND` of its bound."""
    wealth_change: float
    liquidation_change: float
    """The same with its inventory closed through the others' resting orders at the end."""
    idle_change: float
    """What its starting inventory alone would have gained: doing nothing."""
    edge: dict[str, float]
    """What it gained from each kind as they traded, before fees: lots times the price's distance from the mid just before the
    order."""
    fees: float = 0.0
    """Paid less rebates, tick-lots."""

    @property
    def holding(self) -> float:
        """The rest of its change in wealth but fees: what its inventory gained as the mid moved."""
        return self.wealth_change + self.fees - sum(self.edge.values())


def seat(line: Timeline, agent: str) -> Seat | None:
    """One agent's turns and results; None if it had no turn."""
    run = line.run
    place = next(index for index, other in enumerate(run.market.agents) if other.id == agent)
    config = run.market.agents[place]
    turns = run.turns_of(agent)
    if not turns.height:
        return None
    inventories = run.account("inventory")[:, place]
    own = line.trades[(line.events["agent"][line.trades] == place) | (line.events["maker"][line.trades] == place)]
    trades = line.events[own]
    as_taker = trades["agent"] == place
    signs = np.where((trades["side"] == BUY) == as_taker, 1, -1)
    # What it found: its inventory and the touch just before its turn's first event.
    firsts = turns["first_seq"].to_numpy()
    held = np.concatenate([[0], np.cumsum(signs * trades["lots"])]) + config.inventory
    inventory = held[np.searchsorted(trades["seq"], firsts)]
    at = np.searchsorted(line.events["seq"], firsts)
    imbalance = np.where(at > 0, line.imbalance(line.quotes[np.maximum(at - 1, 0)]), np.nan)
    counted = np.searchsorted(line.events["seq"][own], np.append(turns["first_seq"].to_numpy(), np.iinfo(np.int64).max))
    traded = np.diff(counted) > 0
    found = turns.with_columns(
        pl.Series("inventory", inventory),
        pl.Series("bound_share", inventory / config.inventory_bound),
        pl.Series("imbalance", imbalance),
        pl.Series("traded", traded),
    )
    other = line.kind_of[np.where(as_taker, trades["maker"], trades["agent"])]
    before = mid_before_order(line)[np.searchsorted(line.trades, own)]
    edge = signs * np.where(np.isnan(before), 0.0, before - trades["price"]) * trades["lots"]
    by_kind = np.bincount(other, edge, len(line.kinds))
    ordered = (pl.col("bid_lots") > 0) | (pl.col("ask_lots") > 0)
    figures = run.summary["agents"][agent]
    return Seat(
        agent=agent,
        turns=found,
        ordering=found.select(ordered.mean()).item(),
        trading=float(traded.mean()),
        near_bound=float(np.mean(np.abs(inventories) > NEAR_BOUND * config.inventory_bound)),
        wealth_change=figures["wealth_change"],
        liquidation_change=float(line.liquidation[place] - config.cash - config.inventory * run.market.first_price),
        idle_change=float(config.inventory * (line.mid[-1] - run.market.first_price)),
        edge={kind: float(by_kind[number]) for number, kind in enumerate(line.kinds)},
        fees=figures["fees"],
    )


def by_state(rows: pl.DataFrame, value: str) -> tuple[Floats, NDArray[np.int64]]:
    """Mean of a column of :attr:`Seat.turns` and count of turns by inventory (rows) and imbalance (columns)."""
    known = rows.filter(pl.col("imbalance").is_not_nan() & pl.col(value).is_not_null())
    i = np.clip(np.digitize(known["bound_share"], INVENTORY_BINS[1:-1]), 0, len(INVENTORY_BINS) - 2)
    j = np.clip(np.digitize(known["imbalance"], IMBALANCE_BINS[1:-1]), 0, len(IMBALANCE_BINS) - 2)
    shape = (len(INVENTORY_BINS) - 1, len(IMBALANCE_BINS) - 1)
    counts = np.zeros(shape, np.int64)
    sums = np.zeros(shape)
    np.add.at(counts, (i, j), 1)
    np.add.at(sums, (i, j), known[value].cast(pl.Float64).to_numpy())
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, sums / counts, np.nan), counts


def signed_flow_by_kind(line: Timeline) -> NDArray[np.float64]:
    """Lots that aggressors of each kind bought less sold, a timestep, shape (timesteps, kinds)."""
    found = np.zeros((line.run.timesteps, len(line.kinds)))
    rows = line.events[line.events["kind"] == KIND_TRADE]
    np.add.at(found, (rows["timestep"], line.kind_of[rows["agent"]]), line.trade_signs * rows["lots"])
    return found
