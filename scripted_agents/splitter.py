"""Splitters: traders who work large orders in many small ones, so that the signs of trades are remembered for long.

After Lillo, Mike and Farmer (2005, "Theory for long memory in supply and demand"): metaorders come one after another, their
number of children follows a power law, and each child takes what the best level shows, which the seat's ``best_only`` sees
to. With an exponent of 1.5 the autocorrelation of signs falls with the lag to the power of -0.5.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from market_env.config import AgentConfig, MarketConfig, Poisson, checked
from market_env.engine.kernel import policy_kernel
from market_env.engine.observe import INVENTORY
from market_env.engine.streams import uniform
from scripted_agents.kind import Kind
from scripted_agents.policy import OWN, CompiledPolicy, market_code
from scripted_agents.sizes import chances_below, drawn_lots_code
from scripted_agents.twap import Twap

Share = Annotated[float, Field(ge=0, le=1)]

SIZES = OWN + 5
"""Index of the chances of sizes, see :mod:`scripted_agents.sizes`."""

LEFT, BUYS = range(2)
"""What it remembers: children to come, and whether they buy."""


@policy_kernel(reads=("inventory",))
def splitter(observation, parameters, memory, stream, action):
    """Start a metaorder by chance, then send a child now and then."""
    start = parameters[OWN]
    tail = parameters[OWN + 1]
    most = parameters[OWN + 2]
    pace = parameters[OWN + 3]
    aversion = parameters[OWN + 4]
    # A fixed number of draws, so that one decision never shifts the next ones'.
    starts = uniform(stream) < start
    length = uniform(stream)
    buys = uniform(stream) < 0.5 * (1.0 - aversion * observation[INVENTORY])
    sends = uniform(stream) < pace
    size = drawn_lots_code(parameters, SIZES, uniform(stream))
    if memory[LEFT] == 0.0 and starts:
        memory[LEFT] = min(np.ceil((1.0 - length) ** (-1.0 / tail)), most)
        memory[BUYS] = 1.0 if buys else 0.0
    if memory[LEFT] > 0.0 and sends:
        memory[LEFT] -= 1.0
        if memory[BUYS] == 1.0:
            action[1] = market_code(parameters)
            action[2] = size
        else:
            action[3] = market_code(parameters)
            action[4] = size


@checked
class Splitter:
    """Parameters of a splitter."""

    start: Share = 0.03
    """Chance of a new metaorder in a turn without one."""
    tail: Annotated[float, Field(gt=1)] = 1.5
    """Exponent of the power law of the number of children."""
    most: Annotated[float, Field(ge=1)] = 500.0
    """Most children of a metaorder."""
    pace: Share = 1.0
    """Share of the turns of a metaorder that send a child."""
    aversion: Share = 0.8
    """How far the chance that a metaorder buys falls with own inventory: 1 = never at the bound."""
    lots: Annotated[float, Field(gt=0)] = 5.0
    """Median size of a child, lots; sizes are log-normal."""
    log_spread: Annotated[float, Field(ge=0)] = 0.5
    """Standard deviation of the logarithm of the size."""
    policy: Literal["splitter"] = "splitter"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(
            splitter,
            config,
            [
                self.start, self.tail, self.most, self.pace, self.aversion,
                *chances_below(config.lots, self.lots, self.log_spread),
            ],
        )  # fmt: skip


SEAT = AgentConfig(
    "splitter_0",
    "splitter",
    cash=80_000_000,
    inventory_bound=600,
    best_only=True,
    arrivals=Poisson(1.0),
)
KIND = Kind("splitter", "splitters", SEAT, (Splitter, Twap), lambda seat: Splitter(), "#8B4513")
