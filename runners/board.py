"""A run on TensorBoard: the agents' infos, one summary a timestep.

:data:`TAGS` is the one list of what is written and what it means. Cost: about 6 µs a value, against 90 with
``SummaryWriter.add_scalar``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from market_env.config import AgentConfig

TAGS: dict[str, str] = {
    "market/mid": "reference price as the last turn of the timestep began, ticks; the next four likewise",
    "market/spread": "best ask - best bid, ticks; absent unless two-sided",
    "market/imbalance": "(bid lots - ask lots) / sum at the touch; absent unless two-sided",
    "liquidity/bid_depth": "resting lots of the first 10 bid levels",
    "liquidity/ask_depth": "resting lots of the first 10 ask levels",
    "flow/turns": "turns of all agents in the timestep",
    "flow/traded_lots": "lots taken by the turns that were settled in the timestep",
    "flow/trimmed_lots": "lots that risk checks refused to those turns",
    "agents/<kind>/inventory": "mean inventory over the agents of a kind, as of their last turns, lots",
    "agents/<kind>/wealth_change": "mean change in wealth since the start, as of their last turns, tick-lots",
    "agents/<kind>/open_orders": "mean number of open orders, as of their last turns",
    "agents/<kind>/maker_lots": "lots that their resting orders traded, settled in the timestep",
    "agents/<kind>/taker_lots": "lots that their incoming orders traded, settled in the timestep",
    "agents/<kind>/reward": "mean reward of the turns settled in the timestep; absent if there were none",
}
"""Every scalar tag and its meaning; ``<kind>`` stands for each kind in the market."""

MARKET_TAGS = ("market/mid", "market/spread", "market/imbalance", "liquidity/bid_depth", "liquidity/ask_depth")
MARKET_KEYS = ("mid", "spread", "imbalance", "bid_depth", "ask_depth")


class Board:
    """Writes a run's event file.

    Args:
        folder: where it goes.
        agents: the roster.
        first_price: reference price at the start, ticks.
    """

    def __init__(self, folder: Path, agents: Sequence[AgentConfig], first_price: int) -> None:
        self._writer = EventFileWriter(str(folder), max_queue_size=1000, flush_secs=30)
        self._kinds = list(dict.fromkeys(agent.kind for agent in agents))
        self._kind = {agent.id: self._kinds.index(agent.kind) for agent in agents}
        self._index = {agent.id: i for i, agent in enumerate(agents)}
        self._member = np.zeros((len(self._kinds), len(agents)))
        for agent in agents:
            self._member[self._kind[agent.id], self._index[agent.id]] = 1.0
        self._member /= self._member.sum(axis=1, keepdims=True)
        # Columns: inventory, wealth change, open orders; each agent as of its last turn.
        self._accounts = np.zeros((len(agents), 3))
        self._accounts[:, 0] = [agent.inventory for agent in agents]
        self._start = [agent.cash + agent.inventory * first_price for agent in agents]
        # Columns: maker lots, taker lots, reward, settled turns; by kind, within the timestep.
        self._flows = [[0.0] * 4 for _ in self._kinds]
        self._turns = 0
        self._trimmed = 0
        self._timestep = 0
        self._market: list[float | None] = [None] * len(MARKET_KEYS)
        names = ("inventory", "wealth_change", "open_orders", "maker_lots", "taker_lots", "reward")
        self._kind_tags = [[f"agents/{kind}/{name}" for name in names] for kind in self._kinds]

    def turn(self, agent: str, reward: float, info: dict[str, Any], action: NDArray[np.int64]) -> None:
        """Count a turn; a new timestep writes the one before."""
        timestep = info["timestep"]
        if timestep != self._timestep:
            self._write()
            self._timestep = timestep
        self._settle(agent, reward, info)
        self._turns += 1
        self._market = [info[key] for key in MARKET_KEYS]

    def end(self, agent: str, reward: float, info: dict[str, Any]) -> None:
        """Count what was settled at the end."""
        self._settle(agent, reward, info)

    def _settle(self, agent: str, reward: float, info: dict[str, Any]) -> None:
        index = self._index[agent]
        account = self._accounts[index]
        account[0] = info["inventory"]
        account[1] = info["wealth"] - self._start[index]
        account[2] = info["open_orders"]
        flow = self._flows[self._kind[agent]]
        flow[0] += info["maker_lots"]
        flow[1] += info["taker_lots"]
        flow[2] += reward
        flow[3] += 1
        self._trimmed += info["trimmed_lots"]

    def _write(self) -> None:
        value = Summary.Value
        values = [
            value(tag=tag, simple_value=number)
            for tag, number in zip(MARKET_TAGS, self._market, strict=True)
            if number is not None
        ]
        values.append(value(tag="flow/turns", simple_value=self._turns))
        values.append(value(tag="flow/traded_lots", simple_value=sum(flow[1] for flow in self._flows)))
        values.append(value(tag="flow/trimmed_lots", simple_value=self._trimmed))
        means = (self._member @ self._accounts).tolist()
        for tags, mean, flow in zip(self._kind_tags, means, self._flows, strict=True):
            for tag, number in zip(tags, (*mean, flow[0], flow[1]), strict=False):
                values.append(value(tag=tag, simple_value=number))
            if flow[3]:
                values.append(value(tag=tags[5], simple_value=flow[2] / flow[3]))
            flow[:] = [0.0] * 4
        self._turns = self._trimmed = 0
        self._writer.add_event(Event(step=self._timestep, wall_time=time.time(), summary=Summary(value=values)))

    def close(self) -> None:
        """Write the last timestep and close the file."""
        if self._turns:
            self._write()
        self._writer.flush()
        self._writer.close()
