"""What tests share: small markets and a way to run them."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

from market_env.config import MarketConfig, roster
from runners.command import RARELY

gc.set_threshold(RARELY, *gc.get_threshold()[1:])  # as while a command runs, for the same reason

settings.register_profile("suite", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("suite")


@pytest.fixture
def small_config() -> MarketConfig:
    """Six agents, 60 timesteps."""
    return MarketConfig(timesteps=60, agents=roster(ppo=1, noise=3, maker=1, momentum=1))
