"""Markets in which something was planted: agents of plain Python that do it, and the run that records it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market_env.config import AgentConfig, Every, MarketConfig
from runners.files.folder import open_folder
from runners.files.whole import write_json
from runners.simulation.config import RunConfig
from runners.simulation.run import describe, play_and_record
from scripted_agents.baselines import DoNothing

KEEP, ALL = 0, 4
OFFSETS = (1, 2, 3, 4, 5, 8, 12)
LOTS = (0, 1, 10, 150)


class Scripted:
    """Acts by the number of its turn: ``script(turn)`` is its action."""

    def __init__(self, script: Callable[[int], list[int]]) -> None:
        self._script = script
        self._turn = 0

    def reset(self, stream: NDArray[np.uint64], memory: NDArray[np.float64]) -> None:
        """Begin anew."""
        self._turn = 0

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
        """The next action."""
        self._turn += 1
        return np.array(self._script(self._turn - 1), np.int64)


def record(path: Path, agents: list[AgentConfig], policies: dict[str, Any], timesteps: int) -> Path:
    """Record a market of these agents; those without a policy do nothing."""
    market = MarketConfig(timesteps=timesteps, agents=tuple(agents), offsets=OFFSETS, lots=LOTS)
    run = RunConfig(market=market, policies={agent.id: DoNothing() for agent in agents}, seed=3)
    idle = {agent.id: DoNothing().build(market) for agent in agents}
    open_folder(path)
    description = describe(run, idle)
    write_json(path / "config.json", description)
    play_and_record(run, path, idle | policies, description, None)
    return path


def quoting(turn: int) -> list[int]:
    """A bid and an ask of ten lots, one of five distances after another; as many as the agent may have."""
    offset = turn % 5
    return [KEEP, offset, 2, offset, 2]


def maker(number: int, phase: float = 0.2) -> AgentConfig:
    return AgentConfig(
        f"maker_{number}", "maker", cash=10**9, inventory=5_000, inventory_bound=20_000, max_open_orders=10,
        arrivals=Every(1.0, phase + 0.1 * number),
    )  # fmt: skip


def with_a_wall(path: Path) -> Path:
    """A bid of 600 lots at 9,988 from timestep 100 to 219, among levels of 20."""

    def builder(turn: int) -> list[int]:
        if 100 <= turn < 104:
            return [KEEP, OFFSETS.index(12), 3, 0, 0]
        return [ALL if turn == 220 else KEEP, 0, 0, 0, 0]

    agents = [maker(0), maker(1), maker(2)]
    policies = {"maker_0": Scripted(quoting), "maker_1": Scripted(quoting), "maker_2": Scripted(builder)}
    return record(path, agents, policies, 400)


PERIOD, GONE = 150, 6


def with_thinning(path: Path, *, clustered: bool) -> Path:
    """Both makers leave for six timesteps in every 150; a crowd arrives as they do, or at times of its own."""

    def leaving(turn: int) -> list[int]:
        place = turn % PERIOD
        if turn < PERIOD or place >= GONE:
            return quoting(turn)
        return [ALL, 0, 0, 0, 0]

    agents = [maker(0), maker(1)]
    for number in range(40):
        phase = PERIOD - 3.5 + 0.1 * number if clustered else (number * 3.7) % PERIOD
        agents.append(AgentConfig(f"noise_{number}", "noise", arrivals=Every(float(PERIOD), phase % PERIOD)))
    return record(path, agents, {"maker_0": Scripted(leaving), "maker_1": Scripted(leaving)}, 2_400)
