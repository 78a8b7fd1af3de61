"""The bare book: reductions keep priority, and a long stream of messages does what the twin does."""

from __future__ import annotations

import numpy as np
import pytest

from market_env.engine import book, state
from market_env.engine.kernel import kernel
from market_env.twin import TwinBook


@kernel
def empty_book(markets):
    book.clear(markets[0])
    for i in range(len(markets[0].agents)):
        markets[0].agents[i].oldest = -1
        markets[0].agents[i].newest = -1


@kernel
def submit(markets, agent, side, price, lots):
    return book.submit(markets[0], agent, side, price, lots, 0.0)


@kernel
def reduce(markets, slot, lots):
    book.reduce(markets[0], slot, lots)


@kernel
def remove(markets, slot):
    book.remove(markets[0], slot)


@pytest.fixture
def markets() -> np.ndarray:
    records = np.zeros(1, state.market_dtype(state.Capacity(128, 2048, 1024)))
    empty_book(records)
    return records


def fills(markets: np.ndarray) -> list[tuple[int, int, int, int]]:
    market = markets[0]
    return [tuple(fill.tolist()[i] for i in (0, 2, 3, 4)) for fill in market["fills"][: market["fill_count"]]]


def test_a_reduced_order_keeps_its_place(markets: np.ndarray) -> None:
    first = submit(markets, 0, state.BUY, 100, 10)
    submit(markets, 1, state.BUY, 100, 10)
    reduce(markets, first, 4)
    submit(markets, 2, state.SELL, 100, 8)
    assert fills(markets) == [(0, 100, 6, state.FILL_TRADE), (1, 100, 2, state.FILL_TRADE)]


def test_an_own_resting_order_is_cancelled_not_traded(markets: np.ndarray) -> None:
    submit(markets, 0, state.SELL, 100, 5)
    submit(markets, 1, state.SELL, 100, 5)
    slot = submit(markets, 0, state.BUY, 100, 7)
    assert fills(markets) == [(0, 100, 5, state.FILL_SELF), (1, 100, 5, state.FILL_TRADE)]
    assert markets[0]["orders"][slot]["lots"] == 2


def test_best_prices_follow_as_levels_empty(markets: np.ndarray) -> None:
    slots = [submit(markets, 0, state.BUY, price, 1) for price in (90, 97, 99, 60)]
    remove(markets, slots[2])
    assert markets[0]["best_bid"] == 97
    remove(markets, slots[1])
    assert markets[0]["best_bid"] == 90
    remove(markets, slots[0])
    assert markets[0]["best_bid"] == 60
    remove(markets, slots[3])
    assert markets[0]["best_bid"] == 0


def test_a_long_stream_of_messages_does_what_the_twin_does(markets: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    twin = TwinBook()
    slots: dict[int, int] = {}
    next_id = 0
    mid = 10_000
    for number in range(30_000):
        if number % 100 == 0:
            mid += int(rng.integers(-1, 2))
        kind = int(rng.choice(4, p=[0.5, 0.25, 0.1, 0.15]))
        if len(twin.orders) > 400:  # far from the pool's end
            kind = 1
        if kind in (1, 2) and twin.orders:
            order_id = int(rng.choice(list(twin.orders)))
            lots = twin.orders[order_id].lots
            if kind == 2 and lots > 1:
                cut = int(rng.integers(1, lots))
                reduce(markets, slots[order_id], cut)
                twin.reduce(order_id, cut)
            else:
                remove(markets, slots[order_id])
                twin.cancel(order_id)
            continue
        agent, side, lots = int(rng.integers(100)), int(rng.integers(2)), int(rng.integers(1, 11))
        towards = 1 if side == state.BUY else -1
        price = mid - towards * int(rng.integers(1, 12)) if kind != 3 else mid + towards * 20
        slots[next_id] = submit(markets, agent, side, price, lots)
        done, left = twin.match(str(agent), state.SIDES[side], price, lots)
        assert fills(markets) == [
            (f.order.order_id, f.order.price, f.lots, state.FILL_TRADE if f.kind == "trade" else state.FILL_SELF)
            for f in done
        ]
        assert (slots[next_id] == state.NONE) == (left == 0)
        if left:
            twin.rest(next_id, str(agent), state.SIDES[side], price, left)
        next_id += 1
        assert int(markets[0]["best_bid"]) == (twin.best("buy") or 0)
        assert int(markets[0]["best_ask"]) == (twin.best("sell") or 0)
    assert len(twin.orders) > 50
