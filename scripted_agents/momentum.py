"""Momentum traders: they buy what has risen and sell what has fallen.

Time-series momentum after Moskowitz, Ooi and Pedersen (2012), the chartists of Chiarella and Iori (2002): the
sign of the past return over a window gives the side, a threshold in units of its own volatility keeps the
trader out of quiet markets, and the position is closed with market orders once the move has faded.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from market_env.actions import CANCEL_KEEP
from market_env.config import SEATS, MarketConfig, checked
from market_env.engine.kernel import policy_kernel
from market_env.engine.observe import INVENTORY, INVENTORY_LOTS, RETURNS, VOLATILITY_SLOW
from market_env.observations import LOG_LOTS, MOVE_TICKS, RETURN_FEATURES, RETURN_WINDOWS, TICKS
from scripted_agents.kind import REDDISH_PURPLE, Kind
from scripted_agents.policy import LOTS_GRID, OWN, CompiledPolicy, lots_code, market_code


@policy_kernel(reads=(*RETURN_FEATURES, "volatility_slow", "inventory", "inventory_lots"))
def momentum_trader(observation, parameters, memory, stream, action):
    """Follow a large move, leave when it is gone."""
    window = int(parameters[OWN])
    threshold = parameters[OWN + 1]
    exit_threshold = parameters[OWN + 2]
    lots = parameters[OWN + 3]
    most = parameters[OWN + 4]
    move = MOVE_TICKS * observation[RETURNS + window]
    span = 1.0
    for i in range(len(RETURN_WINDOWS)):
        if i == window:
            span = float(RETURN_WINDOWS[i])
    # A random walk moves by the root of the time; half a tick keeps a frozen price from counting as a signal.
    scale = max(TICKS * observation[VOLATILITY_SLOW], 0.5) * np.sqrt(span)
    signal = move / scale
    inventory = observation[INVENTORY]
    held = observation[INVENTORY_LOTS]
    # To close a position takes no more lots than it has.
    closing = min(lots, np.rint(np.expm1(abs(held) * LOG_LOTS)))
    closes = closing >= parameters[LOTS_GRID + 2]  # the smallest order there is
    action[0] = CANCEL_KEEP
    if signal > threshold and inventory < most:
        action[1] = market_code(parameters)
        action[2] = lots_code(parameters, lots)
    elif signal < -threshold and inventory > -most:
        action[3] = market_code(parameters)
        action[4] = lots_code(parameters, lots)
    elif closes and held < 0.0 and signal > -exit_threshold:
        action[1] = market_code(parameters)
        action[2] = lots_code(parameters, closing)
    elif closes and held > 0.0 and signal < exit_threshold:
        action[3] = market_code(parameters)
        action[4] = lots_code(parameters, closing)


@checked
class MomentumTrader:
    """Parameters of a momentum trader."""

    window: Literal[1, 5, 20, 60] = 20
    """Window of the past return, timesteps; one of the observation's."""
    threshold: Annotated[float, Field(gt=0)] = 1.0
    """Move that opens a position, in standard deviations of a random walk over the window."""
    exit_threshold: Annotated[float, Field(ge=0)] = 0.25
    """A position is closed once the move in its favour is below this, in the same unit."""
    lots: Annotated[float, Field(gt=0)] = 4.0
    """Size of an order, lots."""
    most: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Largest position it seeks, as a share of the inventory bound."""
    policy: Literal["momentum"] = "momentum"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(
            momentum_trader,
            config,
            [RETURN_WINDOWS.index(self.window), self.threshold, self.exit_threshold, self.lots, self.most],
        )


KIND = Kind(
    "momentum", "momentum traders", SEATS["momentum"], (MomentumTrader,), lambda seat: MomentumTrader(), REDDISH_PURPLE
)
