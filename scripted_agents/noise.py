"""Noise traders: random side, size and place; they know nothing and provide and take liquidity alike.

After Farmer, Patelli and Zovko (2005, "The predictive power of zero intelligence in financial markets") and
Cont, Stoikov and Talreja (2010, "A stochastic model for order book dynamics"): market orders, limit orders at
a distance from the touch that decays geometrically, cancels at a rate proportional to the open orders. Two
departures, both parameters: sides lean towards recent signed flow, since order signs are persistent in real
markets (Lillo and Farmer, 2004), and away from the agent's own inventory, since nobody's is unbounded.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from market_env.actions import CANCEL_KEEP, CANCEL_OLDEST
from market_env.config import SEATS, MarketConfig, checked
from market_env.engine.kernel import policy_kernel
from market_env.engine.observe import FLOW_FAST, INVENTORY, OPEN_ORDERS, SPREAD
from market_env.engine.streams import exponential, uniform
from market_env.observations import TICKS
from scripted_agents.fair_value import FAIR_READS, fair_shift
from scripted_agents.kind import Kind
from scripted_agents.patient import PatientTrader
from scripted_agents.policy import OWN, CompiledPolicy, market_code, offset_code
from scripted_agents.sizes import chances_below, drawn_lots_code
from scripted_agents.zero_intelligence import ZeroIntelligence

Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]


SIZES = OWN + 7
"""Index of the chances of sizes, see :mod:`scripted_agents.sizes`."""


@policy_kernel(reads=("open_orders", "flow_fast", "inventory", "spread", *FAIR_READS))
def noise_trader(observation, parameters, memory, stream, action):
    """Cancel by chance, then one random order."""
    market_share = parameters[OWN]
    cancel_rate = parameters[OWN + 1]
    depth = parameters[OWN + 2]
    herding = parameters[OWN + 3]
    aversion = parameters[OWN + 4]
    inside_share = parameters[OWN + 5]
    anchoring = parameters[OWN + 6]
    # A fixed number of draws, so that one decision never shifts the next ones'.
    cancels = uniform(stream) < cancel_rate * observation[OPEN_ORDERS]
    buys = uniform(stream) < 0.5 * (1.0 + herding * observation[FLOW_FAST] - aversion * observation[INVENTORY])
    takes = uniform(stream) < market_share
    improves = uniform(stream) < inside_share
    distance = exponential(stream) * depth
    size = drawn_lots_code(parameters, SIZES, uniform(stream))
    action[0] = CANCEL_OLDEST if cancels else CANCEL_KEEP
    # Half the spread from the mid joins the touch, one tick less improves it; the mid is the depth-weighted one.
    half_spread = 0.5 * min(observation[SPREAD] * TICKS, 16.0)
    offset = half_spread - 1.0 if improves else half_spread + np.floor(distance)
    shift = fair_shift(observation, anchoring)
    offset += -shift if buys else shift
    code = market_code(parameters) if takes else offset_code(parameters, max(np.floor(offset), 0.0))
    if buys:
        action[1] = code
        action[2] = size
    else:
        action[3] = code
        action[4] = size


@checked
class NoiseTrader:
    """Parameters of a noise trader."""

    market_share: Share = 0.3
    """Share of turns with a market order; the others place a limit order."""
    cancel_rate: NonNegative = 2.0
    """Chance to cancel the oldest order when the allowance of open orders is full; in proportion below that."""
    depth: NonNegative = 8.0
    """Mean distance of limit orders behind the touch, ticks."""
    inside_share: Share = 0.1
    """Share of limit orders that improve the touch by a tick."""
    median_lots: Annotated[float, Field(gt=0)] = 3.0
    """Median order size, lots; sizes are log-normal."""
    log_spread: NonNegative = 1.0
    """Standard deviation of the logarithm of the size."""
    herding: Share = 0.55
    """How far the chance to buy follows recent signed flow: 1 = all the way."""
    aversion: Share = 0.5
    """How far the chance to buy falls with own inventory: 1 = never buys at the bound."""
    memory: Share = 0.15
    """How far limit orders are placed by where the price has been: 1 = all the way."""
    policy: Literal["noise"] = "noise"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(
            noise_trader,
            config,
            [
                self.market_share, self.cancel_rate, self.depth, self.herding, self.aversion, self.inside_share,
                self.memory, *chances_below(config.lots, self.median_lots, self.log_spread),
            ],
        )  # fmt: skip


KIND = Kind(
    "noise",
    "noise traders",
    SEATS["noise"],
    (NoiseTrader, PatientTrader, ZeroIntelligence),
    lambda seat: NoiseTrader(),
    "#56B4E9",
)
