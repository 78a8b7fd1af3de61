"""The compiled turn loop: many turns of compiled policies in one call, no Python between them.

Promise: the same trajectory, bit for bit, as the AEC loop over the same policies, since both call the same
machine code on the same streams. Cost: about 0.23 µs a turn of a noise trader (``python -m benchmarks scale``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from market_env import actions, observations
from market_env.config import ConfigError, MarketConfig
from market_env.engine import observe, state, step, turn
from market_env.engine.kernel import kernel
from market_env.engine.state import LOG_FULL, NONE, OUT_OF_RANGE, OVER, READY
from market_env.market import NO_EPISODE, Market
from scripted_agents.policy import OWN, CompiledPolicy, Policy, call_policy, grid_header


class Players(NamedTuple):
    """Who plays a market's turns, as the kernels read it: arrays that ride together."""

    seats: NDArray[np.int64]
    """The learner's number of each agent, NONE of those that play here: int64 of shape (agents,)."""
    addresses: NDArray[np.int64]
    """Of each agent's policy, 0 = none: int64 of shape (agents,)."""
    starts: NDArray[np.int64]
    """Where each agent's parameters begin: int64 of shape (agents,)."""
    parts: NDArray[np.int64]
    """Of the observation, that each agent's policy reads (:data:`market_env.engine.observe.PARTS`): int64 of shape (agents,)."""
    parameters: NDArray[np.float64]
    """Of all policies: float64."""
    observation: NDArray[np.float32]
    """Work space: float32 of shape (SIZE,)."""
    action: NDArray[np.int64]
    """Work space: int64 of shape (5,)."""
    tape: NDArray[np.void] | None
    """A recorded day's rows, TAPE; None without one."""


@kernel
def take_turn(market, events, players):
    """Let the acting agent's policy decide and carry its action out; False, and nothing done, if it is out of range."""
    agent = market.acting
    account = market.agents[agent]
    action = players.action
    observe.observe(market, agent, account.outcome, players.observation, players.parts[agent])
    for component in range(actions.WIDTH):
        action[component] = 0
    call_policy(
        players.addresses[agent],
        players.observation,
        players.parameters[players.starts[agent] :],
        account.memory,
        account.policy_stream,
        action,
    )
    if not turn.in_range(market, action):
        return False
    turn.act(market, events, action, market.reference)
    return True


@kernel
def play_on(market, events, players):
    """Play turns until it is a learner's, the log is full or the episode over; return a status."""
    while True:
        if market.finished:
            return OVER
        if players.seats[market.acting] != NONE:
            return READY
        if not take_turn(market, events, players):
            return OUT_OF_RANGE
        status = turn.begin(market, events, players.tape)
        if status != READY:
            return status


@kernel
def play(markets, events, players):
    """Play ``markets[0]`` on."""
    return play_on(markets[0], events, players)


class PolicyTable:
    """Compiled policies as the kernels read them: addresses and parameters by agent, for one or many markets.

    Args:
        policies: by agent id; a sequence is dealt to the markets in turn.
        agent_ids: the market's roster.
        markets: how many markets they play in.

    Raises:
        ConfigError: a policy is not compiled, or they are made for markets of different grids.
    """

    def __init__(
        self, policies: Mapping[str, Policy | Sequence[Policy]], agent_ids: Sequence[str], markets: int = 1
    ) -> None:
        self._given = (dict(policies), list(agent_ids), markets)
        self.grids: NDArray[np.float64] | None = None
        """The grids that all of them are made for; None without a policy."""
        self.addresses = np.zeros((markets, len(agent_ids)), np.int64)
        """int64 of shape (markets, agents); 0 = no policy."""
        self.starts = np.zeros((markets, len(agent_ids)), np.int64)
        """int64 of shape (markets, agents): where the parameters begin."""
        self.parts = np.zeros((markets, len(agent_ids)), np.int64)
        """int64 of shape (markets, agents): what of the observation each policy reads."""
        kept: dict[int, tuple[int, CompiledPolicy]] = {}
        blocks = [np.zeros(1)]
        size = 1
        for index, agent in enumerate(agent_ids):
            given = policies.get(agent, ())
            dealt = list(given) if isinstance(given, Sequence) else [given]
            for place, policy in enumerate(dealt):
                if not isinstance(policy, CompiledPolicy):
                    raise ConfigError(f"policy of {agent}: expected a compiled policy, got {type(policy).__name__}")
                grids = policy.parameters[:OWN]
                if self.grids is not None and not np.array_equal(grids, self.grids):
                    raise ConfigError(f"policy of {agent}: made for other offsets or lots than the others' policies")
                self.grids = grids
                if id(policy) not in kept:
                    kept[id(policy)] = (size, policy)
                    blocks.append(policy.parameters)
                    size += len(policy.parameters)
                self.addresses[place :: len(dealt), index] = policy.function.address
                self.starts[place :: len(dealt), index] = kept[id(policy)][0]
                self.parts[place :: len(dealt), index] = observe.parts_of(policy.function.reads)
        self._kept = kept  # their machine code must live as long as the addresses
        self.parameters = np.concatenate(blocks)
        """float64: the parameters of all policies."""

    def __reduce__(self) -> tuple[type[PolicyTable], tuple[Any, ...]]:
        # Addresses mean nothing in another process.
        return PolicyTable, self._given

    def check(self, config: MarketConfig, learners: Sequence[int]) -> None:
        """Raise a ConfigError unless every agent that is no learner has a policy, made for this market's grids."""
        without = np.flatnonzero((self.addresses == 0).any(axis=0)).tolist()
        if names := [config.agent_ids[index] for index in without if index not in learners]:
            raise ConfigError(f"policies: expected one for every agent but the learners, none for {names}")
        if self.grids is not None and not np.array_equal(self.grids, grid_header(config)):
            raise ConfigError("policies: made for a market of other offsets or lots")

    def players(self, seats: NDArray[np.int64], tape: NDArray[np.void] | None) -> Players:
        """Who plays the first market, with work space of its own.

        Args:
            seats: the learner's number of each agent, NONE of those that play: int64 of shape (agents,).
            tape: TAPE rows of the market's recorded day, if it has one.
        """
        observation, action = np.zeros(observations.SIZE, np.float32), np.zeros(actions.WIDTH, np.int64)
        return Players(
            seats, self.addresses[0], self.starts[0], self.parts[0], self.parameters, observation, action, tape
        )


class CompiledBackground:
    """Compiled policies that play a market's turns in one kernel.

    Args:
        policies: a compiled policy for every agent that will play, by id.
        agent_ids: the market's roster.
    """

    def __init__(self, policies: Mapping[str, Policy], agent_ids: Sequence[str]) -> None:
        self._given = dict(policies)
        self._table = PolicyTable(policies, agent_ids)
        self._agent_ids = list(agent_ids)
        self._market: Market | None = None
        self._learners: tuple[int, ...] | None = None
        self._players = self._table.players(step.seats_of([], len(agent_ids)), None)

    def __reduce__(self) -> tuple[type[CompiledBackground], tuple[dict[str, Policy], list[str]]]:
        # Addresses mean nothing in another process.
        return CompiledBackground, (self._given, self._agent_ids)

    def reset(self, market: Market) -> None:
        """Nothing to get ready: compiled policies read their streams in the record."""

    def play(self, market: Market, learners: tuple[int, ...] = ()) -> bool:
        """Play until it is a learner's turn; False once the episode is over.

        Raises:
            ConfigError: an agent that is no learner has no policy, or the market has other agents.
            RuntimeError: the market was not reset.
            ValueError: a policy wrote an action out of range.
        """
        if not market.begun:
            raise RuntimeError(NO_EPISODE)
        if market is not self._market or learners != self._learners:
            if market.agent_ids != self._agent_ids:
                raise ConfigError(
                    f"policies: made for the agents {self._agent_ids}, got a market of {market.agent_ids}"
                )
            self._table.check(market.config, learners)
            self._market, self._learners = market, learners
            seats = step.seats_of(list(learners), len(self._agent_ids))
            self._players = self._table.players(seats, market.tape)
        while True:
            status = play(market.records, market.events, self._players)
            if status != LOG_FULL:
                break
            market.make_room()
        market.sync()
        if status == OUT_OF_RANGE:
            agent = market.agent_ids[market.acting]
            raise ValueError(bad_action(agent, self._players.action))
        return bool(status == READY)


def bad_action(agent: str, action: NDArray[np.int64]) -> str:
    """The message for a compiled policy's action that is out of range."""
    return f"policy of {agent}: action out of range: {action.tolist()}"


class PythonBackground:
    """Any policies, played one call at a time.

    Args:
        policies: a policy for every agent but the learners, by id.
    """

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self._policies = dict(policies)

    def reset(self, market: Market) -> None:
        """Hand every policy its stream."""
        for agent, policy in self._policies.items():
            policy.reset(market.policy_stream(market.index[agent]), market.policy_memory(market.index[agent]))

    def play(self, market: Market, learners: tuple[int, ...] = ()) -> bool:
        """Play until it is a learner's turn; False once the episode is over."""
        while (agent := market.acting) not in learners and agent != state.NONE:
            market.act(self._policies[market.agent_ids[agent]].act(market.observe(agent)))
        return agent != state.NONE


def run_compiled(market: Market, policies: Mapping[str, Policy]) -> NDArray[np.void]:
    """Play a freshly reset market to its end; return its events, if it keeps any."""
    background = CompiledBackground(policies, market.agent_ids)
    background.reset(market)
    background.play(market)
    return market.drain()
