"""The stream of messages that books are compared on, and the plain-Python dict book that is the floor.

200,000 messages, seed 1: 60 % limit orders 1 to 10 ticks from a mid that steps by a tick every 200 messages, 30 %
cancels of a random live order, 10 % marketable orders that are always filled; about 200 live orders. A correct
book trades 330,100 lots in 76,246 trades.
"""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

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
