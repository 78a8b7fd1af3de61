"""The action space, the same for every agent: ``MultiDiscrete([cancel, bid_offset, bid_lots, ask_offset, ask_lots])``.

One turn may cancel own orders and place one order on each side. ``cancel`` is an index into :data:`CANCELS`;
an offset code is an index into the configured grid of ticks from the reference price (positive = passive,
negative = through it), the last code is a market order; a lots code is an index into the configured grid
of quantities, whose first entry is 0 = no order on that side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

COMPONENTS = ("cancel", "bid_offset", "bid_lots", "ask_offset", "ask_lots")
WIDTH = len(COMPONENTS)
"""Codes of an action."""
CANCELS = ("keep", "oldest", "bids", "asks", "all")
CANCEL_KEEP, CANCEL_OLDEST, CANCEL_BIDS, CANCEL_ASKS, CANCEL_ALL = range(5)
MAX_GRID = 32
"""Longest grid of offsets or lots; part of the compiled record."""


def sizes(offsets: Sequence[int], lots: Sequence[int]) -> NDArray[np.int64]:
    """Number of codes of each component: int64 of shape (5,)."""
    return np.array([len(CANCELS), len(offsets) + 1, len(lots), len(offsets) + 1, len(lots)], np.int64)


def space(offsets: Sequence[int], lots: Sequence[int]) -> spaces.MultiDiscrete:
    """The action space for these grids."""
    return spaces.MultiDiscrete(sizes(offsets, lots))


def convert(action: Any, agent: str) -> NDArray[np.int64]:
    """``action`` as int64 of shape (5,); its range is not checked here.

    Raises:
        TypeError: it is no sequence of integers (bool, float and NaN are none).
        ValueError: its shape is not (5,), or an entry does not fit int64.
    """
    wanted = f"action of {agent}: expected {len(COMPONENTS)} integers ({', '.join(COMPONENTS)})"
    if action is None:
        raise TypeError(f"{wanted}, got None")
    try:
        array = np.asarray(action)
    except ValueError as error:
        raise ValueError(f"{wanted}, got {type(action).__name__} of unequal parts") from error
    if array.shape != (len(COMPONENTS),):
        raise ValueError(f"{wanted}, got shape {array.shape}")
    entries = array.tolist() if isinstance(action, np.ndarray) else list(action)
    for name, entry in zip(COMPONENTS, entries, strict=True):
        if isinstance(entry, (bool, np.bool_)) or not isinstance(entry, (int, np.integer)):
            raise TypeError(f"action of {agent}: {name} must be an integer, got {entry!r} ({type(entry).__name__})")
        if not -(2**63) <= int(entry) < 2**63:
            raise ValueError(f"action of {agent}: {name} is out of range: {entry!r}")
    return np.array([int(entry) for entry in entries], np.int64)


def out_of_range(codes: NDArray[np.int64], counts: NDArray[np.int64], agent: str) -> str:
    """The message for the first component that is out of range."""
    for name, code, count in zip(COMPONENTS, codes.tolist(), counts.tolist(), strict=True):
        if not 0 <= code < count:
            return f"action of {agent}: {name} must be an integer from 0 to {count - 1}, got {code}"
    raise AssertionError(f"{codes} is in range")
