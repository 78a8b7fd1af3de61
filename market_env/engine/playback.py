"""A log played back onto an empty book: what every reader of a log stands on.

:func:`take` brings book and accounts up to one event and :func:`rest_if_due` lays the order that was matching into the
book once no further event belongs to it; both say if the log, which may come from outside, cannot go on so. They decide
nothing: no matching, no risk. A reader's loop is: if a turn has ended set the
reference price and look, take, look, rest, look. Cost: about 50 ns an event.
"""

from __future__ import annotations

from market_env.engine import accounts, book
from market_env.engine.exchange import PART_CANCEL, PART_OF_SIDE
from market_env.engine.kernel import kernel
from market_env.engine.state import (
    BUY,
    KIND_ACCEPT,
    KIND_CANCEL,
    KIND_HALT,
    KIND_REJECT,
    KIND_RESUME,
    KIND_TRADE,
    KIND_TURN,
    NONE,
    REASON_AGENT,
    REASON_IOC,
    REASON_SELF_TRADE,
    REASON_UNDER_WAY,
    SELL,
)


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
        market.agents[i].own_best_bid = 0
        market.agents[i].own_best_ask = 0
        market.bills[i].timestep = NONE
        market.bills[i].messages = 0
        market.bills[i].turn = NONE
        market.bills[i].parts = 0
    market.reference = market.first_price


@kernel
def take(market, events, i, working, slots):
    """Bring book and accounts up to event ``i``; False, and nothing done, if it cannot stand there.

    It holds the log to what keeps the book whole, no more: orders are there, have the lots, and are their owners'.

    Args:
        market: a record that :func:`empty` has emptied and the events before have moved.
        events: EVENT rows.
        i: which.
        working: int64 of shape (2,), the order that is still matching: index of its accept event, or NONE, and lots left.
        slots: int32, one entry for each accepted order: where it lies while it rests.
    """
    event = events[i]
    if event.timestep < 0 or event.agent < 0 or event.agent >= market.agent_count:
        return False
    market.timestep = event.timestep
    market.answering = event.turn
    if event.kind == KIND_TURN or event.kind == KIND_HALT or event.kind == KIND_RESUME:
        return True
    if event.kind == KIND_REJECT or event.kind == KIND_ACCEPT:
        if event.side != BUY and event.side != SELL:
            return False
        # One that was refused on its way never reached the exchange, and a recorded day pays for no message.
        if event.reason != REASON_UNDER_WAY and event.turn != NONE:
            accounts.charge_message(market, event.agent, PART_OF_SIDE[event.side])
    if event.kind == KIND_REJECT:
        return True
    if event.side < 0 or event.lots <= 0 or event.price < 1:
        return False
    if event.kind == KIND_ACCEPT:
        if event.order_id != market.next_order_id or event.order_id >= len(slots):
            return False
        market.next_order_id += 1
        working[0] = i
        working[1] = event.lots
        slots[event.order_id] = NONE
        return True
    matching = working[0] != NONE and events[working[0]].order_id == event.order_id and event.lots <= working[1]
    if event.kind == KIND_CANCEL and event.reason == REASON_IOC:
        working[1] = 0
        return matching
    if event.kind == KIND_TRADE:
        if not matching or not rests(market, event, event.maker_order_id, event.maker, slots):
            return False
        working[1] -= event.lots
        take_lots(market, slots[event.maker_order_id], event.lots)
        accounts.settle(
            market, market.agents[event.agent], market.agents[event.maker], event.side, event.price, event.lots
        )
        return True
    if event.kind == KIND_CANCEL and rests(market, event, event.order_id, event.agent, slots):
        if event.reason == REASON_AGENT and event.turn != NONE:
            accounts.charge_message(market, event.agent, PART_CANCEL)
        take_lots(market, slots[event.order_id], event.lots)
        return True
    return False


@kernel
def turn_ended(events, i):
    """Whether the messages of one turn have all been carried out before event ``i``: the reference price is set then."""
    if i == 0 or events[i].kind == KIND_TURN or events[i].turn != events[i - 1].turn:
        return True
    return events[i].time != events[i - 1].time  # its own have been under way


@kernel
def rests(market, event, order_id, owner, slots):
    """Whether an order rests, belongs to ``owner``, at the event's price and with its lots."""
    if order_id < 0 or order_id >= market.next_order_id or slots[order_id] == NONE:
        return False
    order = market.orders[slots[order_id]]
    return order.id == order_id and order.agent == owner and order.price == event.price and order.lots >= event.lots


@kernel
def rest_if_due(market, events, i, working, slots):
    """After event ``i``: lay what is left of the order that was matching into the book, if no further event is its own.

    Return the lots that came to rest, 0 for none; NONE, and nothing done, if it has no room there or meets somebody.
    """
    if i + 1 < len(events) and continues(events[i + 1]):
        return 0
    lots = working[1] if working[0] != NONE else 0
    if lots > 0:
        order = events[working[0]]
        head = book.level_of(market, order.price).head
        free = head == NONE or (market.orders[head].price == order.price and market.orders[head].side == order.side)
        if not free or market.free_orders == 0 or book.crosses(market, order.side, order.price):
            return NONE
        slots[order.order_id] = book.rest(
            market, order.agent, order.side, order.price, lots, order.order_id, order.time
        )
        accounts.reserve(market.agents[order.agent], order.side, order.price, lots)
    working[0] = NONE
    return lots


@kernel
def continues(event):
    """Whether an event belongs to the order that is still matching."""
    return event.kind == KIND_TRADE or (
        event.kind == KIND_CANCEL and (event.reason == REASON_SELF_TRADE or event.reason == REASON_IOC)
    )


@kernel
def take_lots(market, slot, lots):
    """``lots`` of a resting order leave the book, all or a part of them."""
    order = market.orders[slot]
    accounts.release(market.agents[order.agent], order.side, order.price, lots)
    if lots == order.lots:
        book.remove(market, slot)
    else:
        book.reduce(market, slot, lots)
