"""LOBSTER pairs: read, written, and made of a run.

A pair is a message file and an order-book file, row by row: what happened, and the first K levels after it, by the
published description (https://lobsterdata.com/info/DataStructure.php). Cost: reading takes about 1 s for 100 MB; memory is
8 bytes for each cell, twice.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from market_env.config import ConfigError, MarketConfig
from market_env.engine import state
from market_env.market import configure
from market_env.outside import shown
from runners.exchange import window
from runners.files.config import read_config
from runners.files.once import once
from runners.files.read import load_events
from runners.files.whole import whole_file

OPENING = 34_200
"""Where an exported run's clock starts, seconds after midnight: 09:30, as the format's own files."""

PRICE_UNITS = 10_000
"""Price units of one currency unit."""

COLUMNS = ("time", "type", "order id", "size", "price", "direction")
LARGEST = 2**31 - 1
"""Largest size of an order or level that the book holds."""


@dataclass(frozen=True)
class Pair:
    """A message table and an order-book table, row by row."""

    name: str
    """What it is called in what is printed."""
    messages: NDArray[np.void]
    """:data:`runners.exchange.window.MESSAGE`, shape (rows,)."""
    books: NDArray[np.int64]
    """Ask price, ask size, bid price, bid size of each level, shape (rows, 4 K)."""
    before: NDArray[np.int64] | None = None
    """The book before the first message, shape (4 K,), where it is known."""

    @once
    def prices(self) -> NDArray[np.int64]:
        """All different prices in ``books``, in any order."""
        return different(pl.Series(self.books[:, column]) for column in range(0, self.books.shape[1], 2))

    @property
    def levels(self) -> int:
        """K."""
        return int(self.books.shape[1] // 4)


class FormatError(ConfigError):
    """A file that is not what the format says: file, line, value, and what was expected."""


def read_pair(message: Path, orderbook: Path) -> Pair:
    """Read a message file and its order-book file.

    Raises:
        FormatError: a file cannot be read or breaks the format; names file, line and value.
    """
    messages = read_messages(message)
    books = read_books(orderbook)
    if len(messages) != books.height:
        raise FormatError(f"{orderbook}: expected {len(messages):,} rows as in {message}, got {books.height:,}")
    return Pair(message.name, messages, books.to_numpy(order="c"))


def read_messages(path: Path) -> NDArray[np.void]:
    """Read a message file.

    Raises:
        FormatError: see :func:`read_pair`.
    """
    types: list[type[pl.DataType]] = [pl.Float64, *[pl.Int64] * 5]
    frame = _read(path, types)
    rows = np.zeros(frame.height, window.MESSAGE)
    for name, column in zip(window.MESSAGE.names or (), frame, strict=True):
        rows[name] = column.to_numpy()
    kind = rows["type"]
    _check(path, rows["time"], np.isfinite(rows["time"]) & (rows["time"] >= 0), "time: expected seconds after midnight")
    _check(path, kind, (kind >= 1) & (kind <= window.HALT), "type: expected 1 to 7")
    visible = kind <= window.EXECUTE
    size, price, direction = rows["size"], rows["price"], rows["direction"]
    _check(path, size, ~visible | ((size >= 1) & (size <= LARGEST)), f"size: expected 1 to {LARGEST:,}")
    _check(
        path, price, ~visible | ((price >= 1) & (price < window.NO_ASK)), f"price: expected 1 to {window.NO_ASK - 1:,}"
    )
    _check(path, direction, ~visible | (np.abs(direction) == 1), "direction: expected 1 or -1")
    back = np.flatnonzero(np.diff(rows["time"]) < 0)
    if len(back):
        line = int(back[0]) + 2
        raise FormatError(
            f"{path}, line {line}: time: expected {rows['time'][line - 2]:.9f} or later, got {rows['time'][line - 1]:.9f}"
        )
    return rows


def read_books(path: Path) -> pl.DataFrame:
    """Read an order-book file of any number of levels.

    Raises:
        FormatError: see :func:`read_pair`.
    """
    books = _read(path)
    for number, sizes in enumerate(books[:, 1::2]):
        low, high = sizes.min(), sizes.max()
        if not (isinstance(low, int) and isinstance(high, int) and low >= 0 and high <= LARGEST):
            values = sizes.to_numpy()
            what = f"column {2 * number + 2}: size: expected 0 to {LARGEST:,}"
            _check(path, values, (values >= 0) & (values <= LARGEST), what)
    return books


LARGEST_FILE = 2**33
"""Largest file that is read, unpacked, bytes."""


def _content(path: Path) -> bytes | Path:
    """The file itself, or what it holds if it is compressed by gzip, as its first bytes say."""
    try:
        with path.open("rb") as file:
            if file.read(2) != b"\x1f\x8b":
                return path
        with gzip.open(path, "rb") as packed:
            content = packed.read(LARGEST_FILE + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(f"{path}: cannot be unpacked: {error}") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > LARGEST_FILE:
        raise FormatError(f"{path}: expected at most {LARGEST_FILE:,} bytes unpacked, found more")
    return content


def _open(content: bytes | Path) -> TextIO:
    if isinstance(content, Path):
        return content.open(newline="", encoding="utf-8", errors="replace")
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", errors="replace", newline="")


def _read(path: Path, types: Sequence[type[pl.DataType]] | None = None) -> pl.DataFrame:
    """All rows of a file of numbers without a header; without ``types`` whole numbers, four columns a level."""
    content = _content(path)
    if types is None:
        with _open(content) as file:
            width = file.readline().count(",") + 1
        if width % 4:
            raise FormatError(f"{path}, line 1: expected 4 columns a level, got {width} columns")
        types = [pl.Int64] * width
    schema = {str(number): kind for number, kind in enumerate(types)}
    try:
        frame = pl.read_csv(content, has_header=False, schema=schema)
    except pl.exceptions.PolarsError as error:
        _locate(path, content, types, str(error).splitlines()[0])
    blank = frame.tail(1).null_count().sum_horizontal().sum() == len(types)
    while frame.height and blank:  # a file may end with empty lines
        frame = frame[:-1]
        blank = frame.tail(1).null_count().sum_horizontal().sum() == len(types)
    if not frame.height:
        raise FormatError(f"{path}: expected rows, found an empty file")
    if sum(column.null_count() for column in frame):
        _locate(path, content, types, "a cell is empty")
    return frame


def _locate(path: Path, content: bytes | Path, types: Sequence[type[pl.DataType]], reason: str) -> NoReturn:
    """Say where a file breaks the format; slow, for one that does."""
    with _open(content) as file:
        for line, cells in enumerate(csv.reader(file), 1):
            if len(cells) != len(types):
                hint = (
                    "; is it the order-book file? The message file comes first"
                    if len(types) == 6 and len(cells) > 7
                    else ""
                )
                raise FormatError(f"{path}, line {line}: expected {len(types)} columns, got {len(cells)}{hint}")
            for column, (cell, kind) in enumerate(zip(cells, types, strict=True), 1):
                try:
                    if kind is pl.Float64:
                        float(cell)
                    elif not -(2**63) <= int(cell) < 2**63:
                        raise ValueError(cell)
                except ValueError:
                    wanted = "a number" if kind is pl.Float64 else "a whole number of 64 bits"
                    where = f"column {column} ({COLUMNS[column - 1]})" if len(types) == 6 else f"column {column}"
                    hint = "; the format has no header line" if line == 1 else ""
                    raise FormatError(
                        f"{path}, line {line}, {where}: expected {wanted}, got {shown(cell)}{hint}"
                    ) from None
    raise FormatError(f"{path}: cannot be read: {reason}")


def _check(path: Path, values: NDArray[Any], good: NDArray[np.bool_], expected: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise FormatError(f"{path}, line {row + 1}: {expected}, got {values[row]}")


def pair_of_run(path: Path, levels: int) -> Pair:
    """A run as LOBSTER shows a day: the messages that change the first ``levels`` levels, and these after each.

    One timestep is one second from :data:`OPENING` on, order ids count from 1.

    Raises:
        ConfigError: there is no run, its log is damaged, or its tick or lot cannot be said in the format's units.
    """
    if not 1 <= levels <= 200:
        raise ConfigError(f"levels: expected 1 to 200, got {levels}")
    _, config = read_config(path)
    return pair_of_events(config, load_events(path), levels, path.name)


def pair_of_events(config: MarketConfig, events: NDArray[np.void], levels: int, name: str) -> Pair:
    """A market's events as :func:`pair_of_run` has those of a run.

    Raises:
        ConfigError: tick or lot cannot be said in the format's units, or no market wrote these events.
    """
    messages, books = visible(config, events, levels)
    empty = np.tile([window.NO_ASK, 0, window.NO_BID, 0], levels)
    return Pair(name, messages, books, empty)


def visible(config: MarketConfig, events: NDArray[np.void], levels: int) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """Messages and order-book rows of a market's events; see :func:`pair_of_run`.

    Raises:
        ConfigError: tick or lot cannot be said in the format's units, or no market wrote these events.
    """
    scale = _whole(config.tick_size * PRICE_UNITS, "tick_size", f"a multiple of 1/{PRICE_UNITS:,}", config.tick_size)
    size = _whole(config.lot_size, "lot_size", "a whole number", config.lot_size)
    kinds = events["kind"]
    most = int(np.count_nonzero((kinds != state.KIND_TURN) & (kinds != state.KIND_REJECT)))
    accepted = int(np.count_nonzero(kinds == state.KIND_ACCEPT))
    messages = np.zeros(most, window.MESSAGE)
    books = np.zeros((max(most, 1), 4 * levels), np.int64)
    books[0] = np.tile([window.NO_ASK, 0, window.NO_BID, 0], levels)
    prices, lots = np.zeros((2, levels), np.int64), np.zeros((2, levels), np.int64)
    count = window.show(
        configure(config), events, np.zeros(2, np.int64), np.zeros(accepted + 1, np.int32), prices, lots, scale, size,
        messages, books,
    )  # fmt: skip
    if count < 0:
        row = events[-1 - count]
        raise ConfigError(
            f"events: seq {row['seq']}: {state.KINDS[row['kind']]} of order {row['order_id']}, {row['lots']} lots at "
            f"{row['price']} ticks: cannot stand there; python -m runners.replay says more"
        )
    messages, books = messages[:count], books[:count]
    for name, most, given, largest in (
        ("tick_size", int(messages["price"].max(initial=0)), config.tick_size, window.NO_ASK - 1),
        ("lot_size", int(books[:, 1::2].max(initial=0)), config.lot_size, LARGEST),
    ):
        if most > largest:
            raise ConfigError(f"{name}: with {given:g} the run has a value of {most:,}, the format at most {largest:,}")
    messages["time"] += OPENING
    return messages, books


def _whole(number: float, name: str, expected: str, given: float) -> int:
    whole = round(number)
    if whole < 1 or abs(number - whole) > 1e-9 * max(1.0, number):
        raise ConfigError(f"{name}: the format needs {expected}, got {given:g}")
    return whole


def write_pair(
    pair: Pair, folder: Path, ticker: str, date: str, end: int, *, overwrite: bool = False
) -> tuple[Path, Path]:
    """Write a pair under the names that LOBSTER gives its files; return the two paths.

    Args:
        pair: what to write.
        folder: made if it is not there.
        ticker: letters, digits, points and hyphens.
        date: year-month-day.
        end: seconds after midnight.
        overwrite: replace files of that name.

    Raises:
        ConfigError: a name that readers of the format would not take apart, a file is there already, or cannot be
            written.
    """
    if not re.fullmatch(r"[A-Za-z0-9.-]+", ticker):
        raise ConfigError(f"ticker: expected letters, digits, points and hyphens, got {ticker!r}")
    try:
        datetime.date.fromisoformat(date)
    except ValueError:
        raise ConfigError(f"date: expected year-month-day, got {date!r}") from None
    stem = f"{ticker}_{date}_{OPENING * 1000}_{end * 1000}"
    paths = tuple(folder / f"{stem}_{what}_{pair.levels}.csv" for what in ("message", "orderbook"))
    for path in paths:
        if path.exists() and not overwrite:
            raise ConfigError(f"{path}: expected no file there, found one; pass --overwrite to replace it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}") from None
    frames = (
        pl.DataFrame({name: pair.messages[name] for name in window.MESSAGE.names or ()}),
        pl.DataFrame(pair.books, schema=[str(column) for column in range(pair.books.shape[1])]),
    )
    # Neither takes its name before both are written.
    with contextlib.ExitStack() as both:
        for path, frame in zip(paths, frames, strict=True):
            frame.write_csv(both.enter_context(whole_file(path)), include_header=False, float_precision=9)
    return paths[0], paths[1]


def different(columns: Iterable[pl.Series]) -> NDArray[np.int64]:
    """The different prices in columns of an order book, without those of empty levels."""
    found: set[int] = set()
    for column in columns:
        found.update(column.unique().to_list())
    return np.array([price for price in found if 0 < price < window.NO_ASK], np.int64)
