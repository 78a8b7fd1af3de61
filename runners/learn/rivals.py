"""What a policy is compared with in its own seat."""

from __future__ import annotations

from scripted_agents.baselines import DoNothing, RandomActions
from scripted_agents.maker import MarketMaker
from scripted_agents.momentum import MomentumTrader
from scripted_agents.noise import NoiseTrader
from scripted_agents.policy import PolicyConfig

RIVALS: dict[str, PolicyConfig] = {
    "nothing": DoNothing(),
    "random": RandomActions(),
    "noise": NoiseTrader(),
    "momentum": MomentumTrader(),
    # Found by `python -m runners.tune`, for the seat of the PPO.
    "maker": MarketMaker(
        half_spread=3.15, volatility_weight=0.659, skew=2.24, lots=26.7, layers=2, layer_gap=1.32, tolerance=0.532,
        shown=0.915, memory=0.305,
    ),
}  # fmt: skip
"""What a policy is compared with in its own seat, by name."""
