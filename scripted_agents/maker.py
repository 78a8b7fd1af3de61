"""Market makers: two-sided quotes that lean against inventory and widen with volatility, laid in layers.

After Avellaneda and Stoikov (2008, "High-frequency trading in a limit order book") in the stationary form of
Guéant, Lehalle and Fernandez-Tapia (2013, "Dealing with the inventory risk"): a reservation price that moves
against the inventory in proportion, and a half spread that grows with volatility. The half spread's constant,
which there follows from the arrival rate of takers, is a parameter here. A maker keeps its front order while
that stands within a tolerance of where it should be, and builds further layers behind it until it shows as
many lots as it wants: walls of liquidity that thin when it must move.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from market_env.actions import CANCEL_ALL, CANCEL_ASKS, CANCEL_BIDS, CANCEL_KEEP
from market_env.config import SEATS, AgentConfig, MarketConfig, checked
from market_env.engine.kernel import kernel, policy_kernel
from market_env.engine.observe import (
    INVENTORY,
    OPEN_ASK_LOTS,
    OPEN_BID_LOTS,
    OWN_ASK_DISTANCE,
    OWN_BID_DISTANCE,
    SIGNAL,
    VOLATILITY_FAST,
    VOLATILITY_SLOW,
)
from market_env.engine.streams import integer
from market_env.observations import MOVE_TICKS, SIGNAL_TICKS, TICKS
from scripted_agents.fair_value import FAIR_READS, fair_shift
from scripted_agents.kind import Kind
from scripted_agents.policy import OWN, CompiledPolicy, lots_code, offset_code
from scripted_agents.quoter import Quoter

NonNegative = Annotated[float, Field(ge=0)]


@kernel
def is_stale(distance, shown, wanted, tolerance, patience):
    """Whether a front order is missing, or stands too near or too far."""
    return shown == 0.0 or distance < wanted - 0.5 * tolerance - 1.0 or distance > wanted + patience + 1.0


@policy_kernel(
    reads=(
        "volatility_fast",
        "volatility_slow",
        "signal",
        "inventory",
        "own_bid_distance",
        "own_ask_distance",
        "open_bid_lots",
        "open_ask_lots",
        *FAIR_READS,
    )
)
def market_maker(observation, parameters, memory, stream, action):
    """Requote a side whose front order is stale, else add a layer."""
    half_spread = parameters[OWN]
    volatility_weight = parameters[OWN + 1]
    skew = parameters[OWN + 2]
    lots = parameters[OWN + 3]
    layers = parameters[OWN + 4]
    layer_gap = parameters[OWN + 5]
    tolerance = parameters[OWN + 6]
    shown = parameters[OWN + 7]
    anchoring = parameters[OWN + 8]
    belief = parameters[OWN + 9]
    patience = parameters[OWN + 10]
    volatility = TICKS * max(observation[VOLATILITY_FAST], observation[VOLATILITY_SLOW])
    reach = half_spread + volatility_weight * volatility
    # Offsets count from the mid of the touch, quotes from what the maker thinks fair; inventory leans against both.
    fair = (1.0 - belief) * fair_shift(observation, anchoring) + belief * SIGNAL_TICKS * observation[SIGNAL]
    lean = skew * observation[INVENTORY] - fair
    bid_wanted = max(reach + lean, 0.5)
    ask_wanted = max(reach - lean, 0.5)
    bid_stale = is_stale(
        MOVE_TICKS * observation[OWN_BID_DISTANCE], observation[OPEN_BID_LOTS], bid_wanted, tolerance, patience
    )
    ask_stale = is_stale(
        MOVE_TICKS * observation[OWN_ASK_DISTANCE], observation[OPEN_ASK_LOTS], ask_wanted, tolerance, patience
    )
    bid_layer = 1 + integer(stream, max(1, int(layers) - 1))
    ask_layer = 1 + integer(stream, max(1, int(layers) - 1))
    if bid_stale and ask_stale:
        action[0] = CANCEL_ALL
    elif bid_stale:
        action[0] = CANCEL_BIDS
    elif ask_stale:
        action[0] = CANCEL_ASKS
    else:
        action[0] = CANCEL_KEEP
    if bid_stale:
        action[1] = offset_code(parameters, np.floor(bid_wanted))
        action[2] = lots_code(parameters, lots)
    elif observation[OPEN_BID_LOTS] < 0.5 * shown and layers > 1:
        action[1] = offset_code(parameters, np.floor(bid_wanted + bid_layer * layer_gap))
        action[2] = lots_code(parameters, lots * (1.0 + 0.5 * bid_layer))
    if ask_stale:
        action[3] = offset_code(parameters, np.floor(ask_wanted))
        action[4] = lots_code(parameters, lots)
    elif observation[OPEN_ASK_LOTS] < 0.5 * shown and layers > 1:
        action[3] = offset_code(parameters, np.floor(ask_wanted + ask_layer * layer_gap))
        action[4] = lots_code(parameters, lots * (1.0 + 0.5 * ask_layer))


@checked
class MarketMaker:
    """Parameters of a market maker."""

    half_spread: Annotated[float, Field(gt=0)] = 3.0
    """Distance of the front order from the reference price in a calm market, ticks."""
    volatility_weight: NonNegative = 0.6
    """Ticks of further distance for each tick of volatility a timestep."""
    skew: NonNegative = 20.0
    """Ticks that both quotes move against an inventory at the bound."""
    lots: Annotated[float, Field(gt=0)] = 6.0
    """Size of the front order, lots; layers behind it are larger."""
    layers: Annotated[int, Field(gt=0, le=16)] = 3
    """Layers of a side, the front order among them."""
    layer_gap: NonNegative = 2.0
    """Ticks between two layers."""
    tolerance: NonNegative = 2.0
    """Ticks by which the front order may stand too far off before the side is requoted, and twice those by which it may
    stand too near."""
    patience: NonNegative | None = None
    """Ticks by which it may stand too far off, where that is not the tolerance."""
    shown: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Lots that a side shows before no further layer is added, as a share of the inventory bound."""
    memory: Annotated[float, Field(ge=0, le=1)] = 0.7
    """How far the fair value is drawn towards where the price has been: 1 = all the way."""
    belief: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How far the fair value is the signal, of a seat that has one: 1 = all the way, whatever the book says."""
    policy: Literal["maker"] = "maker"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(
            market_maker,
            config,
            [
                self.half_spread, self.volatility_weight, self.skew, self.lots,
                self.layers, self.layer_gap, self.tolerance, self.shown, self.memory,
                self.belief, self.tolerance if self.patience is None else self.patience,
            ],
        )  # fmt: skip


STANDING = (
    MarketMaker(),
    MarketMaker(half_spread=4.0, lots=8.0, tolerance=3.0, shown=0.2),
    MarketMaker(half_spread=6.0, lots=12.0, layers=4, tolerance=4.0, shown=0.35),
    MarketMaker(half_spread=9.0, lots=20.0, layers=4, layer_gap=3.0, tolerance=6.0, shown=0.6),
)
"""Four makers from the nearest and smallest to the furthest and largest, the default's in turn."""


def standing(seat: AgentConfig) -> MarketMaker:
    """A maker's parameters by its number, so that several stand at different distances."""
    return STANDING[int(seat.id.rsplit("_", 1)[1]) % len(STANDING)]


KIND = Kind("maker", "market makers", SEATS["maker"], (MarketMaker, Quoter), standing, "#E69F00")
