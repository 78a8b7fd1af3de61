"""Where a careful trader thinks the price is: a mid that quotes alone cannot lead away.

The mid of the touch moves by half the spread when anyone improves a quote by one lot, and a policy that quotes
around it can be led anywhere for nothing. The depth-weighted mid of the first levels (in the spirit of Gatheral
and Oomen, 2010, "Zero-intelligence realized variance estimation", and of Stoikov's micro-price, 2018) moves as
much as lots are placed, taken or cancelled. It is then drawn towards where the price has been, so that a price
that someone holds up with large quotes must be held for long before others believe it; without that memory, a
learner finds out how to ramp the price and sell to those who followed.
"""

from __future__ import annotations

from market_env.engine.kernel import kernel
from market_env.engine.observe import DEPTH_MID, RETURNS
from market_env.observations import MOVE_TICKS, RETURN_FEATURES, RETURN_WINDOWS, TICKS

WINDOWS = len(RETURN_WINDOWS)
FAIR_READS = ("depth_mid", *RETURN_FEATURES)
"""Features that :func:`fair_shift` reads."""


@kernel
def fair_shift(observation, memory):
    """Fair value less the reference price, ticks.

    The depth-weighted mid (the reference price unless both sides have orders), less ``memory`` times what the
    reference price has gained, on average, over the observation's four return windows.
    """
    gained = 0.0
    for window in range(WINDOWS):
        gained += observation[RETURNS + window]
    return TICKS * observation[DEPTH_MID] - memory * MOVE_TICKS * (gained / WINDOWS)
