"""One policy in several places at once, each with its own memory and random stream. Cost: some microseconds a decision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from market_env.config import MarketConfig
from market_env.engine.state import MEMORY
from market_env.engine.streams import new_stream
from scripted_agents.policy import PolicyConfig


class Replicas:
    """A policy in ``count`` places.

    Args:
        policy: its parameters.
        config: the market.
        count: how many places.
        seed: of their random streams.
    """

    def __init__(self, policy: PolicyConfig, config: MarketConfig, count: int, seed: int = 0) -> None:
        self._policies = [policy.build(config) for _ in range(count)]
        self._streams = [new_stream(seed, f"replica_{number}") for number in range(count)]
        self.begin(np.ones(count, np.bool_))

    def begin(self, chosen: NDArray[np.bool_]) -> None:
        """Forget the episode, in some places."""
        for number in np.flatnonzero(chosen).tolist():
            self._policies[number].reset(self._streams[number], np.zeros(MEMORY))

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """What it does in each place: codes of shape (count, 5) for observations of shape (count, SIZE)."""
        return np.stack([policy.act(seen) for policy, seen in zip(self._policies, observations, strict=True)])
