"""``python -m benchmarks.realism populations|size|ablations|earnings|page|cost|picture``: what the default market is, over many seeds.

All seeds are those that nothing was tuned on (:mod:`scripted_agents.standards`). Cost: some minutes for all.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.sections import run_sections
from market_env.config import LEARNER, LEARNER_KIND
from market_env.market import Market
from runners.exchange import ensemble
from runners.experiment.ablations import ablated
from runners.files.derive import news
from runners.files.run import load_run
from runners.files.whole import whole_file
from runners.measures import discovery, liquidity, worth
from runners.measures.over_seeds import mean_of
from runners.measures.timeline import timeline
from runners.report.style import ASK, BAND, BID, MUTED, STYLE
from runners.simulation.config import RunConfig
from runners.simulation.run import simulate
from scripted_agents.baselines import DoNothing
from scripted_agents.policy import PolicyConfig
from scripted_agents.populations import RECIPES, Population, population
from scripted_agents.registry import build
from scripted_agents.rollout import run_compiled
from scripted_agents.standards import STANDARDS

SEEDS = STANDARDS.test_seeds[:20]
FEWER = STANDARDS.test_seeds[:16]
FEWEST = STANDARDS.test_seeds[:8]
EMPTY: dict[str, PolicyConfig] = {"ppo": DoNothing()}


def mean(values: Sequence[float] | NDArray[np.float64], form: str = ",.1f") -> str:
    """Mean and its 95 % interval over seeds (Student's t)."""
    found = mean_of(np.asarray(values, np.float64))
    return f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]"


def facts(of: Population, seeds: Sequence[int], *, empty: bool = False) -> list[Any]:
    """The facts of a population on each seed, the frozen policy in its seat or the seat empty."""
    return list(ensemble.facts_of_seeds(of.market, of.over(EMPTY) if empty else of.policies, seeds))


def inside(found: Sequence[Any]) -> tuple[list[int], list[int]]:
    """In each seed the facts within the half hours, and within any real range."""
    return (
        ensemble.counts(found, lambda row: row.half_hourly),
        ensemble.counts(found, lambda row: row.judged > 0),
    )


def populations() -> None:
    """A row for each population."""
    print(f"{'population':<26}{'of 18 half-hour facts':>26}{'least':>7}{'of 48 facts':>24}{'least':>7}")
    for name in RECIPES:
        of = population(name)
        for empty in (False, True) if LEARNER in of.market.agent_ids else (False,):
            banded, judged = inside(facts(of, FEWER, empty=empty))
            label = f"{name}{', the seat empty' * empty}"
            print(f"{label:<26}{mean(banded):>26}{min(banded):>7}{mean(judged):>24}{min(judged):>7}")
    print(
        f"{len(FEWER)} seeds of 5,000 timesteps; mean [95 % interval] of the facts within the real range, and the least seed"
    )


def size() -> None:
    """What the default becomes as its agents grow in number."""
    counts = Counter(agent.kind for agent in population().market.agents if agent.kind != LEARNER_KIND)
    four = {kind: 4 * count for kind, count in counts.items()}
    print(
        f"{'agents':>7}{'shifts':>8}{'of 18 half-hour facts':>26}{'least':>7}{'of 48 facts':>22}{'turns a timestep':>18}{'us a timestep':>15}"
    )
    for of, shifts in (
        (population(), 1), (population(shifts=4), 4), (population(shifts=37), 37), (population(counts=four), 1),
    ):  # fmt: skip
        banded, judged = inside(facts(of, FEWEST, empty=True))
        market, players = Market(of.market), build(of.market, of.over(EMPTY))
        seconds, turns = [], 0.0
        for seed in FEWEST:
            market.reset(seed)
            begun = time.perf_counter()
            run_compiled(market, players)
            seconds.append(time.perf_counter() - begun)
            turns += int(market.records["turns"][0]) / of.market.timesteps / len(FEWEST)
        cost = 1e6 * float(np.median(seconds)) / of.market.timesteps
        print(
            f"{len(of.market.agents):>7}{shifts:>8}{mean(banded):>26}{min(banded):>7}{mean(judged):>22}{turns:>18.1f}{cost:>15.1f}"
        )
    print(
        f"{len(FEWEST)} seeds of 5,000 timesteps, the policy's seat empty; microseconds are medians of their compiled runs"
    )


def ablations() -> None:
    """What each mechanism of the default moves."""
    print(
        f"{'default with':<36}{'of 18':>19}{'of 48':>19}  half-hour facts that leave the real range in most seeds (their mean)"
    )
    for name, of in ablated().items():
        found = facts(of, FEWEST, empty=True)
        banded, judged = inside(found)
        rows = [row for row in ensemble.over_seeds(found) if row.half_hourly and 2 * row.inside < len(found)]
        gone = ", ".join(f"{row.name} {'-' if row.mean is None else f'{row.mean:.3g}'}" for row in rows)
        print(f"{name:<36}{mean(banded):>19}{mean(judged):>19}  {gone}")
    print(
        f"{len(FEWEST)} seeds of 5,000 timesteps, the policy's seat empty; mean [95 % interval] of the facts within the real range"
    )


def earnings() -> None:
    """Who earns from whom."""
    of = population()
    kinds = list(dict.fromkeys(agent.kind for agent in of.market.agents))
    group = np.array([kinds.index(agent.kind) for agent in of.market.agents])
    market, players = Market(of.market, log=True), build(of.market, of.policies)
    each, wealth, net = [], [], []
    for seed in SEEDS:
        market.reset(seed)
        events = run_compiled(market, players)
        edge, lots = worth.edges(of.market, events, news(of.market, seed, of.market.timesteps), group, len(kinds))
        each.append(edge / np.maximum(lots, 1))
        net.append(edge.sum())
        accounts = market.records[0]["agents"][: len(group)]
        gains = accounts["outcome"]["wealth"] - accounts["start_cash"]
        wealth.append(np.bincount(group, gains, len(kinds)))
    print(f"{'kind':<12}{'edge by the value, ticks a lot':>34}{'change in wealth, tick-lots':>40}")
    for number, kind in enumerate(kinds):
        print(
            f"{kind:<12}{mean([e[number] for e in each], '+,.2f'):>34}{mean([w[number] for w in wealth], '+,.0f'):>40}"
        )
    print(
        f"{len(SEEDS)} seeds, the frozen policy in its seat; all edges of a seed add up to {max(map(abs, net)):.0f} at most"
    )


def page() -> None:
    """What the Day-6 page looks for, over seeds, the frozen policy in its seat."""
    of = population()
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            path = Path(folder) / str(seed)
            run = RunConfig(market=of.market, policies=dict(of.policies), seed=seed, reward=of.reward)
            summary = simulate(run, path, audit=False, report=False, tensorboard=False, verbose=False)
            line = timeline(load_run(path))
            walls, moves, thin = liquidity.walls(line), discovery.moves(line), liquidity.thinning(line)
            pressure = liquidity.pressure(line)
            stands = [wall.end - wall.start for wall in walls.walls]
            seat = summary["agents"]["ppo_0"]
            covered = np.zeros(line.run.timesteps, bool)
            for wall in walls.walls:
                covered[wall.start : wall.end] = True
            for name, number in (
                ("walls of liquidity", len(stands)),
                ("timesteps that one stands, median", float(np.median(stands)) if stands else 0.0),
                ("share of timesteps with a wall", covered.mean()),
                ("makers' share of their lots", walls.kinds.get("maker", 0.0)),
                ("jumps without touching resting orders", moves.jumps),
                ("moves of the mid", sum(moves.count.values())),
                ("two-sided share after the opening", summary["two_sided_share_after_opening"]),
                ("kinds that traded", sum(kind["trades"] > 0 for kind in summary["kinds"].values())),
                ("bid less ask depth near the mid, heavy buying against heavy selling, lots", pressure.difference.mean if pressure and pressure.difference else np.nan),
                ("episodes of thin liquidity", len(thin.episodes)),
                ("seeds whose thinning comes with clustered arrivals (p < .05)", float(thin.p_value is not None and thin.p_value < 0.05)),
                ("lots refused for want of cash", summary["rejected_lots"]["cash"]),
                ("share of the policy's turns that trade", seat["trading_turns_share"]),
                ("share of time it spends beyond 80 % of its bound", seat["near_bound_share"]),
            ):  # fmt: skip
                figures.setdefault(name, []).append(float(number))
    print(f"{'over seeds':<76}{'mean and interval':>28}{'least':>10}{'most':>10}")
    for name, numbers in figures.items():
        form = ",.3f" if max(numbers) <= 1.0 and name != "jumps without touching resting orders" else ",.1f"
        print(f"{name:<76}{mean(numbers, form):>28}{min(numbers):>10{form}}{max(numbers):>10{form}}")
    print(f"{len(SEEDS)} seeds of 5,000 timesteps")


PICTURE = Path("docs/realism.png")


def picture() -> None:
    """The facts with a half-hour range, ours over seeds beside it, before and after; leaves :data:`PICTURE`."""
    found = {name: facts(population(name), FEWER) for name in ("day6", "default")}
    rows = [row for row in ensemble.over_seeds(found["default"]) if row.half_hourly]
    with mpl.rc_context(fname=STYLE):
        figure = Figure(figsize=(9.5, 7.2), layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(rows):
            assert row.real is not None
            low, high = row.real
            axes.barh(place, 1.0, left=0.0, height=0.62, color=BAND, linewidth=0)
            for (name, tint, up), each in zip(
                (("day6, four kinds alone", ASK, -0.17), ("default", BID, 0.17)), found.values(), strict=True
            ):
                values = [ensemble.parts_of(one["facts"][row.name], row.name)[0][1] for one in each]
                shown = np.array([np.nan if value is None else (value - low) / (high - low) for value in values])
                axes.plot(
                    np.clip(shown, -0.98, 1.98), np.full(len(shown), place + up), "o", color=tint, markersize=3.2,
                    alpha=0.6, markeredgewidth=0, label=name if place == 0 else None,
                )  # fmt: skip
            axes.text(2.04, place, f"{low:.3g} … {high:.3g}", va="center", fontsize=8, color=MUTED)
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.invert_yaxis()
        axes.set(xlim=(-1.02, 2.02), ylim=(len(rows) - 0.4, -0.6))
        axes.set_xticks([0, 1], ["lowest real half hour", "highest"])
        axes.set_title(
            f"Facts of {len(FEWER)} seeds beside the half hours of real stocks (grey); further out: at the edge"
        )
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2)
        with whole_file(PICTURE) as partial:
            figure.savefig(partial, format="png", dpi=110)
    print(f"wrote {PICTURE}")


def cost() -> None:
    """Seconds a timestep against day6, compiled, interleaved."""
    seconds: dict[str, list[float]] = {name: [] for name in ("day6", "default")}
    turns = {}
    made = {}
    for name in seconds:
        of = population(name)
        made[name] = (Market(of.market), build(of.market, of.over(EMPTY)))
        made[name][0].reset(0)
        run_compiled(*made[name])
    for seed in range(9):
        for name, (market, players) in made.items():
            market.reset(seed)
            begun = time.perf_counter()
            run_compiled(market, players)
            seconds[name].append(time.perf_counter() - begun)
            turns[name] = int(market.records["turns"][0])
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<10}{1e6 * median / 5_000:>8.1f} us a timestep{turns[name] / 5_000:>8.1f} turns a timestep")
    print(
        f"default / day6: {medians['default'] / medians['day6']:.2f}, medians of 9 runs in turn, the learner's seat empty"
    )


SECTIONS: dict[str, Callable[[], None]] = {
    "populations": populations, "size": size, "ablations": ablations, "earnings": earnings, "page": page, "cost": cost,
    "picture": picture,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_sections(SECTIONS, __doc__, sys.argv[1:]))
