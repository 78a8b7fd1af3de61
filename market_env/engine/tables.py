"""What a log says: the book, quotes, depth and accounts at the end of every timestep, from events alone.

:func:`derive` plays a log back onto an empty book. It trusts the log and decides nothing: no matching, no risk.
Cost: about 50 ns an event and 1 µs a timestep.
"""

from __future__ import annotations

import numpy as np

from market_env.engine import accounts, book
from market_env.engine.kernel import kernel
from market_env.engine.state import (
    BUY,
    KIND_ACCEPT,
    KIND_CANCEL,
    KIND_REJECT,
    KIND_TRADE,
    KIND_TURN,
    NONE,
    REASON_IOC,
    REASON_SELF_TRADE,
    SELL,
)

DEPTH_LEVELS = 20
"""Levels of each side in the depth table."""

QUOTE = np.dtype(
    [
        ("reference", "f8"),
        ("best_bid", "i4"),   # 0 if the side is empty
        ("best_ask", "i4"),
        ("bid_lots", "i8"),
        ("ask_lots", "i8"),
    ],
    align=True,
)  # fmt: skip
"""The touch at the end of a timestep."""

LADDER = np.dtype(
    [
        ("bid_price", "i4", (DEPTH_LEVELS,)),
        ("bid_lots", "i8", (DEPTH_LEVELS,)),
        ("ask_price", "i4", (DEPTH_LEVELS,)),
        ("ask_lots", "i8", (DEPTH_LEVELS,)),
    ],
    align=True,
)
"""L2 at the end of a timestep; 0 beyond the book."""

ACCOUNT = np.dtype(
    [
        ("inventory", "i8"),
        ("cash", "i8"),
        ("open_bid_lots", "i8"),
        ("open_ask_lots", "i8"),
        ("turns", "i4"),       # these three within the timestep
        ("maker_lots", "i8"),
        ("taker_lots", "i8"),
    ],
    align=True,
)  # fmt: skip
"""An agent's account at the end of a timestep."""


@kernel
def derive(markets, events, timesteps, working, slots, quotes, ladders, rows):
    """Fill the tables of timesteps 0 … ``timesteps`` - 1 from the events of a whole run.

    Args:
        markets: a configured record, shape (1,); its book and accounts are overwritten and hold the end.
        events: EVENT rows in order.
        timesteps: how many rows to write.
        working: int64 work space, shape (2,).
        slots: int32 work space, one entry for each accepted order.
        quotes: QUOTE, shape (timesteps,).
        ladders: LADDER, shape (timesteps,).
        rows: ACCOUNT, shape (timesteps, agents), zeroed.
    """
    market = markets[0]
    empty(market, working)
    written = 0
    for i in range(len(events)):
        event = events[i]
        if not continues(event):
            come_to_rest(market, events, working, slots)
        if event.kind == KIND_TURN:
            book.quote_reference(market)
            while written < min(event.timestep, timesteps):
                write_rows(market, quotes[written], ladders[written], rows[written])
                written += 1
            if written >= timesteps:
                return
            rows[event.timestep, event.agent].turns += 1
        elif event.kind == KIND_TRADE:
            rows[event.timestep, event.agent].taker_lots += event.lots
            rows[event.timestep, event.maker].maker_lots += event.lots
        play(market, events, i, working, slots)
    come_to_rest(market, events, working, slots)
    book.quote_reference(market)
    while written < timesteps:
        write_rows(market, quotes[written], ladders[written], rows[written])
        written += 1


@kernel
def empty(market, working):
    """Bring a configured record to a run's start, without streams and clocks: accounts open, no orders, none at work."""
    working[0] = NONE
    working[1] = 0
    book.clear(market)
    accounts.open_accounts(market)
    for i in range(market.agent_count):
        market.agents[i].open_orders = 0
        market.agents[i].oldest = NONE
        market.agents[i].newest = NONE
    market.reference = market.first_price


@kernel
def continues(event):
    """Whether an event belongs to the order that is still matching."""
    return event.kind == KIND_TRADE or (
        event.kind == KIND_CANCEL and (event.reason == REASON_SELF_TRADE or event.reason == REASON_IOC)
    )


@kernel
def stands(market, events, i, working, slots):
    """Whether event ``i`` can follow: for logs that come from outside, before :func:`play`.

    It holds the log to what keeps the book whole, no more: orders are there, have the lots, and meet nobody at rest.
    """
    event = events[i]
    if event.kind == KIND_TURN or event.kind == KIND_REJECT:
        return True
    if event.agent < 0 or event.side < 0 or event.lots <= 0 or event.price < 1:
        return False
    if event.kind == KIND_ACCEPT:
        market.next_order_id += 1
        return event.order_id == market.next_order_id - 1
    matching = working[0] != NONE and events[working[0]].order_id == event.order_id and event.lots <= working[1]
    if event.kind == KIND_CANCEL and event.reason == REASON_IOC:
        return matching
    if event.kind == KIND_TRADE and not matching:
        return False
    order_id = event.maker_order_id if event.kind == KIND_TRADE else event.order_id
    if order_id < 0 or order_id >= market.next_order_id or slots[order_id] == NONE:
        return False
    order = market.orders[slots[order_id]]
    owner = event.maker if event.kind == KIND_TRADE else event.agent
    return order.id == order_id and order.agent == owner and order.price == event.price and order.lots >= event.lots


@kernel
def can_rest(market, events, working):
    """Whether the order that was matching can come to rest: there is room for it, and it meets nobody."""
    if working[0] == NONE or working[1] == 0:
        return True
    order = events[working[0]]
    head = book.level_of(market, order.price).head
    free = head == NONE or (market.orders[head].price == order.price and market.orders[head].side == order.side)
    return free and market.free_orders > 0 and not book.crosses(market, order.side, order.price)


@kernel
def play(market, events, i, working, slots):
    """Bring book and accounts up to event ``i``; call :func:`come_to_rest` first unless it :func:`continues`.

    ``working`` (int64) is the order that is still matching: index of its accept event, or NONE, and lots left.
    ``slots[order_id]`` is where a resting order lies.
    """
    event = events[i]
    if event.kind == KIND_ACCEPT:
        working[0] = i
        working[1] = event.lots
        slots[event.order_id] = NONE
    elif event.kind == KIND_TRADE:
        working[1] -= event.lots
        take_lots(market, slots[event.maker_order_id], event.lots)
        taker, maker = market.agents[event.agent], market.agents[event.maker]
        if event.side == BUY:
            accounts.settle(taker, maker, event.price, event.lots)
        else:
            accounts.settle(maker, taker, event.price, event.lots)
    elif event.kind == KIND_CANCEL:
        if event.reason == REASON_IOC:
            working[1] = 0
        else:
            take_lots(market, slots[event.order_id], event.lots)


@kernel
def come_to_rest(market, events, working, slots):
    """What the order that was matching has left rests; return its lots, 0 if there is none."""
    lots = working[1] if working[0] != NONE else 0
    if lots > 0:
        accepted = events[working[0]]
        slots[accepted.order_id] = book.rest(
            market, accepted.agent, accepted.side, accepted.price, lots, accepted.order_id, accepted.time
        )
        accounts.reserve(market.agents[accepted.agent], accepted.side, accepted.price, lots)
    working[0] = NONE
    return lots


@kernel
def take_lots(market, slot, lots):
    """``lots`` of a resting order leave the book, all or a part of them."""
    order = market.orders[slot]
    accounts.release(market.agents[order.agent], order.side, order.price, lots)
    if lots == order.lots:
        book.remove(market, slot)
    else:
        book.reduce(market, slot, lots)


@kernel
def write_rows(market, quote, ladder, rows):
    """Write the tables' rows of a timestep that has ended."""
    quote.reference = market.reference
    quote.best_bid = market.best_bid
    quote.best_ask = market.best_ask
    quote.bid_lots = book.level_of(market, market.best_bid).lots if market.best_bid != 0 else 0
    quote.ask_lots = book.level_of(market, market.best_ask).lots if market.best_ask != 0 else 0
    book.depth(market, BUY, ladder.bid_price, ladder.bid_lots)
    book.depth(market, SELL, ladder.ask_price, ladder.ask_lots)
    for i in range(market.agent_count):
        account = market.agents[i]
        rows[i].inventory = account.inventory
        rows[i].cash = account.cash
        rows[i].open_bid_lots = account.open_bid_lots
        rows[i].open_ask_lots = account.open_ask_lots
