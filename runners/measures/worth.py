"""The price beside what the asset is worth: how far apart they are, how fast news get into it, and who earns by it.

A trade's edge is what it is worth to its two sides by the value at that moment. In a market whose value is not drawn back
anywhere it is what the trade earns on average in the end, without the luck of the inventory held since.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from market_env.config import MarketConfig
from market_env.engine.state import BUY, KIND_TRADE
from runners.files.derive import News, values_at
from runners.measures.intervals import Floats, Interval, mean_of
from runners.measures.timeline import Timeline

LAGS = np.array([0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0])
"""Timesteps after a piece of news at which the mid is looked at."""
NEWS_BLOCK = 20
"""Pieces of a block of the bootstrap: news come in clusters."""


@dataclass(frozen=True)
class Worth:
    """The price beside the value."""

    value: Floats
    """At the end of each timestep, ticks, shape (timesteps,)."""
    gap: Floats
    """Mid less value then, ticks."""
    response: list[Interval]
    """Share of a jump that the mid has made at each of :data:`LAGS` after it: mean of signed moves over mean of absolute jumps."""
    news: int
    """Pieces that it is measured on."""
    edge: dict[str, float]
    """By kind, over all its trades: what they were worth to it by the value then, tick-lots."""
    lots: dict[str, int]
    """By kind, lots of its trades, as maker and taker."""

    def edge_per_lot(self, kind: str) -> float | None:
        """Ticks a lot; None without a trade."""
        return self.edge[kind] / self.lots[kind] if self.lots[kind] else None


def told(line: Timeline) -> News:
    """The run's news as they were recorded."""
    frame = line.run.news
    return News(*(frame[name].to_numpy() for name in News._fields))


def worth(line: Timeline) -> Worth | None:
    """The price beside the value; None in a market without one."""
    config, run = line.run.market, line.run
    if config.value is None or not run.timesteps:
        return None
    found = told(line)
    value = values_at(config, found, np.nextafter(np.arange(1.0, run.timesteps + 1.0), 0.0))
    inside = found.time < run.timesteps - LAGS[-1]
    mids = mids_at(line, np.nextafter(found.time[inside], 0.0))[:, None]
    after = mids_at(line, found.time[inside][:, None] + LAGS)
    moved = np.sign(found.jump[inside])[:, None] * (after - mids)
    size = float(np.abs(found.jump[inside]).mean()) if inside.any() else 1.0
    response = [mean_of(moved[:, lag] / size, NEWS_BLOCK) for lag in range(len(LAGS))] if inside.any() else []
    edge, lots = edges(config, line.events, found, line.kind_of, len(line.kinds))
    return Worth(
        value=value,
        gap=line.mid - value,
        response=response,
        news=int(inside.sum()),
        edge=dict(zip(line.kinds, edge.tolist(), strict=True)),
        lots=dict(zip(line.kinds, lots.tolist(), strict=True)),
    )


def mids_at(line: Timeline, times: Floats) -> Floats:
    """The reference price at any times, after what happened then."""
    before = np.searchsorted(line.events["time"], times, side="right") - 1
    found: Floats = np.where(before < 0, line.run.market.first_price, line.quotes["reference"][np.maximum(before, 0)])
    return found


def edges(
    config: MarketConfig, events: NDArray[np.void], found: News, group: NDArray[np.int64], groups: int
) -> tuple[Floats, NDArray[np.int64]]:
    """By group of agents: what its trades were worth to it by the value at each, tick-lots, and their lots.

    Args:
        config: the market.
        events: EVENT rows.
        found: the news.
        group: number of each agent's group, shape (agents,).
        groups: how many there are.
    """
    trades = events[events["kind"] == KIND_TRADE]
    gain = (values_at(config, found, trades["time"]) - trades["price"]) * trades["lots"]
    gain = np.where(trades["side"] == BUY, gain, -gain)
    taker, maker = group[trades["agent"]], group[trades["maker"]]
    edge: Floats = np.bincount(taker, gain, groups).astype(np.float64) - np.bincount(maker, gain, groups)
    lots = np.bincount(taker, trades["lots"], groups) + np.bincount(maker, trades["lots"], groups)
    return edge, lots.astype(np.int64)
