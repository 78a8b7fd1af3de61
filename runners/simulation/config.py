"""What a run is: market, roster, policies, seed and reward, as a file or the command line describes it.

A file whose market has ``agents`` describes a market by itself, and what it leaves out is a bare
:class:`market_env.config.MarketConfig`'s. Any other file is laid over a population: its entries replace those of the
population's market, its policies those of the agents and kinds that it names.
"""

from __future__ import annotations

import json
from dataclasses import field
from pathlib import Path
from typing import Any

from market_env.config import ConfigError, MarketConfig, amend, checked, parse_json, to_json
from market_env.outside import read_json, shown
from market_env.rewards import DEFAULT_REWARD, WealthReward
from runners.files.config import DESCRIPTIVE, Seed, upgraded
from scripted_agents import registry
from scripted_agents.populations import Population


@checked
class RunConfig:
    """All that decides what a run does."""

    market: MarketConfig = field(default_factory=MarketConfig)
    """The market and its roster."""
    policies: dict[str, registry.AnyPolicy] = field(default_factory=dict)
    """Policy parameters by agent id or kind; the others have their defaults."""
    seed: Seed = 1
    """The run's seed."""
    reward: WealthReward = DEFAULT_REWARD
    """What the recorded rewards are."""


def where(path: Path) -> str:
    """What a file is called in an error."""
    return f"config {shown(str(path))[1:-1]}"


def read_file(path: Path) -> dict[str, Any]:
    """A file's data, as today's schema has it.

    Raises:
        ConfigError: the file cannot be read or has an unknown key; names the file.
    """
    given = upgraded(read_json(path, where(path)), where(path))
    names = list(RunConfig.__dataclass_fields__)
    for key in given.keys() - {*names, *DESCRIPTIVE}:
        within = f"; it is a field of the market: market.{key}" if key in MarketConfig.__dataclass_fields__ else ""
        raise ConfigError(f"{where(path)}: unknown key {shown(key)}, expected some of {', '.join(names)}{within}")
    return given


def has_roster(given: dict[str, Any]) -> bool:
    """Whether a file's data describe a market by themselves."""
    market = given.get("market")
    return isinstance(market, dict) and "agents" in market


def run_of(given: dict[str, Any], base: Population, path: Path | None = None) -> RunConfig:
    """The run that a file's data describe.

    Args:
        given: what :func:`read_file` gave; ``{}`` for the population as it is.
        base: what they are laid over, unless they have a roster of their own.
        path: of the file.

    Raises:
        ConfigError: a value is bad; names the file.
    """
    own = {name: given[name] for name in RunConfig.__dataclass_fields__ if name in given}
    if not has_roster(given) and isinstance(given.get("market", {}), dict):
        own["market"] = to_json(base.market) | given.get("market", {})
        if isinstance(given.get("reward", {}), dict):
            own["reward"] = to_json(base.reward) | given.get("reward", {})
    try:
        run = parse_json(RunConfig, json.dumps(own))
        return run if has_roster(given) else amend(run, policies=base.over(run.policies))
    except ConfigError as error:
        if path is None:
            raise
        raise ConfigError(f"{where(path)}: {error}") from None
