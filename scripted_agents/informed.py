"""Informed traders: they see the value with a small error and take what stands on its wrong side.

The informed of Glosten and Milgrom (1985) and Copeland and Galai (1983): a quote that is worse than the value by more than a
threshold is taken, never more than the best level shows, which the seat's ``best_only`` sees to. They are what anchors the
price: whoever leads it away from the value trades against them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from market_env.config import AgentConfig, Hawkes, MarketConfig, checked
from market_env.engine.kernel import policy_kernel
from market_env.engine.observe import INVENTORY, SIGNAL, SPREAD
from market_env.engine.streams import uniform
from market_env.observations import SIGNAL_TICKS, TICKS
from scripted_agents.kind import Kind
from scripted_agents.policy import OWN, CompiledPolicy, market_code
from scripted_agents.sizes import chances_below, drawn_lots_code

NonNegative = Annotated[float, Field(ge=0)]

SIZES = OWN + 3
"""Index of the chances of sizes, see :mod:`scripted_agents.sizes`."""


@policy_kernel(reads=("signal", "spread", "inventory"))
def informed_trader(observation, parameters, memory, stream, action):
    """Take the best quote if it is wrong."""
    threshold = parameters[OWN]
    aversion = parameters[OWN + 1]
    idle = parameters[OWN + 2]
    size = drawn_lots_code(parameters, SIZES, uniform(stream))
    if uniform(stream) < idle:
        return
    belief = SIGNAL_TICKS * observation[SIGNAL]
    half = 0.5 * TICKS * observation[SPREAD]
    tilt = aversion * observation[INVENTORY]
    if belief > half + max(threshold + tilt, 0.0):
        action[1] = market_code(parameters)
        action[2] = size
    elif -belief > half + max(threshold - tilt, 0.0):
        action[3] = market_code(parameters)
        action[4] = size


@checked
class InformedTrader:
    """Parameters of an informed trader; its seat needs a signal, else it never trades."""

    threshold: NonNegative = 1.0
    """Ticks by which a quote must be wrong."""
    aversion: NonNegative = 8.0
    """Ticks of further threshold at the inventory bound, and as many fewer for trades that reduce the inventory."""
    idle: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of turns in which it does nothing."""
    lots: Annotated[float, Field(gt=0)] = 25.0
    """Median order size, lots; sizes are log-normal."""
    log_spread: NonNegative = 1.0
    """Standard deviation of the logarithm of the size."""
    policy: Literal["informed"] = "informed"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(
            informed_trader,
            config,
            [self.threshold, self.aversion, self.idle, *chances_below(config.lots, self.lots, self.log_spread)],
        )


SEAT = AgentConfig(
    "informed_0",
    "informed",
    cash=80_000_000,
    inventory_bound=600,
    best_only=True,
    max_open_orders=4,
    signal=2.0,
    arrivals=Hawkes(0.03, 0.3, 6.0, group="informed"),
)
KIND = Kind("informed", "informed traders", SEAT, (InformedTrader,), lambda seat: InformedTrader(), "#F0E442")
