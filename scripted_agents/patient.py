"""Patient noise: few orders, placed inside the spread, at the best price and far behind it; a market order now and then.

Zero intelligence after Farmer, Patelli and Zovko (2005, "The predictive power of zero intelligence in financial markets"),
with the placement that they assume uniform as it was measured since: a power law of the distance behind the best price
(Bouchaud, Mézard and Potters, 2002, "Statistical properties of stock order books"; Mike and Farmer, 2008, "An empirical
behavioral model of liquidity and volatility"). Its market orders belong to a seat that takes the best level only: takers
size their orders by what is shown (Farmer, Gillemot, Lillo, Mike and Sen, 2004, "What really causes large price changes?").
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from market_env.actions import CANCEL_OLDEST
from market_env.config import MarketConfig, checked
from market_env.engine.kernel import policy_kernel
from market_env.engine.observe import FLOW_FAST, INVENTORY, OPEN_ORDERS, SPREAD
from market_env.engine.streams import uniform
from market_env.observations import TICKS
from scripted_agents.policy import OWN, CompiledPolicy, market_code, offset_code
from scripted_agents.sizes import chances_below, drawn_lots_code

Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]

SIZES = OWN + 9
"""Index of the chances of sizes, see :mod:`scripted_agents.sizes`."""


@policy_kernel(reads=("flow_fast", "inventory", "spread", "open_orders"))
def patient_trader(observation, parameters, memory, stream, action):
    """Cancel by chance, then mostly one order."""
    market_share = parameters[OWN]
    cancel_rate = parameters[OWN + 1]
    rests_after = parameters[OWN + 2]
    inside = parameters[OWN + 3]
    at_best = parameters[OWN + 4]
    depth = parameters[OWN + 5]
    tail = parameters[OWN + 6]
    herding = parameters[OWN + 7]
    aversion = parameters[OWN + 8]
    # A fixed number of draws, so that one decision never shifts the next ones'.
    u_cancel = uniform(stream)
    buys = uniform(stream) < 0.5 * (1.0 + herding * observation[FLOW_FAST] - aversion * observation[INVENTORY])
    takes = uniform(stream) < market_share
    place = uniform(stream)
    deep = uniform(stream)
    size = drawn_lots_code(parameters, SIZES, uniform(stream))
    half = 0.5 * TICKS * observation[SPREAD]
    if takes:
        code = market_code(parameters)
    else:
        cancels = cancel_rate * observation[OPEN_ORDERS]
        if u_cancel < cancels:
            action[0] = CANCEL_OLDEST
            if u_cancel < rests_after * cancels:
                return
        if place < inside:
            offset = half - 1.0 - np.floor(deep * deep * (half - 1.0))
        elif place < inside + at_best:
            offset = half
        else:
            offset = half + max(np.ceil(depth * ((1.0 - deep) ** (-1.0 / tail) - 1.0)), 1.0)
        code = offset_code(parameters, offset)
    if buys:
        action[1] = code
        action[2] = size
    else:
        action[3] = code
        action[4] = size


@checked
class PatientTrader:
    """Parameters of a patient noise trader."""

    market_share: Share = 0.02
    """Share of turns with a market order; the others place a limit order or cancel."""
    cancel_rate: NonNegative = 12.0
    """Chance to cancel the oldest order when the allowance of open orders is full; in proportion below that."""
    rests_after: Share = 0.5
    """Share of cancels that no new order follows."""
    inside: Share = 0.1
    """Share of limit orders inside the spread."""
    at_best: Share = 0.4
    """Share of limit orders at the best price of their side; the rest stand behind it."""
    depth: Annotated[float, Field(gt=0)] = 10.0
    """Scale of the distance behind the best price, ticks."""
    tail: Annotated[float, Field(gt=0)] = 2.0
    """Exponent of the power law that large distances follow."""
    herding: Share = 0.0
    """How far the chance to buy follows recent signed flow: 1 = all the way."""
    aversion: Share = 0.5
    """How far the chance to buy falls with own inventory: 1 = never buys at the bound."""
    lots: Annotated[float, Field(gt=0)] = 6.0
    """Median order size, lots; sizes are log-normal."""
    log_spread: NonNegative = 1.2
    """Standard deviation of the logarithm of the size."""
    policy: Literal["patient"] = "patient"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(
            patient_trader,
            config,
            [
                self.market_share, self.cancel_rate, self.rests_after, self.inside, self.at_best, self.depth, self.tail,
                self.herding, self.aversion, *chances_below(config.lots, self.lots, self.log_spread),
            ],
        )  # fmt: skip
