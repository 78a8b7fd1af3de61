"""``python -m benchmarks.experiments null|pairing|speed``: whether an experiment's statistics are right, what pairing saves, what it costs.

Cost: some minutes for all.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from benchmarks.before import HERE, spend
from benchmarks.sections import run_sections
from market_env.config import AgentConfig, Every, amend
from market_env.market import Market
from runners.experiment.arms import Arm, Base, make_arm
from runners.experiment.execute import in_threads
from runners.experiment.jobs import Job
from runners.experiment.measures import DEFAULT, find
from runners.measures.over_seeds import Difference, Floats, difference_of
from scripted_agents.baselines import DoNothing
from scripted_agents.populations import population
from scripted_agents.registry import build
from scripted_agents.rollout import run_compiled
from scripted_agents.standards import STANDARDS

EXPERIMENTS, SEEDS, TIMESTEPS = 200, 16, 300
MEASURE = "traded_lots"


def values(arm: Arm, seeds: Sequence[int], name: str = MEASURE) -> Floats:
    """A measure of an arm on each seed."""
    measures = (find(name, [arm.market]),)
    place = {seed: number for number, seed in enumerate(seeds)}
    found = np.full(len(seeds), np.nan)
    for job, row in in_threads([Job(arm, arm.key, seed, measures) for seed in seeds]):
        value = row[name]
        found[place[job.seed]] = np.nan if value is None else value
    return found


def idle(agent: str) -> Arm:
    """The four kinds and an agent that never acts, by some id."""
    of = population("day6", timesteps=TIMESTEPS)
    seat = AgentConfig(agent, "idle", cash=0, inventory_bound=1, arrivals=Every(1.0, 0.0))
    return Arm(agent, amend(of.market, agents=(*of.market.agents, seat)), {**of.policies, agent: DoNothing()})


def renamed() -> Arm:
    """The four kinds, the noise traders by other ids: the same in law, on chance of their own."""
    of = population("day6", timesteps=TIMESTEPS)
    agents = tuple(replace(a, id=a.id.replace("noise", "other")) if a.kind == "noise" else a for a in of.market.agents)
    policies = {name.replace("noise", "other"): policy for name, policy in of.policies.items()}
    return Arm("renamed", amend(of.market, agents=agents), policies)


def blocks(first: Floats, second: Floats) -> list[Difference]:
    """As many experiments, each on seeds of its own."""
    return [
        difference_of(a, b)
        for a, b in zip(first.reshape(-1, SEEDS)[:EXPERIMENTS], second.reshape(-1, SEEDS)[:EXPERIMENTS], strict=True)
    ]


def covering(found: Sequence[Difference]) -> float:
    """Share of the intervals that hold 0."""
    return float(np.mean([own.low is not None and own.high is not None and own.low <= 0 <= own.high for own in found]))


def null() -> None:
    """How often the interval covers a difference of 0, and how often a planted one is found."""
    count = EXPERIMENTS * SEEDS
    seeds = range(count)
    base = make_arm(Base.of("day6", TIMESTEPS), {})
    plain, others = values(base, seeds), values(base, range(count, 2 * count))
    one, other = values(idle("idle_0"), seeds), values(idle("idle_1"), seeds)
    law = values(renamed(), seeds)
    print(f"{EXPERIMENTS} experiments of {SEEDS} seeds, {TIMESTEPS} timesteps of day6; {MEASURE}")
    print(f"{'difference':<66}{'interval covers 0':>18}{'correlation':>13}")
    for label, first, second in (
        ("same seeds, an agent that never acts goes by another id", one, other),
        ("same seeds, the noise traders go by other ids (alike in law)", plain, law),
        ("other seeds, the same arm", plain, others),
    ):
        correlation = float(np.corrcoef(first, second)[0, 1])
        print(f"{label:<66}{covering(blocks(first, second)):>18.1%}{correlation:>13.2f}")
    print(f"the agent by another id: {int((one != other).sum())} of {count:,} runs differ")
    print(f"\n{'planted: noise traders take more often, by':<48}{'true, lots':>12}{'found in':>10}{'promised':>10}")
    for factor in (1.02, 1.05, 1.1):
        arm = make_arm(Base.of("day6", TIMESTEPS), {"policies.noise.market_share": f"*{factor}"})
        changed = values(arm, seeds)
        apart = changed - plain
        shift = float(apart.mean() / (apart.std(ddof=1) / np.sqrt(SEEDS)))
        edge = float(stats.t.ppf(0.975, SEEDS - 1))
        power = float(stats.nct.sf(edge, SEEDS - 1, shift) + stats.nct.cdf(-edge, SEEDS - 1, shift))
        found = np.mean([own.decided and (own.mean or 0) * apart.mean() > 0 for own in blocks(changed, plain)])
        print(f"{f'{factor - 1:.0%}':<48}{apart.mean():>12.2f}{found:>10.1%}{power:>10.1%}")


def pairing() -> None:
    """What playing the same seeds in both arms saves."""
    base = Base.of("default")
    first = make_arm(base, {})
    seeds = STANDARDS.test_seeds
    names = ("spread", "depth", "volatility", "traded_lots", "moves")
    own = {name: values(first, seeds, name) for name in names}
    print(f"{'default against':<40}" + "".join(f"{name:>22}" for name in names))
    for change in (
        {"maker": 7}, {"maker": 4}, {"noise": 11}, {"policies.noise.market_share": "*1.2"}, {"market.agents.informed.cash": 1_000_000},
        {"policies.maker.half_spread": "*1.1"},
    ):  # fmt: skip
        arm = make_arm(base, change)
        cells = []
        for name in names:
            found = difference_of(values(arm, seeds, name), own[name])
            cells.append("same" if not found.deviation else f"r {found.correlation or 0:.2f}, {found.saved or 0:.1f} x")
        print(f"{arm.name:<40}" + "".join(f"{cell:>22}" for cell in cells))
    print(f"{len(seeds)} seeds; r: correlation of the two arms over seeds; x: as many times more seeds without pairing")


def speed() -> None:
    """An experiment's cost against that of playing alone."""
    seeds = STANDARDS.test_seeds
    arm = make_arm(Base.of("default"), {})
    measures = tuple(find(name, [arm.market]) for name in DEFAULT)
    list(in_threads([Job(arm, arm.key, seeds[0], measures)]))
    begun, cpu = time.perf_counter(), time.process_time()
    list(in_threads([Job(arm, arm.key, seed, measures) for seed in seeds]))
    wall, used = time.perf_counter() - begun, time.process_time() - cpu
    market, players = Market(arm.market, log=True), build(arm.market, arm.policies)
    begun = time.process_time()
    for seed in seeds:
        market.reset(seed)
        run_compiled(market, players)
    playing = time.process_time() - begun
    print(
        f"{len(seeds)} seeds of 5,000 timesteps of default, {len(DEFAULT)} measures: {wall:.1f} s, {used:.1f} s of processor time"
    )
    print(
        f"playing alone takes {playing:.1f} s of it ({playing / used:.0%}), measuring the rest; {used / wall:.1f} processors busy"
    )
    for count in (64, 1_000):
        with tempfile.TemporaryDirectory() as folder:
            spent = spend(HERE, ["-m", "runners.experiment", "--seeds", f"1..{count}", "--out", f"{folder}/found"])
        print(f"the command with {count:,} seeds: {spent.seconds:.1f} s, its peak memory {spent.mebibytes:.0f} MiB")


SECTIONS: dict[str, Callable[[], None]] = {"null": null, "pairing": pairing, "speed": speed}


if __name__ == "__main__":
    sys.exit(run_sections(SECTIONS, __doc__, sys.argv[1:]))
