"""Flags that commands share: the population, by name, counted or read from a file."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from market_env.config import LEARNER_KIND, ConfigError, MarketConfig, amend
from market_env.outside import shown
from runners.exchange.tape import tape_of_files
from runners.experiment.arms import Base, changed, parse_variation
from runners.simulation.config import RunConfig, has_roster, read_file
from runners.simulation.config import run_of as described
from scripted_agents import registry
from scripted_agents.frozen_ppo import DEFAULT_MODEL, FrozenPPO, locate, sha256
from scripted_agents.policy import PolicyConfig
from scripted_agents.populations import DEFAULT, RECIPES, population
from scripted_agents.recorded import on_tape, part_of
from scripted_agents.registry import KINDS

Counts: Any = make_dataclass(
    "Counts",
    [
        (name, Annotated[int, tyro.conf.arg(help=f"Number of {kind.people}.")], field(default=0))
        for name, kind in KINDS.items()
    ],
    frozen=True,
    kw_only=True,
)
"""A flag for each kind of agents."""


POPULATIONS = (
    "Where the market, its agents and their policies come from; flags and a config without agents of its own go over it. "
    + "; ".join(f"{name}: {recipe.meaning}" for name, recipe in RECIPES.items())
)


@dataclass(frozen=True, kw_only=True)
class Rules(Counts):  # type: ignore[misc]
    """Where and for how long."""

    population: Annotated[str, tyro.conf.arg(help=POPULATIONS)] = DEFAULT
    shifts: int = 1
    """How often all but the learner are there, one shift on duty at a time: 37 make a thousand agents of the default."""
    config: Path | None = None
    """JSON file to start from, any keys of a run's config.json; flags given beside it win."""
    timesteps: int = 5_000
    """Length of an episode in timesteps."""
    tape: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE [FILE]")] = ()
    """A recorded day in the background: a LOBSTER message file and its order-book file, or a tape that runners.lobster tape has
    made of them. Beside it trade the learner and whoever is counted by a flag (--maker 2); those with a signal see its own mid."""
    changes: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            name="set",
            metavar="PATH=VALUE",
            help="Rules, fields of seats and parameters of policies to change, after all else: market.fees.taker=300, "
            "market.halt.move=40, market.agents.maker.latency.fixed=0.01, policies.maker.half_spread=30. Give it several times.",
        ),
        tyro.conf.UseAppendAction,
    ] = ()


@dataclass(frozen=True, kw_only=True)
class Population(Rules):
    """Who trades."""

    model: str = DEFAULT_MODEL
    """Frozen PPO policy: a Stable-Baselines3 .zip that scripted_agents.freeze wrote; unless given, the population's own."""


class Start:
    """What the flags go over: a population, the file which ``--config`` names, or that over the population.

    Args:
        argv: the command line.
        one_model: whether ``--model`` names the one policy of the learners' seats.
        anywhere: whether episodes beside ``--tape`` start anywhere on it, as the seed draws, rather than where it starts.

    Raises:
        ConfigError: the file cannot be read.
    """

    def __init__(self, argv: Sequence[str] | None, *, one_model: bool = True, anywhere: bool = False) -> None:
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--config", type=Path)
        if one_model:
            first.add_argument("--model")
        first.add_argument("--population")
        first.add_argument("--shifts", default="1")
        first.add_argument("--tape", type=Path, nargs="+", default=[])
        known, _ = first.parse_known_args(argv)
        self.file: Path | None = known.config
        self._given = read_file(known.config) if known.config else {}
        if known.population is not None and has_roster(self._given):
            raise ConfigError(
                f"--population: {self.file} has a roster of its own (market.agents); give one or the other"
            )
        if not (known.shifts.isascii() and known.shifts.isdecimal() and len(known.shifts) < 10):
            raise ConfigError(
                f"--shifts: expected an integer above 0 of at most nine digits, got {shown(known.shifts)}"
            )
        self._shifts = int(known.shifts)
        if self._shifts != 1 and has_roster(self._given):
            raise ConfigError(f"--shifts: {self.file} has a roster of its own (market.agents); give one or the other")
        self._population: str = DEFAULT if known.population is None else known.population
        self._tape_files: tuple[Path, ...] = tuple(known.tape)
        self._tape = tape_of_files(self._tape_files) if known.tape else None
        self._one_model = one_model
        self._anywhere = anywhere
        self._model: str | None = getattr(known, "model", None)
        self.run = self.run_with({})

    @property
    def has_roster(self) -> bool:
        """Whether the file names its agents itself."""
        return has_roster(self._given)

    def run_with(self, counts: Mapping[str, int]) -> RunConfig:
        """The run with so many agents of some kinds, in place of the population's own numbers."""
        if self._tape is not None:
            counts = {kind: 0 for kind in KINDS if kind != LEARNER_KIND} | dict(counts)
        if self._tape is not None and not self.has_roster and self._nobody(counts):
            return RunConfig(market=on_tape(self._tape))
        run = described(self._given, population(self._population, counts, shifts=self._shifts), self.file)
        if self._tape is None:
            return run
        if run.market.tape is None:
            return amend(run, market=on_tape(self._tape, run.market))
        if run.market.tape.sha256 != self._tape.sha256:
            raise ConfigError(
                f"--tape: {self.file} has a recorded day of its own (market.tape): expected that file, wherever it lies now, or none"
            )
        return amend(run, market=amend(run.market, tape=amend(run.market.tape, file=self._tape.file)))

    def _nobody(self, counts: Mapping[str, int]) -> bool:
        """Whether these are all agents of the population's, and there are none."""
        recipe = RECIPES.get(self._population)
        return recipe is not None and not any({**recipe.counts, **counts}.values())

    def flags(self) -> dict[str, Any]:
        """What the flags of :class:`Population`, or of :class:`Rules`, begin as."""
        kinds = Counter(agent.kind for agent in self.run.market.agents)
        models = [policy.model for policy in self.run.policies.values() if isinstance(policy, FrozenPPO)]
        return {
            "config": self.file,
            "population": self._population,
            **({"model": models[0] if models else DEFAULT_MODEL} if self._one_model else {}),
            "timesteps": self.run.market.timesteps,
            "shifts": self._shifts,
            "tape": self._tape_files,
            **{kind: kinds[kind] // (1 if kind == LEARNER_KIND else self._shifts) for kind in KINDS},
        }

    def populated(self, flags: Rules) -> RunConfig:
        """The run with the flags' population and length.

        Raises:
            ConfigError: a value is bad; counts beside a roster of the file's own; a model is not the one that the file
                names, or nobody uses it.
        """
        begun = self.flags()
        counts = {kind: getattr(flags, kind) for kind in KINDS}
        different = {kind: count for kind, count in counts.items() if count != begun[kind]}
        if different and has_roster(self._given):
            raise ConfigError(
                f"--{next(iter(different))}: {self.file} has a roster of its own (market.agents); give one or the other"
            )
        run = self.run_with(different) if different else self.run
        policies = dict(run.policies)
        if self._model is None:
            self._check_models()
        else:
            frozen = FrozenPPO(self._model)
            policies = {name: frozen if isinstance(own, FrozenPPO) else own for name, own in policies.items()}
            policies.setdefault(LEARNER_KIND, frozen)
            if not any(isinstance(own, FrozenPPO) for own in registry.resolve(run.market, policies).values()):
                raise ConfigError(
                    f"--model {shown(self._model)[1:-1]}: there is no agent with a frozen policy to use it"
                )
        return self.run_of(amend(run, policies=policies), flags)

    def run_of(self, run: RunConfig, flags: Rules) -> RunConfig:
        """A run of the flags' length, with what ``--set`` changes."""
        market = amend(run.market, timesteps=flags.timesteps)
        if self._anywhere and self._tape is not None and market.tape is not None:
            market = amend(market, tape=part_of(market.tape, 0.0, 1.0, market.timesteps))
        run = amend(run, market=market)
        return amend(run, **_changed(run, flags.changes)) if flags.changes else run

    def _check_models(self) -> None:
        models = self._given.get("models", {})
        if not isinstance(models, dict):
            raise ConfigError(f"config {self.file}: models: expected file names with sha256, got {shown(models)}")
        for model, wanted in models.items():
            if sha256(locate(model)) != wanted:
                # A model that the product brings may have got another name since.
                brought = [
                    path for path in sorted(locate(DEFAULT_MODEL).parent.glob("*.zip")) if sha256(path) == wanted
                ]
                other = f"--model {brought[0]}, which it is now," if brought else "--model"
                raise ConfigError(
                    f"model {model}: expected sha256 {shown(wanted)[1:-1]} as {self.file} says; give {other} to use another"
                )


def _changed(run: RunConfig, texts: Sequence[str]) -> dict[str, Any]:
    """Market and policies of a run as ``--set`` changes them."""
    changes = {}
    for text in texts:
        path, values = parse_variation(text, "--set")
        if path in KINDS:
            raise ConfigError(f"--set: a number of agents has a flag of its own, --{path}; got {shown(text)}")
        if path in changes or len(values) > 1:
            raise ConfigError(f"--set: expected each path once, with one value, got {shown(text)}")
        changes[path] = values[0]
    market, policies = changed(run.market, run.policies, changes)
    return {"market": market, "policies": policies}


def users_own(name: str, what: str) -> Any:
    """What ``module:name`` stands for, in a module of the user's or an installed one.

    Args:
        name: as the command line has it.
        what: what it is to be, for an error.

    Raises:
        ConfigError: there is no such module, or nothing of that name in it.
    """
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise ConfigError(f"{what}: expected module:name, got {shown(name)}")
    sys.path.insert(0, "")  # the user's own modules lie where the user is
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"{what}: {shown(name)[1:-1]}: {error}") from None
    finally:
        sys.path.remove("")


def base_of(start: Start, flags: Rules) -> Base:
    """What the arms are variations of: the command's population, with the flags' numbers of agents and length."""
    run = start.populated(flags)
    if start.has_roster:
        return Base(lambda counts: (run.market, run.policies), f"{start.file}")
    begun = start.flags()
    own = {kind: getattr(flags, kind) for kind in begun if hasattr(flags, kind) and kind in KINDS}

    def recount(counts: Mapping[str, int]) -> tuple[MarketConfig, Mapping[str, PolicyConfig]]:
        different = {kind: count for kind, count in {**own, **counts}.items() if count != begun[kind]}
        made = start.run_of(start.run_with(different), flags)
        return made.market, made.policies

    return Base(recount)
