"""Rewards: pure functions of outcome rows, vectorised, so that one serves every face.

An outcome (:data:`market_env.engine.state.OUTCOME`) is what came of one turn, from what the agent saw then to
its next arrival or the end. A reward takes one row or an array of rows and returns a float64 for each.
"""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import Field

from market_env.config import checked

EXCESS = 0.7
"""Share of the inventory bound beyond which inventory is an excess."""


# Bounded so that no reward of any market overflows float32, which trainers keep rewards in.
Penalty = Annotated[float, Field(ge=0, le=1e6)]


class Reward(Protocol):
    """A reward of outcomes: one row, or an array of rows."""

    def __call__(self, outcome: Any, /) -> Any:
        """float64, of the rows' shape."""
        ...


@checked
class WealthReward:
    """Change in wealth since the agent's last turn, less a running penalty on inventory, at a fixed scale.

    ``(wealth change - damping * carry - (inventory_penalty * inventory**2 + excess_penalty * excess**2) * elapsed - refusal_penalty *
    refused lots) / scale``, where the excess is the absolute inventory beyond 70 % of its bound. Wealth counts inventory
    at the reference price, never at the last print. The penalty is the running quadratic one of Cartea, Jaimungal
    and Penalva (2015, ch. 10), charged on the inventory at settlement for the timesteps since that turn. The carry is
    what the inventory that was held at that turn has gained since; damping it (Spooner et al., 2018, "Market making via
    reinforcement learning") leaves what trading earned, which is a small part of the noise.
    """

    inventory_penalty: Penalty = 0.01
    """Tick-lots a lot squared and timestep."""
    excess_penalty: Penalty = 0.0
    """The same for what exceeds 70 % of the inventory bound; training sets it, so that a policy keeps off its bound."""
    damping: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the carry that does not count; training sets it, so that a policy hears what its trading earns."""
    refusal_penalty: Penalty = 0.0
    """Tick-lots a lot that risk checks refused in the turn; training sets it, so that a policy learns its limits."""
    scale: Annotated[float, Field(ge=1e-3, le=1e12)] = 80.0
    """Tick-lots that count as a reward of 1; about one standard deviation under random actions."""

    def __call__(self, outcome: Any, /) -> Any:
        """The reward of each outcome row."""
        inventory = outcome["inventory"]
        gained = outcome["wealth_change"] - self.inventory_penalty * inventory * inventory * outcome["elapsed"]
        if self.damping:
            gained = gained - self.damping * outcome["carry"]
        if self.excess_penalty:
            excess = np.maximum(np.abs(inventory) - EXCESS * outcome["inventory_bound"], 0.0)
            gained = gained - self.excess_penalty * excess * excess * outcome["elapsed"]
        if self.refusal_penalty:
            gained = gained - self.refusal_penalty * outcome["refused"]
        return gained / self.scale


DEFAULT_REWARD = WealthReward()
"""The reward that every face uses unless given another."""
