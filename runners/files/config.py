"""What a run's ``config.json`` says: read, brought to today's schema, and checked field by field.

``{"schema", "seed", "market": {...}, "policies", "reward", "models", "parameters", "versions"}``: the first ones decide what a
run does, the last three describe what it ran with. Runs of the schema version before this one are read as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, JsonValue

from market_env.config import ConfigError, MarketConfig, checked, parse_json
from market_env.outside import read_json, shown
from market_env.rewards import DEFAULT_REWARD, WealthReward
from runners.files.schema import OLDEST, VERSION

DESCRIPTIVE = ("schema", "versions", "models", "parameters")
"""Keys that describe a run and change nothing when it is run again."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]


@checked
class Description:
    """What ``config.json`` holds."""

    schema: int
    """Version of the schema of the run's tables."""
    seed: Seed
    """The run's seed."""
    market: MarketConfig
    """Rules and roster."""
    policies: dict[str, dict[str, JsonValue]] = field(default_factory=dict)
    """By agent id what decided for it: a policy's parameters, or what is known of a guest."""
    reward: WealthReward = DEFAULT_REWARD
    """What the recorded rewards are."""
    models: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each model file."""
    parameters: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the parameters of each agent's policy before the run."""
    versions: dict[str, str | None] = field(default_factory=dict)
    """Of what decides a run's bytes."""


def setting_key(market: Mapping[str, Any], policies: Mapping[str, Mapping[str, Any]], models: Mapping[str, str]) -> str:
    """Hash of all that decides what a market plays but the seed: 16 hexadecimal digits.

    Args:
        market: rules and roster as plain data.
        policies: parameters by agent id as plain data.
        models: SHA-256 of each model file that they name.
    """
    played = {
        agent: {name: models.get(value, value) if name == "model" else value for name, value in policy.items()}
        for agent, policy in policies.items()
    }
    text = json.dumps({"market": market, "policies": played}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def upgraded(data: dict[str, Any], where: str) -> dict[str, Any]:
    """A configuration's data as today's schema has it; its ``schema``, if it has one, stays.

    Raises:
        ConfigError: it is of a version that nothing here reads.
    """
    version = data.get("schema", VERSION)
    if type(version) is not int or not OLDEST <= version <= VERSION:
        raise ConfigError(f"{where}: expected schema version {OLDEST} to {VERSION}, got {shown(version)}")
    if version == 1:  # the market's own fields lay beside the others
        apart = ("seed", "policies", "reward", *DESCRIPTIVE)
        market = {name: value for name, value in data.items() if name not in apart}
        return {"market": market} | {name: data[name] for name in apart if name in data}
    return data


def read_config(path: Path) -> tuple[dict[str, Any], MarketConfig]:
    """A run's ``config.json``, as today's schema has it and every field of its type, and its market.

    Raises:
        ConfigError: there is no run, it is of another schema version, or a field is not what it must be.
    """
    file = path / "config.json"
    where = f"run {path}: config.json"
    if not file.is_file():
        raise ConfigError(
            f"run {path}: expected a run folder with config.json, found {'none' if path.is_dir() else 'no folder'}"
        )
    data = upgraded(read_json(file, where), f"run {path}")
    try:
        return data, parse_json(Description, json.dumps(data)).market
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
