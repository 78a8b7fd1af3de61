"""TWAP: an execution agent that works one large order in equal slices of time, and then is silent.

The time-weighted average price schedule of Bertsimas and Lo (1998, "Optimal control of execution costs"): after a share of its time
it has sent the same share of its lots, as market orders; what did not trade is sent again with the next slice.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from market_env.config import MarketConfig, checked
from market_env.engine.kernel import policy_kernel
from market_env.engine.observe import INVENTORY
from scripted_agents.policy import OWN, CompiledPolicy, lots_code, market_code

TURNS = 0
"""What it remembers: turns so far."""


@policy_kernel(reads=("inventory",))
def twap(observation, parameters, memory, stream, action):
    """Send what is due and has not traded."""
    lots = parameters[OWN]
    begin = parameters[OWN + 1]
    turns = parameters[OWN + 2]
    bound = parameters[OWN + 3]
    turn = memory[TURNS]
    memory[TURNS] = turn + 1.0
    if turn < begin or turn >= begin + turns:
        return
    due = np.rint(abs(lots) * (turn - begin + 1.0) / turns)
    traded = np.rint(observation[INVENTORY] * bound) * (1.0 if lots > 0.0 else -1.0)
    left = due - traded
    if left < 1.0:
        return
    if lots > 0.0:
        action[1] = market_code(parameters)
        action[2] = lots_code(parameters, left)
    else:
        action[3] = market_code(parameters)
        action[4] = lots_code(parameters, left)


@checked
class Twap:
    """Parameters of a TWAP execution; its seat begins without inventory."""

    lots: float = 100.0
    """What is bought in all, lots; sold where it is below 0."""
    begin: Annotated[float, Field(ge=0)] = 300.0
    """Turns before its first order."""
    turns: Annotated[float, Field(ge=1)] = 300.0
    """Turns over which it is worked."""
    bound: Annotated[float, Field(gt=0)] = 100_000.0
    """The seat's inventory bound, lots, which its inventory is seen as a share of."""
    policy: Literal["twap"] = "twap"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(twap, config, [self.lots, self.begin, self.turns, self.bound])
