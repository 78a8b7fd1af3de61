"""Whole episodes of one seat, many markets at once, and what the seat did in each: for comparing policies.

Promise: the figures are those of the events that the same market would log. Cost: that of the rollout, on all cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from market_env import actions, observations
from market_env.config import MarketConfig
from market_env.engine import accounts, step, turn
from market_env.engine.kernel import kernel, parallel_kernel
from market_env.engine.state import NONE, OUT_OF_RANGE, READY
from market_env.engine.streams import run_key
from market_env.market import NO_EVENTS, check_seed, configure
from scripted_agents.policy import Policy
from scripted_agents.rollout import Players, PolicyTable, bad_action, take_turn

NEAR_BOUND = 0.8
"""Share of the inventory bound beyond which a seat counts as near it."""
AT_ONCE = 256
"""Markets that are played side by side."""

TALLY = np.dtype(
    [
        ("turns", "i8"),
        ("settled_turns", "i8"),         # all but the last
        ("trading_turns", "i8"),         # of these: one of its orders traded until its next turn
        ("refused_turns", "i8"),         # risk checks refused an order or a part of one
        ("timesteps", "i8"),
        ("near_timesteps", "i8"),        # ended beyond 80 % of the inventory bound
        ("net_sum", "i8"),               # inventory at the end of each timestep, lots
        ("inventory_sum", "i8"),         # absolute inventory at the end of each timestep, lots
        ("maker_lots", "i8"),
        ("taker_lots", "i8"),
        ("wealth", "f8"),                # at the end, tick-lots
        ("liquidation_wealth", "f8"),
    ],
    align=True,
)  # fmt: skip
"""What one seat did in one episode."""


@kernel
def count_turn(outcome, tally):
    """A turn of the seat has been settled."""
    traded = outcome.maker_lots + outcome.taker_lots
    refused = 0
    for reason in range(len(outcome.rejected)):
        refused += outcome.rejected[reason]
    tally.maker_lots += int(outcome.maker_lots)
    tally.taker_lots += int(outcome.taker_lots)
    tally.refused_turns += refused > 0
    return traded > 0


@kernel
def play_out(market, events, key, seat, players, tally):
    """Play one episode; return a status."""
    turn.reset(market, key)
    account = market.agents[seat]
    status = turn.begin(market, events)
    tally.timesteps = market.timestep
    while status == READY:
        if market.acting == seat:
            tally.turns += 1
            if account.outcome.turn != NONE:
                tally.settled_turns += 1
                tally.trading_turns += count_turn(account.outcome, tally)
        if not take_turn(market, events, players):
            return OUT_OF_RANGE
        status = turn.begin(market, events)
        # Timesteps that end between this turn and the next end with the inventory that it leaves.
        ended = market.timestep - tally.timesteps
        tally.timesteps += ended
        tally.net_sum += ended * account.inventory
        tally.inventory_sum += ended * abs(account.inventory)
        tally.near_timesteps += ended * (abs(account.inventory) > NEAR_BOUND * account.inventory_bound)
    if account.outcome.turn != NONE:
        count_turn(account.outcome, tally)
    tally.wealth = accounts.wealth(market, account)
    tally.liquidation_wealth = accounts.liquidation_wealth(market, seat)
    return status


@parallel_kernel
def play_out_all(markets, events, keys, seat, players, observations_, actions_, statuses, tallies):
    """Play one episode in each market, by the same players with work space of each market's own."""
    for i in numba.prange(len(keys)):
        own = Players(
            players.seats, players.addresses, players.starts, players.parameters, observations_[i], actions_[i]
        )
        statuses[i] = play_out(markets[i], events, keys[i], seat, own, tallies[i])


def tally_episodes(
    config: MarketConfig, policies: Mapping[str, Policy], agent: str, seeds: Sequence[int]
) -> NDArray[np.void]:
    """Play an episode for each seed; TALLY rows of shape (seeds,) for ``agent``.

    Args:
        config: rules and roster.
        policies: a compiled policy for every agent.
        agent: whose doings count.
        seeds: of the episodes.

    Raises:
        ConfigError: an agent has no compiled policy.
        ValueError: a policy wrote an action out of range; a seed is no non-negative integer.
    """
    table = PolicyTable(policies, config.agent_ids)
    table.check(config, ())
    players = table.players(step.seats_of([], len(config.agents)))
    seat = config.agent_ids.index(agent)
    keys = np.array([run_key(check_seed(seed)) for seed in seeds], np.uint64)
    tallies = np.zeros(len(keys), TALLY)
    side = min(AT_ONCE, len(keys))
    markets = np.repeat(configure(config), side)
    seen = np.zeros((side, observations.SIZE), np.float32)
    codes = np.zeros((side, actions.WIDTH), np.int64)
    statuses = np.zeros(side, np.int64)
    for first in range(0, len(keys), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        play_out_all(markets, NO_EVENTS, keys[part], seat, players, seen, codes, statuses, tallies[part])
        if (statuses == OUT_OF_RANGE).any():
            place = int(np.argmax(statuses == OUT_OF_RANGE))
            acting = config.agent_ids[int(markets["acting"][place])]
            raise ValueError(f"seed {seeds[first + place]}: {bad_action(acting, codes[place])}")
    return tallies
