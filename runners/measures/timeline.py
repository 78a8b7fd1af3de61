"""The market at every event: quotes after each, every stretch that an order rested, and depth near the mid by owner.

Made from the log by the compiled book, in one pass; about 0.3 µs an event. The other measures read this instead of
walking through the log again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from market_env.config import ConfigError, MarketConfig
from market_env.engine import accounts, book, playback, state
from market_env.engine.kernel import kernel
from market_env.engine.state import BUY, KIND_CANCEL, KIND_TRADE, NONE, REASON_IOC, SELL
from market_env.engine.tables import QUOTE
from market_env.market import configure
from runners.files.derive import Derived
from runners.files.once import once
from runners.files.run import History

NEAR_SPREADS = 1.5
"""How far from the mid depth still counts as near it, in median spreads of the run: what is near differs between markets. The touch
lies half a spread from the mid, so that is up to one spread behind it."""

PART = 10_000
"""Timesteps whose quotes are made at once."""

QUOTES = np.dtype(
    [("best_bid", "i4"), ("best_ask", "i4"), ("lots", "i4", (2,)), ("depth", "i4", (2,)), ("reference", "f8")],
    align=True,
)
"""After an event: the touch, 0 for an empty side, and its lots by side; by side the lots near the price that the turn
refers to; and the reference price that the quotes then would make."""

STRETCH = np.dtype(
    [
        ("order_id", "i8"),
        ("start", "f8"),       # timesteps
        ("end", "f8"),         # of an order that still rests: the run's end
        ("first", "i4"),       # timestep of the start
        ("last", "i4"),        # timestep of the end
        ("agent", "i4"),
        ("price", "i4"),
        ("lots", "i4"),
        ("side", "i1"),
        ("ending", "i1"),      # KIND_TRADE, KIND_CANCEL, or NONE for an order that still rests
    ],
    align=True,
)  # fmt: skip
"""A stretch of time in which an order rested with the same lots. It stands at the end of timesteps first … last - 1."""


@kernel
def fill_tables(
    markets, events, working, slots, kinds, timesteps, near_ticks, quotes, stretches, open_stretch, near, liquidation
):
    """Fill the tables from the events of a run; return the number of stretches, or -1 less a bad event's index.

    Args:
        markets: a configured record, shape (1,); overwritten.
        events: EVENT rows.
        working: int64 work space, shape (2,).
        slots: int32 work space, one entry for each accepted order.
        kinds: int64, the kind's number of each agent.
        timesteps: how many are recorded.
        near_ticks: how far from the reference price counts as near.
        quotes: QUOTES, shape (events,).
        stretches: STRETCH, shape (events,).
        open_stretch: int64 work space, one entry for each accepted order.
        near: int64, shape (timesteps, 2, kinds), zeroed: resting lots near the reference price by side and kind.
        liquidation: float64, shape (agents,): liquidation wealth at the end.
    """
    market = markets[0]
    playback.empty(market, working)
    count = 0
    written = 0
    for i in range(len(events)):
        event = events[i]
        if playback.turn_ended(events, i):
            book.quote_reference(market)
            while written < min(event.timestep, timesteps):
                near_depth(market, kinds, near_ticks, near[written])
                written += 1
        if not playback.take(market, events, i, working, slots):
            return -1 - i
        order_id = NONE
        if event.kind == KIND_TRADE:
            order_id = event.maker_order_id
        elif event.kind == KIND_CANCEL and event.reason != REASON_IOC:
            order_id = event.order_id
        if order_id != NONE:
            stretch = stretches[open_stretch[order_id]]
            stretch.end, stretch.last, stretch.ending = event.time, event.timestep, event.kind
            left = stretch.lots - event.lots
            if left > 0:
                stretches[count] = stretch
                begin_stretch(stretches[count], event.time, event.timestep, left)
                open_stretch[order_id] = count
                count += 1
        accepted = working[0]
        left = playback.rest_if_due(market, events, i, working, slots)
        if left == NONE:
            return -1 - i
        if left > 0:
            order = events[accepted]
            stretch = stretches[count]
            stretch.order_id, stretch.agent = order.order_id, order.agent
            stretch.price, stretch.side = order.price, order.side
            begin_stretch(stretch, order.time, order.timestep, left)
            open_stretch[order.order_id] = count
            count += 1
        quote = quotes[i]
        quote.best_bid, quote.best_ask = market.best_bid, market.best_ask
        for side in (BUY, SELL):
            best = market.best_bid if side == BUY else market.best_ask
            quote.lots[side] = book.level_of(market, best).lots if best != 0 else 0
            quote.depth[side] = depth_of(market, side, near_ticks)
        before = market.reference
        book.quote_reference(market)
        quote.reference = market.reference
        market.reference = before
    book.quote_reference(market)
    while written < timesteps:
        near_depth(market, kinds, near_ticks, near[written])
        written += 1
    for i in range(market.agent_count):
        liquidation[i] = accounts.liquidation_wealth(market, i)
    for i in range(count):
        if stretches[i].ending == 0:
            stretches[i].end, stretches[i].last, stretches[i].ending = timesteps, timesteps, NONE
    return count


@kernel
def begin_stretch(stretch, time, timestep, lots):
    """Open a stretch; its order, owner, side and price are there already."""
    stretch.start, stretch.first, stretch.lots, stretch.ending = time, timestep, lots, 0


@kernel
def depth_of(market, side, near_ticks):
    """Resting lots of a side within ``near_ticks`` of the reference price."""
    price = market.best_bid if side == BUY else market.best_ask
    left = market.bid_levels if side == BUY else market.ask_levels
    step = -1 if side == BUY else 1
    lots = 0
    while left > 0 and abs(price - market.reference) <= near_ticks:
        level = book.level_of(market, price)
        left -= level.head != NONE
        lots += level.lots
        price += step
    return lots


@kernel
def near_depth(market, kinds, near_ticks, row):
    """Resting lots within ``near_ticks`` of the reference price, by side and kind of the owner."""
    for side in (BUY, SELL):
        price = market.best_bid if side == BUY else market.best_ask
        left = market.bid_levels if side == BUY else market.ask_levels
        step = -1 if side == BUY else 1
        while left > 0 and abs(price - market.reference) <= near_ticks:
            slot = book.level_of(market, price).head
            left -= slot != NONE
            while slot != NONE:
                order = market.orders[slot]
                row[side, kinds[order.agent]] += order.lots
                slot = order.next
            price += step


@dataclass(frozen=True)
class Timeline:
    """A run's log with the market beside every event."""

    run: History
    events: NDArray[np.void]
    """EVENT rows of the recorded timesteps."""
    quotes: NDArray[np.void]
    """:data:`QUOTES` after each event, shape (events,). The touch can be locked or crossed only while an order matches."""
    stretches: NDArray[np.void]
    """:data:`STRETCH`, in the order of their starts."""
    near: NDArray[np.int64]
    """Resting lots within ``near_ticks`` of the mid at the end of each timestep, shape (timesteps, 2, kinds)."""
    near_ticks: int
    """See :func:`near_ticks`."""
    liquidation: NDArray[np.float64]
    """Each agent's wealth at the end, its inventory closed through the others' resting orders, tick-lots."""

    @property
    def kinds(self) -> list[str]:
        """Kinds in the order of the last axis of ``near``."""
        return self.run.kinds

    @once
    def kind_of(self) -> NDArray[np.int64]:
        """Number of each agent's kind."""
        return np.array([self.kinds.index(agent.kind) for agent in self.run.market.agents])

    @once
    def near_depth(self) -> NDArray[np.int64]:
        """Lots near the mid by side (bids, asks), shape (timesteps, 2)."""
        total: NDArray[np.int64] = self.near.sum(axis=2)
        return total

    @once
    def ends(self) -> NDArray[np.void]:
        """:data:`QUOTES` at the end of each timestep."""
        last = np.searchsorted(self.events["timestep"], np.arange(self.run.timesteps), side="right") - 1
        found = self.quotes[np.maximum(last, 0)]
        found[last < 0] = np.zeros(1, QUOTES)[0]
        found["reference"][last < 0] = self.run.market.first_price
        return found

    @once
    def mid(self) -> NDArray[np.float64]:
        """Mid at the end of each timestep, ticks."""
        return np.ascontiguousarray(self.ends["reference"])

    @once
    def spread(self) -> NDArray[np.float64]:
        """Spread at the end of each timestep, ticks; NaN unless two-sided."""
        two_sided = (self.ends["best_bid"] > 0) & (self.ends["best_ask"] > 0)
        return np.where(two_sided, self.ends["best_ask"] - self.ends["best_bid"], np.nan)

    def imbalance(self, quotes: NDArray[np.void]) -> NDArray[np.float64]:
        """(bid lots - ask lots) / sum at the touch of any :data:`QUOTES`; NaN unless two-sided."""
        bids, asks = quotes["lots"][:, 0].astype(np.float64), quotes["lots"][:, 1].astype(np.float64)
        two_sided = (bids > 0) & (asks > 0)
        return np.where(two_sided, (bids - asks) / np.where(two_sided, bids + asks, 1.0), np.nan)

    @once
    def trades(self) -> NDArray[np.int64]:
        """Indices of the trades among the events."""
        return np.flatnonzero(self.events["kind"] == KIND_TRADE)

    @once
    def trade_signs(self) -> NDArray[np.float64]:
        """1 where the aggressor bought, -1 where it sold, shape (trades,)."""
        return np.where(self.events["side"][self.trades] == BUY, 1.0, -1.0)

    def per_timestep(self, rows: NDArray[np.bool_], weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Count, or sum of weights (one a chosen event), of chosen events in each timestep."""
        when = self.events["timestep"][rows]
        return np.bincount(when, weights, self.run.timesteps).astype(np.float64)

    @once
    def signed_flow(self) -> NDArray[np.float64]:
        """Lots that aggressors bought less sold, a timestep."""
        lots = self.trade_signs * self.events["lots"][self.trades]
        return np.bincount(self.events["timestep"][self.trades], lots, self.run.timesteps).astype(np.float64)

    def resting(self, timesteps: NDArray[np.int64], lowest: int, highest: int) -> NDArray[np.int32]:
        """Resting lots at the ends of evenly spaced timesteps by price, shape (timesteps, 2, highest - lowest + 1)."""
        grid = np.zeros((len(timesteps) + 1, 2, highest - lowest + 1), np.int32)
        inside = self.stretches[(self.stretches["price"] >= lowest) & (self.stretches["price"] <= highest)]
        first = np.searchsorted(timesteps, inside["first"])
        last = np.searchsorted(timesteps, inside["last"])
        seen = first < last
        cells = (inside["side"][seen].astype(np.int64), inside["price"][seen] - lowest)
        np.add.at(grid, (first[seen], *cells), inside["lots"][seen])
        np.subtract.at(grid, (last[seen], *cells), inside["lots"][seen])
        return np.cumsum(grid, axis=0, dtype=np.int32)[:-1]


def closing_quotes(config: MarketConfig, events: NDArray[np.void], timesteps: int) -> NDArray[np.void]:
    """Quotes at the end of each timestep, :data:`market_env.engine.tables.QUOTE`, of events in order.

    Raises:
        ConfigError: no market could have written the events.
    """
    derived, parts, first = Derived(config), [np.zeros(0, QUOTE)], 0
    for end in range(PART, timesteps + PART, PART):
        # With the quotes come depth and accounts, fifty times as much: no more than a part's are ever there.
        last = int(
            np.searchsorted(events["timestep"], np.int32(min(end, timesteps)))
        )  # of its own type: no copy of the column
        parts.append(derived.add(events[first:last], min(end, timesteps)).quotes)
        first = last
    return np.concatenate(parts)


def near_ticks(quotes: NDArray[np.void]) -> int:
    """:data:`NEAR_SPREADS` times a run's median spread at the ends of two-sided timesteps, in ticks and at least one."""
    spreads = (quotes["best_ask"] - quotes["best_bid"])[(quotes["best_bid"] > 0) & (quotes["best_ask"] > 0)]
    return max(1, round(NEAR_SPREADS * float(np.median(spreads)))) if len(spreads) else 1


def timeline(run: History) -> Timeline:
    """Follow a run's log.

    Raises:
        ConfigError: its log is damaged, or no market wrote it.
    """
    events = run.log
    kinds = np.array([run.kinds.index(agent.kind) for agent in run.market.agents])
    accepted = int(np.count_nonzero(events["kind"] == state.KIND_ACCEPT))
    quotes = np.zeros(len(events), QUOTES)
    stretches = np.zeros(len(events) + 1, STRETCH)
    try:
        near = near_ticks(closing_quotes(run.market, events, run.timesteps))
    except ConfigError as error:
        raise ConfigError(f"{run.name}: {error}") from None
    lots_near = np.zeros((run.timesteps, 2, len(run.kinds)), np.int64)
    liquidation = np.zeros(len(run.market.agents))
    count = fill_tables(
        configure(run.market), events, np.zeros(2, np.int64), np.zeros(accepted + 1, np.int32), kinds, run.timesteps,
        near, quotes, stretches, np.zeros(accepted + 1, np.int64), lots_near, liquidation,
    )  # fmt: skip
    if count < 0:
        raise ConfigError(f"{run.name}: seq {-1 - count}: the log cannot go on so; python -m runners.replay says more")
    return Timeline(run, events, quotes, stretches[:count], lots_near, near, liquidation)
