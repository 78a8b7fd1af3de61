"""What a run is: market, roster, policies, seed and reward, as a file or the command line describes it."""

from __future__ import annotations

import json
from dataclasses import field
from pathlib import Path
from typing import Any

from market_env.config import ConfigError, MarketConfig, checked, parse_json
from market_env.outside import read_json, shown
from market_env.rewards import DEFAULT_REWARD, WealthReward
from runners.files.config import DESCRIPTIVE, Seed, upgraded
from scripted_agents import population


@checked
class RunConfig:
    """All that decides what a run does."""

    market: MarketConfig = field(default_factory=MarketConfig)
    """The market and its roster."""
    policies: dict[str, population.AnyPolicy] = field(default_factory=dict)
    """Policy parameters by agent id or kind; the others have their defaults."""
    seed: Seed = 1
    """The run's seed."""
    reward: WealthReward = DEFAULT_REWARD
    """What the recorded rewards are."""


def read_file(path: Path) -> tuple[RunConfig, dict[str, Any]]:
    """The run that a JSON file describes, and the file's own data, as today's schema has it.

    Raises:
        ConfigError: the file cannot be read, has an unknown key, or a value is bad; names the file.
    """
    where = f"config {shown(str(path))[1:-1]}"
    given = upgraded(read_json(path, where), where)
    names = list(RunConfig.__dataclass_fields__)
    for key in given.keys() - {*names, *DESCRIPTIVE}:
        within = f"; it is a field of the market: market.{key}" if key in MarketConfig.__dataclass_fields__ else ""
        raise ConfigError(f"{where}: unknown key {shown(key)}, expected some of {', '.join(names)}{within}")
    try:
        run = parse_json(RunConfig, json.dumps({name: given[name] for name in names if name in given}))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return run, given
