"""A pusher: who leads the price up and down for all to see, and so shows whether anybody follows.

For so many timesteps it overbids the best bid by a tick in one turn and takes some lots from the asks in the next, up to its
inventory bound; then it does the same downwards. A market without an anchor follows, and whoever follows pays for it: the
trade-based manipulation of Allen and Gale (1992, "Stock-price manipulation"). Where informed traders know what the asset is
worth they sell to it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from market_env.actions import CANCEL_ALL
from market_env.config import MarketConfig, checked
from market_env.engine.kernel import policy_kernel
from market_env.engine.observe import INVENTORY, SPREAD
from market_env.observations import TICKS
from scripted_agents.policy import OWN, CompiledPolicy, lots_code, market_code, offset_code

TURNS = 0
"""What it remembers: turns so far."""


@policy_kernel(reads=("inventory", "spread"))
def pusher(observation, parameters, memory, stream, action):
    """Push up or down, by quote and by trade in turn."""
    period = parameters[OWN]
    lots = parameters[OWN + 1]
    turn = memory[TURNS]
    memory[TURNS] = turn + 1.0
    rises = int(turn // period) % 2 == 0
    takes = int(turn) % 2 == 1
    if (rises and observation[INVENTORY] >= 1.0) or (not rises and observation[INVENTORY] <= -1.0):
        takes = False
    action[0] = CANCEL_ALL
    # One tick nearer than the best of its own side.
    code = market_code(parameters) if takes else offset_code(parameters, 0.5 * TICKS * observation[SPREAD] - 1.0)
    if rises:
        action[1] = code
        action[2] = lots_code(parameters, lots)
    else:
        action[3] = code
        action[4] = lots_code(parameters, lots)


@checked
class Pusher:
    """Parameters of a pusher."""

    period: Annotated[float, Field(ge=1)] = 300.0
    """Turns in which it pushes one way."""
    lots: Annotated[float, Field(gt=0)] = 2.0
    """Size of an order."""
    policy: Literal["pusher"] = "pusher"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(pusher, config, [self.period, self.lots])
