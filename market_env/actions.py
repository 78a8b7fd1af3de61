"""The action space, the same for every agent: ``MultiDiscrete([cancel, bid_offset, bid_lots, ask_offset, ask_lots])``.

One turn may cancel own orders and place one order on each side. ``cancel`` is an index into :data:`CANCELS`;
an offset code is an index into the configured grid of ticks from the reference price (positive = passive,
negative = through it), the last code is a market order; a lots code is an index into the configured grid
of quantities, whose first entry is 0 = no order on that side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from market_env.outside import shown

COMPONENTS = ("cancel", "bid_offset", "bid_lots", "ask_offset", "ask_lots")
WIDTH = len(COMPONENTS)
"""Codes of an action."""
CANCELS = ("keep", "oldest", "bids", "asks", "all")
CANCEL_KEEP, CANCEL_OLDEST, CANCEL_BIDS, CANCEL_ASKS, CANCEL_ALL = range(5)
MAX_GRID = 64
"""Longest grid of offsets or lots; part of the compiled record."""


def sizes(offsets: Sequence[int], lots: Sequence[int]) -> NDArray[np.int64]:
    """Number of codes of each component: int64 of shape (5,)."""
    return np.array([len(CANCELS), len(offsets) + 1, len(lots), len(offsets) + 1, len(lots)], np.int64)


def space(offsets: Sequence[int], lots: Sequence[int]) -> spaces.MultiDiscrete:
    """The action space for these grids."""
    return spaces.MultiDiscrete(sizes(offsets, lots))


Label = Callable[[tuple[int, ...]], str]
"""Says whose action stands at a place before the last axis."""


def as_codes(given: Any, counts: NDArray[np.int64], label: Label, shape: tuple[int, ...] = ()) -> NDArray[np.int64]:
    """``given`` as codes: int64 of shape (*shape, WIDTH). The one check of every face.

    Integers of any width pass, in arrays, lists and tuples alike; bool, float and NaN are none. That they lie in range
    is checked here where they do not fit int64, and by the compiled market where they do.

    Args:
        given: what a face was handed.
        counts: number of codes of each component.
        label: says whose action stands at a place; ``""`` for all of them together.
        shape: of the actions, ``()`` for one.

    Raises:
        TypeError: an entry is no integer.
        ValueError: the shape is another, or an entry does not fit int64.
    """
    if type(given) is np.ndarray and given.dtype == np.int64 and given.shape == (*shape, WIDTH):
        return given.copy()
    wanted = f"{WIDTH} integers ({', '.join(COMPONENTS)})"
    if shape:
        wanted = f"an array of shape {(*shape, WIDTH)}, {wanted} each"
    if given is None:
        raise TypeError(f"{label(())}: expected {wanted}, got None")
    try:
        # Entry by entry where numpy would choose a type that all of them fit, and a float blame its neighbours.
        array = given if isinstance(given, np.ndarray) else np.asarray(given, object)
    except ValueError as error:
        raise ValueError(f"{label(())}: expected {wanted}, got {type(given).__name__} of unequal parts") from error
    if array.shape != (*shape, WIDTH):
        raise ValueError(f"{label(())}: expected {wanted}, got shape {array.shape}")
    if array.dtype.kind == "i":
        return array.astype(np.int64)
    if array.dtype.kind not in "uO":
        raise TypeError(f"{label(())}: expected {wanted}, got {array.dtype}")
    codes = np.zeros(array.shape, np.int64)
    for place, entry in np.ndenumerate(array):
        name = COMPONENTS[place[-1]]
        if isinstance(entry, (bool, np.bool_)) or not isinstance(entry, (int, np.integer)):
            raise TypeError(
                f"{label(place[:-1])}: {name} must be an integer, got {shown(entry)} ({type(entry).__name__})"
            )
        if not -(2**63) <= int(entry) < 2**63:
            raise ValueError(f"{label(place[:-1])}: {_range(name, counts)}, got {shown(int(entry))}")
        codes[place] = int(entry)
    return codes


def out_of_range(codes: NDArray[np.int64], counts: NDArray[np.int64], label: str) -> str:
    """The message for the first component of an action that is out of range."""
    for name, code, count in zip(COMPONENTS, codes.tolist(), counts.tolist(), strict=True):
        if not 0 <= code < count:
            return f"{label}: {_range(name, counts)}, got {code}"
    raise AssertionError(f"{codes} is in range")


def _range(name: str, counts: NDArray[np.int64]) -> str:
    return f"{name} must be an integer from 0 to {counts[COMPONENTS.index(name)] - 1}"


def label_of(agent: str) -> Label:
    """The label of one agent's action."""
    return lambda place: f"action of {agent}"
