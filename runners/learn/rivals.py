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
    # Found by `python -m runners.tune --generations 10`, for the seat of the PPO in the default population.
    "maker": MarketMaker(
        half_spread=7.32, volatility_weight=0.0738, skew=5.92, lots=3.9, layers=1, layer_gap=2.62, tolerance=4.07,
        shown=0.24, memory=0.278,
    ),
}  # fmt: skip
"""What a policy is compared with in its own seat, by name."""
