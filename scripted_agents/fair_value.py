"""Where a careful trader thinks the price is: a mid that small orders cannot move.

The mid of the touch moves by half the spread when anyone improves a quote by one lot, and a policy that quotes
around it can be led anywhere for nothing. The depth-weighted mid of the first levels (in the spirit of Gatheral
and Oomen, 2010, "Zero-intelligence realized variance estimation", and of Stoikov's micro-price, 2018) moves as
much as lots are placed, taken or cancelled.
"""

from __future__ import annotations

import numpy as np

from market_env.engine.kernel import kernel
from market_env.engine.observe import ASK_LEVELS, BID_LEVELS
from market_env.observations import LEVELS, LOG_LOTS, TICKS


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
def fair_shift(observation):
    """Depth-weighted mid less the reference price, ticks; 0 unless both sides have orders."""
    bids = mean_distance(observation, BID_LEVELS)
    asks = mean_distance(observation, ASK_LEVELS)
    return 0.5 * (asks - bids) if bids >= 0.0 and asks >= 0.0 else 0.0
