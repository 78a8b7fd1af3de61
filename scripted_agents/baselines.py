"""What a policy must beat: doing nothing, and acting at random."""

from __future__ import annotations

from typing import Literal

from market_env.actions import CANCEL_KEEP, CANCELS
from market_env.config import MarketConfig, checked
from market_env.engine.kernel import policy_kernel
from market_env.engine.streams import integer
from scripted_agents.policy import LOTS_GRID, CompiledPolicy

CANCEL_CODES = len(CANCELS)


@policy_kernel(reads=())
def do_nothing(observation, parameters, memory, stream, action):
    """Keep everything, place nothing."""
    action[0] = CANCEL_KEEP


@policy_kernel(reads=())
def act_at_random(observation, parameters, memory, stream, action):
    """Each component uniform over its codes."""
    action[0] = integer(stream, CANCEL_CODES)
    for component in range(1, 5, 2):
        action[component] = integer(stream, int(parameters[0]) + 1)
        action[component + 1] = integer(stream, int(parameters[LOTS_GRID]))


@checked
class DoNothing:
    """Never trades."""

    policy: Literal["nothing"] = "nothing"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(do_nothing, config, [])


@checked
class RandomActions:
    """Draws every component of its action uniformly."""

    policy: Literal["random"] = "random"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market."""
        return CompiledPolicy(act_at_random, config, [])
