"""The compiled book driven with a LOBSTER pair, and every level of every row compared (:mod:`runners.exchange.window` says how)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market_env.config import ConfigError
from market_env.engine import state
from market_env.engine.kernel import announced
from runners.exchange import window
from runners.exchange.pairs import Pair, read_pair

SIZES = (state.Capacity(1, 2**15, 2**14), state.Capacity(1, 2**18, 2**16), state.Capacity(1, 2**21, 2**19),
         state.Capacity(1, 2**24, 2**22))  # fmt: skip
"""Books to choose from; each compiles once."""


@dataclass(frozen=True)
class Verification:
    """What driving the book with a pair found."""

    name: str
    levels: int
    messages: int
    types: dict[str, int]
    """Messages of each type."""
    rows: int
    """Rows compared: all but the first, which is the start."""
    agreeing: int
    """Rows whose 2 K levels all agreed."""
    entered: int
    """Levels that moved up into the window."""
    taken: int
    """Of them, those that had to be taken from the order-book file; the others were remembered."""
    taken_at_touch: int
    """Of them, first levels; only files of one level have any."""
    executions: int
    at_best: int
    """Executions at the best price."""
    judged: int
    """Executions in a queue whose order is known."""
    first_in_queue: int
    """Of them, those of the oldest order."""
    matched: int
    """Executions that the engine's matching carried out by itself, with the same order and size."""
    outside: int
    """Messages about levels that the files do not show."""
    warnings: list[str]
    """What messages said that the book cannot follow: counted, with the first line."""
    first_difference: str | None
    read_seconds: float
    """Reading both files and numbering prices and ids."""
    compared_seconds: float
    """Driving the book and comparing every row."""
    book_seconds: float
    """Driving the book once more without comparing."""

    @property
    def agrees(self) -> bool:
        """Whether every row agreed."""
        return self.agreeing == self.rows

    def __str__(self) -> str:
        """The table that ``verify`` prints."""

        def share(part: int, whole: int) -> str:
            return f"{part:,} of {whole:,}" + (f"  ({part / whole:.2%})" if whole else "")

        def speed(seconds: float) -> str:
            return f"{self.messages / max(seconds, 1e-9):,.0f}"

        lines = [
            f"{self.name}: {self.messages:,} messages, {self.levels} level{'s' * (self.levels > 1)}",
            f"  {', '.join(f'{count:,} {name}' for name, count in self.types.items() if count)}",
            f"rows that agree in all levels    {share(self.agreeing, self.rows) if self.rows else 'nothing to compare: the first row is the start'}",
            f"levels taken from the file       {self.taken:,} of {self.entered:,} that entered from below"
            + (f", {self.taken_at_touch:,} of them the touch" if self.taken_at_touch else ", none at the touch"),
            f"executions at the best price     {share(self.at_best, self.executions)}",
            f"executions first in their queue  {share(self.first_in_queue, self.judged)}; "
            f"{self.executions - self.judged:,} more of orders whose place the files do not show",
            f"executions matched by the engine {share(self.matched, self.executions)}",
            f"messages outside the levels      {self.outside:,}",
            f"messages/s                       {speed(self.read_seconds + self.compared_seconds)} end to end, "
            f"{speed(self.compared_seconds)} in the book with every row compared, {speed(self.book_seconds)} in the book",
            *(f"warning: {warning}" for warning in self.warnings),
            f"first difference: {self.first_difference or 'none'}",
        ]
        return "\n".join(lines)


TYPE_NAMES = ("new", "partial cancels", "deletes", "executions", "hidden executions", "crosses", "halts")


def verify(message: Path, orderbook: Path) -> Verification:
    """Drive the compiled book with a pair of files and compare all levels of every row.

    Raises:
        FormatError: a file cannot be read or breaks the format; names file, line and value.
    """
    begun = time.perf_counter()
    pair = read_pair(message, orderbook)
    return verify_pair(pair, time.perf_counter() - begun)


def verify_pair(pair: Pair, read_seconds: float = 0.0) -> Verification:
    """Drive the compiled book with a pair; ``read_seconds`` is what reading it took.

    Raises:
        ConfigError: it is larger than any book.
    """
    begun = time.perf_counter()
    rows = pair.messages
    kinds = rows["type"]
    visible = kinds <= window.EXECUTE
    prices = np.unique(np.concatenate([rows["price"][visible], pair.prices]))
    ids, orders = np.unique(rows["order"], return_inverse=True)
    count = len(prices)
    needed = int(np.count_nonzero(kinds == window.NEW)) + 2 * count + 1
    for capacity in SIZES:
        if needed <= capacity.orders and 2 * count + 2 <= capacity.levels:
            break
    else:
        raise ConfigError(
            f"{pair.name}: expected at most {SIZES[-1].orders:,} orders and {SIZES[-1].levels // 2 - 1:,} prices, "
            f"got {needed:,} and {count:,}"
        )
    sides = np.where(rows["direction"] == 1, state.BUY, state.SELL)
    ranks = np.searchsorted(prices, rows["price"]) + np.where(sides == state.BUY, 1, count + 1)
    arrays = (
        np.ascontiguousarray(kinds), sides, orders.astype(np.int64), np.ascontiguousarray(rows["size"]),
        np.where(visible, ranks, 0), pair.books, np.concatenate([[0], prices, prices]),
    )  # fmt: skip
    market = np.zeros(1, state.market_dtype(capacity))
    takes = np.zeros(2 * len(rows) + 8 * pair.levels, window.TAKE)
    prepared = time.perf_counter() - begun
    compile_first(market)
    work = (np.full(len(ids), state.NONE, np.int32), np.full(2 * count + 1, state.NONE, np.int32),
            np.full(2 * count + 1, state.NONE, np.int64))  # fmt: skip

    def run(kernel: Any, takes: NDArray[np.void]) -> tuple[np.void, float]:
        found = np.zeros(1, window.FOUND)
        begun = time.perf_counter()
        kernel(market, *arrays, *(array.copy() for array in work), takes, found)
        return found[0], time.perf_counter() - begun

    found, seconds = run(window.compare_books, takes)
    # A small file is over before the clock can tell: the quickest of a few.
    again = [
        run(window.apply_messages, takes[: int(found["takes"])])[1] for _ in range(5 if len(rows) < 100_000 else 1)
    ]
    alone = min(again) if found["takes"] <= len(takes) else seconds
    return _verification(pair, found, read_seconds + prepared, seconds, alone)


def compile_first(market: NDArray[np.void]) -> None:
    """Compile the kernels for this size of book, or load them; say so where it takes long."""
    none, nowhere = np.zeros(0, np.int64), np.zeros(0, np.int32)
    with announced("the book"):
        for pass_over in (window.compare_books, window.apply_messages):
            pass_over(
                market, *[none] * 5, np.zeros((0, 4), np.int64), none, nowhere, nowhere, none, np.zeros(0, window.TAKE),
                np.zeros(1, window.FOUND),
            )  # fmt: skip


def _verification(
    pair: Pair, found: np.void, read_seconds: float, compared_seconds: float, book_seconds: float
) -> Verification:
    rows = len(pair.messages) - 1
    warnings = []
    if found["unfounded"]:
        line = int(found["unfounded_row"])
        warnings.append(
            f"{found['unfounded']:,} messages name an order or lots that are not there, "
            f"first in line {line + 1}: {_said(pair.messages[line])}"
        )
    if found["unqueued_row"] != state.NONE:
        line = int(found["unqueued_row"])
        warnings.append(
            f"{found['judged'] - found['first_in_queue']:,} executions were not of the oldest order at their price, "
            f"first in line {line + 1}: {_said(pair.messages[line])}"
        )
    first = None
    if found["row"] != state.NONE:
        first = (
            f"line {found['row'] + 1}, {'bid' if found['side'] == state.BUY else 'ask'} level {found['level']}: "
            f"the file says {_level(found['table_price'], found['table_size'])}, "
            f"the book {_level(found['book_price'], found['book_size'])}"
        )
    kinds = np.bincount(pair.messages["type"], minlength=8)[1:]
    return Verification(
        name=pair.name,
        levels=pair.levels,
        messages=len(pair.messages),
        types=dict(zip(TYPE_NAMES, kinds.tolist(), strict=True)),
        rows=rows,
        agreeing=rows - int(found["differing_rows"]),
        **{
            name: int(found[name])
            for name in (
                "entered", "taken", "taken_at_touch", "executions", "at_best", "judged", "first_in_queue", "matched",
                "outside",
            )
        },
        warnings=warnings,
        first_difference=first,
        read_seconds=read_seconds,
        compared_seconds=compared_seconds,
        book_seconds=book_seconds,
    )  # fmt: skip


def _said(message: np.void) -> str:
    return f"type {message['type']}, order {message['order']}, size {message['size']}, price {message['price']}"


def _level(price: int, size: int) -> str:
    return f"{size:,} at {price}" if size else "no level"
