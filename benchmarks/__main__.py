"""``python -m benchmarks``: speed, memory and scale, as a table.

Every speed is also a ratio to a floor that is measured in the same run, since machines differ and drift: the
plain-Python dict book, a no-op PettingZoo environment with the same wrapper, spaces and agents, the bare
simulation. Each figure is the median of several repetitions.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import tyro
from numpy.typing import NDArray
from pettingzoo import AECEnv

import market_env
import scripted_agents
from benchmarks import against
from benchmarks.book import bench_book
from benchmarks.training import bench_batch, bench_train
from market_env import actions, observations
from market_env.aec import OrderEnforcing
from market_env.config import AgentConfig, Every, MarketConfig, roster
from market_env.engine.kernel import policy_kernel
from market_env.market import Market
from runners.audit import compare
from runners.exchange import pairs, verify
from runners.files.read import load_events
from runners.report import write_html, write_report
from runners.simulation.config import RunConfig
from runners.simulation.drive import drive
from runners.simulation.run import simulate
from scripted_agents.policy import OWN, CompiledPolicy, lots_code, offset_code
from scripted_agents.rollout import CompiledBackground


def median_seconds(run: Callable[[], Any], repetitions: int = 5) -> float:
    """Median time of ``run``, after one call that is not counted."""
    run()
    times = []
    for _ in range(repetitions):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


SHOWN: list[str] = []
"""The table's lines so far."""


def show(label: str, value: str, note: str = "") -> None:
    """One line of the table."""
    SHOWN.append(f"{label:<58} {value:>16}   {note}")
    print(SHOWN[-1], flush=True)


# --- the environment --------------------------------------------------------------------------------------


class NoOp(AECEnv[str, Any, Any]):
    """A PettingZoo environment that does nothing: what its own loop costs with our spaces and agents."""

    metadata = {"name": "no_op_v0", "render_modes": []}  # noqa: RUF012

    def __init__(self, config: MarketConfig, turns: int) -> None:
        super().__init__()
        self.possible_agents = config.agent_ids
        self.turns = turns
        self._space = observations.space()
        self._actions = actions.space(config.offsets, config.lots)
        self._observation = np.zeros(observations.SIZE, np.float32)

    def observation_space(self, agent: str) -> Any:
        return self._space

    def action_space(self, agent: str) -> Any:
        return self._actions

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in self.agents}
        self.agent_selection = self.agents[0]
        self._turn = 0

    def observe(self, agent: str) -> NDArray[np.float32]:
        return self._observation

    def step(self, action: Any) -> None:
        self._turn += 1
        if self._turn >= self.turns:
            self.agents = []
            return
        self.agent_selection = self.possible_agents[self._turn % len(self.possible_agents)]


def loop(env: Any, codes: NDArray[np.int64], turns: int) -> None:
    """PettingZoo's loop over an environment."""
    env.reset(seed=1)
    for number, _ in enumerate(env.agent_iter(turns)):
        env.last()
        env.step(codes[number])


def bench_env() -> None:
    """Turns a second through ``env()`` against the no-op environment."""
    turns = 20_000
    for count in (26, 1_000):
        agents = (
            roster()
            if count == 26
            else tuple(
                AgentConfig(f"noise_{n}", "noise", arrivals=Every(float(count) / 10), max_open_orders=8)
                for n in range(count)
            )
        )
        config = MarketConfig(timesteps=1_000_000, agents=agents)
        policies = scripted_agents.build(config, {"ppo": scripted_agents.DoNothing()})
        # Real actions: what the population does in its own market, recorded once.
        market = Market(config)
        market.reset(1)
        for agent, policy in policies.items():
            policy.reset(market.policy_stream(market.index[agent]), market.policy_memory(market.index[agent]))
        codes = np.zeros((turns, 5), np.int64)
        for number in range(turns):
            agent = market.agent_ids[market.acting]
            codes[number] = policies[agent].act(market.observation)
            market.act(codes[number])
        seconds = {}
        for label, env in (
            ("no-op", OrderEnforcing(NoOp(config, turns + 1))),
            ("market", market_env.env(config=config)),
        ):
            seconds[label] = median_seconds(partial(loop, env, codes, turns), 7)
        show(
            f"turns/s, no-op AEC environment, {count} agents (the floor)",
            f"{turns / seconds['no-op'] / 1e3:.1f} k",
            f"{seconds['no-op'] / turns * 1e6:.1f} us a turn",
        )
        show(
            f"turns/s, market through env(), {count} agents",
            f"{turns / seconds['market'] / 1e3:.1f} k",
            f"{seconds['market'] / turns * 1e6:.1f} us a turn, {seconds['market'] / seconds['no-op']:.2f} x the floor's cost",
        )


# --- whole runs -------------------------------------------------------------------------------------------


# A small process of its own: a fork of this large one would count this one's memory as its child's.
WATCHED = """
import resource, subprocess, sys, time
begun = time.perf_counter()
command = [sys.executable, "-m", "runners.simulate", "--run-dir", sys.argv[1]]
subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
print(time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def bench_run() -> None:
    """The whole measurement run against the bare simulation, its time and memory."""
    config = MarketConfig()
    policies = scripted_agents.build(config)
    background = CompiledBackground(policies, config.agent_ids)
    market = Market(config)

    def compiled() -> None:
        market.reset(1)
        background.play(market)

    rollout = median_seconds(compiled)
    turns = int(market.records["turns"][0])
    env = market_env.env(config=config)
    bare = median_seconds(lambda: drive(env, policies, 1), 3)
    show(
        "compiled rollout, 5,000 timesteps, no outputs",
        f"{rollout:.3f} s",
        f"{turns / rollout / 1e6:.2f} M turns/s, {5_000 / rollout / 1e3:.0f} k timesteps/s",
    )
    show("bare simulation through the AEC loop (the floor)", f"{bare:.2f} s", f"{turns / bare / 1e3:.1f} k turns/s")
    unwrapped = median_seconds(lambda: drive(market_env.raw_env(config=config), policies, 1), 3)
    seconds = {}
    for label, outputs in (
        ("data", {"tensorboard": False, "report": False, "audit": False}),
        ("TensorBoard", {"tensorboard": True, "report": False, "audit": False}),
        ("audit", {"tensorboard": False, "report": False, "audit": True}),
        ("report", {"tensorboard": False, "report": True, "audit": False}),
    ):

        def recorded(outputs: dict[str, bool] = outputs) -> None:
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                simulate(RunConfig(), Path(folder) / "run", **outputs)

        seconds[label] = median_seconds(recorded, 3)
    show("recording the data takes beside it", f"{seconds['data'] - unwrapped:.2f} s", "Parquet, JSON, hashes")
    for label in ("TensorBoard", "audit", "report"):
        show(f"the {label} takes beside both", f"{seconds[label] - seconds['data']:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        for timesteps in (5_000, 50_000):
            path = Path(folder) / f"run-{timesteps}"
            with contextlib.redirect_stdout(io.StringIO()):
                simulate(
                    RunConfig(market=MarketConfig(timesteps=timesteps)),
                    path,
                    tensorboard=False,
                    report=False,
                    audit=False,
                )
            begun = time.perf_counter()
            pictures = write_report(path)
            drawn = time.perf_counter() - begun
            begun = time.perf_counter()
            page = write_html(path, pictures)
            written = time.perf_counter() - begun
            show(
                f"report of {timesteps:,} timesteps",
                f"{drawn:.1f} s",
                f"PDF {(path / 'report.pdf').stat().st_size / 2**20:.1f} MiB",
            )
            show(
                f"report.html of {timesteps:,} timesteps", f"{written:.1f} s", f"{page.stat().st_size / 2**20:.1f} MiB"
            )
    walls, peaks = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-c", WATCHED, f"{folder}/run"], capture_output=True, text=True, check=True
            )
            seconds_taken, peak = map(float, done.stdout.split())
            walls.append(seconds_taken)
            peaks.append(peak)
            size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet")) / 2**20
    wall = statistics.median(walls)
    show(
        "whole run as a process: data, TensorBoard, report",
        f"{wall:.1f} s",
        "of the default population; all above is of day6",
    )
    show("its peak memory", f"{statistics.median(peaks):.0f} MiB", f"Parquet on disk {size:.1f} MiB")


def bench_record() -> None:
    """What is done with a run's record: audit, export, and verifying the book against LOBSTER files."""
    with tempfile.TemporaryDirectory() as folder:
        path, long = Path(folder) / "run", Path(folder) / "long"
        with contextlib.redirect_stdout(io.StringIO()):
            simulate(RunConfig(), path, tensorboard=False, report=False, audit=False)
            simulate(
                RunConfig(market=MarketConfig(timesteps=40_000)), long, tensorboard=False, report=False, audit=False
            )
        audit = median_seconds(lambda: compare.audit(path), 3)
        events = load_events(path)
        show("audit of the run's 5,000 timesteps", f"{audit:.1f} s", f"{len(events) / audit / 1e3:.0f} k events/s")
        for levels in (10, 50):
            pair = pairs.pair_of_run(long, levels)
            count = len(pair.messages)
            export = median_seconds(lambda levels=levels: pairs.pair_of_run(long, levels), 3)
            files = pairs.write_pair(pair, Path(folder) / "files", "MARKET", "2000-01-03", 74_200)
            reading = median_seconds(lambda files=files: [pl.read_csv(f, has_header=False) for f in files], 3)
            verify.verify(*files)
            found = [verify.verify(*files) for _ in range(3)]
            book_seconds = statistics.median(f.book_seconds for f in found)
            compared = statistics.median(f.compared_seconds for f in found)
            whole = statistics.median(f.read_seconds + f.compared_seconds for f in found)
            label = f"LOBSTER, {levels} levels:"
            show(
                f"{label} reading both files (the floor)",
                f"{count / reading / 1e3:.0f} k",
                f"messages/s of {count:,}, polars",
            )
            show(f"{label} a run as messages and levels", f"{count / export / 1e3:.0f} k", "messages/s, from Parquet")
            show(
                f"{label} verify, end to end",
                f"{count / whole / 1e3:.0f} k",
                f"messages/s, {whole / reading:.2f} x the floor's time; {max(f.rows - f.agreeing for f in found)} rows differ",
            )
            show(f"{label} verify, the book and the comparison", f"{count / compared / 1e6:.1f} M", "messages/s")
            show(f"{label} verify, the book itself", f"{count / book_seconds / 1e6:.1f} M", "messages/s")


def bench_scale() -> None:
    """Cost of a turn in the compiled rollout against the number of agents."""
    first = 0.0
    for count in (10, 100, 1_000):
        agents = tuple(
            AgentConfig(f"noise_{n}", "noise", arrivals=Every(count / 10.0), max_open_orders=8) for n in range(count)
        )
        config = MarketConfig(timesteps=2_000, agents=agents)
        background = CompiledBackground(scripted_agents.build(config), config.agent_ids)
        market = Market(config)

        def run(market: Market = market, background: CompiledBackground = background) -> None:
            market.reset(1)
            background.play(market)

        seconds = median_seconds(run) / int(market.records["turns"][0])
        first = first or seconds
        show(
            f"a compiled turn with {count:,} agents",
            f"{seconds * 1e6:.2f} us",
            f"{seconds / first:.2f} x that with 10; {market.records.nbytes / 1024:.0f} KiB a market",
        )


@policy_kernel(reads=("spread",))
def stack(observation, parameters, memory, stream, action):
    """Keep a number of orders open: the oldest gives way to a new one, far enough from the mid never to trade."""
    memory[0] += 1.0
    turn = int(memory[0])
    action[0] = 1 if memory[0] > parameters[OWN] else 0
    side = 1 + 2 * (turn % 2)
    action[side] = offset_code(parameters, 20.0 + (turn // 2) % 20)
    action[side + 1] = lots_code(parameters, 1.0)


def bench_open_orders() -> None:
    """Cost of a turn in the compiled rollout against the number of open orders."""
    first, seats = 0.0, 40
    agents = tuple(
        AgentConfig(f"noise_{n}", "noise", arrivals=Every(4.0), max_open_orders=256, cash=2**40, inventory_bound=10_000)
        for n in range(seats)
    )
    config = MarketConfig(timesteps=10_000, agents=agents)
    market = Market(config)
    for own in (1, 25, 250):
        policy = CompiledPolicy(stack, config, [float(own)])
        background = CompiledBackground(dict.fromkeys(config.agent_ids, policy), config.agent_ids)

        def run(background: CompiledBackground = background) -> None:
            market.reset(1)
            background.play(market)

        seconds = median_seconds(run) / int(market.records["turns"][0])
        first = first or seconds
        # Each waits for its turn with as many as it keeps.
        open_orders = int(market.records["agents"]["open_orders"].sum())
        assert open_orders == seats * own, open_orders
        show(
            f"a compiled turn with {open_orders:,} open orders", f"{seconds * 1e6:.2f} us",
            f"{seconds / first:.2f} x that with {seats}; {config.timesteps // 4 * seats:,} turns, an order and a cancel each",
        )  # fmt: skip


FIRST_CALL = """
import time
import market_env, numpy as np
env = market_env.env()
begun = time.perf_counter()
env.reset(seed=1)
env.step(np.zeros(5, np.int64))
print(time.perf_counter() - begun)
"""


def bench_compile() -> None:
    """The first call with and without compiled code on disk."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "MARKET_ENV_CACHE": folder}
        for label in ("without", "with"):
            done = subprocess.run(
                [sys.executable, "-c", FIRST_CALL], env=environment, capture_output=True, text=True, check=True
            )
            show(f"first reset and step {label} compiled code on disk", f"{float(done.stdout):.2f} s")


SECTIONS: dict[str, Callable[[], None]] = {
    "book": partial(bench_book, show), "env": bench_env, "run": bench_run, "record": bench_record, "scale": bench_scale,
    "orders": bench_open_orders, "compile": bench_compile, "batch": partial(bench_batch, show), "train": partial(bench_train, show),
}  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """Measure the market."""

    sections: Annotated[tuple[str, ...], tyro.conf.Positional] = tuple(SECTIONS)
    """What to measure: book, env, run, record, scale, orders, compile, batch, train."""
    against: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """An earlier measurement, as benchmarks.kept leaves it (docs/figures/performance.json), to compare this one with."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m benchmarks")
    unknown = [section for section in arguments.sections if section not in SECTIONS]
    if unknown:
        print(f"error: sections: expected some of {', '.join(SECTIONS)}, got {unknown[0]!r}", file=sys.stderr)
        return 2
    try:
        earlier = against.read(arguments.against) if arguments.against else []
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for section in arguments.sections:
        SECTIONS[section]()
    if earlier:
        print("", *against.compared(earlier, SHOWN), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
