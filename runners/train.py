"""Train PPO in this market: ``python -m runners.train``.

Stable-Baselines3's PPO over the compiled batch. One learner among the scripted population by default; several that
share one policy (``--learners``); learners against frozen earlier selves, a self-play league (``--opponents``).
The deterministic policy is judged on validation seeds as training goes on and the best is kept as ``policy.zip``;
test seeds are for :mod:`runners.card` and :mod:`runners.evaluate`. Everything lies in one folder, and a training that was stopped at
any moment goes on (``--resume FOLDER``) to the same weights as if it had not been.

Promise: same arguments, same machine and packages, same weights. Cost: about 17,000 turns a second
(``python -m benchmarks train``), nearly all of it PyTorch's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from pydantic import Field
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import HParam, Logger, TensorBoardOutputFormat
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from market_env.config import ConfigError, MarketConfig, checked, load_json, parse_json, roster, to_json
from market_env.engine.kernel import announced
from market_env.rewards import WealthReward
from runners import checkpoint, evaluate
from runners.command import command
from runners.record import fresh_folder, whole_file
from runners.vec_env import MarketVecEnv
from scripted_agents.baselines import DoNothing
from scripted_agents.frozen_ppo import freeze, frozen_network, network_parameters, purpose
from scripted_agents.policy import CompiledPolicy

AGENT = "ppo_0"
FRESH = Path("runs/train-SEED-N")
"""Stands for a folder of its own for every training."""
CONFIG, POLICY, RESULT = "config.json", "policy.zip", "training.json"
"""Files of a training's folder, beside its checkpoint and its TensorBoard files."""


Count = Annotated[int, Field(ge=1)]


@checked
class Training:
    """What is trained, and how."""

    seed: Annotated[int, Field(ge=0, lt=900_000)] = 5
    """Seed of the weights, of the sampling and of the markets; those from 1,000,000 on are for validation and test."""
    learners: Count = 1
    """Seats that learn, one policy for all of them."""
    opponents: Annotated[int, Field(ge=0)] = 0
    """Seats that frozen earlier selves take: a self-play league."""
    snapshot_every: Count = 500_000
    """Turns between two selves that join the league."""
    total_timesteps: Count = 10_000_000
    """Learners' turns to train on."""
    episode: Count = 2_000
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
    ent_coef: Annotated[float, Field(ge=0)] = 0.002
    """Weight of the entropy bonus."""
    hidden: Annotated[tuple[Count, ...], Field(min_length=1)] = (64, 64)
    """Units of each hidden layer, of policy and value alike."""
    reward: WealthReward = field(
        default_factory=lambda: WealthReward(
            damping=0.5, inventory_penalty=0.001, excess_penalty=0.3, refusal_penalty=0.05
        )
    )
    """The reward."""
    validate_every: Count = 250_000
    """Turns between two validations."""
    checkpoint_every: Count = 250_000
    """Turns between two checkpoints."""

    def __post_init__(self) -> None:
        if self.markets * self.learners * self.n_steps < 2:
            raise ValueError("markets, learners, n_steps: expected at least 2 turns an update, got 1")

    def market(self, timesteps: int) -> MarketConfig:
        """The market that it trains in, with episodes of another length."""
        return MarketConfig(timesteps=timesteps, agents=roster(ppo=self.learners + self.opponents))

    def seats(self) -> list[str]:
        """All seats of the policy: its learners', then its earlier selves'."""
        return [f"ppo_{number}" for number in range(self.learners + self.opponents)]

    def settings(self) -> dict[str, bool | str | float | int | None]:
        """Its hyperparameters by name."""
        found = {name: value for name, value in asdict(self).items() if isinstance(value, (int, float))}
        found |= {f"reward/{name}": value for name, value in asdict(self.reward).items()}
        return {**found, "hidden": "x".join(map(str, self.hidden))}


MEASURES = ("gain", "liquidation_gain", "trading_turns", "near_bound")
"""What a validation measures, of the figures in :mod:`runners.evaluate`."""


def within_limits(point: dict[str, Any]) -> bool:
    """Whether a policy is a candidate: one that sits at its bound or hardly trades is none, whatever it earned."""
    return bool(0.01 <= point["trading_turns"] <= 0.6 and point["near_bound"] < evaluate.NEAR_LIMIT)


def frozen_parameters(model: PPO, config: MarketConfig) -> NDArray[np.float64]:
    """The model's policy as :func:`frozen_network` reads it."""
    weights = {name: tensor.double().cpu().numpy() for name, tensor in model.policy.state_dict().items()}
    return network_parameters(weights, config, Path(POLICY))


def weights_hash(model: PPO) -> str:
    """SHA-256 of all weights, hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.policy.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


class Schedule(BaseCallback):
    """What happens between two updates: the league, validations, checkpoints, the progress bar."""

    def __init__(self, training: Training, folder: Path, env: MarketVecEnv) -> None:
        super().__init__()
        self.training = training
        self.folder = folder
        self.env = env
        self.purpose = checkpoint_purpose(training, env)
        self.config = training.market(MarketConfig().timesteps)
        self.curve: list[dict[str, Any]] = []
        self.best: float | None = None
        self.next = {"validate": training.validate_every, "checkpoint": 0, "snapshot": 0}
        self.league: list[NDArray[np.float64]] = []
        self.seconds = 0.0
        """Spent before this process."""
        self._begun = time.perf_counter()
        self._bar: tqdm[Any] | None = None

    def progress(self) -> dict[str, Any]:
        """What a checkpoint must know of this, as plain JSON data."""
        return {"curve": self.curve, "best": self.best, "next": self.next, "seconds": self.spent()}

    def go_on(self, progress: dict[str, Any], league: list[NDArray[np.float64]]) -> None:
        """Take up what a checkpoint knew."""
        self.curve, self.best, self.next = progress["curve"], progress["best"], progress["next"]
        self.seconds, self.league = progress["seconds"], league

    def spent(self) -> float:
        """Seconds of training so far, all processes together."""
        return self.seconds + time.perf_counter() - self._begun

    def _on_training_start(self) -> None:
        self._bar = tqdm(
            total=self.training.total_timesteps, initial=self.num_timesteps, unit=" turns", unit_scale=True,
            disable=None, dynamic_ncols=True, desc=f"training {self.folder.name}",
        )  # fmt: skip
        metrics: dict[str, float | int] = {f"validation/{name}": 0.0 for name in MEASURES}
        settings = self.training.settings()
        self.logger.record("hparams", HParam(settings, metrics), exclude=("stdout", "log", "json", "csv"))
        text = "\n".join(f"    {name}: {value}" for name, value in settings.items())
        charts = {name: ["Multiline", [f"validation/{name}"]] for name in MEASURES}
        for output in self.logger.output_formats:
            if isinstance(output, TensorBoardOutputFormat):
                output.writer.add_text("run/config", text)
                output.writer.add_custom_scalars({"Validation": charts})

    def _on_step(self) -> bool:
        return True

    def _due(self, what: str, every: int) -> bool:
        if self.num_timesteps < self.next[what]:
            return False
        self.next[what] += every * (1 + (self.num_timesteps - self.next[what]) // every)
        return True

    def _on_rollout_start(self) -> None:
        if self._bar is not None:
            self._bar.update(self.num_timesteps - self._bar.n)
        if self.training.opponents and self._due("snapshot", self.training.snapshot_every):
            self.league.append(frozen_parameters(self.model_ppo, self.config))
        if self._due("validate", self.training.validate_every):
            self.judge()
        # Stable-Baselines3 would write an update's figures with the next one's, and a checkpoint in between lose them.
        self.logger.dump(self.num_timesteps)
        if self._due("checkpoint", self.training.checkpoint_every):
            self.save()
        if self.training.opponents:
            self._seat_opponents()

    @property
    def model_ppo(self) -> PPO:
        """The model."""
        assert isinstance(self.model, PPO)
        return self.model

    def save(self) -> None:
        """Write a checkpoint now."""
        checkpoint.save(self.folder, self.model_ppo, self.env, self.purpose, self.progress(), self.league)

    def _seat_opponents(self) -> None:
        # A draw of its own for every update, so that a resumed training seats the same selves.
        rng = np.random.default_rng([self.training.seed, self.num_timesteps])
        selves = [CompiledPolicy(frozen_network, self.config, parameters) for parameters in self.league]
        self.env.recast(
            {
                seat: [selves[number] for number in rng.integers(len(selves), size=self.training.markets)]
                for seat in self.training.seats()[self.training.learners :]
            }
        )

    def judge(self) -> None:
        """Validate now: the candidate in all seats of its own, its first one judged."""
        policy = CompiledPolicy(frozen_network, self.config, frozen_parameters(self.model_ppo, self.config))
        others = dict.fromkeys(self.training.seats()[1:], policy)
        episodes = evaluate.play_seeds(self.config, AGENT, policy, evaluate.VALIDATION_SEEDS, others)
        found = evaluate.summarise(episodes, {})
        rewards = [info["r"] for info in self.model_ppo.ep_info_buffer or []]
        point: dict[str, Any] = {
            "timesteps": self.num_timesteps,
            "training_reward": float(np.mean(rewards)) if rewards else None,
            **{name: found[name] for name in MEASURES},
            "interval": list(found["liquidation_interval"]),
        }
        for name in MEASURES:
            self.logger.record(f"validation/{name}", found[name])
        self.curve.append(point)
        kept = within_limits(point) and (self.best is None or point["liquidation_gain"] > self.best)
        if kept:
            self.best = point["liquidation_gain"]
            freeze(self.model, self.config, self.folder / POLICY, self.training.reward)
        low, high = point["interval"]
        tqdm.write(
            f"{self.num_timesteps:>10,} turns  validation: liquidation gain {point['liquidation_gain']:7,.0f} "
            f"[{low:,.0f}, {high:,.0f}]  trading turns {point['trading_turns']:6.1%}  "
            f"near bound {point['near_bound']:6.2%}"
            f"{'  kept' if kept else '' if within_limits(point) else '  beyond the limits'}"
        )

    def _on_training_end(self) -> None:
        if self._bar is not None:
            self._bar.update(self.num_timesteps - self._bar.n)
            self._bar.close()


def versions() -> dict[str, str]:
    """Versions of what decides a training's weights."""
    names = ("stable-baselines3", "torch", "gymnasium", "numpy", "numba")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def checkpoint_purpose(training: Training, env: MarketVecEnv) -> dict[str, Any]:
    """What makes a checkpoint one of this training: settings, what its policy sees and does, the others, the packages.

    Args:
        training: its settings.
        env: its environment, as it is made.
    """
    market = training.market(training.episode)
    return {
        **to_json(training),
        **purpose(market),
        "market": to_json(market),
        "scripted policies": hashlib.sha256(env.batch.policy_parameters().tobytes()).hexdigest(),
        "versions": versions(),
    }


def compile_first(env: MarketVecEnv) -> None:
    """Compile what a training needs, and say so where it takes long."""
    with announced("a batch of markets"):
        env.reset()
        env.step(np.zeros((env.num_envs, 5), np.int64))


def build(training: Training) -> tuple[PPO, MarketVecEnv]:
    """Model and environment of a training, at its start."""
    seats = training.seats()
    env = MarketVecEnv(
        training.markets,
        training.market(training.episode),
        seats[: training.learners],
        # Empty until the league takes them.
        policies={seat: DoNothing() for seat in seats[training.learners :]},
        reward=training.reward,
    )
    compile_first(env)
    # Threads cost more than they bring for networks this small. Set after the batch has started its own, see there.
    torch.set_num_threads(1)
    model = PPO(
        "MlpPolicy",
        env,
        seed=training.seed,
        n_steps=training.n_steps,
        batch_size=training.batch_size,
        n_epochs=training.n_epochs,
        learning_rate=lambda left: training.learning_rate * (0.1 + 0.9 * left),
        gamma=training.gamma,
        gae_lambda=training.gae_lambda,
        ent_coef=training.ent_coef,
        policy_kwargs={
            "activation_fn": torch.nn.Tanh,
            "net_arch": {"pi": list(training.hidden), "vf": list(training.hidden)},
        },
        device="cpu",
    )
    return model, env


def await_a_later_name(folder: Path) -> None:
    """Let the second pass in which a killed process named its file: TensorBoard reads files in the order of their names."""
    named = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*")]
    while named and time.time() < max(named) + 1:
        time.sleep(0.05)


def train(training: Training, folder: Path, resume: bool = False) -> dict[str, Any]:
    """Train, and leave the best policy and what became of it in ``folder``; return the latter.

    Args:
        training: its settings.
        folder: for everything that it writes.
        resume: whether to go on from the folder's checkpoint; without one it begins.

    Raises:
        ConfigError: the checkpoint is damaged or of another training; no policy within its limits was found.
    """
    model, env = build(training)
    schedule = Schedule(training, folder, env)
    resume = resume and (folder / checkpoint.FILE).exists()
    if resume:
        schedule.go_on(*checkpoint.load(folder, model, env, schedule.purpose))
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / CONFIG) as path:
            path.write_text(json.dumps(to_json(training), indent=2) + "\n")
    await_a_later_name(folder / "tensorboard")
    board = TensorBoardOutputFormat(str(folder / "tensorboard"))
    if resume:
        # What a killed process wrote after its last checkpoint comes once more.
        board.writer.close()
        board.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=model.num_timesteps + 1)
    model.set_logger(Logger(str(folder), [board]))
    left = training.total_timesteps - model.num_timesteps
    if left > 0:
        model.learn(left, callback=schedule, reset_num_timesteps=not resume)
    else:
        schedule.init_callback(model)
        schedule.num_timesteps = model.num_timesteps
    if not schedule.curve or schedule.curve[-1]["timesteps"] < model.num_timesteps:
        schedule.judge()
    schedule.next["checkpoint"] = model.num_timesteps
    schedule.save()
    model.logger.dump(model.num_timesteps)
    model.logger.close()
    result = {
        "training": to_json(training),
        "versions": versions(),
        "timesteps": model.num_timesteps,
        "seconds": round(schedule.spent()),
        "weights": weights_hash(model),
        "best": schedule.best,
        "curve": schedule.curve,
    }
    with whole_file(folder / RESULT) as path:
        path.write_text(json.dumps(result, indent=2) + "\n")
    if schedule.best is None:
        raise ConfigError(
            "training: no policy was kept: at no validation did it trade on 1 to 60 % of its turns and spend under 1 % of the "
            "time beyond 80 % of its inventory bound"
        )
    return result


@dataclass(frozen=True)
class Arguments:
    """Train PPO in the default market: one learner, several of one policy, or a league."""

    training: Annotated[Training, tyro.conf.arg(name="")] = field(default_factory=Training)
    run_dir: Path = FRESH
    """Folder for everything that the training writes; by default a fresh one, N the first number that is free."""
    config: Path | None = None
    """JSON file with any of the settings, as a training's config.json has them; flags go over it."""
    resume: Path | None = None
    """Folder of a training that was stopped, to go on with as it was."""


def stored_training(path: Path) -> Training:
    """The settings in a file.

    Raises:
        ConfigError: they cannot be read; names the file.
    """
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: expected the settings of a training: {error.strerror}") from None
    data = load_json(text, str(path))
    known = Training.__dataclass_fields__
    if not isinstance(data, dict) or not set(data) <= set(known):
        found = sorted(set(data) - set(known))[:3] if isinstance(data, dict) else type(data).__name__
        raise ConfigError(f"{path}: expected the settings of a training, found {found}")
    try:
        return parse_json(Training, text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 130 if interrupted, 2 for bad input."""
    # Which training goes on decides what the other flags begin as.
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--config", type=Path)
    known.add_argument("--resume", type=Path)
    named = known.parse_known_args(argv)[0]
    resume, config = named.resume, named.config
    if resume is not None and config is not None:
        raise ConfigError("config: a training that goes on has its own; give --config or --resume")
    stored = None if resume is None else stored_training(resume / CONFIG)
    begun_as = stored or (Training() if config is None else stored_training(config))
    default = Arguments(training=begun_as, config=config, resume=resume)
    arguments = tyro.cli(Arguments, args=argv, default=default, prog="python -m runners.train")
    training = arguments.training
    if stored is not None:
        folder = resume
        given = to_json(training)
        for name, kept in to_json(stored).items():
            if given[name] != kept:
                raise ConfigError(f"{name}: the training in {folder} has {kept!r}, got {given[name]!r}")
        if arguments.run_dir != FRESH:
            raise ConfigError(f"run_dir: {folder} goes on where it is, got {arguments.run_dir}")
    else:
        folder = fresh_folder(f"train-{training.seed}") if arguments.run_dir == FRESH else arguments.run_dir
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(
                f"run folder {folder}: expected an empty folder or none; --resume {folder} goes on with a training"
            )
    ended = stored is not None and (folder / RESULT).exists()
    try:
        result = train(training, folder, resume=stored is not None)
    except KeyboardInterrupt:
        print(
            f"\nstopped; to go on from the last checkpoint: python -m runners.train --resume {folder}", file=sys.stderr
        )
        return 130
    print(
        f"{'it had ended; ' if ended else ''}best liquidation gain on validation seeds {result['best']:,.0f}; "
        f"policy and checkpoint in {folder}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
