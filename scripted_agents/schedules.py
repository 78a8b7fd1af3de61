"""Execution by schedule: the classical answers to how one large order is worked, as policies for any seat.

:class:`Schedule` follows a path of what should be left: straight (TWAP; Bertsimas and Lo 1998, "Optimal control of execution costs") or
with urgency (Almgren and Chriss 2001, "Optimal execution of portfolio transactions"). :class:`Participation` follows the market's volume: a
share of it (POV), or the order over the volume that is expected (VWAP; Berkowitz, Logue and Noser 1988), and sends the rest in its last
turns. Both send market orders for what is due, from a seat that acts once a timestep. Cost: under 0.1 µs a turn.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from market_env.config import MarketConfig, checked
from market_env.engine.kernel import kernel, policy_kernel
from market_env.engine.observe import INVENTORY, VOLUME_FAST
from market_env.observations import LOG_LOTS
from scripted_agents.policy import OWN, CompiledPolicy, lots_code, market_code

TURNS, SEEN, BEGUN = 0, 1, 2
"""What they remember: turns so far, the volume that they have seen, and the inventory that they began with."""
LAST = 5.0
"""Turns at the end in which a participation sends all that is left."""

Bound = Annotated[float, Field(gt=0)]
Turns = Annotated[float, Field(ge=1)]


@kernel
def send(left, due, parameters, action):
    """Order what should be gone by now, of a long (``left`` above 0) or a short inventory."""
    lots = min(abs(left), due)
    if lots < 1.0:
        return
    side = 3 if left > 0.0 else 1
    action[side] = market_code(parameters)
    action[side + 1] = lots_code(parameters, lots)


@policy_kernel(reads=("inventory",))
def follow_schedule(observation, parameters, memory, stream, action):
    """Keep the inventory on its path to 0."""
    bound, turns, urgency = parameters[OWN], parameters[OWN + 1], parameters[OWN + 2]
    left = np.rint(observation[INVENTORY] * bound)
    if memory[TURNS] == 0.0:
        memory[BEGUN] = left
    memory[TURNS] += 1.0
    rest = max(0.0, turns - memory[TURNS])
    share = rest / turns
    if urgency > 0.0:
        share = math.sinh(urgency * rest) / math.sinh(urgency * turns)
    send(left, abs(left) - math.floor(abs(memory[BEGUN]) * share), parameters, action)


@policy_kernel(reads=("inventory", "volume_fast"))
def follow_volume(observation, parameters, memory, stream, action):
    """Trade so large a share of the market's volume."""
    bound, turns, share = parameters[OWN], parameters[OWN + 1], parameters[OWN + 2]
    left = np.rint(observation[INVENTORY] * bound)
    if memory[TURNS] == 0.0:
        memory[BEGUN] = left
    memory[TURNS] += 1.0
    memory[SEEN] += math.exp(LOG_LOTS * observation[VOLUME_FAST]) - 1.0
    gone = abs(memory[BEGUN]) - abs(left)
    due = share * memory[SEEN] - gone
    if memory[TURNS] > turns - LAST:
        due = abs(left)
    send(left, due, parameters, action)


@checked
class Schedule:
    """Parameters of an execution by schedule; the order is whatever inventory its seat begins with."""

    turns: Turns = 360.0
    """Turns over which it is worked."""
    urgency: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Almgren and Chriss's kappa, a turn: 0 is TWAP; what is left is sinh(kappa x turns left) / sinh(kappa x turns)."""
    bound: Bound = 100.0
    """The seat's inventory bound, lots, which its inventory is seen as a share of."""
    policy: Literal["schedule"] = "schedule"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(follow_schedule, config, [self.bound, self.turns, self.urgency])


@checked
class Participation:
    """Parameters of an execution by volume; the order is whatever inventory its seat begins with."""

    turns: Turns = 360.0
    """Turns after which nothing may be left."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Of the lots traded in the market: a rate of one's own (POV), or the order over the volume that is expected (VWAP)."""
    bound: Bound = 100.0
    """The seat's inventory bound, lots, which its inventory is seen as a share of."""
    policy: Literal["participation"] = "participation"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(follow_volume, config, [self.bound, self.turns, self.share])
