"""Optimal execution as a task: sell, or buy, so many lots within so many timesteps of a market that lives by itself.

:func:`execution` is any population with the order in the learner's seat; every face takes it. ``market_env/Execution-v1`` is the Gymnasium
environment, alone or as a batch; the PettingZoo form is ``market_env.env(config=execution().market, reward=shortfall_reward())``.
:func:`baselines` are the policies that others are compared with: ``python -m runners.experiment execution``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

import gymnasium

from market_env.config import LEARNER, ConfigError, amend
from market_env.learner import LearnerEnv
from market_env.outside import shown
from market_env.rewards import ShortfallReward, WealthReward
from scripted_agents.baselines import DoNothing
from scripted_agents.policy import PolicyConfig
from scripted_agents.populations import DEFAULT, Parameters, Population, alone
from scripted_agents.populations import population as named
from scripted_agents.registry import background
from scripted_agents.schedules import Participation, Peg, Schedule
from scripted_agents.vector import MarketVectorEnv

Side = Literal["sell", "buy"]
LOTS, TIMESTEPS = 100, 360
"""The order of the task as it is published: about a tenth of what is traded in the default population meanwhile."""
MOST_LOTS = 100_000
VOLUME = 3.0
"""Lots traded a timestep in the default population, which VWAP expects."""
CASH = 16
"""Times the order at the first price that a buyer has: more than it can need."""


def execution(
    side: Side = "sell", lots: int = LOTS, timesteps: int = TIMESTEPS, population: str = DEFAULT
) -> Population:
    """A population with an order in the learner's seat, which begins with the inventory to be sold, or to be bought back.

    Args:
        side: ``"sell"`` begins with ``lots``, ``"buy"`` with less ``lots``; none is to be left at the end.
        lots: of the order.
        timesteps: of the episode; the feature ``time_left`` shows the last 500.
        population: who else trades, by name.

    Raises:
        ConfigError: the side is neither, the order is none, or the population is unknown.
    """
    if side not in get_args(Side):
        raise ConfigError(f"side: expected one of {', '.join(get_args(Side))}, got {shown(side)}")
    if isinstance(lots, bool) or not isinstance(lots, int) or not 0 < lots <= MOST_LOTS:
        raise ConfigError(f"lots: expected an integer from 1 to {MOST_LOTS:,}, got {shown(lots)}")
    of = named(population, {"ppo": 1}, timesteps)
    held = lots if side == "sell" else -lots
    agents = tuple(
        replace(seat, inventory=held, inventory_bound=lots, cash=max(seat.cash, CASH * lots * of.market.first_price))
        if seat.id == LEARNER
        else seat
        for seat in of.market.agents
    )
    policies = {**of.policies, LEARNER: Schedule(turns=float(timesteps), bound=float(lots))}
    # Wealth at the mid falls by the shortfall: what a recorded run has of the task, ticks a lot.
    reward = WealthReward(inventory_penalty=0.0, scale=float(lots))
    return Population(f"execution-{side}", amend(of.market, agents=agents), policies, reward)


def baselines(lots: int = LOTS, timesteps: int = TIMESTEPS) -> dict[str, PolicyConfig]:
    """What every policy for the task is compared with, by name; the first closes the whole order at the end."""
    bound, turns = float(lots), float(timesteps)
    return {
        "nothing": DoNothing(),
        "TWAP": Schedule(turns=turns, bound=bound),
        "Almgren-Chriss": Schedule(turns=turns, urgency=min(1.0, 3.0 / turns), bound=bound),
        "VWAP": Participation(turns=turns, share=min(1.0, lots / (VOLUME * turns)), bound=bound),
        "POV 20 %": Participation(turns=turns, share=0.2, bound=bound),
        "peg": Peg(turns=turns, bound=bound),
    }


def execution_env(
    side: Side = "sell",
    lots: int = LOTS,
    timesteps: int = TIMESTEPS,
    population: str = DEFAULT,
    policies: Parameters | None = None,
    **arguments: Any,
) -> LearnerEnv:
    """The task for one learner, ``market_env/Execution-v1``: a :class:`market_env.LearnerEnv` with the order in its seat.

    ## Description
    The learner begins with an inventory, all of which is to be traded by the end. It sees what is left as ``inventory`` (a share of the
    order, which is also its bound) and the time left as ``time_left``; everything else is the market of :class:`market_env.LearnerEnv`.

    ## Rewards
    :class:`market_env.rewards.ShortfallReward`: less the implementation shortfall of each turn, ticks a lot of the order, with a charge
    on what is left at the end.

    ## Arguments
    | argument | default | meaning |
    |---|---|---|
    | ``side`` | ``"sell"`` | or ``"buy"`` |
    | ``lots`` | 100 | of the order |
    | ``timesteps`` | 360 | of the episode |
    | ``population`` | ``"default"`` | who else trades |
    | ``policies`` | ``None`` | who plays the others, by agent id or kind, where it is not the population's |
    | ``reward``, ``render_mode`` | | as of :class:`market_env.LearnerEnv` |

    ## Version History
    * v1: first version.

    Raises:
        ConfigError: an argument is bad.
    """
    market, seated = alone(execution(side, lots, timesteps, population), policies)
    arguments.setdefault("reward", shortfall_reward(side, lots, timesteps))
    env = LearnerEnv(market, background(market, [LEARNER], seated), LEARNER, **arguments)
    own: dict[str, Any] = {"side": side, "lots": lots, "timesteps": timesteps, "population": population, **arguments}
    own |= {} if policies is None else {"policies": policies}
    env.spec = replace(gymnasium.spec(EXECUTION_ID), kwargs=own)
    return env


EXECUTION_ID = "market_env/Execution-v1"


def shortfall_reward(side: Side = "sell", lots: int = LOTS, timesteps: int = TIMESTEPS) -> ShortfallReward:
    """The task's reward."""
    return ShortfallReward(side=side, lots=lots, timesteps=timesteps)


def training_reward(side: Side) -> ShortfallReward:
    """The published task's reward with what lets a training hear what its trading brings."""
    return replace(shortfall_reward(side), benchmark="slices", damping=0.8, lateness_penalty=0.01)


class ExecutionVectorEnv(MarketVectorEnv):
    """The task as a batch: ``gymnasium.make_vec("market_env/Execution-v1", num_envs=64)``; arguments as :func:`execution_env`'s."""

    def __init__(
        self,
        num_envs: int = 1,
        side: Side = "sell",
        lots: int = LOTS,
        timesteps: int = TIMESTEPS,
        population: str = DEFAULT,
        **arguments: Any,
    ) -> None:
        arguments.setdefault("reward", shortfall_reward(side, lots, timesteps))
        super().__init__(num_envs, execution(side, lots, timesteps, population), **arguments)
