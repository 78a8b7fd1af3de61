"""A recorded run: simulated, written, audited and reported, learning disabled.

Promise: what can be wrong with the input is found before anything is written, and an interrupt ends the run at the last
whole timestep and keeps what was recorded. Cost: ``python -m benchmarks run``.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from market_env.aec import raw_env
from market_env.config import MarketConfig, amend, check_agents, to_json
from market_env.engine.kernel import announced
from runners.audit.second import GONE, Second, Task, Warming
from runners.files.derive import derive
from runners.files.folder import OWN_NAMES, check_folder, file_hashes, open_folder
from runners.files.record import Recorder
from runners.files.schema import VERSION
from runners.files.summary import TAPE_COUNTS, closing_table
from runners.files.versions import versions_of
from runners.files.whole import write_json
from runners.simulation.board import Board
from runners.simulation.config import RunConfig
from runners.simulation.drive import Watcher, drive
from runners.simulation.interrupts import interruptible, terminable
from scripted_agents import registry
from scripted_agents.baselines import DoNothing
from scripted_agents.frozen_ppo import FrozenPPO, locate, sha256
from scripted_agents.policy import CompiledPolicy, Policy

PACKAGES = ("market-env", "pettingzoo", "gymnasium", "numpy", "numba", "pyarrow")
"""Whose versions decide a run's bytes."""


def parameter_hashes(policies: Mapping[str, Policy]) -> dict[str, str]:
    """Hash of the parameters of every compiled policy, by agent."""
    return {agent: policy.parameter_hash() for agent, policy in policies.items() if isinstance(policy, CompiledPolicy)}


def describe(run: RunConfig, policies: Mapping[str, Policy]) -> dict[str, Any]:
    """What ``config.json`` holds: the run, and what it ran with."""
    resolved = registry.resolve(run.market, run.policies)
    models = sorted({chosen.model for chosen in resolved.values() if isinstance(chosen, FrozenPPO)})
    return {
        "schema": VERSION,
        "seed": run.seed,
        "market": to_json(run.market),
        "policies": {agent: to_json(chosen) for agent, chosen in resolved.items()},
        "reward": to_json(run.reward),
        "models": {model: sha256(locate(model)) for model in models},
        "parameters": parameter_hashes(policies),
        "versions": versions_of(PACKAGES),
    }


class Tracker:
    """Hands turns and log to the recorder, the log to the board too, and moves the progress bar."""

    def __init__(self, env: raw_env, recorder: Recorder, board: Board | None, bar: tqdm[Any]) -> None:
        self._env = env
        self._recorder = recorder
        self._board = board
        self._bar = bar
        self.timestep = 0

    def turn(self, agent: str, reward: float, info: dict[str, Any], action: NDArray[np.int64]) -> None:
        """Record a turn; every part's end drains the log."""
        self._recorder.told.rewarded(agent, reward)
        self._recorder.told.acted(agent, action)
        timestep = info["timestep"]
        if timestep != self.timestep:
            if timestep >= self._recorder.part_ends():
                self.drain(timestep)
            if not self._bar.disable and timestep // 100 != self.timestep // 100:
                self._bar.set_postfix_str(f"mid {info['mid']:.1f}", refresh=False)
            self._bar.update(timestep - self.timestep)
            self.timestep = timestep

    def drain(self, timestep: int) -> None:
        """Hand on what the market has logged; all of it before ``timestep`` is in."""
        events = self._env.drain()
        self._recorder.keep(events, timestep)
        if self._board:
            self._board.drained(events, timestep)

    def end(self, agent: str, reward: float, info: dict[str, Any]) -> None:
        """Record the reward of an agent's last turn."""
        self._recorder.told.rewarded(agent, reward)
        self._bar.update(info["timestep"] - self.timestep)
        self.timestep = info["timestep"]


def compile_first(
    market: MarketConfig, policies: Mapping[str, Policy], second: Second | None = None, *, verbose: bool = True
) -> None:
    """Compile the kernels that this market needs, or load them; say so where it takes long, unless told not to.

    Where nothing is on disk a second process takes its half of it.
    """
    environment = raw_env(amend(market, timesteps=1), log=True)
    functions = list({policy.function for policy in policies.values() if isinstance(policy, CompiledPolicy)})
    what = f"a market of up to {environment.market.records['agents'].shape[1]:,} agents"
    with announced(what) if verbose else contextlib.nullcontext():
        if second and not environment.market.turn_is_kept():
            # One of a user's own may lie where no other process finds it.
            ours = [function for function in functions if function.__module__.startswith("scripted_agents.")]
            second.warm(Warming(environment.config, ours))
        environment.market.compile_turn()
        for function in functions:
            _ = function.address
        drive(environment, policies, seed=0)
        derive(environment.config, environment.drain())


def simulate(
    run: RunConfig,
    path: Path,
    *,
    overwrite: bool = False,
    audit: bool = True,
    report: bool = True,
    tensorboard: bool = True,
    watch: bool = False,
    guests: Mapping[str, Policy] | None = None,
    verbose: bool = True,
) -> dict[str, Any]:
    """Run, record, audit and report; return the summary.

    Args:
        run: what to run.
        path: its folder.
        overwrite: whether to replace a run that lies there.
        audit: whether to rebuild the record from its log.
        report: whether to draw the report.
        tensorboard: whether to write TensorBoard's files.
        watch: whether to show the market in the terminal while it goes on (:mod:`runners.simulation.watch`).
        guests: policies of your own, by agent id, in place of those that a file can name. ``config.json`` says what
            they are; it cannot bring them back.
        verbose: whether to show progress and print what came of it.

    Raises:
        ConfigError: the population cannot be built, the folder cannot be used, or there is no terminal to watch in; nothing is
            written then.
        RunFolderError: the disk is full or a file cannot be written; finished parts stay.
    """
    own = dict(guests or {})
    if own:
        check_agents("guests", run.market, list(own))
        run = replace(run, policies={**run.policies, **dict.fromkeys(own, DoNothing())})
    policies = registry.build(run.market, run.policies) | own
    description = describe(run, policies)
    for agent, policy in own.items():
        kind = policy.function if isinstance(policy, CompiledPolicy) else type(policy)
        description["policies"][agent] = {"policy": "own", "name": f"{kind.__module__}.{kind.__qualname__}"}
    check_folder(path, overwrite)
    if watch:
        from runners.simulation.watch import check_terminal  # rich takes a moment to import, and few ask for it

        check_terminal()
    aside = Second(run.market.timesteps, len(run.market.agents)) if audit or report else contextlib.nullcontext()
    with aside as second:
        compile_first(run.market, policies, second, verbose=verbose)
        open_folder(path, overwrite)
        write_json(path / "config.json", description)
        say = print if verbose else lambda *_, **__: None
        with Board(path / "tensorboard", run.market, run.seed) if tensorboard else contextlib.nullcontext() as board:
            if board:
                board.describe(description, path.name)
            summary, asked_to_end = play_and_record(
                run, path, policies, description, board, watch=watch, verbose=verbose
            )
            try:
                with terminable():
                    if asked_to_end:
                        raise KeyboardInterrupt
                    audit_and_report(path, summary, second, board, audit=audit, report=report, say=say)
            except KeyboardInterrupt:
                print(
                    f"\ninterrupted: the data are whole; for the audit: python -m runners.replay {path}; "
                    f"for the report: python -m runners.report {path}",
                    file=sys.stderr,
                )
                return {**summary, "complete": False}
    say(f"run folder: {path}")
    for name in OWN_NAMES:
        if (path / name).exists():
            say(f"  {name}")
    if not report and summary["timesteps"]:
        say(f"to draw its report: {sys.executable} -m runners.report {path}")
    if tensorboard:
        say(f"to look at it: {Path(sys.executable).with_name('tensorboard')} --logdir {path.parent}")
    return summary


def audit_and_report(
    path: Path,
    summary: Mapping[str, Any],
    second: Second | None,
    board: Board | None,
    *,
    audit: bool,
    report: bool,
    say: Callable[..., None],
) -> None:
    """Audit a run and draw its report, half of the work in a second process, and tell of both."""
    audit = audit and summary["timesteps"] > 0
    doing = [*(["auditing the record"] if audit else []), *(["drawing the report"] if report else [])]
    if not doing:
        return
    say(f"{' and '.join(doing)} ...", flush=True)
    if second:
        second.ask(Task(path, audit, report))
    # They take a second to import, which nobody has to wait for before the table of results.
    from runners.audit import compare
    from runners.report import write_report

    def finish_audit() -> None:
        if audit:
            answer = second.answer() if second else GONE
            result = compare.result_of(compare.audit(path), path) if answer is GONE else answer
            compare.keep_result(result, path)
            differ = result["differ"] or "none"
            say(f"audited: {result['checked']:,} values rebuilt from the log alone, {differ} differ", flush=True)

    if not report:
        finish_audit()
        return
    figures = write_report(path, second=second, audited=finish_audit)
    if board:
        board.figures(figures, max(summary["timesteps"] - 1, 0))


def play_and_record(
    run: RunConfig,
    path: Path,
    policies: dict[str, Policy],
    description: dict[str, Any],
    board: Board | None,
    *,
    watch: bool = False,
    verbose: bool = True,
) -> tuple[dict[str, Any], bool]:
    """Simulate and record into an opened folder; return the summary, and whether an end was asked for after the last turn."""
    say = print if verbose else lambda *_, **__: None
    environment = raw_env(run.market, run.reward, log=True)
    quiet = True if watch or not verbose else None
    with contextlib.closing(Recorder(path, run.market, run.seed)) as recorder, interruptible() as asked:
        bar = tqdm(total=run.market.timesteps, unit=" timesteps", disable=quiet, mininterval=0.2)
        tracker = Tracker(environment, recorder, board, bar)
        watchers: list[Watcher] = [tracker, *([board] if board else [])]
        begun = time.perf_counter()
        shown: contextlib.AbstractContextManager[Watcher | None] = contextlib.nullcontext()
        if watch:
            from runners.simulation.watch import watching

            shown = watching(environment.market, lambda: bool(asked))
        try:
            with shown as screen:
                # It looks first: the recorder drains the log.
                looking = [*([screen] if screen else []), *watchers]
                complete = drive(environment, policies, run.seed, looking, lambda: bool(asked))
        finally:
            bar.close()
        seconds = time.perf_counter() - begun
        timesteps = run.market.timesteps if complete else tracker.timestep
        tracker.drain(timesteps)
        figures = recorder.finish(timesteps)
        after = parameter_hashes(policies)
        summary = {
            "complete": complete,
            **figures,
            "learning": False,
            "parameters_before": description["parameters"],
            "parameters_after": after,
            "parameters_unchanged": after == description["parameters"],
            "sha256": file_hashes(path),
        }
        if complete and run.market.tape is not None:
            record = environment.market.records[0]
            summary["tape"] = {"start": float(record["tape_start"])}
            summary["tape"] |= {name: int(record[f"tape_{name}"]) for name in TAPE_COUNTS}
        write_json(path / "summary.json", summary)
        if board:
            board.conclude(summary, closing_table(summary))
    asked_to_end = complete and bool(asked)
    say(f"\n{closing_table(summary)}\n")
    say(f"simulated in {seconds:.1f} s ({timesteps / max(seconds, 1e-9):,.0f} timesteps/s); policies unchanged: "
          f"{'yes' if summary['parameters_unchanged'] else 'NO'}")  # fmt: skip
    if not complete:
        say(f"stopped after {timesteps:,} of {run.market.timesteps:,} timesteps; what was recorded is kept")
    return summary, asked_to_end
