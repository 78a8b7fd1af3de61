"""A recorded day in the market: its messages come at their times, whatever the agents do.

The history has two seats: one for the orders that rest, one for the orders that traded with them. A row that adds an order comes
in as a limit order; one that executes an order as the marketable order which caused that, so it meets agents who stand first
in line, and the history's own order loses the lots all the same: what is left of the history's book is what it was on the day
less what agents have traded. What they have traded already cannot leave or trade again, and is counted as cut or skipped. The
history passes no risk checks, pays as its seats say, and reacts to nobody.

Rows refer to orders by handles, each used anew once its order is gone; what no recorded day could say, such as an order under a
handle that is taken, is skipped. Rows of one time are carried out together, then the reference price is set. An episode may start
anywhere: the rows before are laid out without agents, about 20 ns each.
"""

from __future__ import annotations

import numpy as np

from market_env.engine import accounts, book, exchange
from market_env.engine.kernel import kernel
from market_env.engine.state import (
    BUY,
    KIND_ACCEPT,
    LIVE,
    NONE,
    OPENED,
    REASON_AGENT,
    SELL,
    TAPE_ADD,
    TAPE_DELETE,
    TAPE_EXECUTE,
    TURN_EVENTS,
)
from market_env.engine.streams import GOLDEN, PURPOSE_TAPE, U11, mix


@kernel
def lay_out(market, tape):
    """Start an episode: draw where on the tape, and lay out the book that stands there. Accounts and book must be empty."""
    for i in range(len(market.handles)):
        market.handles[i].order_id = NONE
        market.handles[i].slot = NONE
        market.handles[i].lots = 0
    market.tape_stage = OPENED
    market.tape_next = 0
    market.tape_cut = 0
    market.tape_displaced = 0
    market.tape_skipped = 0
    market.tape_unqueued = 0
    market.tape_start = market.tape_first
    if market.tape_last > market.tape_first:
        share = float(mix(market.key ^ GOLDEN * PURPOSE_TAPE) >> U11) / 9007199254740992.0
        market.tape_start += share * (market.tape_last - market.tape_first)
    while market.tape_next < market.tape_rows and tape[market.tape_next].time <= market.tape_start:
        lay_row(market, tape[market.tape_next])
        market.tape_next += 1
    number_orders(market, BUY)
    number_orders(market, SELL)
    book.quote_reference(market)
    market.history[:] = market.reference


@kernel
def lay_row(market, row):
    """Let a row change the book, with nobody else in it."""
    handle = market.handles[row.handle]
    see(market, row)
    if row.kind == TAPE_ADD:
        taken = resting(market, row.handle) != NONE
        if taken or market.free_orders == 0 or book.crosses(market, row.side, row.price):
            market.tape_skipped += 1
            return
        handle.slot = book.rest(market, market.tape_maker, row.side, row.price, row.lots, market.next_order_id, 0.0)
        handle.order_id = market.next_order_id
        handle.lots = row.lots
        market.next_order_id += 1
        return
    slot = resting(market, row.handle)
    if slot == NONE:
        market.tape_skipped += 1
        return
    if row.kind == TAPE_DELETE or row.lots >= market.orders[slot].lots:
        book.remove(market, slot)
        handle.slot = NONE
    else:
        book.reduce(market, slot, row.lots)
        handle.lots -= row.lots


@kernel
def number_orders(market, side):
    """Give the orders of a side of a book that was laid out their numbers and reserves, best price first, oldest first."""
    account = market.agents[market.tape_maker]
    if side == BUY:
        market.next_order_id = 0
        account.oldest = NONE
        account.newest = NONE
    price = market.best_bid if side == BUY else market.best_ask
    step = -1 if side == BUY else 1
    for _ in range(market.bid_levels if side == BUY else market.ask_levels):
        while book.level_of(market, price).head == NONE:
            price += step
        slot = book.level_of(market, price).head
        while slot != NONE:
            order = market.orders[slot]
            order.id = market.next_order_id
            market.next_order_id += 1
            market.owned[slot].own_prev = account.newest
            market.owned[slot].own_next = NONE
            if account.newest == NONE:
                account.oldest = slot
            else:
                market.owned[account.newest].own_next = slot
            account.newest = slot
            accounts.reserve(account, side, price, order.lots)
            slot = order.next
        price += step
    if side == SELL:
        for i in range(len(market.handles)):
            if market.handles[i].slot != NONE:
                market.handles[i].order_id = market.orders[market.handles[i].slot].id


@kernel
def log_book(market, events):
    """Log the book that was laid out as orders that are accepted at time 0."""
    slot = market.agents[market.tape_maker].oldest
    while slot != NONE:
        order = market.orders[slot]
        exchange.log(
            market,
            events,
            KIND_ACCEPT,
            market.tape_maker,
            order.id,
            order.side,
            order.price,
            order.lots,
            NONE,
            NONE,
            NONE,
        )
        slot = market.owned[slot].own_next
    market.tape_stage = LIVE


@kernel
def due(market, tape):
    """When the next row of the tape comes, timesteps; there must be one."""
    return tape[market.tape_next].time - market.tape_start


@kernel
def carry_out(market, tape, events):
    """Carry out all rows of the time that is; False, to be called again, if the event buffer is full before that."""
    market.answering = NONE
    while market.tape_next < market.tape_rows and due(market, tape) == market.time:
        if len(events) > 0 and market.logged + len(market.orders) + TURN_EVENTS > len(events):
            return False
        carry_out_row(market, tape[market.tape_next], events)
        market.tape_next += 1
    exchange.close_turn(market, events, market.tape_maker)
    return True


@kernel
def carry_out_row(market, row, events):
    """Carry out one row."""
    see(market, row)
    if row.kind == TAPE_ADD:
        handle = market.handles[row.handle]
        taken = resting(market, row.handle) != NONE
        if taken or market.free_orders == 0 or not within_window(market, row.price):
            market.tape_skipped += 1
            return
        slot, _ = exchange.admit(market, events, market.tape_maker, row.side, row.price, row.lots, False)
        handle.slot = slot
        handle.order_id = NONE if slot == NONE else market.orders[slot].id
        handle.lots = row.lots
    elif row.kind == TAPE_EXECUTE:
        execute(market, row, events)
    else:
        lots = row.lots
        if row.kind == TAPE_DELETE:
            slot = resting(market, row.handle)
            lots = max(market.handles[row.handle].lots, 0 if slot == NONE else market.orders[slot].lots)
        market.handles[row.handle].lots -= lots
        withdraw(market, row.handle, events, lots)


@kernel
def within_window(market, price):
    """Whether the ring of levels has room for a price; agents can have moved the reference price away from it."""
    half = len(market.levels) // 2
    lowest = int(np.ceil(market.reference)) - half
    return lowest <= price < lowest + 2 * half


@kernel
def see(market, row):
    """Remember the history's own mid: what those see who have a signal."""
    if row.mid > 0.0 and row.mid != market.value.level:
        market.value.level = row.mid
        market.value.count += 1


@kernel
def resting(market, number):
    """Where the order of a handle rests; NONE if it is gone."""
    handle = market.handles[number]
    if handle.slot == NONE or handle.order_id == NONE or market.orders[handle.slot].id != handle.order_id:
        return NONE
    return handle.slot


@kernel
def withdraw(market, number, events, lots):
    """Take ``lots`` of the order of a handle out of the book, as far as they are there."""
    slot = resting(market, number)
    if slot == NONE:
        market.tape_skipped += 1
        return
    left = market.orders[slot].lots
    if lots >= left:
        market.tape_cut += lots - left
        exchange.cancel(market, events, slot, REASON_AGENT)
    elif lots > 0:
        exchange.reduce(market, events, slot, lots)


@kernel
def execute(market, row, events):
    """The marketable order that executed an order of the history's comes in."""
    slot = resting(market, row.handle)
    own = 0 if slot == NONE else min(row.lots, market.orders[slot].lots)
    ahead = ahead_of(market, row, slot)
    market.handles[row.handle].lots -= row.lots
    if ahead < 0:
        market.tape_unqueued += 1
        withdraw(market, row.handle, events, row.lots)
        return
    market.tape_cut += row.lots - own
    lots = min(row.lots, ahead + own)
    if lots == 0:
        market.tape_skipped += 1
        return
    before = 0 if slot == NONE else market.orders[slot].lots
    exchange.admit(market, events, market.tape_taker, 1 - row.side, row.price, lots, True)
    slot = resting(market, row.handle)
    traded = before - (0 if slot == NONE else market.orders[slot].lots)
    if traded < own:  # agents stood first: for the history its order has traded all the same
        market.tape_displaced += own - traded
        withdraw(market, row.handle, events, own - traded)


@kernel
def ahead_of(market, row, slot):
    """Lots of agents' that stand before the order in ``slot``, or before any of the history's if it is gone.

    NONE if another of the history's orders stands first: the recorded execution was out of turn.
    """
    bid = row.side == BUY
    price = market.best_bid if bid else market.best_ask
    lots = 0
    for _ in range(market.bid_levels if bid else market.ask_levels):
        while book.level_of(market, price).head == NONE:
            price += -1 if bid else 1
        if (bid and price < row.price) or (not bid and price > row.price):
            break
        at = book.level_of(market, price).head
        while at != NONE:
            if at == slot:
                return lots
            if market.orders[at].agent == market.tape_maker:
                return lots if slot == NONE else NONE
            lots += market.orders[at].lots
            at = market.orders[at].next
        price += -1 if bid else 1
    return lots
