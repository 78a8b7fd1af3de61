"""Tables from events: quotes, depth and accounts of every timestep, as numpy arrays.

The book is rebuilt by the compiled engine; a run of 5,000 timesteps takes some ms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from market_env.config import MarketConfig
from market_env.engine import state, tables
from market_env.market import configure

Rows = NDArray[np.void]


class Tables(NamedTuple):
    """The state at the end of each timestep."""

    quotes: Rows
    """:data:`market_env.engine.tables.QUOTE`, shape (timesteps,)."""
    depth: Rows
    """:data:`market_env.engine.tables.LADDER`, shape (timesteps,)."""
    agents: Rows
    """:data:`market_env.engine.tables.ACCOUNT`, shape (timesteps, agents)."""


def derive(config: MarketConfig, events: Rows, timesteps: int | None = None) -> Tables:
    """Rebuild the tables of the first ``timesteps`` timesteps (all by default) from a run's events."""
    count = config.timesteps if timesteps is None else timesteps
    result = Tables(
        np.zeros(count, tables.QUOTE),
        np.zeros(count, tables.LADDER),
        np.zeros((count, len(config.agents)), tables.ACCOUNT),
    )
    orders = int(np.count_nonzero(events["kind"] == state.KIND_ACCEPT))
    tables.derive(configure(config), events, count, np.zeros(2, np.int64), np.zeros(orders + 1, np.int32), *result)
    return result


def turns_with_trades(events: Rows, agent: int) -> NDArray[np.bool_]:
    """For each turn of an agent but its first: whether one of its orders traded since the turn before it."""
    own_turns = events["seq"][(events["kind"] == state.KIND_TURN) & (events["agent"] == agent)]
    is_own = (events["kind"] == state.KIND_TRADE) & ((events["agent"] == agent) | (events["maker"] == agent))
    trades = np.searchsorted(events["seq"][is_own], own_turns)
    traded: NDArray[np.bool_] = np.diff(trades) > 0
    return traded


def refused_share(events: Rows, agent: int) -> float:
    """Share of an agent's turns in which risk checks refused an order or a part of one."""
    own = events[events["agent"] == agent]
    turns = own["seq"][own["kind"] == state.KIND_TURN]
    refused = own["seq"][own["kind"] == state.KIND_REJECT]
    return len(np.unique(np.searchsorted(turns, refused))) / len(turns) if len(turns) else 0.0
