"""Train PPO in this market: ``python -m runners.train``.

One learner among the scripted population by default; several that share one policy (``--learners``); learners against
frozen earlier selves, a self-play league (``--opponents``). Everything lies in one folder, and a training that was stopped
at any moment goes on (``--resume FOLDER``) to the same weights as if it had not been (:mod:`runners.learn.training`).
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from market_env.config import LEARNER_KIND, ConfigError, amend, to_json
from market_env.outside import shown
from runners.cluster.session import session, with_local
from runners.cluster.trainings import on_ray
from runners.command import command
from runners.experiment.arms import parse_variation
from runners.experiment.experiment import parse_seeds
from runners.files.folder import fresh_folder
from runners.learn import many
from runners.learn.settings import CONFIG, RESULT, Training, stored_training
from scripted_agents.registry import KINDS
from scripted_agents.standards import STANDARDS, Standards

FRESH = Path("runs/train-SEED-N")
"""Stands for a folder of its own for every training."""


Counts: Any = make_dataclass(
    "Counts",
    [
        (
            name,
            Annotated[int | None, tyro.conf.arg(help=f"Number of {kind.people}, in place of the population's.")],
            field(default=None),
        )
        for name, kind in KINDS.items()
        if name != LEARNER_KIND
    ],
    frozen=True,
)
"""A flag for each kind of agents that do not learn."""


@dataclass(frozen=True)
class Arguments:
    """Train PPO in a market: one learner, several of one policy, or a league."""

    training: Annotated[Training, tyro.conf.arg(name="")] = field(default_factory=Training)
    counts: Annotated[Counts, tyro.conf.arg(name="")] = field(default_factory=Counts)
    run_dir: Path = FRESH
    """Folder for everything that the training writes; by default a fresh one, N the first number that is free."""
    config: Path | None = None
    """JSON file with any of the settings, as a training's config.json has them, market and policies among them; or a run's
    config.json, of which it takes these two. Flags go over it."""
    resume: Path | None = None
    """Folder of a training that was stopped, to go on with as it was."""
    seeds: tuple[str, ...] = ()
    """Train with several seeds, numbers or ranges such as 5..12, a folder each within --run-dir; the same command goes on with what was stopped."""
    vary: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=VALUE,...", help_behavior_hint="")
    ] = ()
    """Train with several values of a setting, such as gamma=.9,.95 or reward.damping=0,.5, each with every seed; several cross."""
    halve: int = 0
    """How often the worse half of several trainings, by validation, is ended early: after 1/2**N of the turns first."""
    ray: Annotated[str | None, tyro.conf.arg(metavar="[HOST:PORT]", help_behavior_hint="")] = None
    """Train several on Ray, a processor each: --ray alone on this machine, or the address of a cluster's head."""


@command
def main(argv: Sequence[str] | None = None, standards: Standards = STANDARDS) -> int:
    """Run the command; return its exit status: 0, 130 if interrupted, 2 for bad input or without PyTorch."""
    try:
        from runners.learn.training import train
    except ModuleNotFoundError as error:
        raise ConfigError(f"training needs {error.name}, which is not installed: pip install '.[train]'") from None
    # Which training goes on decides what the other flags begin as.
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--config", type=Path)
    known.add_argument("--resume", type=Path)
    known.add_argument("--population")
    words = with_local(sys.argv[1:] if argv is None else argv)
    named = known.parse_known_args(words)[0]
    resume, config = named.resume, named.config
    if resume is not None and config is not None:
        raise ConfigError("config: a training that goes on has its own; give --config or --resume")
    stored = None if resume is None else stored_training(resume / CONFIG)
    if named.population is not None and config is not None and stored_training(config, or_run=True).market is not None:
        raise ConfigError(f"population: {config} has a market of its own; give one or the other")
    begun_as = stored or (Training() if config is None else stored_training(config, or_run=True))
    default = Arguments(training=begun_as, config=config, resume=resume)
    arguments = tyro.cli(Arguments, args=words, default=default, prog="python -m runners.train")
    counts = {kind: count for kind, count in vars(arguments.counts).items() if count is not None}
    training = amend(arguments.training, counts={**arguments.training.counts, **counts})
    if "--seeds" in words and not arguments.seeds:
        raise ConfigError("--seeds: expected some, got none")
    if arguments.seeds or arguments.vary:
        return train_several(training, arguments, standards)
    for flag, given in (("--halve", arguments.halve), ("--ray", arguments.ray is not None)):
        if given:
            raise ConfigError(f"{flag}: is for several trainings; give --seeds or --vary as well")
    if stored is not None:
        folder = resume
        given = to_json(training)
        for name, kept in to_json(stored).items():
            if given[name] != kept:
                raise ConfigError(f"{name}: the training in {folder} has {kept!r}, got {given[name]!r}")
        if arguments.run_dir != FRESH:
            raise ConfigError(f"run_dir: {folder} goes on where it is, got {arguments.run_dir}")
    else:
        folder = fresh_folder(f"train-{training.seed}") if arguments.run_dir == FRESH else arguments.run_dir
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(
                f"run folder {folder}: expected an empty folder or none; --resume {folder} goes on with a training"
            )
    ended = stored is not None and (folder / RESULT).exists()
    try:
        result = train(training, folder, resume=stored is not None, standards=standards)
    except KeyboardInterrupt:
        print(
            f"\nstopped; to go on from the last checkpoint: python -m runners.train --resume {folder}", file=sys.stderr
        )
        return 130
    print(
        f"{'it had ended; ' if ended else ''}best liquidation gain on validation seeds {result['best']:,.0f}; "
        f"policy and checkpoint in {folder}"
    )
    return 0


def train_several(training: Training, arguments: Arguments, standards: Standards) -> int:
    """Train with several seeds or settings; return the exit status."""
    if arguments.resume is not None:
        raise ConfigError("--resume: several trainings go on with the same command and --run-dir")
    if not 0 <= arguments.halve < 20:
        raise ConfigError(f"--halve: expected 0 to 19, got {arguments.halve}")
    variations: dict[str, list[Any]] = {}
    for text in arguments.vary:
        path, values = parse_variation(text)
        if path in variations:
            raise ConfigError(f"--vary {shown(path)[1:-1]}: expected each setting once")
        variations[path] = values
    trainings = many.crossed(training, parse_seeds(arguments.seeds), variations)
    root = fresh_folder("trainings") if arguments.run_dir == FRESH else arguments.run_dir

    def told(leg: many.Leg, result: dict[str, Any]) -> None:
        best = "none kept" if result["best"] is None else f"{result['best']:,.0f}"
        print(
            f"{leg.name:<40}{result['timesteps']:>12,} turns  best {best:>10}  weights {result['weights'][:16]}",
            flush=True,
        )

    def halved(going_on: Sequence[many.Leg], ended: Sequence[many.Leg]) -> None:
        names = ", ".join(leg.name for leg in ended)
        print(f"halved: {len(going_on)} go on; ended early: {names}", flush=True)

    try:
        with contextlib.ExitStack() as stack:
            executor: many.Executor = many.one_after_another
            if arguments.ray is not None:
                cluster = stack.enter_context(session(arguments.ray))
                executor = on_ray(cluster, root)
            many.check_halving(trainings.values(), arguments.halve)
            legs = many.open_folders(trainings, root)
            print(f"{len(legs)} trainings in {root}; to look at all of them: tensorboard --logdir {root}", flush=True)
            found = many.train_all(legs, executor, standards, arguments.halve, told, halved)
            if arguments.ray is not None and (said := cluster.said()):
                print(said, file=sys.stderr)
    except KeyboardInterrupt:
        print(f"\nstopped; the same command goes on, with --run-dir {root}", file=sys.stderr)
        return 130
    kept = [name for name, result in found.items() if result["best"] is not None]
    if not kept:
        raise ConfigError(
            f"trainings: no policy was kept: at no validation did one {training.held_to(standards).limits()}"
        )
    best = max(kept, key=lambda name: float(found[name]["best"]))
    print(f"best liquidation gain on validation seeds {found[best]['best']:,.0f}: {root / best}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
