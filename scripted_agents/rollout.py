"""The compiled turn loop: many turns of compiled policies in one call, no Python between them.

Promise: the same trajectory, bit for bit, as the AEC loop over the same policies, since both call the same
machine code on the same streams. Cost: about 1 µs a turn (``python -m benchmarks run``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from market_env import observations
from market_env.config import ConfigError
from market_env.engine import observe, state, turn
from market_env.engine.kernel import kernel
from market_env.market import NO_EPISODE, Market
from scripted_agents.policy import CompiledPolicy, Policy, call_policy

BAD_ACTION = 3
"""Status: a compiled policy wrote a code out of range."""
NOBODY = -2
"""No learner: play on to the end."""


@kernel
def play(markets, events, learner, addresses, starts, parameters, observation, action):
    """Play turns of ``markets[0]`` until it is ``learner``'s, the log is full or the episode over; return a status."""
    market = markets[0]
    while True:
        if market.finished:
            return turn.DONE
        agent = market.acting
        if agent == learner:
            return turn.READY
        observe.observe(market, agent, observation)
        action[:] = 0
        call_policy(
            addresses[agent], observation, parameters[starts[agent] :], market.agents[agent].policy_stream, action
        )
        if not turn.in_range(market, action):
            return BAD_ACTION
        turn.act(market, events, action, market.reference)
        status = turn.begin(market, events)
        if status != turn.READY:
            return status


class CompiledBackground:
    """Compiled policies that play a market's turns in one kernel.

    Args:
        policies: a compiled policy for every agent that will play, by id.
        agent_ids: the market's roster.
    """

    def __init__(self, policies: Mapping[str, Policy], agent_ids: Sequence[str]) -> None:
        self._policies: list[CompiledPolicy] = []
        self._addresses = np.zeros(len(agent_ids), np.int64)
        self._starts = np.zeros(len(agent_ids), np.int64)
        blocks = []
        size = 0
        for index, agent in enumerate(agent_ids):
            policy = policies.get(agent)
            if policy is None:
                continue
            if not isinstance(policy, CompiledPolicy):
                raise ConfigError(f"policy of {agent}: expected a compiled policy, got {type(policy).__name__}")
            self._policies.append(policy)  # keeps the machine code alive
            self._addresses[index] = policy.function.address
            self._starts[index] = size
            blocks.append(policy.parameters)
            size += len(policy.parameters)
        self._missing = frozenset(np.flatnonzero(self._addresses == 0).tolist())
        self._agent_ids = list(agent_ids)
        self._market: Market | None = None
        self._parameters = np.concatenate(blocks) if blocks else np.zeros(1)
        self._observation = np.zeros(observations.SIZE, np.float32)
        self._action = np.zeros(5, np.int64)

    def reset(self, market: Market) -> None:
        """Nothing to get ready: compiled policies read their streams in the record."""

    def play(self, market: Market, learner: int = NOBODY) -> bool:
        """Play until it is the learner's turn; False once the episode is over.

        Raises:
            ConfigError: an agent other than the learner has no policy, or the market has other agents.
            RuntimeError: the market was not reset.
            ValueError: a policy wrote an action out of range.
        """
        if not market.begun:
            raise RuntimeError(NO_EPISODE)
        if market is not self._market:
            if market.agent_ids != self._agent_ids:
                raise ConfigError(
                    f"policies: made for the agents {self._agent_ids}, got a market of {market.agent_ids}"
                )
            self._market = market
        if self._missing and self._missing != {learner}:
            missing = [self._agent_ids[index] for index in sorted(self._missing) if index != learner]
            raise ConfigError(f"policies: expected one for every agent but the learner, none for {missing}")
        while True:
            status = play(
                market.records, market.events, learner,
                self._addresses, self._starts, self._parameters, self._observation, self._action,
            )  # fmt: skip
            if status != turn.LOG_FULL:
                break
            market.make_room()
        market.sync()
        if status == BAD_ACTION:
            agent = market.agent_ids[market.acting]
            raise ValueError(f"policy of {agent}: action out of range: {self._action.tolist()}")
        return bool(status == turn.READY)


class PythonBackground:
    """Any policies, played one call at a time.

    Args:
        policies: a policy for every agent but the learner, by id.
    """

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self._policies = dict(policies)

    def reset(self, market: Market) -> None:
        """Hand every policy its stream."""
        for agent, policy in self._policies.items():
            policy.reset(market.policy_stream(market.index[agent]))

    def play(self, market: Market, learner: int = NOBODY) -> bool:
        """Play until it is the learner's turn; False once the episode is over."""
        while (agent := market.acting) not in (learner, state.NONE):
            market.act(self._policies[market.agent_ids[agent]].act(market.observe(agent)))
        return agent != state.NONE


def run_compiled(market: Market, policies: Mapping[str, Policy]) -> NDArray[np.void]:
    """Play a freshly reset market to its end; return its events, if it keeps any."""
    background = CompiledBackground(policies, market.agent_ids)
    background.reset(market)
    background.play(market)
    return market.drain()
