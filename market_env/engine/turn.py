"""One turn of the market: who arrives, what came of its last turn, what it does now.

:func:`begin` moves the clock to the next arrival and settles that agent's previous turn; :func:`act` carries
out its action. Between the two the agent looks (:mod:`observe`) and decides. All that happens is logged to a
buffer of events that the caller drains; a buffer of no length logs nothing.

Order of a turn: cancels, then the two sides, the first of them by one draw of the agent's clock stream; for
each order the rejects, the acceptance, the matching, and the cancel of what an IOC left; at the end the new
reference price and the cancels of what fell out of the price window.
"""

from __future__ import annotations

import numpy as np

from market_env.actions import CANCEL_ALL, CANCEL_ASKS, CANCEL_BIDS, CANCEL_KEEP, CANCEL_OLDEST
from market_env.engine import accounts, arrivals, book
from market_env.engine.kernel import kernel
from market_env.engine.state import (
    BUY,
    FILL_SELF,
    HISTORY,
    KIND_ACCEPT,
    KIND_CANCEL,
    KIND_REJECT,
    KIND_TRADE,
    KIND_TURN,
    NONE,
    REASON_AGENT,
    REASON_CASH,
    REASON_INVENTORY,
    REASON_IOC,
    REASON_OPEN_ORDERS,
    REASON_POST_ONLY,
    REASON_PRICE_BAND,
    REASON_SELF_CROSS,
    REASON_SELF_TRADE,
    SELL,
    TURN_EVENTS,
)
from market_env.engine.streams import PURPOSE_CLOCK, PURPOSE_POLICY, draw, seed_stream
from market_env.observations import FLOW_TIMES

DONE = 0
"""Status: the episode is over."""
READY = 1
"""Status: an agent's turn has begun."""
LOG_FULL = 2
"""Status: the event buffer cannot hold another turn; drain it and call again."""

TAU_FAST, TAU_SLOW = FLOW_TIMES
TAU_RATIO = int(TAU_SLOW / TAU_FAST)
"""A whole number, see :func:`fade`."""


@kernel
def reset(market, key):
    """Start an episode: everything but the configuration is set anew from the run's ``key``."""
    market.key = key
    market.time = 0.0
    market.timestep = 0
    market.acting = NONE
    market.finished = 0
    market.turns = 0
    market.seq = 0
    market.logged = 0
    market.trades = 0
    market.traded_lots = 0
    market.reference = market.first_price
    market.history[:] = market.first_price
    market.variance[:] = 0.0
    market.flow[:] = 0.0
    market.volume[:] = 0.0
    market.activity = 0.0
    book.clear(market)
    accounts.open_accounts(market)
    for i in range(market.agent_count):
        agent = market.agents[i]
        seed_stream(agent.clock_stream, key, agent.name, PURPOSE_CLOCK)
        seed_stream(agent.policy_stream, key, agent.name, PURPOSE_POLICY)
        agent.open_orders = 0
        agent.oldest = NONE
        agent.newest = NONE
        agent.turns = 0
        agent.maker_lots = 0
        agent.taker_lots = 0
        agent.trimmed[:] = 0
        first_look(market, agent, agent.seen)
        settle(market, agent, agent.seen, agent.outcome)
    for i in range(market.clock_count):
        seed_stream(market.clocks[i].stream, key, market.clocks[i].name, PURPOSE_CLOCK)
    arrivals.start_clocks(market)


@kernel
def first_look(market, agent, seen):
    """Let ``seen`` say that the agent looks for the first time, now."""
    seen.turn = NONE
    seen.time = market.time
    seen.wealth = accounts.wealth(market, agent)
    seen.inventory = agent.inventory
    seen.reference = market.reference
    seen.maker_lots = agent.maker_lots
    seen.taker_lots = agent.taker_lots
    for reason in range(len(agent.trimmed)):
        seen.trimmed[reason] = agent.trimmed[reason]


@kernel
def settle(market, agent, seen, outcome):
    """Write what has come of the agent's turn since ``seen``, and let it see the market as it stands now."""
    value = accounts.wealth(market, agent)
    outcome.turn = seen.turn
    outcome.time = market.time
    outcome.elapsed = market.time - seen.time
    outcome.wealth = value
    outcome.wealth_change = value - seen.wealth
    outcome.carry = seen.inventory * (market.reference - seen.reference)
    outcome.inventory = agent.inventory
    outcome.inventory_bound = agent.inventory_bound
    outcome.cash = agent.cash
    outcome.maker_lots = agent.maker_lots - seen.maker_lots
    outcome.taker_lots = agent.taker_lots - seen.taker_lots
    seen.time = market.time
    seen.wealth = value
    seen.inventory = agent.inventory
    seen.reference = market.reference
    seen.maker_lots = agent.maker_lots
    seen.taker_lots = agent.taker_lots
    for reason in range(len(agent.trimmed)):
        outcome.trimmed[reason] = agent.trimmed[reason] - seen.trimmed[reason]
        seen.trimmed[reason] = agent.trimmed[reason]


@kernel
def copy_outcome(source, target):
    """Copy an OUTCOME record, field by field as numba must."""
    target.turn = source.turn
    target.time = source.time
    target.elapsed = source.elapsed
    target.wealth = source.wealth
    target.wealth_change = source.wealth_change
    target.carry = source.carry
    target.inventory = source.inventory
    target.inventory_bound = source.inventory_bound
    target.cash = source.cash
    target.maker_lots = source.maker_lots
    target.taker_lots = source.taker_lots
    for reason in range(len(source.trimmed)):
        target.trimmed[reason] = source.trimmed[reason]


@kernel
def log(market, events, kind, agent, order_id, side, price, lots, maker_order_id, maker, reason):
    """Append one event."""
    if len(events) > 0:
        event = events[market.logged]
        event.seq = market.seq
        event.time = market.time
        event.timestep = market.timestep
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
def begin(market, events):
    """Open the next turn: the acting agent's last turn is settled and its arrival logged. Return a status."""
    if market.finished:
        return DONE
    if len(events) > 0 and market.logged + len(market.orders) + TURN_EVENTS > len(events):
        return LOG_FULL
    before = market.time
    more = arrivals.take_arrival(market)
    end_timesteps(market)
    if not more:
        for i in range(market.agent_count):
            agent = market.agents[i]
            settle(market, agent, agent.seen, agent.outcome)
        return DONE
    fade(market, market.time - before)
    agent = market.agents[market.acting]
    settle(market, agent, agent.seen, agent.outcome)
    agent.seen.turn = market.turns
    agent.turns += 1
    market.turns += 1
    market.activity += 1.0 / TAU_FAST
    log(market, events, KIND_TURN, market.acting, NONE, NONE, 0, 0, NONE, NONE, NONE)
    return READY


@kernel
def end_timesteps(market):
    """Close the timesteps that the clock has passed: the reference price enters the history."""
    timestep = int(market.time)
    while market.timestep < timestep:
        change = market.reference - market.history[(market.timestep - 1) % HISTORY]
        square = change * change
        market.variance[0] += (square - market.variance[0]) / TAU_FAST
        market.variance[1] += (square - market.variance[1]) / TAU_SLOW
        market.history[market.timestep % HISTORY] = market.reference
        market.timestep += 1


@kernel
def fade(market, elapsed):
    """Let the moving averages of flow fade over ``elapsed`` timesteps."""
    slow = np.exp(-elapsed / TAU_SLOW)
    fast = slow**TAU_RATIO  # some multiplications, where another exponential costs five times that
    market.flow[0] *= fast
    market.flow[1] *= slow
    market.volume[0] *= fast
    market.volume[1] *= slow
    market.activity *= fast


@kernel
def cancel(market, events, slot, reason):
    """Take a resting order out of the book and free what it reserved."""
    order = market.orders[slot]
    accounts.release(market.agents[order.agent], order.side, order.price, order.lots)
    log(market, events, KIND_CANCEL, order.agent, order.id, order.side, order.price, order.lots, NONE, NONE, reason)
    book.remove(market, slot)


@kernel
def cancel_own(market, events, agent, which):
    """Carry out the ``cancel`` component of an action."""
    slot = market.agents[agent].oldest
    while slot != NONE:
        following = market.orders[slot].own_next
        side = market.orders[slot].side
        if (
            which in (CANCEL_ALL, CANCEL_OLDEST)
            or (which == CANCEL_BIDS and side == BUY)
            or (which == CANCEL_ASKS and side == SELL)
        ):
            cancel(market, events, slot, REASON_AGENT)
        if which == CANCEL_OLDEST:
            break
        slot = following


@kernel
def reject(market, events, agent, side, price, lots, reason):
    """Log lots that were refused."""
    market.agents[agent].trimmed[reason] += lots
    log(market, events, KIND_REJECT, agent, NONE, side, price, lots, NONE, NONE, reason)


@kernel
def place(market, events, agent, side, price, lots, immediate, barred):
    """One order: risk, acceptance, matching, resting. ``barred``: it would cross the agent's other order."""
    account = market.agents[agent]
    if barred:
        reject(market, events, agent, side, price, lots, REASON_SELF_CROSS)
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
    allowed = min(lots, accounts.room_in_inventory(account, side))
    if allowed < lots:
        reject(market, events, agent, side, price, lots - allowed, REASON_INVENTORY)
        lots = allowed
    if side == BUY:
        allowed = min(lots, accounts.free_cash(account) // price)
        if allowed < lots:
            reject(market, events, agent, side, price, lots - allowed, REASON_CASH)
            lots = allowed
    if lots == 0:
        return
    order_id = market.next_order_id
    market.next_order_id += 1
    log(market, events, KIND_ACCEPT, agent, order_id, side, price, lots, NONE, NONE, NONE)
    left = book.match(market, agent, side, price, lots)
    book_fills(market, events, agent, side, order_id)
    if left == 0:
        return
    if immediate:
        log(market, events, KIND_CANCEL, agent, order_id, side, price, left, NONE, NONE, REASON_IOC)
        return
    book.rest(market, agent, side, price, left, order_id, market.time)
    accounts.reserve(account, side, price, left)


@kernel
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
        if side == BUY:
            accounts.settle(taker, maker, fill.price, fill.lots)
            signed = fill.lots
        else:
            accounts.settle(maker, taker, fill.price, fill.lots)
            signed = -fill.lots
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
def in_range(market, action):
    """Whether every component is a code of its grid."""
    return (
        0 <= action[0] <= CANCEL_ALL
        and 0 <= action[1] <= market.offset_count
        and 0 <= action[2] < market.lots_count
        and 0 <= action[3] <= market.offset_count
        and 0 <= action[4] < market.lots_count
    )


@kernel
def act(market, events, action, reference):
    """Carry out the acting agent's ``action`` (five codes, in range) by offsets from ``reference``, what it saw."""
    agent = market.acting
    if action[0] != CANCEL_KEEP:
        cancel_own(market, events, agent, action[0])
    bid_market = action[1] == market.offset_count
    ask_market = action[3] == market.offset_count
    bid_lots = market.lots[action[2]]
    ask_lots = market.lots[action[4]]
    if bid_market:
        bid_price = int(np.floor(reference + market.protection_ticks))
    else:
        bid_price = int(np.floor(reference - market.offsets[action[1]]))
    if ask_market:
        # A price is at least one tick, however cheap the market.
        ask_price = max(1, int(np.ceil(reference - market.protection_ticks)))
    else:
        ask_price = int(np.ceil(reference + market.offsets[action[3]]))
    barred = bid_lots > 0 and ask_lots > 0 and bid_price >= ask_price
    # Drawn on every turn, so that the stream's place depends on nothing but the number of turns.
    bid_first = draw(market.agents[agent].clock_stream) >> np.uint64(63) == np.uint64(0)
    for half in range(2):
        if bid_first == (half == 0):
            if bid_lots > 0:
                place(market, events, agent, BUY, bid_price, bid_lots, bid_market, barred and half == 1)
        elif ask_lots > 0:
            place(market, events, agent, SELL, ask_price, ask_lots, ask_market, barred and half == 1)
    end_turn(market, events)


@kernel
def end_turn(market, events):
    """Set the reference price; cancel orders that the window of prices has left behind."""
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
