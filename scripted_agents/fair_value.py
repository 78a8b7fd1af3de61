"""Where a careful trader thinks the price is: a mid that quotes alone cannot lead away.

The mid of the touch moves by half the spread when anyone improves a quote by one lot, and a policy that quotes
around it can be led anywhere for nothing. The depth-weighted mid of the first levels (in the spirit of Gatheral
and Oomen, 2010, "Zero-intelligence realized variance estimation", and of Stoikov's micro-price, 2018) moves as
much as lots are placed, taken or cancelled. It is then drawn towards where the price has been, so that a price
that someone holds up with large quotes must be held for long before others believe it; without that memory, a
learner finds out how to ramp the price and sell to those who followed.
"""

from __future__ import annotations

import numpy as np

from market_env.engine.kernel import kernel
from market_env.engine.observe import ASK_LEVELS, BID_LEVELS, RETURNS
from market_env.observations import LEVELS, LOG_LOTS, RETURN_WINDOWS, TICKS

WINDOWS = len(RETURN_WINDOWS)


@kernel
def mean_distance(observation, start):
    """Mean distance of a side's first levels from the reference price, weighted by lots, ticks; -1 if it is empty."""
    total = 0.0
    weighted = 0.0
    for level in range(LEVELS):
        lots = np.expm1(observation[start + 2 * level + 1] * LOG_LOTS)
        total += lots
        weighted += lots * observation[start + 2 * level] * TICKS
    return weighted / total if total > 0.0 else -1.0


@kernel
def fair_shift(observation, memory):
    """Fair value less the reference price, ticks.

    The depth-weighted mid (the reference price unless both sides have orders), less ``memory`` times what the
    reference price has gained, on average, over the observation's four return windows.
    """
    bids = mean_distance(observation, BID_LEVELS)
    asks = mean_distance(observation, ASK_LEVELS)
    tilt = 0.5 * (asks - bids) if bids >= 0.0 and asks >= 0.0 else 0.0
    gained = 0.0
    for window in range(WINDOWS):
        gained += observation[RETURNS + window] * TICKS / WINDOWS
    return tilt - memory * gained
