"""A LOBSTER pair as a tape: explicit messages about orders that a market can play with agents beside them.

The files are a window: orders behind the K levels come and go unseen. So the tape begins with the first row's book, one order a
level; a message about an order that was never seen is about that block; and where a row shows a level otherwise than its
messages explain, the level is set anew (as levels that move up into the window must be). What was set and why is counted. Without
agents the market's book is the order-book file, every level of every row (:func:`play_back` compares them).

Cost: about 20 µs a row to make, once; :mod:`market_env.tape` reads the result.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sortedcontainers import SortedDict

from market_env.config import ConfigError, Tape
from market_env.engine import state
from market_env.market import configure, start
from market_env.tape import bytes_of, described
from runners.exchange import window
from runners.exchange.pairs import PRICE_UNITS, FormatError, Pair, read_pair
from runners.files.whole import whole_file
from scripted_agents.recorded import load_tape, on_tape

KEPT = Path("runs/tapes")
"""Where tapes are kept that a command has made of a pair by the way."""


@dataclass
class _Own:
    """An order of the history's, or a block of such: what is left of it."""

    handle: int
    side: int
    price: int
    lots: int
    block: bool
    """Whether it stands for orders that were never seen."""


@dataclass
class Made:
    """A tape and what making it found."""

    name: str
    rows: NDArray[np.void]
    """:data:`market_env.engine.state.TAPE`."""
    levels: int
    """K."""
    sizes: tuple[float, float]
    """Of a tick in currency units, of a lot in units of the asset."""
    messages: int = 0
    entered: int = 0
    """Levels set anew as they moved up into the window."""
    reset: int = 0
    """Levels set anew within it: what messages do not explain."""
    unfounded: int = 0
    """Messages about orders or lots that were never seen."""
    hidden: int = 0
    """Executions of hidden orders, crosses and halts, which move nothing that the files show."""

    def __str__(self) -> str:
        """What ``runners.lobster tape`` prints."""
        days = self.rows[self.rows["time"] >= 0]
        return (
            f"{self.name}: {self.messages:,} messages over {days['time'][-1] if len(days) else 0:,.1f} timesteps, {self.levels} levels; "
            f"prices {self.rows['price'].min():,} to {self.rows['price'].max():,} ticks, "
            f"at most {int(self.rows['handle'].max()) + 1:,} orders at one time\n"
            f"levels set anew: {self.entered:,} as they moved up into the window, {self.reset:,} within it; messages that nothing "
            f"explains {self.unfounded:,}; hidden executions, crosses and halts {self.hidden:,}"
        )


@dataclass
class _Book:
    """The history's book as its messages make it."""

    rows: list[tuple[float, float, int, int, int, int, int, int]] = field(default_factory=list)
    orders: dict[int, _Own] = field(default_factory=dict)
    """By order id."""
    levels: tuple[SortedDict[int, list[_Own]], SortedDict[int, list[_Own]]] = field(
        default_factory=lambda: (SortedDict(), SortedDict())
    )
    """By side and price the orders, oldest first; a block has no id."""
    free: list[int] = field(default_factory=list)
    handles: int = 0

    def write(self, kind: int, own: _Own, lots: int, time: float, row: int) -> None:
        self.rows.append((time, 0.0, row, own.handle, own.price, lots, kind, own.side))

    def add(self, side: int, price: int, lots: int, time: float, row: int, *, block: bool = True) -> _Own:
        handle = heapq.heappop(self.free) if self.free else self.handles
        self.handles = max(self.handles, handle + 1)
        own = _Own(handle, side, price, lots, block)
        self.levels[side].setdefault(price, []).append(own)
        self.write(state.TAPE_ADD, own, lots, time, row)
        return own

    def take(self, kind: int, own: _Own, lots: int, time: float, row: int) -> None:
        """Lots leave or trade; an order whose last lots do is gone."""
        if kind == state.TAPE_REDUCE and lots == own.lots:
            kind = state.TAPE_DELETE
        self.write(kind, own, lots, time, row)
        own.lots -= lots
        if own.lots == 0:
            queue = self.levels[own.side][own.price]
            queue.remove(own)
            if not queue:
                del self.levels[own.side][own.price]
            heapq.heappush(self.free, own.handle)

    def set_level(self, side: int, price: int, lots: int, time: float, row: int) -> None:
        """What stands at a price is another than its messages say."""
        for own in list(self.levels[side].get(price, ())):
            self.take(state.TAPE_DELETE, own, own.lots, time, row)
        if lots:
            self.add(side, price, lots, time, row)

    def best(self, side: int, count: int) -> Iterator[int]:
        prices = self.levels[side]
        yield from (
            prices.islice(0, count) if side == state.SELL else prices.islice(max(0, len(prices) - count), reverse=True)
        )

    def mid(self) -> float:
        bids, asks = self.levels
        return (bids.keys()[-1] + asks.keys()[0]) / 2 if bids and asks else 0.0


def make(pair: Pair, tick_size: float = 0.01, lot_size: float = 1.0) -> Made:
    """A tape of a pair; its first row is the start, at time 0.

    Args:
        pair: what was read.
        tick_size: currency units of a tick.
        lot_size: units of the asset in a lot.

    Raises:
        FormatError: a price or size is no whole number of ticks or lots, or a row's book is crossed or locked.
    """
    scale = _scale(tick_size * PRICE_UNITS, "tick_size", tick_size)
    size = _scale(lot_size, "lot_size", lot_size)
    _fits(pair, scale, size, tick_size, lot_size)
    made = Made(pair.name, np.zeros(0, state.TAPE), pair.levels, (tick_size, lot_size), messages=len(pair.messages))
    found = _Book()
    # A whole timestep, so that the clock of the files shines through; just before the first row, which is the start.
    start = math.ceil(float(pair.messages["time"][0])) - 1.0
    messages = pair.messages.tolist()
    books = pair.books.tolist()
    begin = 0
    if pair.before is None:
        for side in (state.BUY, state.SELL):
            for price, lots in _levels(books[0], side, scale, size):
                found.add(side, price, lots, -1.0, 0)
        begin = 1
    mids = [(len(found.rows), found.mid())]
    for row in range(begin, len(messages)):
        time, kind, order, shares, price, direction = messages[row]
        time -= start
        before = len(found.rows)
        in_view = [set(found.best(side, pair.levels)) for side in (state.BUY, state.SELL)]
        _follow(
            made,
            found,
            kind,
            order,
            shares // size,
            price // scale,
            state.BUY if direction == 1 else state.SELL,
            time,
            row,
        )
        table = [list(_levels(books[row], side, scale, size)) for side in (state.BUY, state.SELL)]
        for side in (state.BUY, state.SELL):
            _forget(made, found, side, table[side], in_view[side], pair.levels, time, row)
        for side in (state.BUY, state.SELL):
            _correct(made, found, side, table[side], in_view[side], time, row)
        if len(found.rows) > before:
            mids.append((len(found.rows), found.mid()))
    rows = np.zeros(len(found.rows), state.TAPE)
    for name, column in zip(state.TAPE.names or (), zip(*found.rows, strict=True), strict=True):
        rows[name] = column
    at = 0
    for end, mid in mids:
        rows["mid"][at:end] = mid
        at = end
    made.rows = rows
    return made


def _follow(
    made: Made, found: _Book, kind: int, order: int, lots: int, price: int, side: int, time: float, row: int
) -> None:
    """Let a message change the book."""
    if kind > window.EXECUTE:
        made.hidden += 1
        return
    if kind == window.NEW:
        found.orders[order] = found.add(side, price, lots, time, row, block=False)
        return
    own = found.orders.get(order)
    if own is None or own.lots == 0 or (own.price, own.side) != (price, side):
        # An order that was never seen: one of those that a block stands for.
        own = next((other for other in found.levels[side].get(price, ()) if other.block), None)
    if own is None:
        made.unfounded += 1
        return
    if kind == window.DELETE and found.orders.get(order) is own:
        lots = own.lots
    made.unfounded += lots > own.lots
    found.take(state.TAPE_EXECUTE if kind == window.EXECUTE else state.TAPE_REDUCE, own, min(lots, own.lots), time, row)
    if own.lots == 0:
        found.orders.pop(order, None)


def _forget(
    made: Made,
    found: _Book,
    side: int,
    table: list[tuple[int, int]],
    in_view: set[int],
    levels: int,
    time: float,
    row: int,
) -> None:
    """Take out what a row does not show: between its levels nothing stands, nor behind them unless all are occupied."""
    prices = list(found.best(side, len(table)))
    if prices == [price for price, _ in table] and (len(table) == levels or len(found.levels[side]) == len(table)):
        return
    wanted = {price for price, _ in table}
    last = table[-1][0] if len(table) == levels else None
    for price in list(found.levels[side]):
        within = last is None or (price >= last if side == state.BUY else price <= last)
        if within and price not in wanted:
            made.entered += price not in in_view
            made.reset += price in in_view
            found.set_level(side, price, 0, time, row)


def _correct(
    made: Made, found: _Book, side: int, table: list[tuple[int, int]], in_view: set[int], time: float, row: int
) -> None:
    """Set what a row shows otherwise than the book has it."""
    for price, lots in table:
        if sum(own.lots for own in found.levels[side].get(price, ())) != lots:
            made.entered += price not in in_view
            made.reset += price in in_view
            found.set_level(side, price, lots, time, row)


def _levels(cells: list[int], side: int, scale: int, size: int) -> Iterator[tuple[int, int]]:
    """Price and lots of a row's occupied levels, best first."""
    first = 0 if side == state.SELL else 2
    for place in range(first, len(cells), 4):
        if cells[place + 1] and abs(cells[place]) < window.NO_ASK:
            yield cells[place] // scale, cells[place + 1] // size


def _scale(number: float, name: str, given: float) -> int:
    whole = round(number) if math.isfinite(number) else 0
    if whole < 1 or abs(number - whole) > 1e-9 * max(1.0, number):
        raise ConfigError(f"{name}: expected a whole number of the files' units, got {given:g}")
    return whole


def _fits(pair: Pair, scale: int, size: int, tick_size: float, lot_size: float) -> None:
    """Raise a FormatError unless all prices are whole ticks, all sizes whole lots, and no row's book crossed."""
    visible = pair.messages["type"] <= window.EXECUTE
    for name, values, unit, given in (
        ("price", np.concatenate([pair.messages["price"][visible], pair.prices]), scale, tick_size),
        ("size", np.concatenate([pair.messages["size"][visible], pair.books[:, 1::2].ravel()]), size, lot_size),
    ):
        bad = values % unit != 0
        if bad.any():
            what, whole = ("tick_size", PRICE_UNITS) if name == "price" else ("lot_size", 1)
            divisor = int(np.gcd.reduce(values)) / whole
            raise FormatError(
                f"{pair.name}: {name}: expected whole multiples of {unit}, as {what} {given:g} has it, got "
                f"{int(values[np.argmax(bad)])}; {what} {divisor:g} fits all"
            )
    asks, bids = pair.books[:, 0], pair.books[:, 2]
    crossed = (bids >= asks) & (pair.books[:, 1] > 0) & (pair.books[:, 3] > 0)
    if crossed.any():
        row = int(np.argmax(crossed))
        raise FormatError(
            f"{pair.name}, line {row + 1}: expected a best bid below the best ask, got {bids[row]} and {asks[row]}: "
            "a book that is locked or crossed cannot trade on; cut the files there"
        )


def write(made: Made, path: Path) -> Tape:
    """Write a tape's file, whole or not at all; return what a config says of it.

    Raises:
        RunFolderError: it cannot be written.
    """
    content = bytes_of(made.sizes, made.rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_bytes(content)
    return described(made.sizes, made.rows, str(path), hashlib.sha256(content).hexdigest())


def tape_of_files(files: Sequence[Path]) -> Tape:
    """A tape that lies in a file, or is made of a pair of them and kept in :data:`KEPT` for the next time.

    Raises:
        ConfigError: there are neither one nor two, or see :func:`scripted_agents.recorded.load_tape` and :func:`make`.
    """
    if len(files) == 1:
        try:
            return load_tape(files[0].absolute())
        except ConfigError as error:
            raise ConfigError(f"{error}; of a pair give both, --tape MESSAGE ORDERBOOK") from None
    if len(files) != 2:
        raise ConfigError(f"--tape: expected a tape, or a message file and its order-book file, got {len(files)} files")
    pair = read_pair(*files)
    made = make(pair)
    digest = hashlib.sha256(bytes_of(made.sizes, made.rows)).hexdigest()
    path = KEPT / f"{files[0].name.split('.')[0]}-{digest[:8]}.npy"
    print(made)
    print(f"tape {path}", flush=True)
    return write(made, path.absolute())


@dataclass(frozen=True)
class PlayedBack:
    """A tape played without agents, beside the files that it was made of."""

    rows: int
    agreeing: int
    first_difference: int | None
    """Row."""
    messages: int
    """Of the tape, carried out by the exchange."""


def play_back(pair: Pair, made: Made, tape: Tape) -> PlayedBack:
    """Play a tape in a market without agents, and compare every level of every row with the pair's order book."""
    config = on_tape(tape, timesteps=max(1, math.floor(tape.length)))
    market = configure(config)
    start(market, np.uint64(1), made.rows)
    events = np.zeros(2 * state.longest_turn(market["orders"].shape[1]), state.EVENT)
    found = np.array([0, 0, state.NONE, 0], np.int64)
    window.follow(
        market, made.rows, events, pair.books, _scale(tape.tick_size * PRICE_UNITS, "tick_size", tape.tick_size),
        _scale(tape.lot_size, "lot_size", tape.lot_size), np.zeros(made.levels, np.int32), np.zeros(made.levels, np.int64), found,
    )  # fmt: skip
    rows, agreeing, first, messages = found.tolist()
    return PlayedBack(rows, agreeing, None if first == state.NONE else first, messages)
