"""The whole market as one vector, for critics that see everything; no policy gets it."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from market_env import observations
from market_env.engine import accounts
from market_env.market import NO_EPISODE, Market

LEVELS = 20
"""Price levels of each side in the vector."""


def space(agents: int) -> spaces.Box:
    """The space of :func:`vector` in a market of so many agents."""
    return spaces.Box(-1.0, 1.0, (4 * LEVELS + 2 + 4 * agents,), np.float32)


def vector(market: Market) -> NDArray[np.float32]:
    """The whole market as one float32 vector in [-1, 1], shape (82 + 4 * agents,).

    Bid distances, bid lots, ask distances, ask lots of 20 levels (ticks / 512; log(1 + lots) / 7; distance 1
    and 0 lots beyond the book); price against the first price (log return); share of the episode that is
    left; then inventory / bound, open bid and open ask lots / (2 x bound), and free cash / (itself + price of
    the bound) of every agent in the roster's order.

    Raises:
        RuntimeError: the market was not reset.
    """
    if not market.begun:
        raise RuntimeError(f"state(): {NO_EPISODE}")
    record = market.records[0]
    parts: list[NDArray[Any]] = []
    bid_prices, bid_lots, ask_prices, ask_lots = market.depth(LEVELS)
    for prices, lots in ((bid_prices, bid_lots), (ask_prices, ask_lots)):
        parts.append(np.where(prices > 0, np.abs(prices - market.reference) / 512.0, 1.0))
        parts.append(np.log1p(lots) / observations.LOG_LOTS)
    parts.append(np.array([np.log(market.reference / record["first_price"]), 1.0 - record["time"] / record["end"]]))
    seats = record["agents"][: len(market.agent_ids)]
    bound = seats["inventory_bound"].astype(np.float64)
    free = np.array([accounts.free_cash(seat) for seat in seats], np.float64)
    parts.append(
        np.stack(
            [
                seats["inventory"] / bound,
                seats["open_bid_lots"] / (2.0 * bound),
                seats["open_ask_lots"] / (2.0 * bound),
                free / (free + bound * market.reference),
            ],
            axis=1,
        ).ravel()
    )
    found: NDArray[np.float32] = np.clip(np.concatenate(parts), -1.0, 1.0).astype(np.float32)
    return found
