"""Policies for the market: noise, maker, momentum, frozen PPO, baselines; populations and the compiled turn loop.

Importing this package registers ``market_env/Learner-v1`` with Gymnasium: the default market with one learner
in the PPO's seat and the scripted population around it.
"""

from typing import Any

import gymnasium

from market_env.config import MarketConfig
from market_env.learner import LearnerEnv
from scripted_agents.baselines import DoNothing, RandomActions
from scripted_agents.frozen_ppo import FrozenPPO, ModelError, freeze
from scripted_agents.maker import MarketMaker
from scripted_agents.momentum import MomentumTrader
from scripted_agents.noise import NoiseTrader
from scripted_agents.policy import CompiledPolicy, Policy
from scripted_agents.population import background, build
from scripted_agents.rollout import CompiledBackground, PythonBackground, run_compiled

__all__ = [
    "CompiledBackground",
    "CompiledPolicy",
    "DoNothing",
    "FrozenPPO",
    "MarketMaker",
    "ModelError",
    "MomentumTrader",
    "NoiseTrader",
    "Policy",
    "PythonBackground",
    "RandomActions",
    "background",
    "build",
    "freeze",
    "learner_env",
    "run_compiled",
]


def learner_env(config: MarketConfig | None = None, learner: str = "ppo_0", **arguments: Any) -> LearnerEnv:
    """A learner's environment with the default policies around it; further arguments as :class:`LearnerEnv` takes."""
    market = MarketConfig() if config is None else config
    return LearnerEnv(market, background(market, [learner]), learner, **arguments)


gymnasium.register(id="market_env/Learner-v1", entry_point="scripted_agents:learner_env")
