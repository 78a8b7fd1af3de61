"""Recorded days: read once a process from their file, checked, and shared by all markets that play them.

A tape is a file of two NumPy arrays, sizes of tick and lot (float64, shape (2,)) and :data:`market_env.engine.state.TAPE` rows;
``runners.lobster tape`` makes one of a LOBSTER pair or of a run.
A market's config names the file with its SHA-256, so a run says what it played. Memory: 40 bytes a row, once a process.
"""

from __future__ import annotations

import functools
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market_env.config import ConfigError, MarketConfig, Tape
from market_env.engine import state
from market_env.outside import read_bytes, shown

LARGEST_TAPE = 2**32
"""Largest file that is read, bytes."""


def tape_of(config: MarketConfig) -> NDArray[np.void] | None:
    """The rows of a market's recorded day, shape (rows,), read-only; None without one, for which nothing of a day is compiled.

    Raises:
        ConfigError: the file cannot be read, is another than the config says, or no tape.
    """
    tape = config.tape
    if tape is None:
        return None
    sizes, rows = _read(tape.file, tape.sha256)
    if described(sizes, rows, tape.file, tape.sha256, tape.first, tape.last) != tape:
        raise ConfigError(
            f"tape {shown(tape.file)[1:-1]}: the config says otherwise how long, how wide or how deep it is; make the config anew"
        )
    return rows


@functools.lru_cache(maxsize=8)
def _read(file: str, sha256: str) -> tuple[tuple[float, float], NDArray[np.void]]:
    where = f"tape {shown(file)[1:-1]}"
    content = read_bytes(Path(file), where, LARGEST_TAPE)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ConfigError(f"{where}: expected sha256 {sha256} as the config says, found {found}")
    return parts_of(content, where)


def bytes_of_array(array: NDArray[Any], count: int | None = None) -> bytes:
    """An array as NumPy writes it to a file; with ``count`` its header says that there are so many entries."""
    content = io.BytesIO()
    described_as = np.lib.format.header_data_from_array_1_0(array)
    if count is not None:
        described_as["shape"] = (count,)
    np.lib.format.write_array_header_1_0(content, described_as)
    return content.getvalue() + array.tobytes()


def bytes_of(sizes: tuple[float, float], rows: NDArray[np.void], count: int | None = None) -> bytes:
    """The content of a tape's file; with ``count`` its header says that there are so many rows."""
    return bytes_of_array(np.array(sizes, np.float64)) + bytes_of_array(rows, count)


def parts_of(content: bytes, where: str) -> tuple[tuple[float, float], NDArray[np.void]]:
    """Sizes of tick and lot, and the rows of a tape's file, each one that a kernel may follow.

    Raises:
        ConfigError: it is no tape; names the row and what is wrong.
    """
    # Nothing of a header is believed: a tape is, byte for byte, what this module writes of its numbers.
    head = len(bytes_of((1.0, 1.0), np.zeros(0, state.TAPE)))
    count, rest = divmod(len(content) - head, state.TAPE.itemsize)
    wrong = ConfigError(
        f"{where}: expected a tape that runners.lobster tape wrote, found another file of {len(content):,} bytes"
    )
    if count < 1 or rest:
        raise wrong
    sizes = np.frombuffer(content, np.float64, 2, offset=len(bytes_of_array(np.zeros(0))))
    # Of the very dtype object that the kernels are compiled for; an equal copy would be slow.
    rows = np.frombuffer(content, state.TAPE, count, offset=head)
    if content[:head] != bytes_of((float(sizes[0]), float(sizes[1])), rows[:0], count)[:head]:
        raise wrong
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ConfigError(f"{where}: expected the sizes of tick and lot, found {shown(sizes.tolist())}")
    add = rows["kind"] == state.TAPE_ADD
    for name, good, wanted in (
        ("time", np.isfinite(rows["time"]) & (np.abs(rows["time"]) < 1e12), "a time"),
        ("kind", (rows["kind"] >= 0) & (rows["kind"] <= state.TAPE_EXECUTE), "0 to 3"),
        ("side", (rows["side"] == state.BUY) | (rows["side"] == state.SELL), "0 or 1"),
        ("price", (rows["price"] >= 1) & (rows["price"] < 2**30), "1 to 2**30 ticks"),
        ("lots", (rows["lots"] >= 1) | (rows["kind"] == state.TAPE_DELETE), "1 or more"),
        ("mid", np.isfinite(rows["mid"]) & (rows["mid"] >= 0) & (rows["mid"] < 2**30), "a price"),
        ("handle", (rows["handle"] >= 0) & (rows["handle"] < state.POOLS[-1]), f"below {state.POOLS[-1]:,}"),
    ):
        if not good.all():
            row = int(np.argmin(good))
            raise ConfigError(f"{where}: row {row}: {name}: expected {wanted}, found {rows[name][row]}")
    back = np.flatnonzero(np.diff(rows["time"]) < 0)
    if len(back):
        row = int(back[0]) + 1
        raise ConfigError(
            f"{where}: row {row}: time: expected {rows['time'][row - 1]} or later, found {rows['time'][row]}"
        )
    if not add.any():
        raise ConfigError(f"{where}: expected orders, found none")
    lots = rows["lots"].astype(np.float64)
    for name, total, most in (
        ("lots", lots.sum(), 2.0**31),
        ("lots times prices", (lots * rows["price"]).sum(), 2.0**52),
    ):
        if total >= most:  # what the history's seats can hold and owe, to the thousandth
            raise ConfigError(f"{where}: {name}: expected less than {most:,.0f} in all, found {total:,.0f}")
    return (float(sizes[0]), float(sizes[1])), rows


def described(
    sizes: tuple[float, float],
    rows: NDArray[np.void],
    file: str,
    sha256: str,
    first: float = 0.0,
    last: float | None = None,
) -> Tape:
    """What a config says of a tape.

    Args:
        sizes: of tick and lot.
        rows: TAPE rows.
        file: where they lie.
        sha256: of the file.
        first: earliest start of an episode, timesteps into the tape.
        last: latest; None: the same.
    """
    return Tape(
        file=file,
        sha256=sha256,
        tick_size=sizes[0],
        lot_size=sizes[1],
        rows=len(rows),
        length=float(rows["time"][-1]),
        orders=int(rows["handle"].max()) + 1,
        lowest=int(rows["price"].min()),
        highest=int(rows["price"].max()),
        first=first,
        last=first if last is None else last,
    )
