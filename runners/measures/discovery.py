"""Price discovery: how the price moved through resting orders, and whether it ever moved without them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from market_env.engine.state import BUY, KIND_ACCEPT, KIND_CANCEL, KIND_TRADE, KIND_TURN
from runners.measures.intervals import Floats
from runners.measures.timeline import QUOTES, Timeline

CAUSES = ("trade", "cancel", "new quote")
MOST_LEVELS = 6
"""Orders that took more levels are counted with those of this many."""


@dataclass(frozen=True)
class Moves:
    """Changes of the mid between two-sided books, by the event that made them."""

    count: dict[str, int]
    """Moves by cause."""
    ticks: dict[str, float]
    """Sum of their sizes, ticks."""
    changes: dict[str, Floats]
    """Sum of the moves of each timestep by cause, signed, ticks, shape (timesteps,)."""
    levels: dict[int, int]
    """Aggressors' orders by the number of price levels that they emptied."""
    impact: dict[int, Floats]
    """How far the mid moved in the aggressor's direction from just before to just after such an order, ticks."""
    consumed: float | None
    """Levels emptied for each change of a best price by an aggressor's order, mean."""
    prints: int
    """Trades."""
    off_touch: int
    """Trades that did not print at the best price then resting on the side that they hit: 0, or the price teleported."""
    unexplained: int
    """Changes of a best price that are neither from the price of the event's own trade or cancel, nor to the limit price of
    its own order: 0, or something else moves the price."""

    @property
    def jumps(self) -> int:
        """Moves without touching resting orders."""
        return self.off_touch + self.unexplained


def touch_before(line: Timeline) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Best bid and best ask just before each event."""
    return tuple(np.concatenate([[0], line.quotes[name][:-1]]).astype(np.int32) for name in ("best_bid", "best_ask"))  # type: ignore[return-value]


def moves(line: Timeline) -> Moves:
    """Attribute every change of the mid."""
    turns = np.flatnonzero(line.events["kind"] == KIND_TURN)
    # Whatever an order does it does before the next turn begins: between two turns the log can be cut.
    cuts = [
        int(turns[place])
        for first in range(PIECE, len(line.events), PIECE)
        if (place := np.searchsorted(turns, first)) < len(turns)
    ]
    bounds = list(dict.fromkeys([0, *cuts, len(line.events)]))
    pieces, changes = [], {cause: np.zeros(line.run.timesteps) for cause in CAUSES}
    for start, end in pairwise(bounds) if len(bounds) > 1 else [(0, 0)]:
        piece = _of_piece(line, start, end)
        for cause, own in piece.changes.items():
            changes[cause] += own
        pieces.append(piece._replace(changes={}))  # three numbers a timestep are too many to keep of each
    levels = sum((piece.levels for piece in pieces), Counter[int]())
    moved = sum(piece.moved for piece in pieces)
    return Moves(
        count={cause: sum(piece.counts[cause] for piece in pieces) for cause in CAUSES},
        ticks={cause: sum(piece.ticks[cause] for piece in pieces) for cause in CAUSES},
        changes=changes,
        levels=dict(sorted(levels.items())),
        impact={
            level: np.concatenate([piece.impact.get(level, np.zeros(0)) for piece in pieces])
            for level in sorted(levels)
        },
        consumed=sum(piece.consumed for piece in pieces) / moved if moved else None,
        prints=len(line.trades),
        off_touch=sum(piece.off_touch for piece in pieces),
        unexplained=sum(piece.unexplained for piece in pieces),
    )


PIECE = 2**20
"""Events that are looked at together."""


class _Piece(NamedTuple):
    """What :class:`Moves` says, of a part of the log."""

    counts: dict[str, int]
    ticks: dict[str, float]
    changes: dict[str, Floats]
    levels: Counter[int]
    impact: dict[int, Floats]
    consumed: int
    """Levels emptied by orders that changed a best price,"""
    moved: int
    """and how many such orders."""
    off_touch: int
    unexplained: int


def _of_piece(line: Timeline, start: int, end: int) -> _Piece:
    events, quotes = line.events[start:end], line.quotes[start:end]
    kinds = events["kind"]
    bid, ask = quotes["best_bid"], quotes["best_ask"]
    earlier = line.quotes[start - 1] if start else np.zeros(1, QUOTES)[0]
    bid_before, ask_before = (
        np.concatenate([[earlier[name]], quotes[name][:-1]]).astype(np.int32)[: end - start]
        for name in ("best_bid", "best_ask")
    )
    two_sided = (bid > 0) & (ask > 0) & (bid_before > 0) & (ask_before > 0)
    change = np.where(two_sided, (bid + ask - bid_before - ask_before) / 2.0, 0.0)
    causes = {
        "trade": kinds == KIND_TRADE,
        "cancel": kinds == KIND_CANCEL,
        "new quote": kinds == KIND_ACCEPT,
    }
    # What is left of an order after its last trade comes to rest with that trade's event: the new quote is its own.
    sizes = {name: np.abs(change[rows & (change != 0)]) for name, rows in causes.items()}
    changes = {
        name: np.bincount(events["timestep"][rows], change[rows], line.run.timesteps).astype(np.float64)
        for name, rows in causes.items()
    }

    bought = events["side"] == BUY
    trade = kinds == KIND_TRADE
    best = np.where(bought, ask_before, bid_before)
    off_touch = trade & (events["price"] != best)
    # Whatever comes to rest is the order accepted last, at its limit.
    accepted = kinds == KIND_ACCEPT
    latest = np.maximum.accumulate(np.where(accepted, np.arange(len(events)), 0))
    unexplained = 0
    for side, old, new in ((BUY, bid_before, bid), (1 - BUY, ask_before, ask)):
        own = events["side"] == side
        left = (kinds == KIND_CANCEL) & own | trade & ~own  # a cancel empties its own side, a trade the other
        came = (
            (accepted | trade | causes["cancel"]) & (events["side"][latest] == side) & (new == events["price"][latest])
        )
        unexplained += int(np.count_nonzero((old != new) & ~(left & (old == events["price"]) | came)))

    trades = np.flatnonzero(trade)
    orders, first, group = np.unique(events["order_id"][trades], return_index=True, return_inverse=True)
    last = np.zeros(len(orders), np.int64)
    np.maximum.at(last, group, trades)
    first = trades[first] if len(trades) else first
    pairs = np.unique(np.stack([group, events["price"][trades]]), axis=1)
    touched = np.bincount(pairs[0], minlength=len(orders))
    hit_after = np.where(bought[last], ask[last], bid[last]) if len(orders) else np.zeros(0)
    emptied = touched - (hit_after == events["price"][last])
    moved_best = hit_after != np.where(bought[first], ask_before[first], bid_before[first])
    taken = np.minimum(emptied, MOST_LEVELS)
    before = (bid_before[first] + ask_before[first]) / 2.0
    after = (bid[last] + ask[last]) / 2.0
    known = (bid_before[first] > 0) & (ask_before[first] > 0) & (bid[last] > 0) & (ask[last] > 0)
    impact = np.where(bought[first], 1.0, -1.0) * (after - before)
    return _Piece(
        counts={name: len(values) for name, values in sizes.items()},
        ticks={name: float(values.sum()) for name, values in sizes.items()},
        changes=changes,
        levels=Counter(taken.tolist()),
        impact={level: impact[(taken == level) & known] for level in set(taken.tolist())},
        consumed=int(emptied[moved_best].sum()),
        moved=int(np.count_nonzero(moved_best)),
        off_touch=int(off_touch.sum()),
        unexplained=unexplained,
    )
