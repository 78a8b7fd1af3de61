"""A book as its first K levels show it: the compiled kernels under :mod:`runners.exchange.verify`.

:func:`show` turns a run's log into messages and the K levels after each. :func:`compare_books` does the reverse for any
such pair of tables: it drives the engine's book with the messages and compares the K levels after each one.

A K-level table is a window. Orders behind it come and go unseen, so a level that moves up into it when a better one
empties cannot always be known: it is taken from the table, once, as it enters. What an earlier window showed is
remembered, and is only replaced where the table says otherwise. The orders of a level that was taken are one block
at the front of its queue, whose inner order nobody knows. Nothing else is ever taken, so a wrong level shows.

Prices are numbered by their rank among all prices of the pair, asks after bids. So any price range fits into the
book's ring, walks over it are short, and a book that is locked or crossed for a while (as around a trading halt) is
no special case. An execution of the order that is first in line is left to the engine's own matching.

Cost: about 0.1 µs a message with 10 levels (``python -m benchmarks record``); 60 bytes a message beside the tables.
"""

from __future__ import annotations

import numpy as np

from market_env.engine import book, exchange, history, playback
from market_env.engine.kernel import kernel
from market_env.engine.state import (
    BUY,
    KIND_CANCEL,
    KIND_TRADE,
    NONE,
    REASON_IOC,
    SELL,
    TURN_EVENTS,
)

NEW, PARTIAL, DELETE, EXECUTE, HIDDEN, CROSS, HALT = range(1, 8)
"""Types of messages, by LOBSTER's numbers."""

NO_ASK, NO_BID = 9_999_999_999, -9_999_999_999
"""Prices of empty levels, by LOBSTER's description; their size is 0."""

BLOCK = -2
"""Id of an order that stands for all that rested at a level when it was taken."""

MESSAGE = np.dtype(
    [
        ("time", "f8"),       # seconds
        ("type", "i8"),
        ("order", "i8"),      # id
        ("size", "i8"),
        ("price", "i8"),
        ("direction", "i8"),  # of the resting order: 1 buy, -1 sell
    ],
    align=True,
)  # fmt: skip
"""One message."""

TAKE = np.dtype([("row", "i8"), ("price", "i8"), ("size", "i8"), ("side", "i8")], align=True)
"""A change that the table made: what a level, by rank, was set to in a row; size 0: it was forgotten."""

FOUND = np.dtype(
    [
        ("differing_rows", "i8"),
        ("entered", "i8"),            # levels that moved up into the window
        ("taken", "i8"),              # of them, taken from the table
        ("taken_at_touch", "i8"),     # of them, first levels; possible with K = 1 only
        ("executions", "i8"),         # of visible orders
        ("at_best", "i8"),            # of them, at the best price of their side
        ("judged", "i8"),             # of them, of an order or in a queue whose place is known
        ("first_in_queue", "i8"),     # of them, of the oldest order at that price
        ("matched", "i8"),            # executions that the engine's matching carried out
        ("outside", "i8"),            # messages about levels that the table does not show
        ("unfounded", "i8"),          # messages about an order or lots that are not there
        ("unfounded_row", "i8"),      # the first of them, NONE if there is none
        ("unqueued_row", "i8"),       # first execution that was out of turn, NONE if there is none
        ("row", "i8"),                # of the first difference, NONE if there is none; what differs there follows
        ("side", "i8"),
        ("level", "i8"),
        ("table_price", "i8"),
        ("table_size", "i8"),
        ("book_price", "i8"),
        ("book_size", "i8"),
        # work space: what the last row showed, by side
        ("takes", "i8"),              # changes that the table made, all of them
        ("full", "i8", (2,)),         # whether all K levels were occupied
        ("bottom", "i8", (2,)),       # rank of the last of them
        ("sound", "i8", (2,)),        # whether the book shows it
    ],
    align=True,
)  # fmt: skip
"""What :func:`compare_books` found."""


@kernel
def show(markets, events, working, slots, prices, lots, scale, size, messages, books):
    """Write the messages that change the first K levels, and these levels after each; return how many.

    A log that no market could have written is not followed: what is returned then is below 0, -1 less the index of the
    event that cannot stand where it does.

    Args:
        markets: a configured record, shape (1,); overwritten.
        events: EVENT rows of a whole run.
        working: int64 work space, shape (2,).
        slots: int32 work space, one entry for each accepted order.
        prices: int64 work space, shape (2, K), zeroed.
        lots: int64 work space, shape (2, K), zeroed.
        scale: price units of a tick.
        size: units of a lot.
        messages: MESSAGE, long enough for all events. Times are left as they are.
        books: int64, shape (messages, 4 K): ask price, ask size, bid price, bid size of each level. Row 0 must be
            dummies, the empty book.
    """
    market = markets[0]
    playback.empty(market, working)
    count = 0
    for i in range(len(events)):
        event = events[i]
        if not playback.take(market, events, i, working, slots):
            return -1 - i
        kind = 0
        if event.kind == KIND_TRADE:
            kind, order_id, side = EXECUTE, event.maker_order_id, 1 - event.side
        elif event.kind == KIND_CANCEL and event.reason != REASON_IOC:
            rests_on = market.orders[slots[event.order_id]].id == event.order_id
            kind, order_id, side = PARTIAL if rests_on else DELETE, event.order_id, event.side
        if kind != 0 and changed(market, prices, lots, scale, size, books, count):
            write(messages[count], event.time, kind, order_id, event.lots * size, event.price * scale, side)
            count += 1
        accepted = working[0]
        left = playback.rest_if_due(market, events, i, working, slots)
        if left == NONE:
            return -1 - accepted
        if left > 0 and changed(market, prices, lots, scale, size, books, count):
            order = events[accepted]
            write(messages[count], order.time, NEW, order.order_id, left * size, order.price * scale, order.side)
            count += 1
    return count


@kernel
def write(message, time, kind, order_id, size, price, side):
    """Fill a message; ids count from 1."""
    message.time = time
    message.type = kind
    message.order = order_id + 1
    message.size = size
    message.price = price
    message.direction = 1 if side == BUY else -1


@kernel
def changed(market, prices, lots, scale, size, books, row):
    """Write the first levels into ``row``; return whether they differ from the row before."""
    differs = False
    last = max(row - 1, 0)
    for side in (SELL, BUY):
        found = book.depth(market, side, prices[side], lots[side])
        column = 0 if side == SELL else 2
        for level in range(prices.shape[1]):
            price = prices[side, level] * scale
            if level >= found:
                price = NO_ASK if side == SELL else NO_BID
            amount = lots[side, level] * size
            cell = 4 * level + column
            differs |= books[last, cell] != price or books[last, cell + 1] != amount
            books[row, cell] = price
            books[row, cell + 1] = amount
    return differs


@kernel
def follow(markets, tape, events, books, scale, size, prices, lots, found):
    """Play a tape without agents, and compare the K levels with those of each row of the files.

    Args:
        markets: a configured record, shape (1,).
        tape: TAPE rows.
        events: a buffer of EVENT rows, used anew as it fills.
        books: int64, shape (rows, 4 K).
        scale: price units of a tick.
        size: units of a lot.
        prices: int32 work space, shape (K,).
        lots: int64 work space, shape (K,).
        found: int64, shape (4,): rows compared, rows that agree, first row that does not or NONE, messages carried out.
    """
    market = markets[0]
    history.log_book(market, events)
    levels = len(prices)
    row = 0
    while row < len(books):
        while market.tape_next < market.tape_rows and tape[market.tape_next].row <= row:
            market.time = max(history.due(market, tape), 0.0)
            if market.logged + len(market.orders) + TURN_EVENTS > len(events):
                market.logged = 0
            history.carry_out_row(market, tape[market.tape_next], events)
            last = (
                market.tape_next + 1 == market.tape_rows
                or tape[market.tape_next + 1].time != tape[market.tape_next].time
            )
            market.tape_next += 1
            found[3] += 1
            if last:
                exchange.close_turn(market, events, market.tape_maker)
        agrees = True
        for side in range(2):
            known = book.depth(market, side, prices, lots)
            column = 2 if side == BUY else 0
            for level in range(levels):
                price, shares = books[row, 4 * level + column], books[row, 4 * level + column + 1]
                if level < known:
                    agrees &= price == prices[level] * scale and shares == lots[level] * size
                else:
                    agrees &= shares == 0
        found[0] += 1
        if agrees:
            found[1] += 1
        elif found[2] == NONE:
            found[2] = row
        row += 1


@kernel
def compare_books(markets, types, sides, orders, sizes, ranks, books, price_of, slots, blocks, since, takes, found):
    """Drive the book with messages and compare its first K levels after each.

    Row 0 is the start: the book after it is taken whole. From the first level that differs in a row on, that side is
    taken anew, so each difference counts once.

    Args:
        markets: a record, shape (1,), that holds an order for every NEW message and every price, and more levels
            than twice the prices; only its book is used.
        types: int64, shape (messages,), as are the four arguments after it.
        sides: of the resting order.
        orders: index of the order's id among all ids.
        sizes: units.
        ranks: engine price: 1 … P for bids, P + 1 … 2 P for asks, 0 where a message has no price.
        books: int64, shape (messages, 4 K).
        price_of: int64, shape (2 P + 1,): the price of each rank.
        slots: int32, shape (ids,), NONE: where an order lies.
        blocks: int32, shape (2 P + 1,), NONE: where a level's block lies.
        since: int64, shape (2 P + 1,), NONE: row in which a level last came back into the window. Who left and who
            joined behind it went unseen, so what rested there before is not judged by its place in the queue.
        takes: TAKE: what the table changed, as far as there is room.
        found: FOUND, shape (1,), zeroed.
    """
    market, result = markets[0], found[0]
    take_start(market, types, sides, orders, sizes, ranks, books, price_of, slots, blocks, since, takes, result)
    levels = books.shape[1] // 4
    for row in range(1, len(types)):
        kind = types[row]
        apply(market, row, kind, sides[row], orders[row], sizes[row], ranks[row], slots, blocks, since, result)
        differs = False
        for side in (SELL, BUY):
            price = ranks[row] if kind <= EXECUTE and side == sides[row] else 0
            first = explained(market, side, row, price, books, price_of, result) if result.sound[side] else 0
            if first < levels:
                differs |= compare_side(market, side, row, first, books, price_of, slots, blocks, since, takes, result)
        result.differing_rows += differs


@kernel
def apply_messages(markets, types, sides, orders, sizes, ranks, books, price_of, slots, blocks, since, takes, found):
    """The same without comparing: the messages, and what the table changed. To measure the book itself."""
    market, result = markets[0], found[0]
    count = len(takes)
    take_start(market, types, sides, orders, sizes, ranks, books, price_of, slots, blocks, since, takes[:0], result)
    take = 0
    while take < count and takes[take].row == 0:
        take += 1
    for row in range(1, len(types)):
        apply(market, row, types[row], sides[row], orders[row], sizes[row], ranks[row], slots, blocks, since, result)
        while take < count and takes[take].row == row:
            change = takes[take]
            take += 1
            set_level(market, change.side, row, change.price, change.size, slots, blocks, takes[:0], result)


@kernel
def take_start(market, types, sides, orders, sizes, ranks, books, price_of, slots, blocks, since, takes, result):
    """Take the book that row 0 shows."""
    book.clear(market)
    owner = market.agents[0]
    owner.open_orders, owner.oldest, owner.newest = 0, NONE, NONE
    result.row = result.unfounded_row = result.unqueued_row = NONE
    if len(types) == 0:
        return
    for side in (SELL, BUY):
        take_from(market, side, books, 0, 0, price_of, slots, blocks, since, takes, result)
    price = ranks[0]
    if types[0] == NEW and blocks[price] != NONE and book.level_of(market, price).lots >= sizes[0]:
        # The first message's order is the youngest of its level.
        shrink(market, blocks[price], sizes[0], slots, blocks)
        slots[orders[0]] = book.rest(market, 0, sides[0], price, sizes[0], orders[0], 1)


@kernel
def apply(market, row, kind, side, order, size, price, slots, blocks, since, result):
    """What a message does to the book."""
    if kind == NEW:
        if slots[order] != NONE:  # ids are unique: what rests under it is no longer that order
            unfounded(result, row)
            market.orders[slots[order]].id = BLOCK
        slots[order] = book.rest(market, 0, side, price, size, order, row)
    elif kind <= EXECUTE:
        leave(market, row, kind, side, order, size, price, slots, blocks, since, result)


@kernel
def explained(market, side, row, price, books, price_of, result):
    """From which level on a side must be compared with the book; K: not at all.

    The book showed the row before. Since then only ``price`` changed (0: none did), so the row must be the one
    before with that level changed, come or gone: comparing two rows of the table is cheaper than a walk through the
    book. Where that does not explain the row, the walk from the touch finds out.
    """
    levels = books.shape[1] // 4
    column = 0 if side == SELL else 2
    if price == 0:
        return levels if same(books, row, column, 0, levels, 0) else 0
    sign = 1 if side == BUY else -1
    level = 0
    while (
        level < levels
        and books[row - 1, 4 * level + column + 1] != 0
        and sign * books[row - 1, 4 * level + column] > sign * price_of[price]
    ):
        level += 1
    if level == levels:  # behind the window
        return levels if same(books, row, column, 0, levels, 0) else 0
    cell = 4 * level + column
    stood = books[row - 1, cell] == price_of[price] and books[row - 1, cell + 1] != 0
    lots = book.level_of(market, price).lots
    if not same(books, row, column, 0, level, 0):
        return 0
    if lots != 0 and (books[row, cell] != price_of[price] or books[row, cell + 1] != lots):
        return 0
    if stood and lots != 0:
        return levels if same(books, row, column, level + 1, levels, 0) else 0
    if stood:
        # All below it moved up by one. Whether one entered is for the book to say.
        if not same(books, row, column, level, levels - 1, 1):
            return 0
        if result.full[side]:
            return levels - 1
        return levels if books[row, 4 * (levels - 1) + column + 1] == 0 else 0
    if lots == 0:
        return levels if same(books, row, column, level, levels, 0) else 0
    if not same(books, row, column, level + 1, levels, -1):
        return 0
    if result.full[side]:
        step = 1 if side == BUY else -1
        result.bottom[side] += step
        while book.level_of(market, result.bottom[side]).head == NONE:
            result.bottom[side] += step
    elif books[row, 4 * (levels - 1) + column + 1] != 0:
        result.full[side] = 1
        result.bottom[side] = rank_of(price_of, side, books[row, 4 * (levels - 1) + column])
    return levels


@kernel
def same(books, row, column, first, end, shift):
    """Whether levels ``first`` … ``end`` - 1 of a side are those that stood ``shift`` levels lower a row before."""
    now, before = books[row, 4 * first :], books[row - 1, 4 * (first + shift) :]
    a, b, c, d = 0, 0, 0, 0  # one for each column: four cells in a row make one vector instruction
    for level in range(end - first):
        cell = 4 * level
        a |= now[cell] ^ before[cell]
        b |= now[cell + 1] ^ before[cell + 1]
        c |= now[cell + 2] ^ before[cell + 2]
        d |= now[cell + 3] ^ before[cell + 3]
    return (a | b if column == 0 else c | d) == 0


@kernel
def unfounded(result, row):
    """Count a message about something that is not there."""
    result.unfounded += 1
    if result.unfounded_row == NONE:
        result.unfounded_row = row


@kernel
def shrink(market, slot, size, slots, blocks):
    """Take ``size`` off a resting order, at most all that it has; return what was taken."""
    order = market.orders[slot]
    if size < order.lots:
        book.reduce(market, slot, size)
        return size
    size = order.lots
    if order.id >= 0:
        slots[order.id] = NONE
    elif blocks[order.price] == slot:
        blocks[order.price] = NONE
    book.remove(market, slot)
    return size


@kernel
def leave(market, row, kind, side, order, size, price, slots, blocks, since, result):
    """A partial cancel, a delete or an execution."""
    level = book.level_of(market, price)
    slot = slots[order]
    if slot != NONE and market.orders[slot].price != price:
        slot = NONE
    if kind == EXECUTE:
        result.executions += 1
        best = market.best_bid if side == BUY else market.best_ask
        result.at_best += price == best
        head = level.head
        first = slot if slot != NONE else head
        known = first != NONE and market.orders[first].id != BLOCK and market.owned[first].time > since[price]
        result.judged += known
        result.first_in_queue += known and slot == head
        if known and slot != head and result.unqueued_row == NONE:
            result.unqueued_row = row
        line = slot if slot != NONE else blocks[price]
        if price == best and head != NONE and line == head and market.orders[head].lots >= size:
            all_of_it = market.orders[head].lots == size
            book.match(market, 1, 1 - side, price, size)
            result.matched += 1
            if all_of_it:
                slots[order] = NONE
                if blocks[price] == head:
                    blocks[price] = NONE
            return
    # Is the order there, and has it the lots? Behind the window, or in a block, that cannot be said.
    behind = result.full[side] and behind_bottom(side, price, result.bottom[side])
    result.outside += behind
    if not behind:
        if slot != NONE:
            lots = market.orders[slot].lots
            wrong = lots != size if kind == DELETE else lots < size + (kind == PARTIAL)
            wrong &= market.owned[slot].time > since[price]
        else:
            anonymous = level.head != NONE and market.owned[level.head].time <= since[price]
            wrong = level.lots < size or (blocks[price] == NONE and not anonymous)
        if wrong:
            unfounded(result, row)
    left = size
    if slot != NONE:
        left -= shrink(market, slot, left, slots, blocks)
        if kind == DELETE and slots[order] != NONE:
            # A part of it went unseen behind the window, where others joined.
            market.orders[slot].id = BLOCK
            slots[order] = NONE
    if left > 0 and blocks[price] != NONE:
        left -= shrink(market, blocks[price], left, slots, blocks)
    while left > 0 and level.head != NONE:
        left -= shrink(market, level.head, left, slots, blocks)


@kernel
def occupied(market, side, price):
    """The first occupied level from ``price`` on, away from the touch; there must be one."""
    step = -1 if side == BUY else 1
    while book.level_of(market, price).head == NONE:
        price += step
    return price


@kernel
def behind_bottom(side, price, bottom):
    """Whether a price is further from the touch than the window's last one."""
    return price < bottom if side == BUY else price > bottom


@kernel
def compare_side(market, side, row, start, books, price_of, slots, blocks, since, takes, result):
    """Compare a side's levels from ``start`` to K with a row, taking one that enters; return whether any differs.

    ``start`` is 0, or the last level of a full window whose other levels agree.
    """
    levels = books.shape[1] // 4
    column = 0 if side == SELL else 2
    step = -1 if side == BUY else 1
    left = market.bid_levels if side == BUY else market.ask_levels
    price = market.best_bid if side == BUY else market.best_ask
    last = 0
    if start > 0:
        price = result.bottom[side] + step
        left -= start
    for level in range(start, levels):
        cell = 4 * level + column
        size = books[row, cell + 1]
        if left > 0:
            price = occupied(market, side, price)
        if left > 0 and not (result.full[side] and behind_bottom(side, price, result.bottom[side])):
            if books[row, cell] == price_of[price] and size == book.level_of(market, price).lots:
                last = price
                left -= 1
                price += step
                continue
        elif size == 0:
            # Nothing is behind this level: forget what was remembered there.
            while left > 0:
                price = occupied(market, side, price)
                set_level(market, side, row, price, 0, slots, blocks, takes, result)
                left -= 1
            result.full[side] = 0
            if rest_is_empty(books, row, cell):
                result.sound[side] = 1
                return False
        elif result.full[side] and level == levels - 1:
            entering = rank_of(price_of, side, books[row, cell])
            if behind_bottom(side, entering, result.bottom[side]):
                result.entered += 1
                while left > 0 and behind_bottom(side, entering, price):
                    set_level(market, side, row, price, 0, slots, blocks, takes, result)
                    left -= 1
                    if left > 0:
                        price = occupied(market, side, price)
                if book.level_of(market, entering).lots != size:
                    result.taken += 1
                    result.taken_at_touch += level == 0
                    set_level(market, side, row, entering, size, slots, blocks, takes, result)
                since[entering] = row
                result.bottom[side] = entering
                result.sound[side] = 1
                return False
        note(market, side, row, level, books, price_of, price if left > 0 else 0, result)
        take_from(market, side, books, row, level, price_of, slots, blocks, since, takes, result)
        return True
    result.full[side] = result.sound[side] = 1
    result.bottom[side] = last
    return False


@kernel
def rest_is_empty(books, row, cell):
    """Whether a side's levels from ``cell`` on are all empty."""
    return not np.any(books[row, cell + 1 :: 4])


@kernel
def note(market, side, row, level, books, price_of, price, result):
    """Keep the first difference."""
    if result.row != NONE:
        return
    cell = 4 * level + (0 if side == SELL else 2)
    result.row = row
    result.side = side
    result.level = level + 1
    result.table_price = books[row, cell]
    result.table_size = books[row, cell + 1]
    result.book_price = price_of[price] if price else (NO_ASK if side == SELL else NO_BID)
    result.book_size = book.level_of(market, price).lots if price else 0


@kernel
def rank_of(price_of, side, price):
    """The engine's price for a price of a side; 0 if the pair has no such price."""
    count = len(price_of) // 2
    first = 1 if side == BUY else count + 1
    rank = first + np.searchsorted(price_of[first : first + count], price)
    return rank if rank < first + count and price_of[rank] == price else 0


@kernel
def drop(market, price, slots, blocks):
    """Forget a level."""
    level = book.level_of(market, price)
    while level.head != NONE:
        shrink(market, level.head, market.orders[level.head].lots, slots, blocks)


@kernel
def set_level(market, side, row, price, size, slots, blocks, takes, result):
    """Make a level one block of ``size``, as the table says; 0: forget it."""
    if result.takes < len(takes):
        take = takes[result.takes]
        take.row, take.price, take.size, take.side = row, price, size, side
    result.takes += 1
    drop(market, price, slots, blocks)
    if size > 0:
        blocks[price] = book.rest(market, 0, side, price, size, BLOCK, row)


@kernel
def take_from(market, side, books, row, level, price_of, slots, blocks, since, takes, result):
    """Make a side's levels from ``level`` on what the row shows, and forget what is behind them."""
    levels = books.shape[1] // 4
    column = 0 if side == SELL else 2
    step = -1 if side == BUY else 1
    left = market.bid_levels if side == BUY else market.ask_levels
    price = market.best_bid if side == BUY else market.best_ask
    last = 0
    for _ in range(level):
        price = occupied(market, side, price)
        last = price
        price += step
        left -= 1
    full, sound = 1, True
    for rank in range(level, levels):
        cell = 4 * rank + column
        size = books[row, cell + 1]
        wanted = rank_of(price_of, side, books[row, cell]) if size > 0 else 0
        if wanted == 0 or (last != 0 and not behind_bottom(side, wanted, last)):
            full = 0
            sound = size == 0 and rest_is_empty(books, row, cell)  # else it is no row that a book could show
            break
        while left > 0:
            price = occupied(market, side, price)
            if not behind_bottom(side, wanted, price):
                break
            set_level(market, side, row, price, 0, slots, blocks, takes, result)
            left -= 1
        if left > 0 and price == wanted:
            left -= 1
        if book.level_of(market, wanted).lots != size:
            set_level(market, side, row, wanted, size, slots, blocks, takes, result)
        since[wanted] = row
        last = wanted
        price = wanted + step
    result.full[side], result.sound[side] = full, sound
    if full:
        result.bottom[side] = last
        return
    while left > 0:
        price = occupied(market, side, price)
        set_level(market, side, row, price, 0, slots, blocks, takes, result)
        left -= 1
