"""Several trainings at once: seeds and settings crossed, a folder each, and those that do worse ended early.

A training's folder goes on from its last checkpoint, so whatever was stopped goes on, and ends with the weights that it would have had. Ending
early is successive halving (Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization"): after a share of the
turns the better half by validation goes on, and so on. It waits for all before it halves, so the same command gives the same
trainings, whoever was faster.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from market_env.config import ConfigError, amend, parse_json, to_json
from market_env.outside import shown
from runners.files.folder import make_folder
from runners.learn.settings import CONFIG, RESULT, Training, read_result, stored_training
from scripted_agents.standards import Standards

MOST = 10_000
LONGEST = 120
"""Characters of a folder's name."""


@dataclass(frozen=True)
class Leg:
    """A training to go on with, to its end or to so many turns."""

    training: Training
    folder: Path
    until: int | None = None
    differing: tuple[str, ...] = ()
    """Names of settings in which the others have other ones."""

    @property
    def name(self) -> str:
        """Its folder's."""
        return self.folder.name


Executor = Callable[[Sequence[Leg], Standards], Iterator[tuple[int, dict[str, Any]]]]
"""Plays legs, in any order, and gives each one's number and what became of it as it ends."""


def crossed(training: Training, seeds: Sequence[int], variations: Mapping[str, Sequence[Any]]) -> dict[str, Training]:
    """A training for each seed and each combination of settings, by a name for its folder.

    Raises:
        ConfigError: a setting is unknown, a value is bad, or they are too many.
    """
    count = math.prod(len(values) for values in variations.values()) * max(1, len(seeds))
    if not 0 < count <= MOST:
        raise ConfigError(f"trainings: expected 1 to {MOST:,}, got {count:,}")
    found: dict[str, Training] = {}
    for values in itertools.product(*variations.values()):
        changed = training
        for path, value in zip(variations, values, strict=True):
            changed = _set(changed, path, value)
        for seed in seeds or (training.seed,):
            words = [f"{path}-{value}" for path, value in zip(variations, values, strict=True)]
            whole = "-".join([*words, f"seed-{seed}"])
            name = re.sub(r"[^A-Za-z0-9.,_+-]+", "_", whole)
            if name != whole or len(name) > LONGEST:  # two may have become one
                name = f"{name[:LONGEST]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
            found[name] = amend(changed, seed=seed)
    return found


def _set(training: Training, path: str, value: Any) -> Training:
    data = to_json(training)
    *parents, name = path.replace("-", "_").split(".")  # as flags are written, too
    place: Any = data
    for parent in parents:
        place = place.get(parent) if isinstance(place, dict) else None
    if not isinstance(place, dict) or name not in place or path == "seed":
        known = [own for own in to_json(training) if own != "seed"]
        raise ConfigError(f"--vary {shown(path)[1:-1]}: expected a setting of a training, one of {', '.join(known)}")
    place[name] = value
    try:
        return parse_json(Training, json.dumps(data))
    except ConfigError as error:
        raise ConfigError(f"--vary {shown(path)[1:-1]}: {error}") from None


def open_folders(trainings: Mapping[str, Training], root: Path) -> list[Leg]:
    """A folder for each training; those that are there are of the same trainings.

    Raises:
        ConfigError: a folder holds something else.
        RunFolderError: one cannot be made.
    """
    if root.exists() and (not root.is_dir() or (any(root.iterdir()) and not any(root.glob(f"*/{CONFIG}")))):
        raise ConfigError(f"{root}: expected trainings, an empty folder or none, found something else")
    settings = [training.settings() for training in trainings.values()]
    names = dict.fromkeys(name for own in settings for name in own)
    differing = tuple(name for name in names if len({own.get(name) for own in settings}) > 1)
    legs = [Leg(training, root / name, differing=differing) for name, training in trainings.items()]
    for leg in legs:
        if (leg.folder / CONFIG).exists():
            stored = to_json(stored_training(leg.folder / CONFIG))
            for name, given in to_json(leg.training).items():
                if given != stored[name]:
                    raise ConfigError(f"{name}: the training in {leg.folder} has {stored[name]!r}, got {given!r}")
        elif leg.folder.exists() and (not leg.folder.is_dir() or any(leg.folder.iterdir())):
            raise ConfigError(f"{leg.folder}: expected a training, an empty folder or none, found something else")
    make_folder(root)
    return legs


def go_on(leg: Leg, standards: Standards) -> dict[str, Any]:
    """Train a leg in this process; what became of it, also where it had ended before or no policy was kept."""
    from runners.learn.training import NoPolicyError, train  # PyTorch takes seconds to import

    if not (leg.folder / RESULT).exists():
        with contextlib.suppress(NoPolicyError):
            return train(
                leg.training, leg.folder, resume=True, standards=standards, until=leg.until, differing=leg.differing
            )
    return read_result(leg.folder / RESULT)


def one_after_another(legs: Sequence[Leg], standards: Standards) -> Iterator[tuple[int, dict[str, Any]]]:
    """The executor of this process."""
    for number, leg in enumerate(legs):
        yield number, go_on(leg, standards)
        gc.collect()  # a model is a cycle, and large


def standing(result: Mapping[str, Any]) -> tuple[bool, float]:
    """What trainings are ordered by: first those with a policy that may be kept, by its gain; then by the gain of the last validation."""
    if result["best"] is not None:
        return True, float(result["best"])
    return False, float(result["curve"][-1]["liquidation_gain"])


def rungs_of(total: int, halvings: int) -> list[int | None]:
    """Turns after which half of the trainings ends; None for the end."""
    return [max(1, total >> left) for left in range(halvings, 0, -1)] + [None]


def check_halving(trainings: Iterable[Training], halvings: int) -> None:
    """Raise a ConfigError unless each training is validated before the first halving."""
    for training in trainings:
        first = training.total_timesteps >> halvings
        if halvings and first < training.validate_every:
            raise ConfigError(
                f"--halve {halvings}: expected a validation before the first halving: validate_every at most {first:,}, "
                f"got {training.validate_every:,}"
            )


def train_all(
    legs: Sequence[Leg],
    executor: Executor,
    standards: Standards,
    halvings: int = 0,
    told: Callable[[Leg, dict[str, Any]], None] = lambda leg, result: None,
    halved: Callable[[Sequence[Leg], Sequence[Leg]], None] = lambda going_on, ended: None,
) -> dict[str, dict[str, Any]]:
    """Train all, the better half of them further as often as is asked; what became of each, by its name.

    Args:
        legs: the trainings.
        executor: who trains.
        standards: what a policy must meet to be kept, and the seeds that say so.
        halvings: how often the worse half ends: after the share 1 / 2**halvings of the turns first.
        told: called as a training ends, or comes to a halving.
        halved: called after each halving with those that go on and those that have ended.

    Raises:
        ConfigError: nothing is validated before the first halving, a checkpoint is damaged, or a node of a cluster refused.
    """
    check_halving([leg.training for leg in legs], halvings)
    found: dict[str, dict[str, Any]] = {}
    left = list(legs)
    for until in rungs_of(legs[0].training.total_timesteps, halvings):
        own = [replace(leg, until=until) for leg in left]
        for number, result in executor(own, standards):
            found[own[number].name] = result
            told(own[number], result)
        if until is not None:
            order = sorted(left, key=lambda leg: standing(found[leg.name]), reverse=True)  # of equals the first stays
            kept = {leg.name for leg in order[: -(-len(left) // 2)]}
            ended = [leg for leg in left if leg.name not in kept]
            left = [leg for leg in left if leg.name in kept]
            halved(left, ended)
    return found
