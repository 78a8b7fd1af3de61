"""Quoters: market makers who see the value with an error and never quote too near to what they believe.

A quote that a better informed trader would take is withdrawn before it is: the maker's defence against adverse selection
(Copeland and Galai, 1983, "Information effects on the bid-ask spread"; Glosten and Milgrom, 1985, "Bid, ask and transaction
prices in a specialist market with heterogeneously informed traders"). Where the belief allows, a quote joins the best price
or betters it, else it stands at a distance that widens with volatility, or behind; inventory leans against both sides
(Avellaneda and Stoikov, 2008). Quotes that nothing is wrong with are replaced now and then: fleeting orders are most of what
an exchange receives (Hasbrouck and Saar, 2009, "Technology and liquidity provision").
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from market_env.actions import CANCEL_ALL, CANCEL_ASKS, CANCEL_BIDS
from market_env.config import MarketConfig, checked
from market_env.engine.kernel import kernel, policy_kernel
from market_env.engine.observe import (
    INVENTORY,
    OPEN_ASK_LOTS,
    OPEN_BID_LOTS,
    OWN_ASK_DISTANCE,
    OWN_BID_DISTANCE,
    SIGNAL,
    SPREAD,
    VOLATILITY_FAST,
)
from market_env.engine.streams import exponential, uniform
from market_env.observations import MOVE_TICKS, SIGNAL_TICKS, TICKS
from scripted_agents.policy import OWN, CompiledPolicy, offset_code
from scripted_agents.sizes import chances_below, drawn_lots_code

Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]

SIZES = OWN + 10
"""Index of the chances of sizes, see :mod:`scripted_agents.sizes`."""


@kernel
def new_quote(parameters, wanted, nearest, half, chance, deep, back):
    """Code of a new quote's offset.

    Args:
        parameters: the policy's.
        wanted: ticks from the reference price at which it would stand.
        nearest: the least of them that the belief allows.
        half: half the spread, ticks.
        chance: uniform; decides between joining the best price, bettering it, and its own place.
        deep: uniform; how far it betters the best, or whether it stands behind its own place.
        back: ticks behind.
    """
    join = parameters[OWN + 6]
    better = parameters[OWN + 7]
    at_place = parameters[OWN + 8]
    if chance < join and half >= nearest:
        return offset_code(parameters, half)
    if join <= chance < join + better and half - 1.0 >= nearest:
        # Between one tick better than the best and as near as the belief and the other side's best allow.
        room = half - 1.0 - max(nearest, 1.0 - half)
        return offset_code(parameters, half - 1.0 - np.floor(deep * deep * max(room, 0.0)))
    return offset_code(parameters, np.floor(wanted if deep < at_place else wanted + back))


@policy_kernel(
    reads=(
        "spread",
        "volatility_fast",
        "inventory",
        "signal",
        "own_bid_distance",
        "own_ask_distance",
        "open_bid_lots",
        "open_ask_lots",
    )
)
def quoter(observation, parameters, memory, stream, action):
    """Two quotes around the believed value: stale ones go, others flicker, what is missing is quoted anew."""
    half_spread = parameters[OWN]
    volatility_weight = parameters[OWN + 1]
    skew = parameters[OWN + 2]
    edge = parameters[OWN + 3]
    patience = parameters[OWN + 4]
    flicker = parameters[OWN + 5]
    depth = parameters[OWN + 9]
    half = 0.5 * TICKS * observation[SPREAD]
    reach = half_spread + volatility_weight * TICKS * observation[VOLATILITY_FAST]
    lean = skew * observation[INVENTORY] - SIGNAL_TICKS * observation[SIGNAL]
    # Never through the other side's best.
    bid_wanted = max(reach + lean, 1.0 - half)
    ask_wanted = max(reach - lean, 1.0 - half)
    # A fixed number of draws, so that one decision never shifts the next ones'.
    flickers = uniform(stream) < flicker
    of_bids = uniform(stream) < 0.5
    chance = uniform(stream)
    deep = uniform(stream)
    back = exponential(stream) * depth
    bid_size = drawn_lots_code(parameters, SIZES, uniform(stream))
    ask_size = drawn_lots_code(parameters, SIZES, uniform(stream))
    own_bid = MOVE_TICKS * observation[OWN_BID_DISTANCE]
    own_ask = MOVE_TICKS * observation[OWN_ASK_DISTANCE]
    has_bid = observation[OPEN_BID_LOTS] > 0.0
    has_ask = observation[OPEN_ASK_LOTS] > 0.0
    # Too near to the belief it will be picked off, too far it earns nothing.
    bid_goes = has_bid and (own_bid < lean + edge or own_bid > bid_wanted + patience)
    ask_goes = has_ask and (own_ask < -lean + edge or own_ask > ask_wanted + patience)
    if has_bid and has_ask and not bid_goes and not ask_goes and flickers:
        bid_goes = of_bids
        ask_goes = not of_bids
    if bid_goes and ask_goes:
        action[0] = CANCEL_ALL
    elif bid_goes:
        action[0] = CANCEL_BIDS
    elif ask_goes:
        action[0] = CANCEL_ASKS
    if bid_goes or not has_bid:
        action[1] = new_quote(parameters, bid_wanted, lean + edge, half, chance, deep, back)
        action[2] = bid_size
    if ask_goes or not has_ask:
        action[3] = new_quote(parameters, ask_wanted, -lean + edge, half, chance, deep, back)
        action[4] = ask_size


@checked
class Quoter:
    """Parameters of a quoter; its seat should have a signal, else it believes the mid."""

    half_spread: Annotated[float, Field(gt=0)] = 12.5
    """Distance of its own place from the belief in a calm market, ticks."""
    volatility_weight: NonNegative = 0.6
    """Ticks of further distance for each tick of volatility a timestep."""
    skew: NonNegative = 10.0
    """Ticks that both quotes move against an inventory at the bound."""
    edge: NonNegative = 6.5
    """Least distance of a quote from the belief, ticks; a nearer one is withdrawn."""
    patience: NonNegative = 4.0
    """Ticks that a quote may stand beyond its own place before it is withdrawn."""
    flicker: Share = 0.5
    """Chance that one of two good quotes is replaced."""
    join: Share = 0.45
    """Share of new quotes that join the best price, where the belief allows."""
    better: Share = 0.5
    """Share of new quotes that better it, where the belief and the spread allow."""
    at_place: Share = 0.4
    """Share of the others that stand at their own place; the rest stand behind it."""
    depth: NonNegative = 8.0
    """How far behind, ticks in the mean."""
    lots: Annotated[float, Field(gt=0)] = 5.0
    """Median size of a quote, lots; sizes are log-normal."""
    log_spread: NonNegative = 1.3
    """Standard deviation of the logarithm of the size."""
    policy: Literal["quoter"] = "quoter"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(
            quoter,
            config,
            [
                self.half_spread, self.volatility_weight, self.skew, self.edge, self.patience, self.flicker, self.join,
                self.better, self.at_place, self.depth, *chances_below(config.lots, self.lots, self.log_spread),
            ],
        )  # fmt: skip
