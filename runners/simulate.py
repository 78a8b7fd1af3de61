"""The measurement run: one frozen population, learning disabled, everything recorded.

``python run_simulation.py``, ``python -m runners.simulate`` or ``market-env-simulate``. Everything that can be wrong with the
input is found before anything is written. Ctrl-C ends the run at the last whole timestep and keeps what was recorded.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from market_env.config import (
    ConfigError,
    amend,
    roster,
)
from runners.command import command
from runners.files.folder import fresh_folder
from runners.simulation.run import RunConfig, read_file, simulate
from scripted_agents import population
from scripted_agents.frozen_ppo import DEFAULT_MODEL, FrozenPPO, locate, sha256

FRESH = Path("runs/seed-SEED-N")
"""Stands for a folder of its own for every run."""


@dataclass(frozen=True)
class Arguments:
    """Run one frozen population through the market and record everything."""

    seed: int = 1
    """Seed of everything random. The same seed gives the same bytes."""
    timesteps: int = 5_000
    """Length of the run in timesteps."""
    run_dir: Path = FRESH
    """Folder for the run; by default a fresh one, N the first number that is free."""
    model: str = DEFAULT_MODEL
    """Frozen PPO policy: a Stable-Baselines3 .zip that scripted_agents.freeze wrote."""
    config: Path | None = None
    """JSON file to start from, any keys of a run's config.json; flags given beside it win."""
    ppo: int = 1
    """Number of frozen PPO agents."""
    noise: int = 20
    """Number of noise traders."""
    maker: int = 4
    """Number of market makers."""
    momentum: int = 1
    """Number of momentum traders."""
    overwrite: bool = False
    """Replace a run that is already in run-dir."""
    audit: bool = True
    """Rebuild the run from its log alone and compare, before the report: under a second for 1,000 timesteps."""
    report: bool = True
    """Write report.pdf, its pages as pictures, and heatmap.png."""
    tensorboard: bool = True
    """Write TensorBoard files."""


def parse(argv: Sequence[str] | None) -> tuple[Arguments, RunConfig]:
    """The command line, and the run that it asks for.

    A file named by ``--config`` gives the defaults that the other flags replace.

    Raises:
        ConfigError: the file or a value is bad.
    """
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--config", type=Path)
    first.add_argument("--model")
    known, _ = first.parse_known_args(argv)
    base, given = read_file(known.config) if known.config else (RunConfig(), {})
    kinds = Counter(agent.kind for agent in base.market.agents)
    models = [policy.model for policy in base.policies.values() if isinstance(policy, FrozenPPO)]
    default = Arguments(
        seed=base.seed,
        timesteps=base.market.timesteps,
        model=models[0] if models else DEFAULT_MODEL,
        config=known.config,
        ppo=kinds["ppo"],
        noise=kinds["noise"],
        maker=kinds["maker"],
        momentum=kinds["momentum"],
    )
    arguments = tyro.cli(Arguments, args=argv, default=default, description=Arguments.__doc__)
    counts = {kind: getattr(arguments, kind) for kind in population.KINDS}
    changed = [kind for kind, count in counts.items() if count != getattr(default, kind)]
    if changed and "agents" in given.get("market", {}):
        raise ConfigError(
            f"--{changed[0]}: {arguments.config} has a roster of its own (market.agents); give one or the other"
        )
    agents = roster(**counts) if changed else base.market.agents
    if not agents:
        raise ConfigError("agents: expected at least one, got none")
    policies = dict(base.policies)
    if known.model is None:
        models = given.get("models", {})
        if not isinstance(models, dict):
            raise ConfigError(f"config {arguments.config}: models: expected file names with sha256, got {models!r}")
        for model, wanted in models.items():
            if sha256(locate(model)) != wanted:
                raise ConfigError(
                    f"model {model}: expected sha256 {wanted} as {arguments.config} says; give --model to use another"
                )
    else:
        policies = {n: FrozenPPO(known.model) if isinstance(p, FrozenPPO) else p for n, p in policies.items()}
        policies.setdefault("ppo", FrozenPPO(known.model))
        if not any(
            isinstance(p, FrozenPPO) for p in population.resolve(amend(base.market, agents=agents), policies).values()
        ):
            raise ConfigError(f"--model {known.model}: there is no agent with a frozen policy to use it")
    market = amend(base.market, timesteps=arguments.timesteps, agents=agents)
    return arguments, RunConfig(market=market, policies=policies, seed=arguments.seed, reward=base.reward)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 130 if interrupted, 2 for bad input."""
    try:
        arguments, run = parse(argv)
        path = fresh_folder(f"seed-{run.seed}") if arguments.run_dir == FRESH else arguments.run_dir
        summary = simulate(
            run,
            path,
            overwrite=arguments.overwrite,
            audit=arguments.audit,
            report=arguments.report,
            tensorboard=arguments.tensorboard,
        )
    except KeyboardInterrupt:
        print("interrupted; of a run under way: python -m runners.replay RUN_DIR --complete", file=sys.stderr)
        return 130
    return 0 if summary["complete"] else 130


if __name__ == "__main__":
    sys.exit(main())
