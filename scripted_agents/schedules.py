"""Execution by schedule: the classical answers to how one large order is worked, as policies for any seat.

:class:`Schedule` follows a path of what should be left: straight (TWAP; Bertsimas and Lo 1998, "Optimal control of execution costs") or
with urgency (Almgren and Chriss 2001, "Optimal execution of portfolio transactions"). :class:`Participation` follows the market's volume: a
share of it (POV), or the order over the volume that is expected (VWAP; Berkowitz, Logue and Noser 1988), and sends the rest in its last
turns. Both send market orders for what is due. :class:`Peg` rests small orders inside the spread and takes only when it is late (Guéant, Lehalle
and Fernandez-Tapia 2012, "Optimal portfolio liquidation with limit orders"; Cont and Kukanov 2017, "Optimal order placement in limit order
markets"). All act from a seat that acts once a timestep. Cost: under 0.1 µs a turn.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from market_env.config import MarketConfig, checked
from market_env.engine.kernel import kernel, policy_kernel
from market_env.engine.observe import INVENTORY, OWN_ASK_AT_TOUCH, OWN_BID_AT_TOUCH, SPREAD, VOLUME_FAST
from market_env.observations import LOG_LOTS, TICKS
from scripted_agents.policy import OWN, CompiledPolicy, lots_code, market_code, offset_code

TURNS, SEEN, BEGUN = 0, 1, 2
"""What they remember: turns so far, the volume that they have seen, and the inventory that they began with."""
LAST = 5.0
"""Turns at the end in which a participation sends all that is left."""
HURRY = 6.0
"""A peg's patience shrinks to nothing over the last sixth of its turns."""
CANCEL_ALL = 4

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


@policy_kernel(reads=("inventory", "spread", "own_bid_at_touch", "own_ask_at_touch"))
def follow_peg(observation, parameters, memory, stream, action):
    """Rest a small order inside the spread; send what is late by more than the patience."""
    bound, turns, size = parameters[OWN], parameters[OWN + 1], parameters[OWN + 2]
    inside, patience = parameters[OWN + 3], parameters[OWN + 4]
    left = np.rint(observation[INVENTORY] * bound)
    if memory[TURNS] == 0.0:
        memory[BEGUN] = left
    memory[TURNS] += 1.0
    share = max(0.0, turns - memory[TURNS]) / turns
    late = abs(left) - abs(memory[BEGUN]) * share
    due = math.floor(late - patience * min(1.0, HURRY * share))
    if left == 0.0 or due >= 1.0:
        action[0] = CANCEL_ALL
        send(left, due, parameters, action)
        return
    if (observation[OWN_ASK_AT_TOUCH] if left > 0.0 else observation[OWN_BID_AT_TOUCH]) == 1.0:
        return  # it keeps its place in the queue
    half = 0.5 * TICKS * observation[SPREAD]
    side = 3 if left > 0.0 else 1
    action[0] = CANCEL_ALL
    action[side] = offset_code(parameters, max(half - inside, 1.0 - half))
    action[side + 1] = lots_code(parameters, min(size, abs(left)))


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


@checked
class Peg:
    """Parameters of an execution by resting orders; the order is whatever inventory its seat begins with."""

    turns: Turns = 360.0
    """Turns over which it is worked: the straight path is what it may be late against."""
    size: Annotated[float, Field(ge=1)] = 3.0
    """Lots of its resting order."""
    inside: Annotated[float, Field(ge=0)] = 2.0
    """Ticks within the spread, ahead of the best price of its side, but never through the other side."""
    patience: Annotated[float, Field(ge=0)] = 8.0
    """Lots that it may be late before it takes; nothing at the end."""
    bound: Bound = 100.0
    """The seat's inventory bound, lots, which its inventory is seen as a share of."""
    policy: Literal["peg"] = "peg"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(follow_peg, config, [self.bound, self.turns, self.size, self.inside, self.patience])
