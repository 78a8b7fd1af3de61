"""The best policy of some trainings, published with its model card.

The best is the one with the largest mean liquidation gain on the validation seeds, of those that do not lean to one
side of the market; only then is it played on the test seeds, against every rival in its seat. The card is text, JSON and
three pictures: the trainings' learning curves, the policy's behaviour by state, and the paired differences.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import colors
from matplotlib.figure import Figure
from numpy.typing import NDArray

from market_env.config import LEARNER, ConfigError, MarketConfig, amend, to_json
from market_env.engine.observe import IMBALANCE, INVENTORY
from runners.files.whole import whole_file
from runners.learn import evaluation, rivals
from runners.learn.settings import POLICY, Trained, read_training
from scripted_agents.baselines import DoNothing
from scripted_agents.batch import Batch
from scripted_agents.frozen_ppo import FrozenPPO, sha256
from scripted_agents.kind import BLUE, GREY, ORANGE
from scripted_agents.policy import CompiledPolicy, Policy, PolicyConfig
from scripted_agents.populations import DEFAULT
from scripted_agents.registry import build_others
from scripted_agents.standards import NEAR_BOUND, STANDARDS, Standards

STATE_SEEDS = 16
"""Test seeds whose turns show how the policy behaves."""
INVENTORY_EDGES = (-100, -40, -20, -10, -3, 3, 10, 20, 40, 100)
"""Bins of the inventory, lots, when it decides."""
IMBALANCE_EDGES = (-1.0, -0.6, -0.2, 0.2, 0.6, 1.0)
"""Bins of the imbalance at the touch."""
FEWEST_TURNS = 20
"""Turns below which a cell of the picture stays empty."""


def decisions(
    config: MarketConfig,
    policy: CompiledPolicy,
    others: Mapping[str, Policy],
    policies: Mapping[str, PolicyConfig] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What the policy saw and did at every turn of some episodes: shapes (turns, SIZE) and (turns, 5)."""
    batch = Batch(config, {**build_others(config, [LEARNER, *others], policies), **others}, [LEARNER], STATE_SEEDS)
    batch.reset(STANDARDS.test_seeds[:STATE_SEEDS])
    seen, done = [], []
    while not batch.finished.all():
        codes = np.stack([policy.act(observation[0]) for observation in batch.observations])
        seen.append(batch.observations[:, 0].copy())
        done.append(codes)
        batch.step(codes[:, None])
    return np.concatenate(seen), np.concatenate(done)


def by_state(
    config: MarketConfig,
    policy: CompiledPolicy,
    others: Mapping[str, Policy],
    policies: Mapping[str, PolicyConfig] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Means over the turns in each cell of inventory × imbalance, NaN where there are few: shape (9, 5) each."""
    seen, done = decisions(config, policy, others, policies)
    bound = config.agents[config.agent_ids.index(LEARNER)].inventory_bound
    rows = np.digitize(np.rint(seen[:, INVENTORY] * bound), INVENTORY_EDGES[1:-1])
    columns = np.digitize(seen[:, IMBALANCE], IMBALANCE_EDGES[1:-1])
    lots = np.array(config.lots)
    bids, asks = lots[done[:, 2]], lots[done[:, 4]]
    # A market order has no distance.
    ticks = np.array([*config.offsets, np.nan])
    bid_ticks, ask_ticks = (np.where(n > 0, ticks[done[:, c]], np.nan) for n, c in ((bids, 1), (asks, 3)))
    shape = (len(INVENTORY_EDGES) - 1, len(IMBALANCE_EDGES) - 1)
    cells = rows * shape[1] + columns
    turns = np.bincount(cells, minlength=shape[0] * shape[1])

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        known = ~np.isnan(values)
        count = np.bincount(cells[known], minlength=len(turns))
        total = np.bincount(cells[known], values[known].astype(np.float64), minlength=len(turns))
        found: NDArray[np.float64] = np.where(count >= FEWEST_TURNS, total / np.maximum(count, 1), np.nan)
        return found.reshape(shape)

    return {
        "turns": turns.reshape(shape) / len(done),
        "net": mean(bids - asks),
        "bid": mean(bid_ticks),
        "ask": mean(ask_ticks),
    }


def draw_states(cells: Mapping[str, NDArray[np.float64]], path: Path) -> None:
    """The behaviour by state as a picture."""
    panels = (
        ("turns", "Share of its turns", "{:.1%}", "Greys"),
        ("net", "Lots bid less lots offered", "{:+.1f}", "RdBu"),
        ("bid", "Ticks of its bid below the price", "{:.1f}", "Blues"),
        ("ask", "Ticks of its ask above the price", "{:.1f}", "Reds"),
    )
    figure = Figure(figsize=(14, 4.6), layout="constrained")
    all_axes = figure.subplots(1, 4, sharey=True)
    for axes, (name, title, shown, palette) in zip(all_axes, panels, strict=True):
        values = cells[name]
        reach = float(np.nanmax(np.abs(values), initial=1e-9))
        image = axes.imshow(
            values, origin="lower", aspect="auto", cmap=mpl.colormaps[palette].with_extremes(bad="0.92"),
            norm=colors.Normalize(-reach if name == "net" else 0.0, reach),
        )  # fmt: skip
        for row, column in np.ndindex(values.shape):
            value = values[row, column]
            if np.isfinite(value) and not (name == "turns" and value == 0.0):
                red, green, blue, _ = image.cmap(image.norm(value))
                dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.55
                axes.text(
                    column, row, shown.format(value), ha="center", va="center", fontsize=8,
                    color="white" if dark else "black",
                )  # fmt: skip
        axes.set_xticks(np.arange(len(IMBALANCE_EDGES)) - 0.5, [f"{edge:+.1f}" for edge in IMBALANCE_EDGES])
        axes.set(title=title, xlabel="imbalance at the touch (bids heavy: +)")
    all_axes[0].set_yticks(np.arange(len(INVENTORY_EDGES)) - 0.5, [f"{edge:+d}" for edge in INVENTORY_EDGES])
    all_axes[0].set_ylabel("own inventory, lots")
    save(figure, path)


def draw_curves(
    trainings: Sequence[Trained], leans: Sequence[float], chosen: Trained, path: Path, standards: Standards
) -> None:
    """The learning curves as a picture: each training, their mean and spread, and the checkpoint that was chosen."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    curves = [trained.result["curve"] for trained in trainings]
    for trained, lean, curve in zip(trainings, leans, curves, strict=True):
        leaning = lean > standards.most_lean
        axes.plot(
            [point["timesteps"] for point in curve], [point["liquidation_gain"] for point in curve], color=GREY,
            linewidth=0.9, linestyle="--" if leaning else "-",
            label=f"seed {trained.training.seed}: ends leaning by {lean:.0%}, not published" if leaning
            else f"seed {trained.training.seed}",
        )  # fmt: skip
        outside = [point for point in curve if not standards.within(point)]
        axes.plot(
            [point["timesteps"] for point in outside], [point["liquidation_gain"] for point in outside], "o",
            color=GREY, mfc="white", markersize=4,
        )  # fmt: skip
    axes.plot([], [], "o", color=GREY, mfc="white", markersize=4, label="beyond the limits: no candidate")
    common = [points for points in zip(*curves, strict=False) if len({point["timesteps"] for point in points}) == 1]
    if len(curves) > 1 and common:
        turns = [points[0]["timesteps"] for points in common]
        gains = np.array([[point["liquidation_gain"] for point in points] for points in common])
        axes.fill_between(
            turns, gains.min(axis=1), gains.max(axis=1), color=BLUE, alpha=0.15, linewidth=0.0, label="their range"
        )
        axes.plot(turns, gains.mean(axis=1), color=BLUE, linewidth=1.8, label="their mean")
    best = max((p for p in chosen.result["curve"] if standards.within(p)), key=lambda p: float(p["liquidation_gain"]))
    axes.plot(best["timesteps"], best["liquidation_gain"], "*", color=ORANGE, markersize=13, label="chosen")
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.set(
        title=f"Deterministic policy on {len(standards.validation_seeds)} validation seeds, {len(curves)} training seed{'s' * (len(curves) > 1)}",
        xlabel="training turns", ylabel="mean liquidation gain, tick-lots",
    )  # fmt: skip
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g} M")
    axes.legend(frameon=False, fontsize=8, ncols=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a picture, whole or not at all."""
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=120, format="png")


def verdict(run: Mapping[str, Any], published: int, standards: Standards) -> str:
    """What became of a training's best policy."""
    if run["lean"] > standards.most_lean:
        return "not published: leans too far"
    return "published" if run["seed"] == published else ""


def card_text(stem: str, card: Mapping[str, Any], standards: Standards = STANDARDS) -> str:
    """The model card as Markdown."""
    figures = card["results"][card["policy"]]
    training = card["training"]

    def cell(found: Mapping[str, Any], digits: int = 0) -> str:
        low, high = found["interval"]
        return f"{found['mean']:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"

    rivals = "\n".join(
        f"| {rival} | {cell(found['gain'])} | {cell(found['liquidation_gain'])} |"
        for rival, found in figures["above"].items()
    )
    maker = card["results"]["maker"]
    steady = "\n".join(
        f"| {label} | {row['liquidation_gain']:,.0f} | {cell(row['mean_over_deviation'], 2)} |"
        for label, row in (("this policy", figures), ("maker", maker))
    )
    runs = "\n".join(
        f"| {run['seed']} | {run['timesteps']:,} | {run['seconds']:,} | {run['best']:,.0f} | {run['lean']:.1%} | "
        f"{verdict(run, training['seed'], standards)} | `{run['weights'][:16]}` |"
        for run in card["trainings"]
    )
    low, high = figures["above"]["maker"]["liquidation_gain"]["interval"]
    against_maker = (
        "It earns more than that maker." if low > 0 else "It earns less than that maker." if high < 0
        else "Neither earns clearly more than the other."
    )  # fmt: skip
    seats = training["learners"] + training["opponents"]
    flags = {"population": training["population"]} if training["population"] != DEFAULT else {}
    flags |= {name: str(count) for name, count in training["counts"].items()}
    flags |= {"shifts": str(training["shifts"])} if training["shifts"] > 1 else {}
    named = "".join(f" --{name} {value}" for name, value in flags.items())
    changed = f" ({named.strip()})" if flags else ""
    seating, again = f"the {training['population']} population{changed}, against the others of it", ""
    if seats == 1:
        again = f" Again with `python -m runners.evaluate{named}` and the path of `{stem}.zip`."
        if training["market"]:
            seating, again = "a market of its own, which its settings have", ""
    else:
        seating = (
            f"the {training['population']} population with {seats} such seats. {training['learners']} of them learned, "
            f"{training['opponents']} were its earlier selves; on validation and test seeds all are its own but for the rival's"
        )
    episodes = f"{MarketConfig().timesteps:,} timesteps each"
    if training.get("tape"):
        beside = f"{named.strip()} beside it" if training["counts"] else "nobody beside it"
        seating, again = f"the market of the recorded day `{Path(training['tape']).name}`, {beside}", ""
        episodes = (
            f"{training['episode']:,} timesteps each within the last {training['held_out'] / 2:.0%} of the day, which neither the training "
            "nor the choice of a checkpoint has seen"
        )
    settings = "\n".join(f"| `{name}` | `{value}` |" for name, value in training.items())
    versions = ", ".join(f"{name} {number}" for name, number in card["versions"].items())
    validation, test = card["validation_seeds"], card["test_seeds"]
    return f"""# Model card: `{stem}.zip`

A PPO policy, trained with Stable-Baselines3 and frozen, for the seat `{LEARNER}` of {seating}. Written by `python -m runners.card`; the same figures are in `{stem}.json`.

- **sha256**: `{card["sha256"]}`
- **Chosen**: each training kept the checkpoint with the largest mean liquidation gain on the validation seeds {validation[0]} to
  {validation[1]}, of those that {standards.limits()}. Of the kept ones
  this is the best whose mean inventory, either way (the lean), is at most {standards.most_lean:.0%} of the bound on the same seeds: a policy that
  sits on one side and presses the price that way is not published, whatever it earns
- **Versions**: {versions}

| training seed | turns | seconds | best validation gain | its lean | | weights at the end |
|---|---|---|---|---|---|---|
{runs}

![Learning curves]({stem}_curve.png)

## Figures on seeds that it never saw

{figures["seeds"]} seeds ({test[0]} to {test[1]}), {episodes}, tick-lots: its mean less that of a rival in the same seat, with the
seat's cash, bound and arrivals, paired by seed; in brackets 95 % bootstrap intervals.{again}

| rival in its seat | wealth | liquidation wealth |
|---|---|---|
{rivals}

The maker's parameters were tuned for {"the default's" if training.get("tape") else "this"} seat on the validation seeds (`python -m runners.tune`). Mean liquidation gain over its standard
deviation across seeds is below. {against_maker}

| policy | mean | mean over standard deviation |
|---|---|---|
{steady}

![Paired differences]({stem}_rivals.png)

It trades on {figures["trading_turns"]:.1%} of its turns, ends {figures["near_bound"]:.2%} of timesteps beyond {NEAR_BOUND:.0%} of its inventory bound, and holds
{figures["mean_abs_inventory"]:.1f} lots on average (absolute). On {figures["refused_turns"]:.1%} of its turns risk checks refuse an order of it or a part of one.

{beside_text(card)}## What it does

Means over its turns on the first {STATE_SEEDS} test seeds, by its inventory and the imbalance at the touch as it decides; grey: under
{FEWEST_TURNS} turns.

![Behaviour by state]({stem}_state.png)

## Settings

| argument | value |
|---|---|
{settings}

## Limits

It was trained against this population in this market; with other agents its figures do not carry over. The file says which features, in
which units, and which grids it was trained for; a market of other grids, or whose features end sooner, refuses it. The same arguments give the same weights on the same machine with the same
packages; another CPU or PyTorch rounds differently, and a training amplifies that.
"""


def beside_text(card: Mapping[str, Any]) -> str:
    """What the card says of a policy that was trained in another seat; nothing without one."""
    other = card.get("beside")
    if not other:
        return ""
    seat, figures = other["seat"], other["figures"]
    gains = " and ".join(
        f"{found['mean']:,.0f} [{found['interval'][0]:,.0f}, {found['interval'][1]:,.0f}] ({name})"
        for measure, name in (("gain", "wealth"), ("liquidation_gain", "liquidation wealth"))
        for found in [figures["above"]["nothing"][measure]]
    )
    sees = "no signal" if seat["signal"] is None else f"a signal of error {seat['signal']:g} ticks about the value"
    return f"""## In another seat

A policy of the same settings (seed {other["seed"]}, {other["timesteps"]:,} turns), trained and played in a seat with {sees}, earns
{gains} above doing nothing there, on the same seeds. It trades on {figures["trading_turns"]:.1%} of its turns; its lean is {figures["lean"]:.1%} of the bound.

"""


def in_another_seat(folder: Path, standards: Standards) -> dict[str, Any]:
    """Figures of a training's policy in its own market, against doing nothing there.

    Raises:
        ConfigError: it has not ended, or kept no policy.
    """
    trained = read_training(folder)
    config = trained.training.judged_in("test")
    frozen = FrozenPPO(str(folder / POLICY))
    results = evaluation.compare(
        config, LEARNER, {"it": frozen}, list(standards.test_seeds), {"nothing": DoNothing()},
        policies=trained.training.others(),
    )  # fmt: skip
    return {
        "seed": trained.training.seed,
        "timesteps": trained.result["timesteps"],
        "seat": to_json(config.agents[config.agent_ids.index(LEARNER)]),
        "figures": results["it"],
    }


def read_trainings(folders: Sequence[Path]) -> list[Trained]:
    """Trainings that differ in the seed alone.

    Raises:
        ConfigError: there is none, one has not ended or kept no policy, or they differ in more.
    """
    trainings = [read_training(folder) for folder in folders]
    if not trainings:
        raise ConfigError("trainings: expected at least one folder")
    first = trainings[0]
    for trained in trainings[1:]:
        if amend(trained.training, seed=first.training.seed) != first.training:
            raise ConfigError(f"training {trained.folder}: expected the settings of {first.folder} but for the seed")
    if len({trained.training.seed for trained in trainings}) < len(trainings):
        raise ConfigError("trainings: expected each seed once")
    return trainings


def publish(
    folders: Sequence[Path], out: Path, standards: Standards = STANDARDS, beside: Path | None = None
) -> dict[str, Any]:
    """Write the best policy of the trainings to ``out`` with its card; return the card.

    Args:
        folders: of the trainings.
        out: the policy's file.
        standards: the seeds, and what a policy must meet.
        beside: folder of a training in another seat, whose figures the card reports as well.

    Raises:
        ConfigError: a training has not ended or kept no policy, or they do not train for the same market.
    """
    trainings = read_trainings(folders)
    first = trainings[0]
    config = first.training.judged_in("test")
    policies = [FrozenPPO(str(trained.folder / POLICY)).build(config) for trained in trainings]
    # Its other seats, if it was trained for several, are its own whoever sits in the first.
    seated = [dict.fromkeys(first.training.seats()[1:], policy) for policy in policies]
    leans = [
        float(evaluation.column(episodes, "lean").mean())
        for policy, own in zip(policies, seated, strict=True)
        for episodes in [
            evaluation.play_seeds(config, LEARNER, policy, standards.validation_seeds, own, first.training.others())
        ]
    ]
    candidates = [number for number, lean in enumerate(leans) if lean <= standards.most_lean]
    if not candidates:
        raise ConfigError(
            f"trainings: every policy sits on one side of the market, beyond {standards.most_lean:.0%} of its bound"
        )
    best = max(candidates, key=lambda number: float(trainings[number].result["best"]))
    chosen, policy, others = trainings[best], policies[best], seated[best]
    frozen = FrozenPPO(str(chosen.folder / POLICY))
    name = out.name
    results = evaluation.compare(
        config, LEARNER, {name: frozen}, list(standards.test_seeds), others=others, policies=first.training.others()
    )
    copy_policy(chosen, out)
    stem = out.with_suffix("")
    card = {
        **told_of(trainings, leans, chosen, out, standards),
        "results": results,
        **({"beside": in_another_seat(beside, standards)} if beside else {}),
    }
    draw_curves(trainings, leans, chosen, stem.with_name(f"{stem.name}_curve.png"), standards)
    draw_states(by_state(config, policy, others, first.training.others()), stem.with_name(f"{stem.name}_state.png"))
    evaluation.draw_differences(results, list(rivals.RIVALS), stem.with_name(f"{stem.name}_rivals.png"))
    write(card, card_text(stem.name, card, standards), stem)
    return card


def told_of(
    trainings: Sequence[Trained], leans: Sequence[float] | None, chosen: Trained, out: Path, standards: Standards
) -> dict[str, Any]:
    """What a card says of a policy's file and its trainings."""
    return {
        "policy": out.name,
        "sha256": sha256(out),
        "training": to_json(chosen.training),
        "versions": chosen.result["versions"],
        "trainings": [
            {"seed": trained.training.seed, "timesteps": trained.result["timesteps"]}
            | ({} if leans is None else {"lean": leans[number]})
            | {key: trained.result[key] for key in ("seconds", "best", "weights", "curve")}
            for number, trained in enumerate(trainings)
        ],
        "validation_seeds": [standards.validation_seeds.start, standards.validation_seeds.stop - 1],
        "test_seeds": [standards.test_seeds.start, standards.test_seeds.stop - 1],
    }


def copy_policy(chosen: Trained, out: Path) -> None:
    """Put a training's policy where it is published."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as partial:
        shutil.copyfile(chosen.folder / POLICY, partial)


def write(card: Mapping[str, Any], text: str, stem: Path) -> None:
    """Write a card as JSON and as text."""
    for path, content in (
        (stem.with_suffix(".json"), json.dumps(card, indent=2)),
        (stem.with_suffix(".md"), text.rstrip()),
    ):
        with whole_file(path) as partial:
            partial.write_text(content + "\n", encoding="utf-8")
