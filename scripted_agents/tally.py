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
from market_env.engine.state import NONE, OUT_OF_RANGE, OVER, READY
from market_env.engine.streams import run_key
from market_env.market import NO_EVENTS, Market, check_seed, configure
from market_env.tape import tape_of
from scripted_agents.policy import CompiledPolicy, Policy
from scripted_agents.rollout import Players, PolicyTable, bad_action, take_turn
from scripted_agents.standards import NEAR_BOUND

AT_ONCE = 256
"""Markets that are played side by side."""

TALLY = np.dtype(
    [
        ("turns", "i8"),
        ("settled_turns", "i8"),         # all but the last
        ("trading_turns", "i8"),         # of these: one of its orders traded until its next turn
        ("refused_turns", "i8"),         # risk checks refused an order or a part of one
        ("timesteps", "i8"),
        ("near_timesteps", "i8"),        # ended beyond NEAR_BOUND of the inventory bound
        ("net_sum", "i8"),               # inventory at the end of each timestep, lots
        ("inventory_sum", "i8"),         # absolute inventory at the end of each timestep, lots
        ("maker_lots", "i8"),
        ("taker_lots", "i8"),
        ("wealth", "f8"),                # at the end, tick-lots
        ("liquidation_wealth", "f8"),
        ("inventory", "i8"),             # at the end, lots
    ],
    align=True,
)  # fmt: skip
"""What one seat did in one episode."""


@kernel
def count_turn(outcome, tally):
    """A turn of the seat has been settled."""
    traded = outcome.maker_lots + outcome.taker_lots
    tally.maker_lots += int(outcome.maker_lots)
    tally.taker_lots += int(outcome.taker_lots)
    tally.refused_turns += outcome.refused > 0
    return traded > 0


@kernel
def begin_turn(market, events, tape, seat, tally):
    """A turn has been carried out: begin the next, and count the timesteps in between; return a status."""
    status = turn.begin(market, events, tape)
    # Timesteps that end between two turns end with the inventory that the first leaves.
    account = market.agents[seat]
    ended = market.timestep - tally.timesteps
    tally.timesteps += ended
    tally.net_sum += ended * account.inventory
    tally.inventory_sum += ended * abs(account.inventory)
    tally.near_timesteps += ended * (abs(account.inventory) > NEAR_BOUND * account.inventory_bound)
    return status


@kernel
def open_episode(market, events, tape, key, tally):
    """Start an episode; return a status."""
    turn.reset(market, key, tape)
    status = turn.begin(market, events, tape)
    tally.timesteps = market.timestep
    return status


@kernel
def play_to_seat(market, events, seat, players, tally, status):
    """Play from a turn that has begun to the seat's next turn, or to the end; return a status.

    A seat that no compiled policy plays (its number in ``players.seats`` is not NONE) gets READY at each of its turns.
    """
    account = market.agents[seat]
    while status == READY:
        if market.acting == seat:
            tally.turns += 1
            if account.outcome.turn != NONE:
                tally.settled_turns += 1
                tally.trading_turns += count_turn(account.outcome, tally)
            if players.seats[seat] != NONE:
                return READY
        if not take_turn(market, events, players):
            return OUT_OF_RANGE
        status = begin_turn(market, events, players.tape, seat, tally)
    if account.outcome.turn != NONE:
        count_turn(account.outcome, tally)
    tally.wealth = accounts.wealth(market, account)
    tally.liquidation_wealth = accounts.liquidation_wealth(market, seat)
    tally.inventory = market.agents[seat].inventory
    return status


@kernel
def play_out(market, events, key, seat, players, tally):
    """Play one episode; return a status."""
    return play_to_seat(market, events, seat, players, tally, open_episode(market, events, players.tape, key, tally))


@kernel
def play_guest(markets, events, seat, players, tallies, status):
    """Play ``markets[0]`` on to the guest's next turn; return a status."""
    return play_to_seat(markets[0], events, seat, players, tallies[0], status)


@kernel
def step_guest(markets, events, seat, action, players, tallies):
    """Carry the guest's action out and play ``markets[0]`` to its next turn; return a status."""
    market = markets[0]
    if not turn.in_range(market, action):
        return OUT_OF_RANGE
    turn.act(market, events, action, market.reference)
    status = begin_turn(market, events, players.tape, seat, tallies[0])
    return play_to_seat(market, events, seat, players, tallies[0], status)


@parallel_kernel
def play_out_all(markets, events, keys, seat, players, observations_, actions_, statuses, tallies):
    """Play one episode in each market, by the same players with work space of each market's own."""
    for i in numba.prange(len(keys)):
        own = Players(
            players.seats, players.addresses, players.starts, players.parts, players.parameters, observations_[i],
            actions_[i], players.tape,
        )  # fmt: skip
        statuses[i] = play_out(markets[i], events, keys[i], seat, own, tallies[i])


def tally_episodes(
    config: MarketConfig, policies: Mapping[str, Policy], agent: str, seeds: Sequence[int]
) -> NDArray[np.void]:
    """Play an episode for each seed; TALLY rows of shape (seeds,) for ``agent``.

    Args:
        config: rules and roster.
        policies: a policy for every agent, compiled but for that of ``agent``, which may be any: it is asked turn by turn
            then, one market after the other, at the speed of Python.
        agent: whose doings count.
        seeds: of the episodes.

    Raises:
        ConfigError: another agent has no compiled policy.
        ValueError: a policy wrote an action out of range; a seed is no non-negative integer.
    """
    keys = np.array([run_key(check_seed(seed)) for seed in seeds], np.uint64)
    tallies = np.zeros(len(keys), TALLY)
    chosen = policies.get(agent)
    if chosen is None or isinstance(chosen, CompiledPolicy):
        _tally_compiled(config, policies, agent, keys, seeds, tallies)
    else:
        _tally_guest(config, policies, agent, chosen, seeds, tallies)
    return tallies


def _tally_compiled(
    config: MarketConfig,
    policies: Mapping[str, Policy],
    agent: str,
    keys: NDArray[np.uint64],
    seeds: Sequence[int],
    tallies: NDArray[np.void],
) -> None:
    table = PolicyTable(policies, config.agent_ids)
    table.check(config, ())
    players = table.players(step.seats_of([], len(config.agents)), tape_of(config))
    seat = config.agent_ids.index(agent)
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


def _tally_guest(
    config: MarketConfig,
    policies: Mapping[str, Policy],
    agent: str,
    guest: Policy,
    seeds: Sequence[int],
    tallies: NDArray[np.void],
) -> None:
    seat = config.agent_ids.index(agent)
    table = PolicyTable({other: policy for other, policy in policies.items() if other != agent}, config.agent_ids)
    table.check(config, [seat])
    market = Market(config)
    players = table.players(step.seats_of([seat], len(config.agents)), market.tape)
    for number, seed in enumerate(seeds):
        label = f"seed {seed}: action of {agent}"

        def label_of(place: tuple[int, ...], label: str = label) -> str:
            return label

        row = tallies[number : number + 1]
        market.reset(seed)
        guest.reset(market.policy_stream(seat), market.policy_memory(seat))
        row["timesteps"] = market.records["timestep"]
        status = READY if market.acting >= 0 else OVER
        status = play_guest(market.records, NO_EVENTS, seat, players, row, status)
        while status == READY:
            action = actions.as_codes(guest.act(market.observe(seat)), market.codes, label_of)
            status = step_guest(market.records, NO_EVENTS, seat, action, players, row)
            if status == OUT_OF_RANGE and market.records["acting"][0] == seat:
                raise ValueError(actions.out_of_range(action, market.codes, label))
        if status == OUT_OF_RANGE:
            acting = config.agent_ids[int(market.records["acting"][0])]
            raise ValueError(f"seed {seed}: {bad_action(acting, players.action)}")
