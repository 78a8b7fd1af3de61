"""Rewards: pure functions of outcome rows, vectorised, so that one serves every face.

An outcome (:data:`market_env.engine.state.OUTCOME`) is what came of one turn, from what the agent saw then to
its next arrival or the end. A reward takes one row or an array of rows and returns a float64 for each.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import Field

from market_env.config import checked
from market_env.engine.state import OUTCOME

EXCESS = 0.7
"""Share of the inventory bound beyond which inventory is an excess."""


READS = ("elapsed", "wealth_change", "carry", "inventory", "inventory_bound", "refused")
"""Fields of an outcome that the reward depends on, in the order of the record."""


def _format(names: tuple[str, ...]) -> str:
    """How :mod:`struct` reads these fields of an outcome."""
    places: list[str] = []
    at = 0
    for name in names:
        field, offset = OUTCOME.fields[name][:2]  # type: ignore[index]  # (it has fields)
        places.append(f"{offset - at}x{'d' if field.kind == 'f' else 'q'}")
        at = offset + field.itemsize
    return "=" + "".join(places)


READ = struct.Struct(_format(READS))

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
        # Of one row as plain numbers: numpy's scalars cost ten times as much, and the AEC loop asks for one row a turn.
        one = type(outcome) is np.void and outcome.dtype is OUTCOME
        read = READ.unpack_from(outcome) if one else [outcome[name] for name in READS]
        elapsed, change, carry, inventory, bound, refused = read
        gained = change - self.inventory_penalty * inventory * inventory * elapsed
        if self.damping:
            gained = gained - self.damping * carry
        if self.excess_penalty:
            excess = np.maximum(np.abs(inventory) - EXCESS * bound, 0.0)
            gained = gained - self.excess_penalty * excess * excess * elapsed
        if self.refusal_penalty:
            gained = gained - self.refusal_penalty * refused
        return gained / self.scale


@checked
class ShortfallReward:
    """Less the implementation shortfall of a turn, for a seat that begins with an order as its inventory (Perold 1988).

    ``(wealth change - lateness_penalty * late**2 * elapsed - closing * |inventory| if the episode is over) / lots``: wealth at the
    reference price falls by what trading and the price cost the order since the last turn, so that an episode's rewards sum to the mean
    price got less the first price, in ticks a lot (of a purchase the first price less the mean price paid), where nothing is left and
    lateness costs nothing. Late is what the seat holds beyond equal slices of time.
    """

    side: Literal["sell", "buy"] = "sell"
    """What is done with the order."""
    lots: Annotated[float, Field(gt=0, le=1e9)] = 100.0
    """Of the order."""
    timesteps: Annotated[float, Field(gt=0)] = 360.0
    """When the episode is over."""
    benchmark: Literal["arrival", "slices"] = "arrival"
    """``"slices"`` takes out what equal slices of time would have gained by the reference price since the last turn, so that rewards sum to
    the mean price got less that price's mean over time. Training sets it: no policy changes what is taken out but by its own impact, and it
    is nearly all of the noise."""
    damping: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the carry beyond the benchmark's that does not count; training sets it, so that a policy hears what its trading brings."""
    lateness_penalty: Penalty = 0.0
    """Tick-lots a lot squared and timestep; training sets it, so that a policy hears at once that time runs out."""
    closing: Penalty = 40.0
    """Ticks a lot that whatever is left when the episode is over costs, once: more than selling it into the book would."""

    def __call__(self, outcome: Any, /) -> Any:
        """The reward of each outcome row."""
        time, inventory, elapsed = outcome["time"], outcome["inventory"], outcome["elapsed"]
        gained = outcome["wealth_change"] - np.where(time >= self.timesteps, self.closing * np.abs(inventory), 0.0)
        order = self.lots if self.side == "sell" else -self.lots
        if self.benchmark == "slices" or self.damping:
            sliced = 0.0 if self.benchmark == "arrival" else order * (1.0 - (time - elapsed) / self.timesteps)
            expected = sliced * outcome["move"]
            gained = gained - expected - self.damping * (outcome["carry"] - expected)
        if self.lateness_penalty:
            late = np.maximum(np.abs(inventory) - self.lots * (1.0 - time / self.timesteps), 0.0)
            gained = gained - self.lateness_penalty * late * late * elapsed
        return gained / self.lots


DEFAULT_REWARD = WealthReward()
"""The reward that every face uses unless given another."""
