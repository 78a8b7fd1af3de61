"""What an agent sees: a bounded float32 vector whose entries are named here, once.

Every policy, scripted or learned, gets exactly this vector and nothing else. Distances are ticks from the
reference price, divided by :data:`TICKS` or :data:`MOVE_TICKS` (powers of two, so a policy reads whole and half ticks back
exactly); times are market time in timesteps. All entries are clipped to their bounds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from gymnasium import spaces

LEVELS = 5
"""Price levels of each side in the vector."""
TICKS = 32.0
"""Distances of the book's levels, spreads and volatilities are in units of this many ticks."""
MOVE_TICKS = 64.0
"""Returns and the distances of own orders are in units of this many ticks: in the default market the price goes further
within a minute than levels lie apart."""
SIGNAL_TICKS = 128.0
"""What an agent sees of the value, less the reference price, is in units of this many ticks."""
LOG_LOTS = 7.0
"""Quantities enter as log(1 + lots) in units of this; 1 is about 1,100 lots."""
RETURN_WINDOWS = (1, 5, 20, 60)
"""Windows of the past returns, timesteps."""
RETURN_FEATURES = tuple(f"return_{window}" for window in RETURN_WINDOWS)
"""Their names."""
FLOW_TIMES = (5.0, 60.0)
"""Time constants of the moving averages of flow and volatility, timesteps."""
HORIZON = 500.0
"""Time left saturates here, so that it means the same in runs of any length, timesteps."""
TURNS = 8.0
"""Turns a timestep at which activity counts one half."""
AGE = 60.0
"""Ages and waiting times saturate here, timesteps."""


SCALES = {
    "ticks": TICKS,
    "move_ticks": MOVE_TICKS,
    "signal_ticks": SIGNAL_TICKS,
    "log_lots": LOG_LOTS,
    "turns": TURNS,
    "age": AGE,
    "horizon": HORIZON,
    "share": 1.0,
}
"""By unit how many of it count as 1. A frozen policy states the scales that it was trained on."""


class Feature(NamedTuple):
    """One entry of the observation."""

    name: str
    low: float
    high: float
    meaning: str
    unit: str = "share"
    """What it is measured in: an entry of :data:`SCALES`."""

    @property
    def scale(self) -> float:
        """How many of its unit count as 1."""
        return SCALES[self.unit]


def _level_features(side: str) -> list[Feature]:
    return [
        feature
        for level in range(1, LEVELS + 1)
        for feature in (
            Feature(f"{side}_distance_{level}", 0, 1, f"{side} level {level}: ticks from the reference price / 32; 1 if there is none", "ticks"),
            Feature(f"{side}_lots_{level}", 0, 1, f"{side} level {level}: log(1 + resting lots) / 7; 0 if there is none", "log_lots"),
        )
    ]  # fmt: skip


FEATURES: tuple[Feature, ...] = (
    *_level_features("bid"),
    *_level_features("ask"),
    Feature("spread", 0, 1, "best ask - best bid, ticks / 32; 1 unless two-sided", "ticks"),
    Feature("imbalance", -1, 1, "(bid lots - ask lots) / sum at the touch; 0 unless two-sided"),
    Feature("imbalance_5", -1, 1, "the same over the first 5 levels of each side; 0 if both are empty"),
    Feature("microprice", -1, 1, "size-weighted mid - mid, ticks / 32; 0 unless two-sided", "ticks"),
    Feature("depth_mid", -1, 1, "depth-weighted mid of the first 5 levels of each side, distances up to 32 ticks, - reference price, ticks / 32; 0 unless two-sided", "ticks"),
    *(Feature(f"return_{w}", -1, 1, f"reference price now - at the end of the timestep {w} before, ticks / 64", "move_ticks") for w in RETURN_WINDOWS),
    Feature("volatility_fast", 0, 1, "root of the moving average (5 timesteps) of squared 1-timestep returns, ticks / 32", "ticks"),
    Feature("volatility_slow", 0, 1, "the same over 60 timesteps", "ticks"),
    Feature("flow_fast", -1, 1, "aggressor's buys - sells over their sum, lots, moving average of 5 timesteps; 0 without trades"),
    Feature("flow_slow", -1, 1, "the same over 60 timesteps"),
    Feature("volume_fast", 0, 1, "log(1 + traded lots a timestep) / 7, moving average of 5 timesteps", "log_lots"),
    Feature("activity_fast", 0, 1, "turns of all agents a timestep / (turns + 8), moving average of 5 timesteps", "turns"),
    Feature("inventory", -1, 1, "own inventory / own bound"),
    Feature("inventory_lots", -1, 1, "own inventory as sign x log(1 + lots) / 7", "log_lots"),
    Feature("cash", 0, 1, "own cash above floor, reservations and fees / (itself + what the bound costs at the reference price)"),
    Feature("open_bid_lots", 0, 1, "lots in own open bids / (2 x bound)"),
    Feature("open_ask_lots", 0, 1, "lots in own open asks / (2 x bound)"),
    Feature("open_orders", 0, 1, "own open orders / most allowed"),
    Feature("own_bid_distance", -1, 1, "reference price - own best bid, ticks / 64; 1 if there is none", "move_ticks"),
    Feature("own_ask_distance", -1, 1, "own best ask - reference price, ticks / 64; 1 if there is none", "move_ticks"),
    Feature("own_bid_at_touch", 0, 1, "1 if own best bid is at the best bid"),
    Feature("own_ask_at_touch", 0, 1, "1 if own best ask is at the best ask"),
    Feature("oldest_order_age", 0, 1, "age of own oldest open order, timesteps / 60; 0 if there is none", "age"),
    Feature("waited", 0, 1, "time from own last turn but one to the last, timesteps / 60; 0 on the first", "age"),
    Feature("time_left", 0, 1, "timesteps left / 500", "horizon"),
    Feature("signal", -1, 1, "the value as the agent sees it - reference price, ticks / 128; 0 without a signal", "signal_ticks"),
    Feature("under_way", 0, 1, "own turns whose messages are under way to the exchange / most allowed; 0 without latency"),
    Feature("halted", 0, 1, "1 while trading is halted"),
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
SIZE = len(FEATURES)
INDEX: dict[str, int] = {name: i for i, name in enumerate(NAMES)}
LOW = np.array([feature.low for feature in FEATURES], np.float32)
HIGH = np.array([feature.high for feature in FEATURES], np.float32)


def space() -> spaces.Box:
    """The observation space: a bounded Box of shape (SIZE,), float32."""
    return spaces.Box(LOW, HIGH, dtype=np.float32)
