"""Recorded actions held against the log, and carried out once more by the plain-Python market.

The log says what an agent's orders and cancels were; its action must say the same. Then the twin, given the actions alone,
must write the log itself: it decides anew what risk refuses and why, what trades, rests and is cancelled. Which side of a
turn goes first, a draw, it takes from the log. Cost: about 25 µs a turn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from market_env.config import ConfigError, MarketConfig
from market_env.twin import Entry
from runners.audit.rebuild import Piece, Replay, twin_of
from runners.audit.streams import delays

SIDES = (("buy", "bid_lots", "bid_offset", 1), ("sell", "ask_lots", "ask_offset", -1))
"""A side's columns of an action, and which way its limit price rounds."""
Action = dict[str, Any]
"""A recorded action by component, and ``first_seq`` of its turn."""


def limit_of(config: MarketConfig, sign: int, offset: int | None, reference: float) -> int:
    """Limit price of an order of an action, ticks: a buy's (``sign`` 1) rounds down, a sell's (-1) up; no offset is a market order."""
    limit = reference + sign * (config.protection_ticks if offset is None else -offset)
    price = math.floor(limit) if sign == 1 else math.ceil(limit)
    return max(1, price) if offset is None else price


def compare_actions(rebuilt: Replay, piece: Piece, actions: Sequence[Action]) -> None:
    """Hold each recorded action against what the log says that the agent did."""
    config, timesteps = rebuilt.config, piece.tables["turns"]["timestep"]
    for timestep, action, turn in zip(timesteps, actions, piece.turns, strict=True):
        if rebuilt.accounts[turn.agent].seat.latency is not None:
            continue  # what it finds on arrival is for the rules to say, and some of it never arrives

        pairs: list[tuple[str, Any, Any]] = [("cancel", turn.cancels(action["cancel"]), list(turn.cancelled))]
        for side, lots_column, offset_column, sign in SIDES:
            price, lots = turn.order_of(side) or (None, 0)
            offset = action[offset_column]
            pairs.append((lots_column, action[lots_column], lots))
            pairs.append((offset_column, offset is None or offset in config.offsets, True))
            if price is not None:
                pairs.append((offset_column, price, limit_of(config, sign, offset, turn.reference)))
        rebuilt.checked["actions"] += len(pairs)
        for column, recorded, wanted in pairs:
            if recorded != wanted:
                rebuilt.differ("actions", timestep, action["first_seq"], column, recorded, wanted)


class Rules:
    """The plain-Python market beside the log. It stops where the two part, or where anything else differs: what follows says nothing more.

    Args:
        rebuilt: the market that the pieces are taken from; is told what was checked and what differs.
    """

    def __init__(self, rebuilt: Replay) -> None:
        self._rebuilt = rebuilt
        self._row = -1
        """Of the last turn carried out."""
        self._opened = False
        """Whether what comes before the first turn has been compared."""
        config = rebuilt.config
        self._travel = {agent.id: delays(agent.latency, agent.id, rebuilt.seed) for agent in config.agents}
        self._twin = None
        try:
            self._twin = twin_of(config, rebuilt.seed)
        except ConfigError as error:  # its tape lies elsewhere now
            rebuilt.unchecked.append(f"rules: {error}")

    def add(self, piece: Piece, actions: Sequence[Action]) -> None:
        """Carry out the next turns."""
        rebuilt, twin, config = self._rebuilt, self._twin, self._rebuilt.config
        if twin is None or rebuilt.failed.total():
            self._twin = None
            return
        starts = [*(turn.time for turn in piece.turns), piece.until]
        if not self._opened:
            self._opened = True
            expected = [*twin.lay_out(), *twin.advance(starts[0], {}, end=piece.last and not piece.turns)]
            if not self._carries_on(rebuilt.opening, expected, (None, None)):
                return
        rows = piece.tables["turns"]
        for index, (action, turn) in enumerate(zip(actions, piece.turns, strict=True)):
            self._row += 1
            orders = {}
            for side, lots_column, offset_column, sign in SIDES:
                if lots := action[lots_column]:
                    offset = action[offset_column]
                    orders[side] = (limit_of(config, sign, offset, twin.reference), lots, offset is None)
            firsts: dict[int, str] = {}
            for entry in turn.entries:
                if entry.line.kind in {"accept", "reject"}:
                    firsts.setdefault(entry.turn, str(entry.line.side))
            first, delay = firsts.get(self._row, "buy"), next(self._travel[turn.agent])
            expected = list(twin.turn(turn.agent, action["cancel"], first, orders, turn.time, delay))
            last = piece.last and index + 1 == len(piece.turns)
            expected += twin.advance(starts[index + 1], firsts, end=last)
            if not self._carries_on(turn.entries, expected, (rows["timestep"][index], rows["first_seq"][index])):
                return
        if piece.last and config.tape is not None:
            assert twin.recording is not None
            rebuilt.tape = {"start": twin.recording.start, **twin.counted}

    def _carries_on(self, recorded: Sequence[Entry], expected: list[Entry], at: tuple[int | None, int | None]) -> bool:
        """Whether the log says what the twin does after a turn, or before the first; else the difference is kept."""
        self._rebuilt.checked["rules"] += 1
        if list(recorded) == expected:
            return True
        found, wanted = next((a, b) for a, b in zip_longest(recorded, expected) if a != b)
        self._rebuilt.differ("rules", *at, "turn", found, wanted)
        self._twin = None
        return False
