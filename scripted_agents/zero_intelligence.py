"""Zero intelligence: orders of one size at uniformly random places, market orders and cancels at constant rates.

The model of Daniels, Farmer, Gillemot, Iori and Smith (2003, "Quantitative model of price diffusion and market friction based
on trading as a mechanistic random process") that Farmer, Patelli and Zovko (2005, "The predictive power of zero intelligence
in financial markets") tested: what it gets right needs no strategy to explain, so it is the floor that a population is
measured from. A departure: the order that is cancelled is the trader's oldest, at a rate in proportion to how many it has.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from market_env.actions import CANCEL_OLDEST
from market_env.config import MarketConfig, checked
from market_env.engine.kernel import policy_kernel
from market_env.engine.observe import OPEN_ORDERS, SPREAD
from market_env.engine.streams import uniform
from market_env.observations import TICKS
from scripted_agents.policy import OWN, CompiledPolicy, lots_code, market_code, offset_code


@policy_kernel(reads=("open_orders", "spread"))
def zero_intelligence(observation, parameters, memory, stream, action):
    """Cancel, take or place, all by chance."""
    market_share = parameters[OWN]
    cancel_rate = parameters[OWN + 1]
    reach = parameters[OWN + 2]
    lots = parameters[OWN + 3]
    # A fixed number of draws, so that one decision never shifts the next ones'.
    cancels = uniform(stream) < cancel_rate * observation[OPEN_ORDERS]
    buys = uniform(stream) < 0.5
    takes = uniform(stream) < market_share
    place = np.floor(uniform(stream) * reach)
    if cancels:
        action[0] = CANCEL_OLDEST
        return
    # From one tick before the other side's best on, that far.
    offset = 1.0 - 0.5 * min(TICKS * observation[SPREAD], reach) + place
    code = market_code(parameters) if takes else offset_code(parameters, offset)
    if buys:
        action[1] = code
        action[2] = lots_code(parameters, lots)
    else:
        action[3] = code
        action[4] = lots_code(parameters, lots)


@checked
class ZeroIntelligence:
    """Parameters of a trader of zero intelligence."""

    market_share: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Share of orders that are market orders."""
    cancel_rate: Annotated[float, Field(ge=0)] = 1.0
    """Chance to cancel when the allowance of open orders is full; in proportion below that."""
    reach: Annotated[float, Field(ge=1)] = 30.0
    """Ticks from the other side's best within which limit orders are placed."""
    lots: Annotated[float, Field(gt=0)] = 1.0
    """Size of every order."""
    policy: Literal["zero"] = "zero"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(zero_intelligence, config, [self.market_share, self.cancel_rate, self.reach, self.lots])
