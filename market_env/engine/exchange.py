"""The exchange: carries out messages (submit, reduce, cancel), keeps accounts and log, and knows no action.

A message's sender is an agent of the market. All that happens is logged to a buffer of events that the caller drains; a
buffer of no length logs nothing. For each order come the rejects, the acceptance, the matching, and the cancel of what an
IOC left; after an agent's messages :func:`close_turn` sets the new reference price and cancels what fell out of the price
window. Cost: about 40 ns a message.
"""

from __future__ import annotations

import numpy as np

from market_env.actions import CANCEL_ALL, CANCEL_ASKS, CANCEL_BIDS, CANCEL_OLDEST
from market_env.engine import accounts, book
from market_env.engine.kernel import inline_kernel, kernel
from market_env.engine.state import (
    BUY,
    FILL_SELF,
    HISTORY,
    KIND_ACCEPT,
    KIND_CANCEL,
    KIND_HALT,
    KIND_REJECT,
    KIND_RESUME,
    KIND_TRADE,
    MESSAGE_CANCEL,
    MESSAGE_SUBMIT,
    NONE,
    REASON_AGENT,
    REASON_BEST_ONLY,
    REASON_CASH,
    REASON_HALT,
    REASON_INVENTORY,
    REASON_IOC,
    REASON_OPEN_ORDERS,
    REASON_POST_ONLY,
    REASON_PRICE_BAND,
    REASON_SELF_TRADE,
    SELL,
)
from market_env.observations import FLOW_TIMES

TAU_FAST, TAU_SLOW = FLOW_TIMES

PART_CANCEL, PART_OF_SIDE = 1, (2, 4)
"""How :func:`market_env.engine.accounts.charge_message` tells a turn's messages apart."""


@kernel
def carry_out(market, events, agent, message):
    """Carry out a message of ``agent``'s, a MESSAGE record."""
    if message.kind == MESSAGE_SUBMIT:
        accounts.charge_message(market, agent, PART_OF_SIDE[message.side])
        submit(
            market, events, agent, message.side, message.price, message.lots, message.immediate != 0, message.refusal
        )
    elif message.kind == MESSAGE_CANCEL and message.order_id == NONE:
        cancel_own(market, events, agent, message.which)
    else:
        slot = slot_of(market, agent, message.order_id)
        if slot != NONE:  # an order that has traded or left meanwhile is none to cancel
            accounts.charge_message(market, agent, PART_CANCEL)
            lots = market.orders[slot].lots
            if message.kind == MESSAGE_CANCEL or message.lots >= lots:
                cancel(market, events, slot, REASON_AGENT)
            else:
                reduce(market, events, slot, message.lots)


@kernel
def slot_of(market, agent, order_id):
    """Where an agent's order rests; NONE if it does not."""
    slot = market.agents[agent].oldest
    while slot != NONE and market.orders[slot].id != order_id:
        slot = market.owned[slot].own_next
    return slot


@inline_kernel
def submit(market, events, agent, side, price, lots, immediate, refusal):
    """One order: risk, acceptance, matching, resting. ``refusal``: a reason for which it is refused unseen, or NONE."""
    account = market.agents[agent]
    if refusal != NONE:
        reject(market, events, agent, side, price, lots, refusal)
        return
    if market.halted:
        reject(market, events, agent, side, price, lots, REASON_HALT)
        return
    if price < 1 or abs(price - market.reference) > market.price_band:
        reject(market, events, agent, side, price, lots, REASON_PRICE_BAND)
        return
    if account.post_only and not immediate and book.crosses(market, side, price):
        reject(market, events, agent, side, price, lots, REASON_POST_ONLY)
        return
    if not immediate and account.open_orders >= account.max_open_orders:
        reject(market, events, agent, side, price, lots, REASON_OPEN_ORDERS)
        return
    if account.best_only and book.crosses(market, side, price):
        allowed = min(lots, shown_at_best(market, agent, side))
        if allowed < lots:
            reject(market, events, agent, side, price, lots - allowed, REASON_BEST_ONLY)
            lots = allowed
    allowed = min(lots, accounts.room_in_inventory(account, side))
    if allowed < lots:
        reject(market, events, agent, side, price, lots - allowed, REASON_INVENTORY)
        lots = allowed
    allowed = accounts.affordable(account, side, price, lots)
    if allowed < lots:
        reject(market, events, agent, side, price, lots - allowed, REASON_CASH)
        lots = allowed
    if lots > 0:
        admit(market, events, agent, side, price, lots, immediate)


@inline_kernel
def admit(market, events, agent, side, price, lots, immediate):
    """An order that has passed: acceptance, matching, resting. Return the slot where it rests, or NONE, and its lots there."""
    order_id = market.next_order_id
    market.next_order_id += 1
    log(market, events, KIND_ACCEPT, agent, order_id, side, price, lots, NONE, NONE, NONE)
    left = book.match(market, agent, side, price, lots)
    book_fills(market, events, agent, side, order_id)
    if left == 0:
        return NONE, 0
    if immediate:
        log(market, events, KIND_CANCEL, agent, order_id, side, price, left, NONE, NONE, REASON_IOC)
        return NONE, 0
    accounts.reserve(market.agents[agent], side, price, left)
    return book.rest(market, agent, side, price, left, order_id, market.time), left


@kernel
def shown_at_best(market, agent, side):
    """Lots of others that rest at the best price which an incoming order of this side meets."""
    price = market.best_ask if side == BUY else market.best_bid
    lots = book.level_of(market, price).lots
    slot = market.agents[agent].oldest
    while slot != NONE:
        owned = book.owned_at(market, slot)
        if owned.side != side and owned.price == price:
            lots -= book.order_at(market, slot).lots
        slot = owned.own_next
    return lots


@inline_kernel
def book_fills(market, events, agent, side, order_id):
    """Carry what the matching did into accounts, moving averages and log."""
    taker = market.agents[agent]
    for i in range(market.fill_count):
        fill = market.fills[i]
        maker = market.agents[fill.maker]
        accounts.release(maker, 1 - side, fill.price, fill.lots)
        if fill.kind == FILL_SELF:
            log(
                market, events, KIND_CANCEL, agent, fill.order_id, 1 - side, fill.price, fill.lots, NONE, NONE,
                REASON_SELF_TRADE,
            )  # fmt: skip
            continue
        accounts.settle(market, taker, maker, side, fill.price, fill.lots)
        signed = fill.lots if side == BUY else -fill.lots
        maker.maker_lots += fill.lots
        taker.taker_lots += fill.lots
        market.trades += 1
        market.traded_lots += fill.lots
        market.flow[0] += signed / TAU_FAST
        market.flow[1] += signed / TAU_SLOW
        market.volume[0] += fill.lots / TAU_FAST
        market.volume[1] += fill.lots / TAU_SLOW
        log(market, events, KIND_TRADE, agent, order_id, side, fill.price, fill.lots, fill.order_id, fill.maker, NONE)


@kernel
def reject(market, events, agent, side, price, lots, reason):
    """Log lots that were refused."""
    market.agents[agent].refused += lots
    market.agents[agent].rejected[reason] += lots
    log(market, events, KIND_REJECT, agent, NONE, side, price, lots, NONE, NONE, reason)


@kernel
def cancel(market, events, slot, reason):
    """Take a resting order out of the book and free what it reserved."""
    order = book.order_at(market, slot)
    accounts.release(market.agents[np.uint32(order.agent)], order.side, order.price, order.lots)
    log(market, events, KIND_CANCEL, order.agent, order.id, order.side, order.price, order.lots, NONE, NONE, reason)
    book.remove(market, slot)


@kernel
def reduce(market, events, slot, lots):
    """Take ``lots`` off a resting order, fewer than it has; it keeps its place."""
    order = market.orders[slot]
    accounts.release(market.agents[order.agent], order.side, order.price, lots)
    log(market, events, KIND_CANCEL, order.agent, order.id, order.side, order.price, lots, NONE, NONE, REASON_AGENT)
    book.reduce(market, slot, lots)


@kernel
def cancel_own(market, events, agent, which):
    """Carry out the ``cancel`` component of an action."""
    slot = market.agents[agent].oldest
    while slot != NONE:
        owned = book.owned_at(market, slot)
        following, side = owned.own_next, owned.side
        if (
            which in (CANCEL_ALL, CANCEL_OLDEST)
            or (which == CANCEL_BIDS and side == BUY)
            or (which == CANCEL_ASKS and side == SELL)
        ):
            accounts.charge_message(market, agent, PART_CANCEL)
            cancel(market, events, slot, REASON_AGENT)
        if which == CANCEL_OLDEST:
            break
        slot = following


@kernel
def log(market, events, kind, agent, order_id, side, price, lots, maker_order_id, maker, reason):
    """Append one event."""
    if len(events) > 0:
        event = events[market.logged]
        event.seq = market.seq
        event.time = market.time
        event.timestep = market.timestep
        event.turn = market.answering
        event.kind = kind
        event.agent = agent
        event.order_id = order_id
        event.side = side
        event.price = price
        event.lots = lots
        event.maker_order_id = maker_order_id
        event.maker = maker
        event.reason = reason
        market.logged += 1
    market.seq += 1


@kernel
def close_turn(market, events, agent):
    """``agent``'s messages are carried out: set the reference price, and see to what follows from it.

    Orders that the window of prices has left behind are cancelled; trading stops if the price has moved too far.
    """
    before = int(np.ceil(market.reference))
    book.quote_reference(market)
    after = int(np.ceil(market.reference))
    half = len(market.levels) // 2
    # Rounded up, so that the best quotes, however far apart, stay within and the reference price stays what it is.
    # The window is [reference - half, reference + half); a move lets its width pass out at the far end.
    for price in range(before - half, after - half):
        cancel_level(market, events, price)
    for price in range(after + half, before + half):
        cancel_level(market, events, price)
    if market.halt_move > 0 and not market.halted and moved_too_far(market):
        market.halted = 1
        market.halt_end = market.time + market.halt_pause
        market.halt_agent = agent
        log(market, events, KIND_HALT, agent, NONE, NONE, 0, 0, NONE, NONE, NONE)


@kernel
def moved_too_far(market):
    """Whether the reference price has moved beyond what sets off a halt."""
    for timestep in range(max(market.timestep - market.halt_within, market.halt_since), market.timestep):
        if abs(market.reference - market.history[timestep % HISTORY]) > market.halt_move:
            return True
    return False


@kernel
def resume(market, events):
    """Let trading go on after a halt."""
    market.halted = 0
    market.halt_since = market.timestep
    market.answering = market.turns - 1
    log(market, events, KIND_RESUME, market.halt_agent, NONE, NONE, 0, 0, NONE, NONE, NONE)


@kernel
def cancel_level(market, events, price):
    """Cancel every order at a price that leaves the window."""
    if price < 1:
        return
    slot = book.level_of(market, price).head
    while slot != NONE:
        following = market.orders[slot].next
        cancel(market, events, slot, REASON_PRICE_BAND)
        slot = following
