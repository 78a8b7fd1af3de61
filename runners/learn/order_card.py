"""The best policy of some trainings for the execution task, published with its model card.

The best is the one with the largest mean liquidation gain on the validation seeds; only then does it play the test seeds, beside every baseline of
the task. The card is text, JSON and three pictures: learning curves, what is left of the order over time, and what it saves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from market_env.config import LEARNER, to_json
from market_env.engine.observe import INVENTORY
from runners.experiment import orders
from runners.learn.card import copy_policy, draw_curves, read_trainings, save, told_of, write
from runners.learn.replicas import Replicas
from runners.learn.settings import POLICY
from runners.measures.over_seeds import Mean
from scripted_agents.batch import Batch
from scripted_agents.execution import LOTS, TIMESTEPS, execution
from scripted_agents.frozen_ppo import FrozenPPO
from scripted_agents.kind import BLUE, GREY, ORANGE
from scripted_agents.policy import PolicyConfig
from scripted_agents.populations import Population
from scripted_agents.registry import build_others
from scripted_agents.schedules import Peg, Schedule
from scripted_agents.standards import STANDARDS, Standards

PATHS = 64
"""Test seeds, at most, whose turns are looked at."""


def turns_of(
    of: Population, policy: PolicyConfig, seeds: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Lots left and what is done at each turn: shapes (seeds, turns) and (seeds, turns, 5)."""
    others = build_others(of.market, [LEARNER], {name: own for name, own in of.policies.items() if name != LEARNER})
    batch = Batch(of.market, others, [LEARNER], len(seeds))
    batch.reset(seeds)
    own = Replicas(policy, of.market, len(seeds))
    left, done = [], []
    while not batch.finished.all():
        seen = batch.observations[:, 0]
        left.append(np.abs(np.rint(seen[:, INVENTORY] * LOTS)))
        done.append(own.act(seen))
        batch.step(done[-1][:, None])
    return np.stack(left, 1), np.stack(done, 1)


def draw_paths(paths: Mapping[str, NDArray[np.float64]], path: Path) -> None:
    """What is left of the order over time: medians, and for the first the middle half and the range."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for (name, left), colour, style in zip(paths.items(), (BLUE, ORANGE, GREY), ("-", "--", ":"), strict=True):
        axes.plot(np.median(left, axis=0), color=colour, linestyle=style, linewidth=1.8, label=name)
        if name == next(iter(paths)):
            for low, high, alpha in ((0, 100, 0.12), (25, 75, 0.25)):
                axes.fill_between(
                    np.arange(left.shape[1]), *np.percentile(left, [low, high], axis=0), color=colour, alpha=alpha, linewidth=0.0,
                    label="its range" if low == 0 else "its middle half",
                )  # fmt: skip
    axes.set(
        title=f"What is left of {LOTS} lots, {len(next(iter(paths.values())))} test seeds: medians",
        xlabel="timestep", ylabel="lots",
    )  # fmt: skip
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    save(figure, path)


def publish(folders: Sequence[Path], out: Path, standards: Standards = STANDARDS) -> dict[str, Any]:
    """Write the best policy of the trainings to ``out`` with its card; return the card.

    Raises:
        ConfigError: see :func:`runners.learn.card.read_trainings`.
    """
    trainings = read_trainings(folders)
    held = trainings[0].training.held_to(standards)
    chosen = max(trainings, key=lambda trained: float(trained.result["best"]))
    task = chosen.training.task
    assert task != "making"
    frozen = FrozenPPO(str(chosen.folder / POLICY))
    of = execution(task, population=chosen.training.population)
    found = orders.executed(task, LOTS, TIMESTEPS, chosen.training.population, (frozen.model,), standards.test_seeds)
    copy_policy(chosen, out)
    stem = out.with_suffix("")
    results = {out.name if name == POLICY else name: asdict(own) for name, own in found.items()}
    seeds = standards.test_seeds[:PATHS]
    left, done = turns_of(of, frozen, seeds)
    market = len(of.market.offsets)
    offset, lots = (3, 4) if task == "sell" else (1, 2)
    card = {
        **told_of(trainings, None, chosen, out, standards),
        "reward": to_json(chosen.training.rewarded()),
        "results": results,
        "turns": {
            "taking": float(((done[..., lots] > 0) & (done[..., offset] == market)).mean()),
            "resting": float(((done[..., lots] > 0) & (done[..., offset] < market)).mean()),
        },
    }
    paths = {out.stem: left} | {
        name: turns_of(of, own, seeds)[0] for name, own in (("peg", Peg()), ("TWAP", Schedule()))
    }
    draw_paths(paths, stem.with_name(f"{stem.name}_paths.png"))
    draw_curves(trainings, [0.0] * len(trainings), chosen, stem.with_name(f"{stem.name}_curve.png"), held)
    named = {out.name if name == POLICY else name: own for name, own in found.items()}
    title = f"{task} {LOTS} lots within {TIMESTEPS} timesteps, {len(standards.test_seeds)} test seeds"
    orders.draw(named, title, stem.with_name(f"{stem.name}_saved.png"))
    write(card, text_of(stem.name, card), stem)
    return card


def text_of(stem: str, card: Mapping[str, Any]) -> str:
    """The model card as Markdown."""
    training, results, validation, test = (
        card[name] for name in ("training", "results", "validation_seeds", "test_seeds")
    )
    own = results[card["policy"]]
    baselines = [name for name in results if name != card["policy"]]
    best = min(baselines, key=lambda name: results[name]["shortfall"]["mean"])
    against = own["saved"][best]
    verdict = (
        f"It costs less than the {best}." if against["low"] > 0 else f"It costs more than the {best}." if against["high"] < 0
        else f"It cannot be told from the {best}."
    )  # fmt: skip

    def cell(value: Mapping[str, Any], form: str = ".2f") -> str:
        return orders.cell(Mean(**value), form)

    def rows() -> str:
        return "\n".join(
            f"| {name} | {cell(row['shortfall'])} | {cell(row['saved']['TWAP'], '+.2f') if name != 'TWAP' else '-'} "
            f"| {row['left']['mean']:.1f} | {row['held']['mean']:.1f} |"
            for name, row in results.items()
        )

    runs = "\n".join(
        f"| {run['seed']} | {run['timesteps']:,} | {run['seconds']:,} | {run['best']:,.0f} | {'published' if run['seed'] == training['seed'] else ''} | `{run['weights'][:16]}` |"
        for run in card["trainings"]
    )
    settings = "\n".join(
        f"| `{name}` | `{value}` |" for name, value in training.items() if name not in ("reward", "episode")
    )
    versions = ", ".join(f"{name} {number}" for name, number in card["versions"].items())
    imitated = (
        "" if training["imitate"] is None else f" It began as an imitation of the scripted `{training['imitate']}`."
    )
    return f"""# Model card: `{stem}.zip`

A PPO policy in Stable-Baselines3's format, frozen, for the order of `market_env/Execution-v1`: {training["task"]} {LOTS} lots within {TIMESTEPS} timesteps of the {training["population"]}
population.{imitated} Written by `python -m runners.card`; the same figures are in `{stem}.json`.

- **sha256**: `{card["sha256"]}`
- **Chosen**: each training kept the checkpoint with the largest mean liquidation gain on the validation seeds {validation[0]} to {validation[1]}; of
  those the best is published
- **Versions**: {versions}

| training seed | turns | seconds | best validation gain, tick-lots | | weights at the end |
|---|---|---|---|---|---|
{runs}

![Learning curves]({stem}_curve.png)

## Figures on seeds that it never saw

{test[1] - test[0] + 1} seeds ({test[0]} to {test[1]}); ticks a lot of the order; paired by seed, in brackets 95 % intervals (Student's t). Again with
`python -m runners.experiment execution --side {training["task"]} --model` and the path of `{stem}.zip`.

| policy | shortfall | saved against TWAP | lots left | lots held, mean over time |
|---|---|---|---|---|
{rows()}

Against the {best}, the best of the baselines, it saves {cell(against, "+.2f")} ticks a lot. {verdict}

![What is saved]({stem}_saved.png)

It gives a market order on {card["turns"]["taking"]:.1%} of its turns and a resting one on {card["turns"]["resting"]:.1%}.

![What is left over time]({stem}_paths.png)

## Settings

Trained with the reward `{card["reward"]}` (`scripted_agents.execution.training_reward`).

| argument | value |
|---|---|
{settings}

## Limits

It was trained for this order against this population; another size, time or market is another task. The same arguments give the same weights on the same machine with the same packages.
"""
