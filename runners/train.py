"""Train PPO in this market: ``python -m runners.train``.

Stable-Baselines3's PPO in the learner's environment, the scripted population around it. The deterministic
policy is judged on validation seeds as training goes on, and the best checkpoint by mean liquidation gain is
kept; test seeds are touched once, for the model card. Cost: about 2 minutes for a million turns on one core.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import HParam, TensorBoardOutputFormat, configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from market_env.config import ConfigError, MarketConfig, amend
from market_env.rewards import WealthReward
from runners import evaluate
from runners.command import command
from runners.record import fresh_folder
from scripted_agents import learner_env
from scripted_agents.frozen_ppo import FrozenPPO, freeze, frozen_network, network_parameters, sha256
from scripted_agents.policy import CompiledPolicy

AGENT = "ppo_0"
FRESH = Path("runs/train-SEED-N")
"""Stands for a folder of its own for every training."""


@dataclass(frozen=True)
class Arguments:
    """Train PPO in the default market and write the policy with its model card."""

    out: Path = Path("models/ppo_day5.zip")
    """File for the policy; the card goes beside it as .md and .json."""
    run_dir: Path = FRESH
    """Folder for its TensorBoard files; by default a fresh one, N the first number that is free."""
    total_timesteps: int = 3_000_000
    """Learner's turns to train on."""
    seed: int = 5
    """Seed of the weights, of the sampling and, with the number of its copy, of each market."""
    episode: int = 2_000
    """Timesteps of a training episode."""
    markets: int = 32
    """Markets that run side by side."""
    n_steps: int = 128
    """Turns of each market between two updates."""
    batch_size: int = 1_024
    """Minibatch."""
    n_epochs: int = 6
    """Passes over the data of an update."""
    learning_rate: float = 3e-4
    """Adam's step at the start; falls linearly to a tenth."""
    gamma: float = 0.95
    """Discount a turn."""
    gae_lambda: float = 0.95
    """Mixing of advantage estimates."""
    ent_coef: float = 0.002
    """Weight of the entropy bonus."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer, of policy and value alike."""
    reward: WealthReward = field(default_factory=lambda: WealthReward(refusal_penalty=0.05))
    """The reward."""
    validate_every: int = 100_000
    """Turns between two validations."""


MEASURES = ("gain", "liquidation_gain", "trading_turns", "near_bound")
"""What a validation measures, of the figures in :mod:`runners.evaluate`."""


class Validation(BaseCallback):
    """Judge the deterministic policy on validation seeds and keep the best."""

    def __init__(self, config: MarketConfig, arguments: Arguments) -> None:
        super().__init__()
        self.config = config
        self.path = arguments.out
        self.every = arguments.validate_every
        self.reward = arguments.reward
        self.settings = settings(arguments)
        self.curve: list[dict[str, float]] = []
        self.best = -np.inf
        self._next = self.every

    def _on_training_start(self) -> None:
        metrics: dict[str, float | int] = {f"validation/{name}": 0.0 for name in MEASURES}
        self.logger.record("hparams", HParam(self.settings, metrics), exclude=("stdout", "log", "json", "csv"))
        text = "\n".join(f"    {name}: {value}" for name, value in self.settings.items())
        charts = {name: ["Multiline", [f"validation/{name}"]] for name in MEASURES}
        for output in self.logger.output_formats:
            if isinstance(output, TensorBoardOutputFormat):
                output.writer.add_text("run/config", text)
                output.writer.add_custom_scalars({"Validation": charts})

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.num_timesteps >= self._next:
            self._next += self.every
            self.judge()

    def judge(self) -> None:
        """Validate now."""
        weights = {name: tensor.double().cpu().numpy() for name, tensor in self.model.policy.state_dict().items()}
        policy = CompiledPolicy(frozen_network, self.config, network_parameters(weights, self.config, self.path))
        episodes = evaluate.play_seeds(self.config, AGENT, policy, evaluate.VALIDATION_SEEDS)
        figures = evaluate.summarise(episodes, {})
        rewards = [info["r"] for info in self.model.ep_info_buffer or []]
        point = {
            "timesteps": float(self.num_timesteps),
            "training_reward": float(np.mean(rewards)) if rewards else float("nan"),
            **{name: figures[name] for name in MEASURES},
        }
        for name in MEASURES:
            self.logger.record(f"validation/{name}", figures[name])
        self.curve.append(point)
        kept = within_limits(point) and point["liquidation_gain"] > self.best
        if kept:
            self.best = point["liquidation_gain"]
            freeze(self.model, self.config, self.path, self.reward)
        print(
            f"{self.num_timesteps:>9} turns  reward/episode {point['training_reward']:8.1f}  validation: "
            f"liquidation gain {point['liquidation_gain']:9.0f}  trading turns {point['trading_turns']:6.1%}  "
            f"near bound {point['near_bound']:6.2%}{'  kept' if kept else ''}",
            flush=True,
        )


def settings(arguments: Arguments) -> dict[str, bool | str | float | int | None]:
    """A training's hyperparameters by name."""
    found = {name: value for name, value in asdict(arguments).items() if isinstance(value, (int, float))}
    found |= {f"reward/{name}": value for name, value in asdict(arguments.reward).items()}
    return {**found, "hidden": "x".join(map(str, arguments.hidden))}


def within_limits(point: dict[str, float]) -> bool:
    """Whether a checkpoint is a candidate: one that sits at its bound or hardly trades is none, whatever it earned."""
    return 0.01 <= point["trading_turns"] <= 0.6 and point["near_bound"] < 0.01


def train(arguments: Arguments) -> Validation:
    """Train and leave the best checkpoint at ``arguments.out``."""
    config = amend(MarketConfig(), timesteps=arguments.episode)
    # Threads cost more than they bring for networks this small.
    torch.set_num_threads(1)

    def make(number: int) -> Any:
        def build() -> Monitor:
            return Monitor(learner_env(config, AGENT, reward=arguments.reward))

        return build

    markets = DummyVecEnv([make(number) for number in range(arguments.markets)])
    model = PPO(
        "MlpPolicy",
        markets,
        seed=arguments.seed,
        n_steps=arguments.n_steps,
        batch_size=arguments.batch_size,
        n_epochs=arguments.n_epochs,
        learning_rate=lambda left: arguments.learning_rate * (0.1 + 0.9 * left),
        gamma=arguments.gamma,
        gae_lambda=arguments.gae_lambda,
        ent_coef=arguments.ent_coef,
        policy_kwargs={
            "activation_fn": torch.nn.Tanh,
            "net_arch": {"pi": list(arguments.hidden), "vf": list(arguments.hidden)},
        },
        device="cpu",
    )
    folder = fresh_folder(f"train-{arguments.seed}") if arguments.run_dir == FRESH else arguments.run_dir
    model.set_logger(configure(str(folder / "tensorboard"), ["tensorboard"]))
    validation = Validation(MarketConfig(), arguments)
    model.learn(arguments.total_timesteps, callback=validation)
    if not validation.curve or validation.curve[-1]["timesteps"] < model.num_timesteps:
        validation.judge()
    model.logger.dump(model.num_timesteps)
    model.logger.close()
    if not np.isfinite(validation.best):
        raise ConfigError(
            "training: no checkpoint traded on 1 to 60 % of its turns within 80 % of its bound; none was kept"
        )
    return validation


def write_card(arguments: Arguments, curve: list[dict[str, float]], seconds: float) -> None:
    """Write the model card: as JSON, as text, and the learning curve as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    results = evaluate.compare(
        MarketConfig(), AGENT, {"frozen PPO": FrozenPPO(str(arguments.out))}, list(evaluate.TEST_SEEDS)
    )
    versions = {name: version(name) for name in ("stable-baselines3", "torch", "gymnasium", "numpy", "numba")}
    card = {
        "arguments": {name: value for name, value in asdict(arguments).items() if name != "run_dir"}
        | {"out": arguments.out.name},
        "versions": {"python": platform.python_version(), **versions},
        "sha256": sha256(arguments.out),
        "seconds": round(seconds),
        "test_seeds": [evaluate.TEST_SEEDS.start, evaluate.TEST_SEEDS.stop - 1],
        "validation_seeds": [evaluate.VALIDATION_SEEDS.start, evaluate.VALIDATION_SEEDS.stop - 1],
        "results": results,
        "curve": curve,
    }
    stem = arguments.out.with_suffix("")
    stem.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    figure, left = plt.subplots(figsize=(7, 3.5), layout="constrained")
    turns = [point["timesteps"] for point in curve]
    gains = [point["liquidation_gain"] for point in curve]
    left.plot(turns, gains, color="#0072B2", linewidth=1.0)
    for label, wanted, face in (("within its limits", True, "#0072B2"), ("beyond them: no candidate", False, "white")):
        chosen = [i for i, point in enumerate(curve) if within_limits(point) is wanted]
        left.plot(
            [turns[i] for i in chosen],
            [gains[i] for i in chosen],
            "o",
            color="#0072B2",
            mfc=face,
            markersize=4,
            label=label,
        )
    left.axhline(0.0, color="0.6", linewidth=0.8)
    left.legend(frameon=False)
    left.set(
        title="Learning curve: deterministic policy on validation seeds",
        xlabel="training turns",
        ylabel="mean liquidation gain (tick-lots)",
    )
    figure.savefig(stem.with_suffix(".png"), dpi=130)
    plt.close(figure)
    stem.with_suffix(".md").write_text(card_text(arguments, card))


def card_text(arguments: Arguments, card: dict[str, Any]) -> str:
    """The model card as Markdown."""
    figures = card["results"]["frozen PPO"]
    stem = arguments.out.with_suffix("").name

    def line(label: str, baseline: str, measure: str) -> str:
        found = figures["above"][baseline][measure]
        low, high = found["interval"]
        return f"| {label} | {found['mean']:,.0f} | {low:,.0f} to {high:,.0f} |"

    rows = "\n".join(
        [
            line("wealth above doing nothing", "nothing", "gain"),
            line("liquidation wealth above doing nothing", "nothing", "liquidation_gain"),
            line("wealth above random actions", "random", "gain"),
            line("liquidation wealth above random actions", "random", "liquidation_gain"),
        ]
    )
    settings = "\n".join(f"| `{name}` | `{value}` |" for name, value in card["arguments"].items())
    versions = ", ".join(f"{name} {number}" for name, number in card["versions"].items())
    return f"""# Model card: `{arguments.out.name}`

A PPO policy for the seat `{AGENT}` of the default market, trained with Stable-Baselines3 against the scripted
population, frozen. Written by `python -m runners.train`; the same figures are in `{stem}.json`.

- **sha256**: `{card["sha256"]}`
- **Trained**: {arguments.total_timesteps:,} of its turns, seed {arguments.seed}, {card["seconds"]} s on CPU
- **Chosen**: the checkpoint with the largest mean liquidation gain on validation seeds \
{card["validation_seeds"][0]} to {card["validation_seeds"][1]}, among those that trade on 1 to 60 % of their turns and spend \
under 1 % of the time beyond 80 % of the bound
- **Versions**: {versions}

## Figures on seeds that it never saw

{figures["seeds"]} seeds ({card["test_seeds"][0]} to {card["test_seeds"][1]}), 5,000 timesteps each, paired by seed; tick-lots.
Again with `python -m runners.evaluate models/{arguments.out.name}`.

| figure | mean | 95 % bootstrap interval |
|---|---|---|
{rows}

It trades on {figures["trading_turns"]:.1%} of its turns, ends {figures["near_bound"]:.2%} of timesteps beyond 80 % of its
inventory bound, and holds {figures["mean_abs_inventory"]:.1f} lots on average (absolute). On {figures["refused_turns"]:.1%} of its turns
risk checks refuse an order of it or a part of one, mostly because it has as many open orders as it may.

![Learning curve]({stem}.png)

## Settings

| argument | value |
|---|---|
{settings}

## Limits

It was trained against this population in this market; with other agents its figures do not carry over. The file
says which features and grids it was trained for, and a market with others refuses it.
"""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m runners.train")
    if arguments.total_timesteps <= 0 or arguments.markets <= 0 or arguments.n_steps <= 0:
        raise ConfigError("total_timesteps, markets and n_steps must be above 0")
    begun = time.perf_counter()
    validation = train(arguments)
    write_card(arguments, validation.curve, time.perf_counter() - begun)
    print(f"wrote {arguments.out} and its card")
    return 0


if __name__ == "__main__":
    sys.exit(main())
