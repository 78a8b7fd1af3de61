"""The measurement run: one frozen population, learning disabled, everything recorded.

``python run_simulation.py`` or ``market-env-simulate``. Everything that can be wrong with the input is found before
anything is written. Ctrl-C ends the run at the last whole timestep and keeps what was recorded.
"""

from __future__ import annotations

import contextlib
import json
import platform
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass
from tqdm import tqdm

from market_env.aec import raw_env
from market_env.config import STRICT, ConfigError, MarketConfig, amend, build, load_json, parse_json, roster, to_json
from market_env.engine.kernel import is_compiled
from market_env.market import advance
from market_env.rewards import DEFAULT_REWARD, WealthReward
from runners.board import Board
from runners.derive import derive
from runners.drive import Watcher, drive
from runners.record import Recorder, RunFolderError, file_hashes, fresh_folder, open_folder, write_json
from runners.report import write_report
from runners.schema import VERSION
from runners.summary import closing_table, summarise
from scripted_agents import population
from scripted_agents.frozen_ppo import FrozenPPO, locate, sha256
from scripted_agents.policy import CompiledPolicy, Policy

PACKAGES = ("market-env", "pettingzoo", "gymnasium", "stable-baselines3", "numpy", "numba", "torch", "pyarrow")
DESCRIPTIVE = ("schema", "versions", "models", "parameters")
"""Keys of a ``config.json`` that describe a run and change nothing when it is run again."""


RUN_KEYS = ("seed", "policies", "reward")
"""Keys of a ``config.json`` beside the market's own."""


@checked_dataclass(frozen=True, config=STRICT)
class RunConfig:
    """All that decides what a run does."""

    market: MarketConfig = field(default_factory=MarketConfig)
    """The market and its roster."""
    policies: dict[str, population.AnyPolicy] = field(default_factory=dict)
    """Policy parameters by agent id or kind; the others have their defaults."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """The run's seed."""
    reward: WealthReward = DEFAULT_REWARD
    """What the recorded rewards are."""


@dataclass(frozen=True)
class Arguments:
    """Run one frozen population through the market and record everything.

    What is not given comes from --config, else from the defaults: 5,000 timesteps, 1 PPO agent, 20 noise traders,
    4 market makers, 1 momentum trader.
    """

    seed: int | None = None
    """Seed of everything random (default 1). The same seed gives the same bytes."""
    timesteps: int | None = None
    """Length of the run in timesteps (default 5000)."""
    run_dir: Path | None = None
    """Folder for the run (default: a fresh runs/seed-<seed>-<n>)."""
    model: str | None = None
    """Frozen PPO policy, a Stable-Baselines3 .zip (default models/ppo_day5.zip)."""
    config: Path | None = None
    """JSON file to start from: any keys of a run's config.json."""
    ppo: int | None = None
    """Number of frozen PPO agents (default 1)."""
    noise: int | None = None
    """Number of noise traders (default 20)."""
    maker: int | None = None
    """Number of market makers (default 4)."""
    momentum: int | None = None
    """Number of momentum traders (default 1)."""
    overwrite: bool = False
    """Replace a run that is already in run-dir."""
    report: bool = True
    """Write report.pdf and heatmap.png."""
    tensorboard: bool = True
    """Write TensorBoard files."""


def read_config(arguments: Arguments) -> RunConfig:
    """The run that the arguments ask for.

    Raises:
        ConfigError: the file cannot be read, has an unknown key, or a value is bad.
    """
    given: dict[str, Any] = {}
    if arguments.config is not None:
        try:
            given = load_json(arguments.config.read_text(encoding="utf-8"), str(arguments.config))
        except OSError as error:
            raise ConfigError(f"config {arguments.config}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"config {arguments.config}: not JSON: not UTF-8 text") from None
        if not isinstance(given, dict):
            raise ConfigError(f"config {arguments.config}: expected a JSON object, got {type(given).__name__}")
    market = {key: value for key, value in given.items() if key not in (*DESCRIPTIVE, *RUN_KEYS)}
    run = {"market": market} | {key: given[key] for key in RUN_KEYS if key in given}
    config = parse_json(RunConfig, json.dumps(run))
    counts = {kind: getattr(arguments, kind) for kind in population.KINDS if getattr(arguments, kind) is not None}
    changes: dict[str, Any] = {}
    if counts:
        if "agents" in given:
            raise ConfigError(
                f"--{next(iter(counts))}: the config file has a roster of its own (agents); give one or the other"
            )
        changes["agents"] = roster(**counts)
        if not changes["agents"]:
            raise ConfigError("agents: expected at least one, got none")
    if arguments.timesteps is not None:
        changes["timesteps"] = arguments.timesteps
    policies = dict(config.policies)
    if arguments.model is not None:
        policies["ppo"] = FrozenPPO(arguments.model)
    return build(
        RunConfig,
        market=amend(config.market, **changes) if changes else config.market,
        policies=policies,
        reward=config.reward,
        seed=config.seed if arguments.seed is None else arguments.seed,
    )


def package_versions() -> dict[str, str | None]:
    """Versions of what decides a run's bytes."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def parameter_hashes(policies: Mapping[str, Policy]) -> dict[str, str]:
    """Hash of the parameters of every compiled policy, by agent."""
    return {agent: policy.parameter_hash() for agent, policy in policies.items() if isinstance(policy, CompiledPolicy)}


def describe(run: RunConfig, policies: Mapping[str, Policy]) -> dict[str, Any]:
    """What ``config.json`` holds: the run, and what it ran with."""
    resolved = population.resolve(run.market, run.policies)
    models = sorted({chosen.model for chosen in resolved.values() if isinstance(chosen, FrozenPPO)})
    return {
        "schema": VERSION,
        "seed": run.seed,
        **to_json(run.market),
        "policies": {agent: to_json(chosen) for agent, chosen in resolved.items()},
        "reward": to_json(run.reward),
        "models": {model: sha256(locate(model)) for model in models},
        "parameters": parameter_hashes(policies),
        "versions": package_versions(),
    }


class Tracker:
    """Hands turns to the recorder and moves the progress bar."""

    def __init__(self, env: raw_env, recorder: Recorder, bar: tqdm[Any]) -> None:
        self._env = env
        self._recorder = recorder
        self._bar = bar
        self.timestep = 0

    def turn(self, agent: str, reward: float, info: dict[str, Any], action: NDArray[np.int64]) -> None:
        """Record a turn; every part's end drains the log."""
        self._recorder.rewarded(agent, reward)
        self._recorder.acted(agent, action)
        timestep = info["timestep"]
        if timestep != self.timestep:
            if timestep >= self._recorder.part_ends():
                self._recorder.keep(self._env.drain(), timestep)
            if not self._bar.disable and timestep // 100 != self.timestep // 100:
                self._bar.set_postfix_str(f"mid {info['mid']:.1f}", refresh=False)
            self._bar.update(timestep - self.timestep)
            self.timestep = timestep

    def end(self, agent: str, reward: float, info: dict[str, Any]) -> None:
        """Record the reward of an agent's last turn."""
        self._recorder.rewarded(agent, reward)
        self._bar.update(info["timestep"] - self.timestep)
        self.timestep = info["timestep"]


@contextlib.contextmanager
def interruptible() -> Iterator[list[bool]]:
    """A list that an interrupt (Ctrl-C, or a request to terminate) makes non-empty; a second one ends at once."""
    asked: list[bool] = []

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def compile_first() -> None:
    """Compile the market's kernels, or load them; say so where it takes long."""
    if is_compiled(advance):
        return
    print("compiling the market (once on this machine) ...", file=sys.stderr, flush=True)
    begun = time.perf_counter()
    config = build(MarketConfig, timesteps=2, agents=roster(ppo=0))
    environment = raw_env(config, log=True)
    drive(environment, population.build(config), seed=0)
    derive(config, environment.drain())
    print(f"compiled in {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)


def simulate(
    run: RunConfig, path: Path, *, overwrite: bool = False, report: bool = True, tensorboard: bool = True
) -> dict[str, Any]:
    """Run, record and report; return the summary.

    Raises:
        ConfigError: the population cannot be built, or the folder cannot be used; nothing is written then.
        RunFolderError: the disk is full or a file cannot be written; finished parts stay.
    """
    population.resolve(run.market, run.policies)  # mistakes first, compiling after
    compile_first()
    policies = population.build(run.market, run.policies)
    description = describe(run, policies)
    environment = raw_env(run.market, run.reward, log=True)
    open_folder(path, overwrite)
    write_json(path / "config.json", description)
    recorder = Recorder(path, run.market)
    bar = tqdm(total=run.market.timesteps, unit=" timesteps", disable=None, mininterval=0.2)
    tracker = Tracker(environment, recorder, bar)
    watchers: list[Watcher] = [tracker]
    board = Board(path / "tensorboard", run.market.agents, run.market.first_price) if tensorboard else None
    if board:
        watchers.append(board)
    begun = time.perf_counter()
    try:
        with interruptible() as asked:
            complete = drive(environment, policies, run.seed, watchers, lambda: bool(asked))
    finally:
        bar.close()
        if board:
            board.close()
    seconds = time.perf_counter() - begun
    timesteps = run.market.timesteps if complete else tracker.timestep
    recorder.keep(environment.drain(), timesteps)
    events, tables = recorder.finish(timesteps)
    after = parameter_hashes(policies)
    summary = {
        "complete": complete,
        **summarise(run.market, events, tables),
        "learning": False,
        "parameters_before": description["parameters"],
        "parameters_after": after,
        "parameters_unchanged": after == description["parameters"],
        "sha256": file_hashes(path),
    }
    write_json(path / "summary.json", summary)
    print(f"\n{closing_table(summary)}\n")
    print(f"simulated in {seconds:.1f} s ({timesteps / max(seconds, 1e-9):,.0f} timesteps/s); policies unchanged: "
          f"{'yes' if summary['parameters_unchanged'] else 'NO'}")  # fmt: skip
    if not complete:
        print(f"stopped after {timesteps:,} of {run.market.timesteps:,} timesteps; what was recorded is kept")
    if report:
        write_report(path)
    print(f"run folder: {path}")
    for name in sorted(entry.name for entry in path.iterdir()):
        print(f"  {name}")
    if tensorboard:
        print(f"to look at it: tensorboard --logdir {path.parent}")
    return summary


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 130 if interrupted, 2 for bad input."""
    arguments = tyro.cli(Arguments, args=argv, description=Arguments.__doc__)
    try:
        run = read_config(arguments)
        path = arguments.run_dir if arguments.run_dir is not None else fresh_folder(run.seed)
        summary = simulate(
            run, path, overwrite=arguments.overwrite, report=arguments.report, tensorboard=arguments.tensorboard
        )
    except (ConfigError, RunFolderError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if summary["complete"] else 130


if __name__ == "__main__":
    sys.exit(main())
