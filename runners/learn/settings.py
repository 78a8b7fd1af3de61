"""What a training is: its settings, and what it left behind once it ended. Reading them needs no PyTorch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro
from pydantic import Field

from market_env.config import (
    LEARNER_KIND,
    ConfigError,
    MarketConfig,
    amend,
    check_learners,
    checked,
    parse_json,
    to_json,
)
from market_env.outside import read_json, shown
from market_env.rewards import Reward, WealthReward
from runners.files.config import upgraded
from runners.learn.rivals import RIVALS
from scripted_agents.execution import baselines, execution, training_reward
from scripted_agents.policy import PolicyConfig
from scripted_agents.populations import DEFAULT, Population, population
from scripted_agents.recorded import load_tape, on_tape, part_of
from scripted_agents.registry import KINDS, AnyPolicy
from scripted_agents.standards import Standards

COUNTED_BEFORE = {"noise", "maker", "momentum"}
"""Fields of trainings from before populations had names: how many of each there were in what is ``day6`` now."""

CONFIG, POLICY, RESULT = "config.json", "policy.zip", "training.json"
"""Files of a training's folder, beside its checkpoint and its TensorBoard files."""


PACKAGES = ("stable-baselines3", "torch", "gymnasium", "numpy", "numba")
"""Whose versions decide a training's weights."""

Count = Annotated[int, Field(ge=1)]
Part = Literal["training", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)


EPISODE = 2_000


def taught_by() -> WealthReward:
    """What market making is taught by, unless another is asked for."""
    return WealthReward(damping=0.5, inventory_penalty=0.02, excess_penalty=0.3, refusal_penalty=0.05, scale=230.0)


@checked
class Training:
    """What is trained, and how."""

    seed: Annotated[int, Field(ge=0, lt=900_000)] = 5
    """Seed of the weights, of the sampling and of the markets; those from 1,000,000 on are for validation and test."""
    task: Literal["making", "sell", "buy"] = "making"
    """What is learned: market making, or to sell or buy the order of market_env/Execution-v1, whose reward and episodes count in place
    of the ones below."""
    imitate: str | None = None
    """Scripted policy that it begins as an imitation of: peg or another baseline of the task, or in market making maker or another rival."""
    learners: Count = 1
    """Seats that learn, one policy for all of them."""
    opponents: Annotated[int, Field(ge=0)] = 0
    """Seats that frozen earlier selves take: a self-play league."""
    population: str = DEFAULT
    """Where the market and those that do not learn come from, by name."""
    shifts: Count = 1
    """How often all that do not learn are there, one shift of them on duty at a time."""
    counts: Annotated[dict[str, Annotated[int, Field(ge=0)]], tyro.conf.Suppress] = field(default_factory=dict)
    """Agents of some kinds, in place of the population's own numbers."""
    market: Annotated[MarketConfig | None, tyro.conf.Suppress] = None
    """Rules and roster in place of the population's; its length does not count."""
    tape: str | None = None
    """File of a recorded day in the background, as runners.lobster tape makes it. Beside it trade the learners and whoever is
    counted; episodes start anywhere on it but in what is held out."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """Share of the tape, its end, that training does not see: its first half is for validation, the second for the test."""
    policies: Annotated[dict[str, AnyPolicy], tyro.conf.Suppress] = field(default_factory=dict)
    """Policy parameters of those that do not learn, by agent id or kind; the others have the population's or the kind's."""
    snapshot_every: Count = 500_000
    """Turns between two selves that join the league."""
    total_timesteps: Count = 5_000_000
    """Learners' turns to train on; what it takes to an update, markets times n_steps times learners, is played to its end."""
    episode: Count = EPISODE
    """Timesteps of a training episode."""
    markets: Count = 128
    """Markets that run side by side."""
    n_steps: Count = 64
    """Turns of each learner between two updates."""
    batch_size: Annotated[int, Field(ge=2)] = 512
    """Minibatch."""
    n_epochs: Count = 5
    """Passes over the data of an update."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Adam's step at the start; falls linearly to a tenth."""
    gamma: Annotated[float, Field(ge=0, le=1)] = 0.95
    """Discount a turn."""
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    """Mixing of advantage estimates."""
    ent_coef: Annotated[float, Field(ge=0)] = 0.001
    """Weight of the entropy bonus."""
    hidden: Annotated[tuple[Count, ...], Field(min_length=1)] = (64, 64)
    """Units of each hidden layer, of policy and value alike."""
    reward: WealthReward = field(default_factory=taught_by)
    """The reward; its scale is one standard deviation of it under random actions in the default population."""
    validate_every: Count = 250_000
    """Turns between two validations."""
    checkpoint_every: Count = 250_000
    """Turns between two checkpoints."""

    def __post_init__(self) -> None:
        if self.markets * self.learners * self.n_steps < 2:
            raise ValueError("markets, learners, n_steps: expected at least 2 turns an update, got 1")
        if self.task != "making":
            alone = {
                "learners": self.learners > 1,
                "opponents": self.opponents > 0,
                "shifts": self.shifts > 1,
                "counts": bool(self.counts),
                "market": self.market is not None,
                "tape": self.tape is not None,
                "episode": self.episode != EPISODE,
                "reward": self.reward != taught_by(),
            }
            if name := next((name for name, given in alone.items() if given), None):
                raise ValueError(
                    f"{name}: the task {self.task} has a market, a reward and one learner of its own; give one or the other"
                )
        if self.imitate is not None and self.imitate not in self.rivals():
            raise ValueError(f"imitate: expected one of {', '.join(self.rivals())}, got {shown(self.imitate)}")
        if self.market is not None:
            check_learners("market: its agents must hold the learners and opponents; agents", self.market, self.seats())
            given = {
                "population": self.population != DEFAULT,
                "shifts": self.shifts > 1,
                "tape": self.tape is not None,
                **dict.fromkeys(self.counts, True),
            }
            if name := next((name for name, wanted in given.items() if wanted), None):
                raise ValueError(f"{name}: the market has a roster of its own; give one or the other")
        elif LEARNER_KIND in self.counts:
            raise ValueError(f"{LEARNER_KIND}: learners and opponents say how many there are")
        else:
            self._population()  # whatever is wrong with it is said at once
            if self.tape is not None:
                for part in PARTS:
                    self._on_tape(part)

    def _population(self, timesteps: int | None = None) -> Population:
        if self.task != "making":
            return execution(self.task, population=self.population)
        seats = {LEARNER_KIND: self.learners + self.opponents}
        others = dict.fromkeys(KINDS, 0) if self.tape is not None else {}
        return population(self.population, {**others, **self.counts, **seats}, timesteps, self.shifts)

    def _on_tape(self, part: Part) -> MarketConfig:
        """The market with the tape, in episodes of the training's length within a part of it."""
        assert self.tape is not None
        validation, test = 1 - self.held_out, 1 - self.held_out / 2
        first, last = {"training": (0.0, validation), "validation": (validation, test), "test": (test, 1.0)}[part]
        tape = part_of(load_tape(Path(self.tape)), first, last, self.episode)
        return on_tape(tape, self._population().market, self.episode)

    def judged_in(self, part: Part) -> MarketConfig:
        """The market of validations or of the test: whole episodes of the default length, the task's own, or what is held out of the tape."""
        return self.market_of(MarketConfig().timesteps) if self.tape is None else self._on_tape(part)

    def market_of(self, timesteps: int) -> MarketConfig:
        """The market that it trains in, with episodes of another length; those on a tape and of a task keep theirs."""
        if self.tape is not None:
            return self._on_tape("training")
        return self._population(timesteps).market if self.market is None else amend(self.market, timesteps=timesteps)

    def others(self) -> dict[str, PolicyConfig]:
        """Policy parameters of those that do not learn, by agent id or kind, where they are not the kind's default."""
        return self._population().over(self.policies) if self.market is None else dict(self.policies)

    def rewarded(self) -> Reward:
        """What its learners are rewarded by."""
        return self.reward if self.task == "making" else training_reward(self.task)

    def held_to(self, standards: Standards) -> Standards:
        """What its policy is held to: who has an order to work begins at the bound, and leans until it is gone."""
        return standards if self.task == "making" else replace(standards, most_near_bound=2.0, most_lean=1.0)

    def rivals(self) -> dict[str, PolicyConfig]:
        """What its policy is compared with in its own seat, by name."""
        return RIVALS if self.task == "making" else baselines()

    def seats(self) -> list[str]:
        """All seats of the policy: its learners', then its earlier selves'."""
        return [f"ppo_{number}" for number in range(self.learners + self.opponents)]

    def settings(self) -> dict[str, bool | str | float | int | None]:
        """Its hyperparameters by name."""
        own = {name: value for name, value in asdict(self).items() if isinstance(value, (int, float, str))}
        if self.task != "making":
            del own["episode"]
        return {
            **own,
            **{f"agents/{kind}": count for kind, count in self.counts.items()},
            **{f"reward/{name}": value for name, value in to_json(self.rewarded()).items()},
            "hidden": "x".join(map(str, self.hidden)),
        }


def stored_training(path: Path, *, or_run: bool = False) -> Training:
    """The settings in a training's file.

    Args:
        path: of the file.
        or_run: whether it may be a run's ``config.json`` instead, of which the market and the policies count.

    Raises:
        ConfigError: they cannot be read; names the file.
    """
    data = read_json(path, f"{path}: expected the settings of a training")
    if or_run and "schema" in data:  # which every run has and no training
        data = {name: value for name, value in upgraded(data, str(path)).items() if name in ("market", "policies")}
    if data.keys() & COUNTED_BEFORE:
        counts = {name: data.pop(name) for name in sorted(COUNTED_BEFORE) if name in data}
        if data.get("market") is None:  # else they were what nobody had asked for
            data = {"population": "day6"} | data | {"counts": counts | data.get("counts", {})}
    known = Training.__dataclass_fields__
    if not set(data) <= set(known):
        raise ConfigError(f"{path}: expected the settings of a training, found {shown(sorted(set(data) - set(known)))}")
    try:
        return parse_json(Training, json.dumps(data))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


@checked
class Result:
    """What a training writes when it ends."""

    training: Training
    """Its settings."""
    versions: dict[str, str | None]
    """Of what decides its weights."""
    timesteps: int
    """Learners' turns."""
    seconds: int
    weights: str
    """SHA-256 of all weights at the end, hexadecimal."""
    best: float | None
    """Mean liquidation gain on the validation seeds of the policy that was kept, tick-lots; None if none was."""
    curve: list[dict[str, float | list[float] | None]]
    """A point a validation."""


@dataclass(frozen=True)
class Trained:
    """A training that has ended."""

    folder: Path
    training: Training
    result: dict[str, Any]


def read_result(path: Path) -> dict[str, Any]:
    """What a training wrote when it ended.

    Raises:
        ConfigError: it is no such thing; names the file.
    """
    result: dict[str, Any] = read_json(path, str(path))
    try:
        parse_json(Result, json.dumps(result))
    except ConfigError as error:
        raise ConfigError(f"{path}: expected the result of a training: {error}") from None
    return result


def read_training(folder: Path) -> Trained:
    """A training's settings and result.

    Raises:
        ConfigError: it has not ended, or kept no policy.
    """
    path = folder / RESULT
    if not path.exists():
        raise ConfigError(f"training {folder}: expected {RESULT}, which a training writes when it ends")
    result = read_result(path)
    found = parse_json(Result, json.dumps(result))
    if found.best is None:
        raise ConfigError(f"training {folder}: it kept no policy")
    return Trained(folder, found.training, result)
