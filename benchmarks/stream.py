"""The streams of messages that books are compared on, and the plain-Python dict book that is the floor.

200,000 messages, seed 1: 60 % limit orders 1 to 10 ticks from a mid that steps by a tick every 200 messages, 30 %
cancels of a random live order, 10 % marketable orders that are always filled; about 200 live orders. A correct
book trades 330,100 lots in 76,246 trades.
"""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from market_env.engine import book
from market_env.engine.kernel import kernel
from market_env.engine.state import NONE, PRESETS, market_dtype
from market_env.engine.streams import integer, new_stream, uniform

ADD, CANCEL, MARKETABLE = range(3)
EXPECTED_TRADES, EXPECTED_LOTS = 76_246, 330_100


class DictBook:
    """Price-time priority in dicts of dicts: what a careful person writes in an afternoon."""

    def __init__(self) -> None:
        self.levels: tuple[dict[int, dict[int, int]], dict[int, dict[int, int]]] = ({}, {})
        self.best: list[int | None] = [None, None]
        self.orders: dict[int, tuple[int, int]] = {}
        self.lots = 0
        self.trades = 0

    def add(self, order_id: int, side: int, price: int, lots: int) -> None:
        """A limit order: match, rest the remainder."""
        opposite = self.levels[1 - side]
        while lots and opposite:
            best = self.best[1 - side]
            assert best is not None
            if (best > price) if side == 0 else (best < price):
                break
            queue = opposite[best]
            while lots and queue:
                first = next(iter(queue))
                resting = queue[first]
                traded = min(resting, lots)
                lots -= traded
                self.lots += traded
                self.trades += 1
                if traded == resting:
                    del queue[first], self.orders[first]
                else:
                    queue[first] = resting - traded
            if not queue:
                del opposite[best]
                self.best[1 - side] = self._best(1 - side)
        if lots:
            own = self.levels[side]
            if price not in own:
                own[price] = {}
                best = self.best[side]
                if best is None or ((price > best) if side == 0 else (price < best)):
                    self.best[side] = price
            own[price][order_id] = lots
            self.orders[order_id] = (side, price)

    def cancel(self, order_id: int) -> None:
        """Take an order out."""
        where = self.orders.pop(order_id, None)
        if where is None:
            return
        side, price = where
        queue = self.levels[side][price]
        del queue[order_id]
        if not queue:
            del self.levels[side][price]
            if self.best[side] == price:
                self.best[side] = self._best(side)

    def _best(self, side: int) -> int | None:
        levels = self.levels[side]
        if not levels:
            return None
        return min(levels) if side else max(levels)


def messages(count: int = 200_000, seed: int = 1) -> NDArray[np.int32]:
    """Rows (kind, order id, side, price, lots), int32 of shape (count, 5)."""
    rng = random.Random(seed)
    book = DictBook()
    mid, next_id = 10_000, 0
    live: list[int] = []
    place: dict[int, int] = {}
    rows = np.zeros((count, 5), np.int32)

    def forget(order_id: int) -> None:
        at = place.pop(order_id)
        last = live.pop()
        if last != order_id:
            live[at] = last
            place[last] = at

    for number in range(count):
        if number % 200 == 0:
            mid = max(9_900, min(10_100, mid + rng.choice((-1, 1))))
        draw = rng.random()
        kind = ADD if draw < 0.6 else CANCEL if draw < 0.9 else MARKETABLE
        if kind == CANCEL and not live:
            kind = ADD
        side = price = lots = 0
        if kind == MARKETABLE:
            side = rng.randrange(2)
            available = sum(sum(queue.values()) for queue in book.levels[1 - side].values())
            lots = min(available, 1 + int(rng.random() * 33 * min(2, len(book.orders) / 200)))
            price = mid + (60 if side == 0 else -60)
            if available == 0:
                kind = ADD
        if kind == ADD:
            side = rng.randrange(2)
            price = mid + (-1 if side == 0 else 1) * rng.randint(1, 10)
            lots = rng.randint(1, 10)
        if kind == CANCEL:
            order_id = live[rng.randrange(len(live))]
            side, price = book.orders[order_id]
            rows[number] = kind, order_id, side, price, book.levels[side][price][order_id]
            book.cancel(order_id)
            forget(order_id)
            continue
        next_id += 1
        rows[number] = kind, next_id, side, price, lots
        reachable = [
            order_id
            for level, queue in book.levels[1 - side].items()
            if ((level <= price) if side == 0 else (level >= price))
            for order_id in queue
        ]
        book.add(next_id, side, price, lots)
        for order_id in reachable:
            if order_id not in book.orders:
                forget(order_id)
        if next_id in book.orders:
            place[next_id] = len(live)
            live.append(next_id)
    return rows


DEEP_EXPECTED = 669_466, 3_059_281
"""Trades and lots of a correct book."""
DEEP_ORDERS = 16_384
"""Open orders that the deep stream needs room for."""
DEEP_TARGET = 15_000
"""About as many are live."""
DEEP_TICKS = 400
"""How far from the mid limit orders are placed at most; half of them within a quarter of it."""


@kernel
def write_deep(markets, stream, rows, live, place, slot_of):
    """Draw messages, rows (kind, order id, side, price, lots), from what rests as they are carried out; return how many live at most."""
    market = markets[0]
    book.clear(market)
    mid, next_id, count, most = 20_000, 0, 0, 0
    for number in range(len(rows)):
        row = rows[number]
        chance = uniform(stream)
        leaves = 0.3 if count < DEEP_TARGET else 0.5
        side = integer(stream, 2)
        near, far = uniform(stream), uniform(stream)
        lots = 1 + integer(stream, 10)
        if market.best_bid != 0 and market.best_ask != 0:
            mid = min(max((market.best_bid + market.best_ask) // 2, 19_950), 20_050)
        if chance < leaves and count > 0:
            slot = live[integer(stream, count)]
            order = market.orders[slot]
            row[0], row[1], row[2], row[3], row[4] = CANCEL, order.id + 1, order.side, order.price, order.lots
            forget(live, place, slot, count)
            count -= 1
            book.remove(market, slot)
            continue
        next_id += 1
        takes = chance > 0.93 and market.bid_levels > 20 and market.ask_levels > 20
        if takes:  # never more than the ten best levels hold
            price = market.best_ask + 400 if side == 0 else market.best_bid - 400
            lots = min(4 * lots, held(market, 1 - side, 10))
        else:
            distance = 1 + int(near * far * DEEP_TICKS)
            price = mid - distance if side == 0 else mid + distance
            if side == 0 and market.best_ask != 0:
                price = min(price, market.best_ask - 1)
            elif side == 1 and market.best_bid != 0:
                price = max(price, market.best_bid + 1)
        row[0], row[1], row[2], row[3], row[4] = MARKETABLE if takes else ADD, next_id, side, price, lots
        slot = book.submit(market, 0 if takes else 1, side, price, lots, 0.0)
        for i in range(market.fill_count):
            filled = slot_of[market.fills[i].order_id]
            if market.orders[filled].id != market.fills[i].order_id:
                forget(live, place, filled, count)
                count -= 1
        slot_of[next_id - 1] = slot
        if slot >= 0:
            live[count] = slot
            place[slot] = count
            count += 1
            most = max(most, count)
    return most


@kernel
def forget(live, place, slot, count):
    """Take a slot out of the list of those that are live."""
    last = live[count - 1]
    live[place[slot]] = last
    place[last] = place[slot]


@kernel
def held(market, side, levels):
    """Lots of the best levels of a side."""
    price, step = (market.best_bid, -1) if side == 0 else (market.best_ask, 1)
    total, found = 0, 0
    while found < levels:
        lots = book.level_of(market, price).lots
        total += lots
        found += lots > 0
        price += step
    return total


def deep_messages(count: int = 2_000_000) -> NDArray[np.int32]:
    """Rows as :func:`messages` has them, int32 of shape (count, 5), for a book of about :data:`DEEP_TARGET` live orders."""
    market = np.zeros(1, market_dtype(PRESETS[-1]))
    market["agents"]["oldest"] = market["agents"]["newest"] = NONE
    rows = np.zeros((count, 5), np.int32)
    live, place = np.zeros((2, DEEP_ORDERS), np.int64)
    write_deep(market, new_stream(1, "deep"), rows, live, place, np.full(count, NONE, np.int32))
    return rows
