"""Markets that a recorded day plays in: the history's seats, and a population beside it.

The history reacts to nobody. What a population adds reacts: to the book that it shares with the history, and those who have a
signal to the history's own mid, which stands for the value.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path

from market_env.config import (
    MAX_CASH_WITH_FEES,
    UNBOUND,
    AgentConfig,
    ConfigError,
    Hawkes,
    MarketConfig,
    Recorded,
    Tape,
    amend,
)
from market_env.outside import read_bytes, shown
from market_env.tape import LARGEST_TAPE, described, parts_of

KIND = "tape"
SEATS = ("tape_0", "tape_1")
"""The history's seats: of orders that rest, and of those that traded with them."""


def seats() -> tuple[AgentConfig, AgentConfig]:
    """The history's seats, which no limit binds."""
    first, second = (
        AgentConfig(name, KIND, cash=0, cash_floor=-MAX_CASH_WITH_FEES, inventory_bound=UNBOUND, arrivals=Recorded())
        for name in SEATS
    )
    return first, second


def load_tape(path: Path) -> Tape:
    """What a config says of a tape's file, with episodes that start where it does.

    Raises:
        ConfigError: it cannot be read or is no tape.
    """
    where = f"tape {shown(str(path))[1:-1]}"
    content = read_bytes(path, where, LARGEST_TAPE)
    return described(*parts_of(content, where), str(path), hashlib.sha256(content).hexdigest())


def on_tape(tape: Tape, around: MarketConfig | None = None, timesteps: int | None = None) -> MarketConfig:
    """A market that a tape plays in.

    Args:
        tape: the recorded day.
        around: rules and who else trades, None for nobody. Its value and halts do not count, nor that news set off arrivals: those
            who have a signal see the history's own mid. Cash is raised to what each seat's bound costs at the tape's prices.
        timesteps: length of an episode; by default all that is left of the tape behind the latest start.
    """
    length = math.floor(tape.length - tape.last) if timesteps is None else timesteps
    first = (tape.lowest + tape.highest) // 2
    if around is None:
        around = MarketConfig(timesteps=length)
        return amend(
            around, agents=seats(), tape=tape, first_price=first, tick_size=tape.tick_size, lot_size=tape.lot_size
        )
    agents = tuple(_seated(agent, tape) for agent in around.agents)
    return amend(
        around,
        tick_size=tape.tick_size,
        lot_size=tape.lot_size,
        timesteps=length,
        agents=(*agents, *seats()),
        tape=tape,
        value=None,
        halt=None,
        first_price=first,
    )


def _seated(agent: AgentConfig, tape: Tape) -> AgentConfig:
    """A seat in a market of a tape's prices."""
    arrivals = agent.arrivals
    if isinstance(arrivals, Hawkes):
        arrivals = replace(arrivals, news=0.0)
    # Twice what its bound costs, so that cash binds after the bound does; flat, since the seed decides the first price.
    return replace(
        agent, arrivals=arrivals, inventory=0, cash=max(agent.cash, 2 * agent.inventory_bound * tape.highest)
    )


def part_of(tape: Tape, first: float, last: float, timesteps: int) -> Tape:
    """The tape with episodes that lie within a part of it.

    Args:
        tape: the recorded day.
        first: where the part begins, as a share of its length.
        last: where it ends.
        timesteps: length of an episode.

    Raises:
        ConfigError: the part is shorter than an episode.
    """
    begin, end = first * tape.length, last * tape.length
    if end - begin < timesteps:
        raise ConfigError(
            f"tape {shown(tape.file)[1:-1]}: its part from {begin:,.0f} to {end:,.0f} timesteps is shorter than an episode of "
            f"{timesteps:,}"
        )
    return amend(tape, first=begin, last=end - timesteps)
