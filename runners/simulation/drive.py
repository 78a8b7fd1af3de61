"""The common runner: any population through the AEC environment, learning disabled.

One loop; what watches it (recorder, TensorBoard, progress) is handed in. Policies only map observations to
actions: nothing here can change one. Cost: the environment's own, plus what the watchers take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pettingzoo import AECEnv

from scripted_agents.policy import Policy


class Watcher(Protocol):
    """Looks on as a market runs."""

    def turn(self, agent: str, reward: float, info: dict[str, Any], action: NDArray[np.int64]) -> None:
        """An agent's turn: the reward of its last one, its info, and what it does now."""
        ...

    def end(self, agent: str, reward: float, info: dict[str, Any]) -> None:
        """The episode is over for an agent: the reward of its last turn, and its info."""
        ...


def drive(
    env: AECEnv[str, Any, Any],
    policies: Mapping[str, Policy],
    seed: int,
    watchers: Iterable[Watcher] = (),
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Play one episode.

    Args:
        env: a market, wrapped or not.
        policies: one for every agent.
        seed: the run's seed.
        watchers: called at every turn, in this order.
        stop: asked before every turn; True ends the run early.

    Returns:
        Whether the episode reached its end.
    """
    env.reset(seed=seed)
    market = env.unwrapped
    for agent, policy in policies.items():
        policy.reset(market.policy_stream(agent), market.policy_memory(agent))
    watching = list(watchers)
    for agent in env.agent_iter():
        observation, reward, termination, truncation, info = env.last()
        if termination or truncation:
            for watcher in watching:
                watcher.end(agent, reward, info)
            env.step(None)
            continue
        if stop():
            return False
        action = policies[agent].act(observation)
        for watcher in watching:
            watcher.turn(agent, reward, info, action)
        env.step(action)
    return True
