"""Flags that commands share: the population, counted or read from a file."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from market_env.config import LEARNER_KIND, ConfigError, amend, roster
from market_env.outside import shown
from runners.simulation.config import RunConfig, read_file
from scripted_agents import population
from scripted_agents.frozen_ppo import DEFAULT_MODEL, FrozenPPO, locate, sha256
from scripted_agents.population import KINDS

USUAL = Counter(agent.kind for agent in roster())
"""How many of each kind there are by default."""

Counts: Any = make_dataclass(
    "Counts",
    [
        (name, Annotated[int, tyro.conf.arg(help=f"Number of {kind.people}.")], field(default=USUAL[name]))
        for name, kind in KINDS.items()
    ],
    frozen=True,
    kw_only=True,
)
"""A flag for each kind of agents."""


@dataclass(frozen=True, kw_only=True)
class Population(Counts):  # type: ignore[misc]
    """Who trades."""

    config: Path | None = None
    """JSON file to start from, any keys of a run's config.json; flags given beside it win."""
    model: str = DEFAULT_MODEL
    """Frozen PPO policy: a Stable-Baselines3 .zip that scripted_agents.freeze wrote."""
    timesteps: int = 5_000
    """Length of an episode in timesteps."""


class Start:
    """What the flags go over: the default run, or that of the file which ``--config`` names.

    Args:
        argv: the command line.

    Raises:
        ConfigError: the file cannot be read.
    """

    def __init__(self, argv: Sequence[str] | None) -> None:
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--config", type=Path)
        first.add_argument("--model")
        known, _ = first.parse_known_args(argv)
        self.file: Path | None = known.config
        self.run, self._given = read_file(known.config) if known.config else (RunConfig(), {})
        self._model: str | None = known.model

    def flags(self) -> dict[str, Any]:
        """What the flags of :class:`Population` begin as."""
        kinds = Counter(agent.kind for agent in self.run.market.agents)
        models = [policy.model for policy in self.run.policies.values() if isinstance(policy, FrozenPPO)]
        return {
            "config": self.file,
            "model": models[0] if models else DEFAULT_MODEL,
            "timesteps": self.run.market.timesteps,
            **{kind: kinds[kind] for kind in KINDS},
        }

    def populated(self, flags: Population) -> RunConfig:
        """The run with the flags' population and length.

        Raises:
            ConfigError: a value is bad; counts beside a roster of the file's own; a model is not the one that the file
                names, or nobody uses it.
        """
        begun = self.flags()
        counts = {kind: getattr(flags, kind) for kind in KINDS}
        changed = [kind for kind, count in counts.items() if count != begun[kind]]
        if changed and "agents" in self._given.get("market", {}):
            raise ConfigError(
                f"--{changed[0]}: {self.file} has a roster of its own (market.agents); give one or the other"
            )
        agents = population.roster(counts) if changed else self.run.market.agents
        if not agents:
            raise ConfigError("agents: expected at least one, got none")
        market = amend(self.run.market, timesteps=flags.timesteps, agents=agents)
        policies = dict(self.run.policies)
        if self._model is None:
            self._check_models()
        else:
            frozen = FrozenPPO(self._model)
            policies = {name: frozen if isinstance(own, FrozenPPO) else own for name, own in policies.items()}
            policies.setdefault(LEARNER_KIND, frozen)
            if not any(isinstance(own, FrozenPPO) for own in population.resolve(market, policies).values()):
                raise ConfigError(
                    f"--model {shown(self._model)[1:-1]}: there is no agent with a frozen policy to use it"
                )
        return amend(self.run, market=market, policies=policies)

    def _check_models(self) -> None:
        models = self._given.get("models", {})
        if not isinstance(models, dict):
            raise ConfigError(f"config {self.file}: models: expected file names with sha256, got {shown(models)}")
        for model, wanted in models.items():
            if sha256(locate(model)) != wanted:
                raise ConfigError(
                    f"model {model}: expected sha256 {shown(wanted)[1:-1]} as {self.file} says; give --model to use another"
                )
