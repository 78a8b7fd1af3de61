"""A multi-agent market: a limit order book as PettingZoo and Gymnasium environments.

``env()`` and ``raw_env`` are the AEC faces, :class:`parallel_env` the one for agents that act at once,
:class:`LearnerEnv` the Gymnasium one, :class:`MarketConfig` what a market is made of. Nothing in this package knows a policy or a runner.
"""

import pettingzoo

from market_env.aec import EnvState, env, raw_env
from market_env.config import (
    AgentConfig,
    ConfigError,
    Duty,
    Every,
    Fees,
    Halt,
    Hawkes,
    Latency,
    MarketConfig,
    Poisson,
    roster,
)
from market_env.learner import LearnerEnv
from market_env.market import Market
from market_env.parallel import parallel_env
from market_env.rewards import WealthReward

__all__ = [
    "AgentConfig",
    "ConfigError",
    "Duty",
    "EnvState",
    "Every",
    "Fees",
    "Halt",
    "Hawkes",
    "Latency",
    "LearnerEnv",
    "Market",
    "MarketConfig",
    "Poisson",
    "WealthReward",
    "env",
    "parallel_env",
    "raw_env",
    "roster",
]

pettingzoo.register("aec", id="market_env/market-v1", entry_point=env)
