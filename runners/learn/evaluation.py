"""Policies compared in one seat over many seeds, paired by seed.

Every policy plays the same markets (same seeds, same others) from the same seat, with the seat's cash, bound and
arrivals, in the compiled batch. Differences are taken seed by seed, with bootstrap intervals of 95 %. An agent that does
nothing gains exactly 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market_env.config import ConfigError, MarketConfig, check_learners
from runners.experiment.jobs import Job, Row
from runners.experiment.seat import FIGURES, in_batch, rows_of, seat_arm
from runners.files.whole import whole_file
from runners.learn.rivals import RIVALS
from runners.measures.over_seeds import FEWEST_SEEDS, bootstrap_interval
from scripted_agents.kind import BLUE, GREY
from scripted_agents.policy import Policy, PolicyConfig
from scripted_agents.populations import Rules, alone

PICTURES = (".png", ".svg", ".pdf")
"""Kinds of pictures that :func:`draw` makes."""
GAINS = ("gain", "liquidation_gain")


def play_seeds(
    config: MarketConfig,
    agent: str,
    chosen: Policy,
    seeds: Sequence[int],
    others: Mapping[str, Policy] | None = None,
    policies: Mapping[str, PolicyConfig] | None = None,
) -> list[Row]:
    """Play ``chosen`` in ``agent``'s seat over many seeds; a row of :data:`runners.experiment.seat.FIGURES` each.

    Args:
        config: rules and roster.
        agent: the seat.
        chosen: any policy; one that is not compiled is asked turn by turn, some hundred times slower.
        seeds: of the episodes.
        others: compiled policies of some other agents, by id.
        policies: parameters of the rest, by agent id or kind, where it is not the kind's default.

    Raises:
        ConfigError: the agent is not in the market, or another's policy is not compiled.
    """
    return rows_of(seat_arm("own", config, agent, chosen, others, policies), agent, seeds)


def column(rows: Sequence[Row], name: str) -> NDArray[np.float64]:
    """One figure of all episodes."""
    return np.array([row[name] for row in rows], np.float64)


def mean_over_deviation(values: NDArray[np.float64], axis: int = -1) -> Any:
    """Mean over standard deviation; 0 where a resample happens to have none."""
    mean, deviation = values.mean(axis=axis), values.std(axis=axis, ddof=1)
    return np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 0.0)


def figures_of(episodes: Sequence[Row], rivals: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Means over seeds, and paired differences to each rival, with intervals."""
    figures: dict[str, Any] = {name: float(column(episodes, name).mean()) for name in FIGURES}
    gains = column(episodes, "liquidation_gain")
    figures["seeds"] = len(episodes)
    figures["liquidation_interval"] = bootstrap_interval(gains)
    if np.ptp(gains) > 0.0:
        figures["mean_over_deviation"] = {
            "mean": float(mean_over_deviation(gains)),
            "interval": bootstrap_interval(gains, mean_over_deviation),
        }
    figures["above"] = {
        rival: {
            measure: {"mean": float(difference.mean()), "interval": bootstrap_interval(difference)}
            for measure in GAINS
            for difference in [column(episodes, measure) - column(rows, measure)]
        }
        for rival, rows in rivals.items()
    }
    return figures


def compare(
    config: Rules,
    agent: str,
    candidates: Mapping[str, PolicyConfig | Policy],
    seeds: Sequence[int],
    rivals: Mapping[str, PolicyConfig | Policy] = RIVALS,
    others: Mapping[str, Policy] | None = None,
    policies: Mapping[str, PolicyConfig] | None = None,
) -> dict[str, dict[str, Any]]:
    """Figures of every candidate and every rival, by name; each has its differences to the rivals.

    Args:
        config: a market or a population.
        agent: the seat that all of them take.
        candidates: policies of any make, or parameters that build one.
        seeds: of the episodes, the same for all.
        rivals: what they are compared with.
        others: compiled policies of some other agents, by id.
        policies: parameters of the rest, see :func:`play_seeds`.

    Raises:
        ConfigError: too few seeds for an interval, one of them twice, or a policy cannot be used.
    """
    config, policies = alone(config, policies)
    check_learners("agent", config, [agent])
    if len(set(seeds)) < len(seeds):
        raise ConfigError("seeds: expected each once, since an episode counts once")
    if len(seeds) < FEWEST_SEEDS:
        raise ConfigError(f"seeds: expected at least {FEWEST_SEEDS} for an interval, got {len(seeds)}")
    # Everything is built before anything is played, so that a bad file is named at once.
    built: dict[str, Policy] = {}
    for name, chosen in {**candidates, **rivals}.items():
        policy: Any = chosen
        built[name] = policy.build(config) if hasattr(policy, "build") else policy
        if not (hasattr(built[name], "act") and hasattr(built[name], "reset")):
            raise ConfigError(f"policy {name}: expected reset(stream, memory) and act(observation), or build(config)")
    arms = [seat_arm(name, config, agent, policy, others, policies) for name, policy in built.items()]
    played: dict[str, list[Row]] = {arm.name: [] for arm in arms}
    for job, row in in_batch(agent)([Job(arm, arm.name, seed, ()) for arm in arms for seed in seeds]):
        played[job.arm.name].append(row)
    return {name: figures_of(rows, {r: played[r] for r in rivals if r != name}) for name, rows in played.items()}


def table(results: Mapping[str, Mapping[str, Any]], rivals: Sequence[str]) -> str:
    """The comparison as text: a line a policy, then a line a difference."""
    lines = [
        f"{'policy':<28} {'gain':>9} {'liquidation gain':>28} {'mean/std':>9} {'trading':>8} {'> 80 %':>7} {'|inv.|':>7} {'lean':>6} "
        f"{'refused':>8}"
    ]
    for name, figures in results.items():
        low, high = figures["liquidation_interval"]
        gain = f"{figures['liquidation_gain']:,.0f} [{low:,.0f}, {high:,.0f}]"
        steady = f"{figures['mean_over_deviation']['mean']:.2f}" if "mean_over_deviation" in figures else "-"
        lines.append(
            f"{name:<28} {figures['gain']:>9,.0f} {gain:>28} {steady:>9} {figures['trading_turns']:>8.1%} "
            f"{figures['near_bound']:>7.2%} {figures['mean_abs_inventory']:>7.1f} {figures['lean']:>6.1%} {figures['refused_turns']:>8.1%}"
        )
    lines += ["", f"{'paired differences':<40} {'gain':>28} {'liquidation gain':>28}"]
    for name, figures in results.items():
        if name in rivals:
            continue
        for rival, found in figures["above"].items():
            cells = [
                f"{found[measure]['mean']:,.0f} [{found[measure]['interval'][0]:,.0f}, {found[measure]['interval'][1]:,.0f}]"
                for measure in GAINS
            ]
            lines.append(f"{f'{name} above {rival}':<40} {cells[0]:>28} {cells[1]:>28}")
    lines += [
        "",
        f"Means over {next(iter(results.values()))['seeds']} seeds, tick-lots; liquidation: with the inventory closed in the book; "
        "[95 % bootstrap interval].",
        "trading: share of turns with a trade before the next; > 80 %: time beyond 80 % of the bound; |inv.|: mean absolute",
        "inventory, lots; lean: mean inventory, either way, of the bound; refused: turns with an order refused whole or in part (who always",
        "has as many open orders as it may is refused at most turns, and loses nothing by it)",
    ]
    return "\n".join(lines)


def draw_differences(results: Mapping[str, Mapping[str, Any]], rivals: Sequence[str], path: Path) -> None:
    """The paired differences in liquidation gain with their intervals, as a picture."""
    from matplotlib.figure import Figure  # half a second to import, and few ask for the picture

    candidates = [name for name in results if name not in rivals]
    rows = [(name, rival) for name in candidates for rival in results[name]["above"]]
    figure = Figure(figsize=(8, 1.2 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (name, rival) in enumerate(rows):
        found = results[name]["above"][rival]["liquidation_gain"]
        low, high = found["interval"]
        axes.plot([low, high], [place, place], color=BLUE, linewidth=2.0)
        axes.plot(found["mean"], place, "o", color=BLUE, markersize=5)
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{name} less {rival}" for name, rival in rows])
    axes.invert_yaxis()
    axes.set(
        xlabel="difference in liquidation gain, tick-lots: mean over seeds and 95 % interval",
        title="Paired by seed, in the same seat",
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=130, format=path.suffix.lstrip("."))
