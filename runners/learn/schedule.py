"""What happens between two updates of a training: the league, validations, checkpoints, the progress bar."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tqdm import tqdm

from market_env.config import LEARNER, to_json
from runners.files.event_file import EventFile, experiment, layout, scalars, text
from runners.files.versions import versions_of
from runners.files.whole import cannot_be_written
from runners.learn import checkpoint, evaluation
from runners.learn.settings import PACKAGES, POLICY, Training
from runners.learn.vec_env import MarketVecEnv
from scripted_agents.freezing import freeze, frozen_parameters
from scripted_agents.frozen_ppo import frozen_network, trained_for
from scripted_agents.policy import CompiledPolicy
from scripted_agents.standards import STANDARDS, Standards

MEASURES = ("gain", "liquidation_gain", "trading_turns", "near_bound")
"""What a validation measures, of the figures in :mod:`runners.learn.evaluation`."""


class BoardOutput(KVWriter):
    """Where Stable-Baselines3's logger writes: an event file.

    Args:
        folder: of the event files.
        purge_step: see :class:`EventFile`.
        differing: names of settings in which trainings beside this one have others; the HPARAMS page shows them first.
    """

    def __init__(self, folder: Path, purge_step: int | None = None, differing: Collection[str] = ()) -> None:
        self._file = EventFile(folder, purge_step)
        self._differing = differing

    def describe(self, settings: dict[str, Any], name: str, metrics: list[str]) -> None:
        """Write what a training starts with: its settings as text and as hyperparameters, and the layout."""
        self._file.add(text("run/config", "\n".join(f"{name}: {value}" for name, value in settings.items())), 0)
        self._file.add(experiment(settings, metrics, self._differing), 0)
        self._file.add(hparams_pb({n: v for n, v in settings.items() if v is not None}, trial_id=name), 0)
        self._file.add(layout({"Validation": {tag.rpartition("/")[2]: [tag] for tag in metrics}}), 0)

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Write the numbers of a step."""
        numbers = [
            (tag, float(value)) for tag, value in sorted(key_values.items())
            if isinstance(value, (int, float, np.number)) and "tensorboard" not in (key_excluded[tag] or ())
        ]  # fmt: skip
        self._file.add(scalars(numbers), step)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is, since something else went wrong."""
        self._file.abandon()


class Schedule(BaseCallback):
    """What happens between two updates: the league, validations, checkpoints, the progress bar.

    Args:
        training: its settings.
        folder: for everything that it writes.
        env: where the model plays.
        standards: what a policy must meet to be kept.
        until: turns after which it stops at a checkpoint; None for its end.
        label: what its validations begin with on the screen, where several train.
    """

    def __init__(
        self,
        training: Training,
        folder: Path,
        env: MarketVecEnv,
        standards: Standards = STANDARDS,
        until: int | None = None,
        label: str = "",
    ) -> None:
        super().__init__()
        self.label = label
        self.training = training
        self.standards = training.held_to(standards)
        self.folder = folder
        self.env = env
        self.purpose = checkpoint_purpose(training, env)
        self.config = training.judged_in("validation")
        self.curve: list[dict[str, Any]] = []
        self.best: float | None = None
        self.next = {"validate": training.validate_every, "checkpoint": 0, "snapshot": 0}
        self.league: list[NDArray[np.float64]] = []
        self.seconds = 0.0
        """Spent before this process."""
        self.until = until
        self.stopped: int | None = None
        """Turns at which it has come to ``until`` before its end; its checkpoint is of that moment."""
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
        settings = self.training.settings()
        for output in self.logger.output_formats:
            if isinstance(output, BoardOutput):
                output.describe(settings, self.folder.name, [f"validation/{name}" for name in MEASURES])

    def _on_step(self) -> bool:
        return self.stopped is None

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
        if self.until is not None and self.num_timesteps >= self.until:
            self.stopped = self.num_timesteps
        if self._due("checkpoint", self.training.checkpoint_every) or self.stopped is not None:
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
        episodes = evaluation.play_seeds(
            self.config, LEARNER, policy, self.standards.validation_seeds, others, self.training.others()
        )
        found = evaluation.figures_of(episodes, {})
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
        kept = self.standards.within(point) and (self.best is None or point["liquidation_gain"] > self.best)
        if kept:
            self.best = point["liquidation_gain"]
            try:
                freeze(self.model, self.config, self.folder / POLICY, self.training.rewarded())
            except OSError as error:
                raise cannot_be_written(self.folder / POLICY, error) from None
        low, high = point["interval"]
        tqdm.write(
            f"{self.label}{self.num_timesteps:>10,} turns  validation: liquidation gain {point['liquidation_gain']:7,.0f} "
            f"[{low:,.0f}, {high:,.0f}]  trading turns {point['trading_turns']:6.1%}  "
            f"near bound {point['near_bound']:6.2%}"
            f"{'  kept' if kept else '' if self.standards.within(point) else '  beyond the limits'}"
        )

    def _on_training_end(self) -> None:
        if self._bar is not None:
            self._bar.update(self.num_timesteps - self._bar.n)
            self._bar.close()


def checkpoint_purpose(training: Training, env: MarketVecEnv) -> dict[str, Any]:
    """What makes a checkpoint one of this training: settings, what its policy sees and does, the others, the packages.

    Args:
        training: its settings.
        env: its environment, as it is made.
    """
    market = training.market_of(training.episode)
    return {
        **to_json(training),
        **trained_for(market),
        "market": to_json(market),
        "scripted policies": hashlib.sha256(env.batch.policy_parameters().tobytes()).hexdigest(),
        "rewarded": to_json(training.rewarded()),
        "versions": versions_of(PACKAGES),
    }
