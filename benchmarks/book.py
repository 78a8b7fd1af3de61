"""The book alone and the whole exchange on two streams, against a plain-Python book and a minimal one in C."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.stream import (
    ADD,
    CANCEL,
    DEEP_EXPECTED,
    DEEP_ORDERS,
    EXPECTED_LOTS,
    EXPECTED_TRADES,
    DictBook,
    deep_messages,
    messages,
)
from market_env.config import AgentConfig, MarketConfig
from market_env.engine import book, exchange, state, turn
from market_env.engine.kernel import kernel
from market_env.market import configure

ROUNDS = 7
"""Of each book, in turn, so that what else the machine does meets all of them; the best counts."""


class Stream(NamedTuple):
    """Messages and what a correct book makes of them."""

    name: str
    rows: NDArray[np.int32]
    expected: tuple[int, int]
    """Trades and lots."""
    open_orders: int
    """At most."""


@kernel
def book_alone(markets, kinds, ids, sides, prices, lots, slots):
    """Run the stream through the bare book; return trades and lots."""
    market = markets[0]
    book.clear(market)
    for agent in range(2):
        market.agents[agent].open_orders = 0
        market.agents[agent].oldest = state.NONE
        market.agents[agent].newest = state.NONE
    trades = 0
    total = 0
    for i in range(len(kinds)):
        if kinds[i] == CANCEL:
            slot = slots[ids[i]]
            if slot >= 0 and market.orders[slot].id == ids[i] - 1:
                book.remove(market, slot)
        else:
            taker = 0 if kinds[i] == ADD else 1
            slot = book.submit(market, taker, sides[i], prices[i], lots[i], 0.0)
            slots[ids[i]] = slot
            trades += market.fill_count
            total += lots[i]
            if slot != state.NONE:
                total -= market.orders[slot].lots
    return trades, total


@kernel
def whole_exchange(markets, events, kinds, ids, sides, prices, lots, slots):
    """Run the stream through risk, accounts, book, reference price and, where there are ``events``, log; return trades and lots."""
    market = markets[0]
    turn.reset(market, np.uint64(1), None)
    for i in range(len(kinds)):
        if market.logged + 1024 > len(events):
            market.logged = 0
        agent = ids[i] % 4 if kinds[i] == ADD else 4
        if kinds[i] == CANCEL:
            slot = slots[ids[i]]
            if slot >= 0 and market.orders[slot].id == ids[i] - 1:
                exchange.cancel(market, events, slot, state.REASON_AGENT)
        else:
            exchange.submit(market, events, agent, sides[i], prices[i], lots[i], False, state.NONE)
            newest = market.agents[agent].newest
            slots[ids[i]] = newest if newest >= 0 and market.orders[newest].id == ids[i] - 1 else -1
        exchange.close_turn(market, events, agent)
    return market.trades, market.traded_lots


def dict_book(rows: NDArray[np.int32]) -> Callable[[], tuple[int, int]]:
    """The plain-Python book over a stream."""
    listed = rows.tolist()

    def run() -> tuple[int, int]:
        plain = DictBook()
        for kind, order_id, side, price, lots in listed:
            if kind == CANCEL:
                plain.cancel(order_id)
            else:
                plain.add(order_id, side, price, lots)
        return plain.trades, plain.lots

    return run


def minimal_c(
    folder: Path, columns: list[NDArray[np.int32]], capacity: int, *, owners: bool = False
) -> Callable[[], tuple[int, int]] | None:
    """``minimal.c``, compiled, over a stream; None where there is no compiler.

    Args:
        folder: where the library goes.
        columns: the stream's.
        capacity: open orders at most.
        owners: whether it keeps owners, their lists of orders and fills, as the engine's book does.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / f"minimal-{capacity}{'-owners' * owners}.so"
    source = Path(__file__).with_name("minimal.c")
    # Not -march=native: it makes the minimal version no faster, and what owners need slower.
    flags = ["-O2", "-shared", "-fPIC", *["-DOWNERS"] * owners]
    subprocess.run([compiler, *flags, "-o", str(library), str(source)], check=True)
    run = ctypes.CDLL(str(library)).run
    slots, out = np.full(int(columns[1].max()) + 1, -1, np.int32), np.zeros(2, np.int64)
    arrays = [*columns, slots]  # which must live as long as what points into them

    def once() -> tuple[int, int]:
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        run(len(columns[0]), *pointers, capacity, ctypes.c_void_p(out.ctypes.data))
        return int(out[0]), int(out[1])

    return once


def streams() -> list[Stream]:
    """Both streams."""
    small = Stream("200 live orders", messages(), (EXPECTED_TRADES, EXPECTED_LOTS), 2_048)
    deep = Stream("15,000 live orders", deep_messages(), DEEP_EXPECTED, DEEP_ORDERS)
    return [small, deep]


def bench_book(show: Callable[[str, str, str], None]) -> None:
    """Messages a second of the book alone, of the whole exchange, and of what they are measured against."""
    with tempfile.TemporaryDirectory() as folder:
        for stream in streams():
            compare(stream, Path(folder), show)


def compare(stream: Stream, folder: Path, show: Callable[[str, str, str], None]) -> None:
    """Time all books over a stream, in turn."""
    columns = [np.ascontiguousarray(column) for column in stream.rows.T]
    slots = np.full(int(stream.rows[:, 1].max()) + 1, -1, np.int32)
    seats = tuple(AgentConfig(f"a_{n}", "a", cash=2**52, inventory_bound=2**31 - 1) for n in range(5))
    config = MarketConfig(first_price=int(columns[3][0]), price_band=511, agents=seats)
    market = configure(config, state.fitting(1, stream.open_orders))
    market["agents"]["max_open_orders"][0, : len(seats)] = stream.open_orders  # more than a config lets anybody have
    capacity = len(market[0]["orders"])
    alone = np.zeros(1, market.dtype)
    events, none = np.zeros(1 << 14, state.EVENT), np.zeros(0, state.EVENT)
    in_c = minimal_c(folder, columns, capacity)
    runs: dict[str, Callable[[], tuple[int, int]]] = {
        "plain-Python dict book (the floor)": dict_book(stream.rows),
        "the book alone": lambda: book_alone(alone, *columns, slots),
        "with risk, accounts and reference price": lambda: whole_exchange(market, none, *columns, slots),
        "with the log besides": lambda: whole_exchange(market, events, *columns, slots),
        **({"minimal C version": in_c} if in_c else {}),
    }
    best = dict.fromkeys(runs, float("inf"))
    for number in range(ROUNDS):
        for label, run in runs.items():
            if number >= 2 and label == next(iter(runs)):
                continue  # seconds each
            begun = time.process_time()
            found = run()
            best[label] = min(best[label], time.process_time() - begun)
            assert found == stream.expected, (label, found)
    floor = best[next(iter(runs))]
    for label, seconds in best.items():
        beside = f", {best['minimal C version'] / seconds:.2f} x the C version" if in_c else ""
        show(
            f"{stream.name}: {label}",
            f"{len(stream.rows) / seconds / 1e6:.2f} M",
            f"messages/s, {floor / seconds:.1f} x the floor{beside}",
        )
