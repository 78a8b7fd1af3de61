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

import numpy as np

from market_env.engine.kernel import inline_kernel, kernel
from market_env.engine.state import BUY, FILL_SELF, FILL_TRADE, NONE, STALE


@kernel
def clear(market):
    """Empty the book."""
    capacity = len(market.orders)
    for slot in range(capacity):
        order = market.orders[slot]
        order.id = NONE
        order.agent = 0
        order.side = 0
        order.price = 0
        order.lots = 0
        order.next = slot + 1 if slot + 1 < capacity else NONE
        order.prev = NONE
        owned = market.owned[slot]
        owned.time = 0.0
        owned.own_next = NONE
        owned.own_prev = NONE
        owned.price = 0
        owned.side = 0
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


@inline_kernel
def level_of(market, price):
    """The level record of ``price``."""
    return market.levels[price & (len(market.levels) - 1)]


@inline_kernel
def order_at(market, slot):
    """The order in a slot, which must be one: an index without a sign is not looked at for counting from the end."""
    return market.orders[np.uint32(slot)]


@inline_kernel
def owned_at(market, slot):
    """What its owner's list keeps of the order in a slot."""
    return market.owned[np.uint32(slot)]


@inline_kernel
def rest(market, agent, side, price, lots, order_id, time):
    """Put an order at the end of its level's queue; return its slot. The pool must have a free one."""
    slot = market.free
    order = order_at(market, slot)
    market.free = order.next
    market.free_orders -= 1
    order.id = order_id
    order.agent = agent
    order.side = side
    order.price = price
    order.lots = lots
    # Whether there is an order before it is a matter of chance: a processor that had to guess would often be wrong, so nothing
    # branches here, and what either case needs is read before. With none before it the order writes to itself, which is put
    # right at once.
    level = level_of(market, price)
    head, last = level.head, level.tail
    opened = last == NONE
    order_at(market, slot if opened else last).next = slot
    order.next = NONE
    order.prev = last
    level.head = slot if opened else head
    level.tail = slot
    level.lots += lots
    bid = side == BUY
    own(market, agent, slot, side, price, time)
    best_bid, best_ask = market.best_bid, market.best_ask
    better_ask = price if (price < best_ask) | (best_ask == 0) else best_ask
    market.best_bid = max(price, best_bid) if bid else best_bid
    market.best_ask = best_ask if bid else better_ask
    market.bid_levels += opened & bid
    market.ask_levels += opened & (not bid)
    return slot


@inline_kernel
def own(market, agent, slot, side, price, time):
    """Put the order in a slot at the end of its owner's list."""
    owner = market.agents[np.uint32(agent)]
    oldest, newest = owner.oldest, owner.newest
    first = newest == NONE
    owned = owned_at(market, slot)
    owned_at(market, slot if first else newest).own_next = slot
    owned.time = time
    owned.own_next = NONE
    owned.own_prev = newest
    owned.price = price
    owned.side = side
    owner.oldest = slot if first else oldest
    owner.newest = slot
    owner.open_orders += 1
    bid = side == BUY
    best_bid, best_ask = owner.own_best_bid, owner.own_best_ask
    better_ask = price if (best_ask != STALE) & ((price < best_ask) | (best_ask == 0)) else best_ask
    better_bid = price if (best_bid != STALE) & (price > best_bid) else best_bid
    owner.own_best_bid = better_bid if bid else best_bid
    owner.own_best_ask = best_ask if bid else better_ask


@kernel
def reduce(market, slot, lots):
    """Take ``lots`` off a resting order, fewer than it has; it keeps its place."""
    order = market.orders[slot]
    order.lots -= lots
    level_of(market, order.price).lots -= lots


@inline_kernel
def remove(market, slot):
    """Take a resting order out of the book."""
    order = order_at(market, slot)
    price, following, before = order.price, order.next, order.prev
    level = level_of(market, price)
    head, last = level.head, level.tail
    level.lots -= order.lots
    # As in `rest`: with no neighbour on one side the order writes to itself what it holds already.
    order_at(market, slot if before == NONE else before).next = following
    order_at(market, slot if following == NONE else following).prev = before
    head = following if before == NONE else head
    level.head = head
    level.tail = before if following == NONE else last
    disown(market, slot)
    if head == NONE:
        close_level(market, order.side, price)


@inline_kernel
def disown(market, slot):
    """Take an order out of its owner's list and give its slot back."""
    order = order_at(market, slot)
    owner = market.agents[np.uint32(order.agent)]
    oldest, newest = owner.oldest, owner.newest
    owned = owned_at(market, slot)
    following, before = owned.own_next, owned.own_prev
    owned_at(market, slot if before == NONE else before).own_next = following
    owned_at(market, slot if following == NONE else following).own_prev = before
    owner.oldest = following if before == NONE else oldest
    owner.newest = before if following == NONE else newest
    left = owner.open_orders - 1
    owner.open_orders = left
    bid, price = order.side == BUY, order.price
    best_bid, best_ask = owner.own_best_bid, owner.own_best_ask
    best_bid = STALE if bid & (price == best_bid) else best_bid
    best_ask = STALE if (not bid) & (price == best_ask) else best_ask
    owner.own_best_bid = 0 if left == 0 else best_bid
    owner.own_best_ask = 0 if left == 0 else best_ask
    order.id = NONE
    order.next = market.free
    market.free = slot
    market.free_orders += 1


@kernel
def close_level(market, side, price):
    """A level has become empty."""
    if side == BUY:
        market.bid_levels -= 1
        if price == market.best_bid:
            market.best_bid = next_bid(market, price)
    else:
        market.ask_levels -= 1
        if price == market.best_ask:
            market.best_ask = next_ask(market, price)


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
            owned = owned_at(market, slot)
            if owned.side == BUY:
                bid = max(bid, owned.price)
            elif ask == 0 or owned.price < ask:
                ask = owned.price
            slot = owned.own_next
    return bid, ask


@inline_kernel
def crosses(market, side, price):
    """Whether an incoming order would meet the other side."""
    bid, ask = market.best_bid, market.best_ask
    buys = (ask != 0) & (price >= ask)
    sells = (bid != 0) & (price <= bid)
    return buys if side == BUY else sells


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


@inline_kernel
def match(market, agent, side, price, lots):
    """Trade an incoming order against the other side as far as its limit reaches; return the lots left.

    ``market.fills[:market.fill_count]`` then says what happened, in order. A level is taken in one go.
    """
    count = 0
    while lots > 0 and crosses(market, side, price):
        best_bid, best_ask = market.best_bid, market.best_ask
        best = best_ask if side == BUY else best_bid
        level = level_of(market, best)
        slot = level.head
        gone = 0
        while slot != NONE and lots > 0:
            order = order_at(market, slot)
            fill = market.fills[np.uint32(count)]
            count += 1
            maker, size = order.agent, order.lots
            fill.order_id = order.id
            fill.maker = maker
            fill.price = best
            fill.kind = FILL_SELF if maker == agent else FILL_TRADE
            if maker != agent and size > lots:
                fill.lots = lots
                order.lots = size - lots
                gone += lots
                lots = 0
                break
            fill.lots = size
            gone += size
            lots -= 0 if maker == agent else size
            order.prev = NONE
            following = order.next
            disown(market, slot)
            slot = following
        level.lots -= gone
        level.head = slot
        if slot == NONE:
            level.tail = NONE
            close_level(market, 1 - side, best)
        else:
            order_at(market, slot).prev = NONE
    market.fill_count = count
    return lots


@inline_kernel
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
