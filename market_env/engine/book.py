"""The limit order book: price-time priority over a ring of price levels.

Structure. Orders live in a pool, free slots in a chain; each rests in a doubly linked queue of its price level,
oldest first, and in a doubly linked list of its owner. Price ``p`` has the level ``p mod levels``: the engine
keeps all resting prices within one window of that many ticks, so a level never stands for two prices, and a
level is a bid's or an ask's but never both, since the book is never crossed.

Costs. Submit, reduce and remove are O(1); a trade is O(1) for each resting order it meets. When the best
level empties, the next is found by a walk over levels, a few in a dense book, at most ``levels``.

Orders trade at the resting price, best price first, oldest first. An incoming order never meets one of the
same agent: that resting order is cancelled (self-trade prevention "cancel resting"). Matching writes what it
did to ``market.fills``; accounts and log read it there.
"""

from __future__ import annotations

from market_env.engine.kernel import kernel
from market_env.engine.state import BUY, FILL_SELF, FILL_TRADE, NONE, STALE


@kernel
def clear(market):
    """Empty the book."""
    capacity = len(market.orders)
    for slot in range(capacity):
        order = market.orders[slot]
        order.id = NONE
        order.time = 0.0
        order.agent = 0
        order.side = 0
        order.price = 0
        order.lots = 0
        order.next = slot + 1 if slot + 1 < capacity else NONE
        order.prev = NONE
        order.own_next = NONE
        order.own_prev = NONE
    market.free = 0
    market.free_orders = capacity
    for level in range(len(market.levels)):
        market.levels[level].lots = 0
        market.levels[level].head = NONE
        market.levels[level].tail = NONE
    market.best_bid = 0
    market.best_ask = 0
    market.bid_levels = 0
    market.ask_levels = 0
    market.fill_count = 0
    market.next_order_id = 0


@kernel
def level_of(market, price):
    """The level record of ``price``."""
    return market.levels[price & (len(market.levels) - 1)]


@kernel
def rest(market, agent, side, price, lots, order_id, time):
    """Put an order at the end of its level's queue; return its slot. The pool must have a free one."""
    slot = market.free
    order = market.orders[slot]
    market.free = order.next
    market.free_orders -= 1
    order.id = order_id
    order.time = time
    order.agent = agent
    order.side = side
    order.price = price
    order.lots = lots
    level = level_of(market, price)
    order.next = NONE
    order.prev = level.tail
    if level.tail == NONE:
        level.head = slot
    else:
        market.orders[level.tail].next = slot
    level.tail = slot
    level.lots += lots
    opened = order.prev == NONE
    owner = market.agents[agent]
    order.own_next = NONE
    order.own_prev = owner.newest
    if owner.newest == NONE:
        owner.oldest = slot
    else:
        market.orders[owner.newest].own_next = slot
    owner.newest = slot
    owner.open_orders += 1
    if side == BUY:
        if owner.own_best_bid != STALE and price > owner.own_best_bid:
            owner.own_best_bid = price
        market.bid_levels += opened
        if price > market.best_bid:
            market.best_bid = price
    else:
        if owner.own_best_ask != STALE and (owner.own_best_ask == 0 or price < owner.own_best_ask):
            owner.own_best_ask = price
        market.ask_levels += opened
        if market.best_ask == 0 or price < market.best_ask:
            market.best_ask = price
    return slot


@kernel
def reduce(market, slot, lots):
    """Take ``lots`` off a resting order, fewer than it has; it keeps its place."""
    order = market.orders[slot]
    order.lots -= lots
    level_of(market, order.price).lots -= lots


@kernel
def remove(market, slot):
    """Take a resting order out of the book."""
    order = market.orders[slot]
    level = level_of(market, order.price)
    level.lots -= order.lots
    if order.prev == NONE:
        level.head = order.next
    else:
        market.orders[order.prev].next = order.next
    if order.next == NONE:
        level.tail = order.prev
    else:
        market.orders[order.next].prev = order.prev
    owner = market.agents[order.agent]
    if order.own_prev == NONE:
        owner.oldest = order.own_next
    else:
        market.orders[order.own_prev].own_next = order.own_next
    if order.own_next == NONE:
        owner.newest = order.own_prev
    else:
        market.orders[order.own_next].own_prev = order.own_prev
    owner.open_orders -= 1
    if owner.open_orders == 0:
        owner.own_best_bid = 0
        owner.own_best_ask = 0
    elif order.side == BUY:
        if order.price == owner.own_best_bid:
            owner.own_best_bid = STALE
    elif order.price == owner.own_best_ask:
        owner.own_best_ask = STALE
    order.id = NONE
    order.next = market.free
    market.free = slot
    market.free_orders += 1
    if level.head != NONE:
        return
    if order.side == BUY:
        market.bid_levels -= 1
        if order.price == market.best_bid:
            market.best_bid = next_bid(market, order.price)
    else:
        market.ask_levels -= 1
        if order.price == market.best_ask:
            market.best_ask = next_ask(market, order.price)


@kernel
def next_bid(market, price):
    """The best occupied bid below ``price``; 0 if there is no bid at all."""
    if market.bid_levels == 0:
        return 0
    price -= 1
    while level_of(market, price).head == NONE:
        price -= 1
    return price


@kernel
def next_ask(market, price):
    """The best occupied ask above ``price``; 0 if there is no ask at all."""
    if market.ask_levels == 0:
        return 0
    price += 1
    while level_of(market, price).head == NONE:
        price += 1
    return price


@kernel
def own_best(market, account):
    """An agent's highest own bid and lowest own ask, 0 if there is none; its orders are looked at only where one is stale."""
    bid = account.own_best_bid
    ask = account.own_best_ask
    if bid == STALE or ask == STALE:
        bid = 0
        ask = 0
        slot = account.oldest
        while slot != NONE:
            order = market.orders[slot]
            if order.side == BUY:
                bid = max(bid, order.price)
            elif ask == 0 or order.price < ask:
                ask = order.price
            slot = order.own_next
    return bid, ask


@kernel
def crosses(market, side, price):
    """Whether an incoming order would meet the other side."""
    if side == BUY:
        return market.best_ask != 0 and price >= market.best_ask
    return market.best_bid != 0 and price <= market.best_bid


@kernel
def quote_reference(market):
    """Set the reference price from the best quotes, as at the end of a turn.

    The mid; with one side empty it moves only as far as the other side pushes it; with both empty it stays.
    """
    if market.best_bid != 0 and market.best_ask != 0:
        market.reference = (market.best_bid + market.best_ask) / 2.0
    elif market.best_bid != 0:
        market.reference = max(market.reference, float(market.best_bid))
    elif market.best_ask != 0:
        market.reference = min(market.reference, float(market.best_ask))


@kernel
def match(market, agent, side, price, lots):
    """Trade an incoming order against the other side as far as its limit reaches; return the lots left.

    ``market.fills[:market.fill_count]`` then says what happened, in order.
    """
    count = 0
    while lots > 0 and crosses(market, side, price):
        best = market.best_ask if side == BUY else market.best_bid
        slot = level_of(market, best).head
        order = market.orders[slot]
        fill = market.fills[count]
        count += 1
        fill.order_id = order.id
        fill.maker = order.agent
        fill.price = best
        if order.agent == agent:
            fill.kind = FILL_SELF
            fill.lots = order.lots
            remove(market, slot)
            continue
        fill.kind = FILL_TRADE
        if order.lots > lots:
            fill.lots = lots
            reduce(market, slot, lots)
            lots = 0
        else:
            fill.lots = order.lots
            lots -= order.lots
            remove(market, slot)
    market.fill_count = count
    return lots


@kernel
def submit(market, agent, side, price, lots, time):
    """A limit order on the bare book: match, then rest what is left. Return its slot, or NONE."""
    order_id = market.next_order_id
    market.next_order_id += 1
    left = match(market, agent, side, price, lots)
    if left == 0:
        return NONE
    return rest(market, agent, side, price, left, order_id, time)


@kernel
def depth(market, side, prices, lots):
    """Fill ``prices`` and ``lots`` (integer arrays of K entries) with the best K levels of a side; return how many."""
    if side == BUY:
        price, levels, step = market.best_bid, market.bid_levels, -1
    else:
        price, levels, step = market.best_ask, market.ask_levels, 1
    found = min(len(prices), levels)
    for rank in range(found):
        while level_of(market, price).head == NONE:
            price += step
        prices[rank] = price
        lots[rank] = level_of(market, price).lots
        price += step
    for rank in range(found, len(prices)):
        prices[rank] = 0
        lots[rank] = 0
    return found
