"""``python -m benchmarks.rules cost|latency|policy|tape [FILE]``: what an exchange's rules cost, and what they do to who trades.

``cost`` times turns with and without fees and a latency of nothing; ``latency`` lets makers be slow against news, ``policy`` the
frozen policy; ``tape`` times a recorded day in the batch: a tape's file, or by default a run of ours as one. Cost: a few minutes for all.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numba
import numpy as np

from benchmarks.sections import run_sections
from market_env.config import LEARNER, Fees, Latency, MarketConfig, Tape, amend
from market_env.market import Market
from runners.exchange import tape as tapes
from runners.exchange.pairs import pair_of_events
from runners.experiment.arms import Base, crossed
from runners.experiment.execute import in_threads
from runners.experiment.jobs import Job
from runners.experiment.measures import find
from runners.measures.over_seeds import difference_of
from scripted_agents.baselines import DoNothing
from scripted_agents.batch import Batch
from scripted_agents.populations import population
from scripted_agents.recorded import load_tape, on_tape, part_of
from scripted_agents.registry import build, build_others
from scripted_agents.rollout import CompiledBackground, run_compiled
from scripted_agents.standards import STANDARDS

SEEDS = STANDARDS.test_seeds[:32]
SECONDS = (0.0, 0.001, 0.01, 0.1, 1.0)
REPEATS = 9


def a_turn(market: Market, background: CompiledBackground) -> float:
    """Nanoseconds a turn of an episode."""
    market.reset(1)
    background.reset(market)
    begun = time.perf_counter()
    background.play(market)
    return 1e9 * (time.perf_counter() - begun) / int(market.records["turns"][0])


def cost() -> None:
    """Turns with rules that change nothing, beside turns without them, in turn."""
    of = population(timesteps=2_000)
    agents = tuple(replace(agent, latency=Latency(0.0)) for agent in of.market.agents)
    arms = {
        "no fees, no latency": of.market,
        "fees of nothing, charged by the message": amend(of.market, fees=Fees(message=1, free_messages=10**9)),
        "maker and taker fees": amend(of.market, fees=Fees(-200, 300)),
        "a latency of 0 in every seat": amend(of.market, agents=agents),
        "a latency of 10 ms in every seat": amend(
            of.market, agents=tuple(replace(agent, latency=Latency(0.01)) for agent in of.market.agents)
        ),
    }
    players = {}
    for name, config in arms.items():
        policies = build(config, of.over({"ppo": DoNothing()}))
        players[name] = (Market(config), CompiledBackground(policies, config.agent_ids))
    found: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(REPEATS + 1):
        for name, (market, background) in players.items():
            found[name].append(a_turn(market, background))
    base = found["no fees, no latency"][1:]
    for name, taken in found.items():
        ratio = statistics.median(t / b for t, b in zip(taken[1:], base, strict=True))
        print(f"{name:<42}{statistics.median(taken[1:]):>8.0f} ns a turn{ratio:>8.2f} x")
    print(f"default population, policy's seat empty, 2,000 timesteps; medians of {REPEATS} in turn")


def slow(path: str, measures: list[tuple[str, str]]) -> None:
    """Arms whose latency differs, over test seeds, paired."""
    arms = crossed(Base.of("default"), {path: list(SECONDS)})
    chosen = tuple(find(name, [arm.market for arm in arms]) for name, _ in measures)
    values = {arm.name: {name: np.full(len(SEEDS), np.nan) for name, _ in measures} for arm in arms}
    for job, row in in_threads([Job(arm, arm.key, seed, chosen) for arm in arms for seed in SEEDS]):
        for name, _ in measures:
            values[job.arm.name][name][SEEDS.index(job.seed)] = np.nan if row[name] is None else row[name]
    print(f"{'latency':<10}" + "".join(f"{title:>44}" for _, title in measures))
    for seconds, arm in zip(SECONDS, arms, strict=True):
        cells = []
        for name, _ in measures:
            own, base = values[arm.name][name], values[arms[0].name][name]
            text = f"{own.mean():,.2f}"
            if arm is not arms[0]:
                change = difference_of(own, base)
                text += f"  {change.mean:+,.2f} [{change.low:,.2f}, {change.high:,.2f}]"
            cells.append(f"{text:>44}")
        print(f"{1000 * seconds:>6g} ms " + "".join(cells))
    print(
        f"means over {len(SEEDS)} test seeds; behind them the difference to no latency, paired, with its 95 % interval"
    )


def pair_tape(folder: Path) -> Tape:
    """A tape of a run of ours, ten levels."""
    of = population("default", {"ppo": 0}, timesteps=2_000)
    market = Market(of.market, log=True)
    market.reset(1)
    pair = pair_of_events(of.market, run_compiled(market, build(of.market, of.policies)), 10, "a run of ours")
    made = tapes.make(pair, of.market.tick_size, of.market.lot_size)
    tape = tapes.write(made, folder / "run.npy")
    played = tapes.play_back(pair, made, tape)
    print(f"{made}\nplayed back without agents: {played.agreeing:,} of {played.rows:,} rows agree in all levels")
    return tape


def on_a_day(file: Path | None = None) -> None:
    """Messages of a recorded day a second in the batch, agents beside it."""
    with tempfile.TemporaryDirectory() as folder:
        tape = load_tape(file) if file else pair_tape(Path(folder))
        timesteps = int(0.9 * tape.length)
        nobody = dict.fromkeys(("noise", "maker", "momentum", "informed"), 0)
        for counts in ({"ppo": 1}, {"ppo": 1, "maker": 2, "informed": 1}):
            of = population("default", nobody | counts)
            config = on_tape(part_of(tape, 0.0, 1.0, timesteps), of.market, timesteps)
            for threads in sorted({1, min(2, numba.config.NUMBA_NUM_THREADS)}):
                numba.set_num_threads(threads)
                speeds = [speed(config, build_others(config, [LEARNER], of.policies)) for _ in range(4)][1:]
                print(
                    f"64 markets, {sum(counts.values())} agents, {threads} core{'s' * (threads > 1)}: "
                    f"{statistics.median(speeds) / 1e6:.1f} M messages of the day a second"
                )


def speed(config: MarketConfig, others: dict[str, object]) -> float:
    """Messages of the tape a second, over whole episodes of 64 markets."""
    batch = Batch(config, others, [LEARNER], 64)  # type: ignore[arg-type]
    batch.reset(range(64))
    laid_out = int(batch.records["tape_next"].sum())
    nothing = np.zeros((64, 1, 5), np.int64)
    begun = time.perf_counter()
    while not batch.finished.all():
        batch.step(nothing)
    return float(batch.records["tape_next"].sum() - laid_out) / (time.perf_counter() - begun)


SECTIONS: dict[str, Callable[[], None]] = {
    "cost": cost,
    "latency": partial(
        slow,
        "market.agents.maker.latency.fixed",
        [
            ("adverse_selection", "adverse selection of makers, ticks a lot"),
            ("edge_maker", "makers' edge by the value, ticks a lot"),
            ("edge_informed", "informed traders' edge, ticks a lot"),
        ],
    ),
    "policy": partial(
        slow,
        "market.agents.ppo.latency.fixed",
        [
            ("policy_liquidation", "the policy's liquidation gain, tick-lots"),
            ("edge_ppo", "its edge by the value, ticks a lot"),
            ("policy_trading", "share of its turns that trade"),
        ],
    ),
    "tape": on_a_day,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["tape"] and len(sys.argv) == 3:
        on_a_day(Path(sys.argv[2]))
    else:
        sys.exit(run_sections(SECTIONS, __doc__, sys.argv[1:]))
