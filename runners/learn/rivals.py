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
    # Found by `runners.learn.tuning.tune` on the first 16 validation seeds, for the seat of the PPO in the default population.
    "maker": MarketMaker(
        half_spread=13.3, volatility_weight=0.124, skew=50.5, lots=4.5, layers=6, layer_gap=7.21, tolerance=0.377,
        shown=0.0393, memory=0.472,
    ),
}  # fmt: skip
"""What a policy is compared with in its own seat, by name."""
