"""Calibration: a population's parameters sought so that its facts come near a target.

The search is CMA-ES (Hansen 2016, arXiv:1604.00772; the ``cmaes`` package) over named parameters with ranges. A
trial plays some seeds and measures the facts that have a range over real half hours; its loss is the mean over the facts of
how far each lies from the target, in half widths of the real range, beyond a part of it that costs nothing. The target
is the middle of the real ranges, or the facts of a LOBSTER pair. Trials are kept a generation a file, so an interrupted search
goes on where it was and ends as it would have. Cost: some tens of milliseconds a run of 1,800 timesteps and core.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cmaes import CMA
from numpy.typing import NDArray

from market_env.config import ConfigError
from market_env.outside import load_json, read_bytes, read_json, shown
from runners.exchange import facts
from runners.experiment.arms import Arm, Base, make_arm, numbers_at
from runners.experiment.execute import in_threads
from runners.experiment.jobs import Executor, Job
from runners.experiment.measures import Measure, find
from runners.experiment.store import PACKAGES, code_hash, finite, finite_or_none
from runners.files.folder import make_folder
from runners.files.versions import versions_of
from runners.files.whole import write_json
from scripted_agents.registry import KINDS

FREE = 0.5
"""Half widths of the real range around the target within which a fact costs nothing."""
MOST = 3.0
"""Half widths that a fact costs at most, so that one that cannot be met does not decide all."""
FRESH = 100_000
"""What the seeds of the last choice lie above the search's own."""
LARGEST_GENERATION = 2**24


@dataclass(frozen=True)
class Range:
    """A parameter and where it is sought."""

    path: str
    low: float
    high: float
    times: bool
    """Whether the numbers multiply what each agent has."""

    @property
    def logarithmic(self) -> bool:
        """Whether it is sought by orders of magnitude."""
        return self.low > 0 and self.high / self.low >= 4

    def at(self, share: float) -> float | int:
        """The number at a share of the way from low to high, four digits; whole for a number of agents."""
        if self.logarithmic:
            number = self.low * (self.high / self.low) ** share
        else:
            number = self.low + (self.high - self.low) * share
        return round(number) if self.path in KINDS else float(f"{number:.4g}")

    def share(self, number: float) -> float:
        """The share of the way at which a number lies."""
        number = min(max(number, self.low), self.high)
        if self.logarithmic:
            return float(np.log(number / self.low) / np.log(self.high / self.low))
        return (number - self.low) / (self.high - self.low)

    def change(self, share: float) -> float | int | str:
        """The change that an arm takes."""
        number = self.at(share)
        return f"*{number!r}" if self.times else number


def parse_range(text: str) -> Range:
    """``path=low..high``, or ``path=*low..*high`` for numbers that multiply what each agent has.

    Raises:
        ConfigError: it is written otherwise, or the range is empty.
    """
    match = re.fullmatch(r"([^=]+)=(\*?)([-+0-9.eE]+?)\.\.(\*?)([-+0-9.eE]+)", text)
    try:
        if match is None or match[2] != match[4]:
            raise ValueError
        found = Range(match[1], float(match[3]), float(match[5]), bool(match[2]))
    except ValueError:
        raise ConfigError(
            f"--tune: expected path=low..high or path=*low..*high, such as policies.maker.half_spread=*0.5..*2, got {shown(text)}"
        ) from None
    if not (np.isfinite([found.low, found.high]).all() and found.low < found.high):
        raise ConfigError(
            f"--tune {shown(found.path)[1:-1]}: expected a low end below the high one, got {found.low:g}..{found.high:g}"
        )
    return found


@dataclass(frozen=True)
class Target:
    """Where each fact should lie."""

    name: str
    centre: dict[str, float]
    half_width: dict[str, float]
    """Of the real range."""

    def apart(self, found: Mapping[str, float | None]) -> dict[str, float]:
        """How far each fact lies from the target, half widths, signed; beyond the most that counts for one that is undefined."""
        return {
            name: MOST + FREE if (value := found.get(name)) is None else (value - centre) / self.half_width[name]
            for name, centre in self.centre.items()
        }

    def loss(self, found: Mapping[str, float | None]) -> float:
        """Mean over the facts of what they cost."""
        return float(np.mean([min(max(abs(apart) - FREE, 0.0), MOST) ** 2 for apart in self.apart(found).values()]))


def real_target() -> Target:
    """The middle of the real half hours' ranges."""
    bands = {name: facts.REAL["facts"][name]["half_hour_min_median_max"] for name in facts.BANDED}
    return Target(
        "half hours of real stocks",
        {name: (low + high) / 2 for name, (low, _, high) in bands.items()},
        {name: (high - low) / 2 for name, (low, _, high) in bands.items()},
    )


def pair_target(message: Path, orderbook: Path, tick_size: float) -> Target:
    """The facts of a LOBSTER pair, in half widths of the real half hours' ranges.

    Raises:
        FormatError: see :func:`runners.exchange.pairs.read_pair`.
        ConfigError: none of the facts can be measured in it.
    """
    measured = facts.facts_of_pair(message, orderbook, tick_size)
    if not measured["windows"]:
        raise ConfigError(
            f"{message}: expected at least half an hour ({facts.WINDOW_SECONDS:,} s), which the facts' ranges are of, got {measured['seconds']:,.0f} s"
        )
    found = measured["facts"]
    real = real_target()
    centre = {}
    for name in facts.BANDED:
        known = [value for value in found[name]["windows"] if isinstance(value, float)]
        if known:
            centre[name] = float(np.median(known))
    if not centre:
        raise ConfigError(f"{message}: expected a pair of which facts can be measured, found none")
    return Target(message.name, centre, {name: real.half_width[name] for name in centre})


@dataclass(frozen=True)
class Trial:
    """A point of the search and what it came to."""

    changes: dict[str, float | str]
    loss: float
    facts: dict[str, float | None]
    """Means over its seeds."""


class Search:
    """A search and its folder.

    Args:
        base: what is varied.
        ranges: the parameters.
        target: where the facts should lie.
        seeds: that each trial plays.
        path: the folder; one of the same search goes on.
        seed: of the search.
        executor: who plays.
        trials: of a generation, 4 + 3 ln(parameters) by default. They are played at once, so more of them keep more processors busy, and
            a noisy loss wants more of them as well (Hansen 2016, section B.5).

    Raises:
        ConfigError: a parameter is none, an end of its range is refused, or the folder is another's.
    """

    def __init__(
        self,
        base: Base,
        ranges: Sequence[Range],
        target: Target,
        seeds: Sequence[int],
        path: Path,
        seed: int = 1,
        executor: Executor = in_threads,
        trials: int | None = None,
    ) -> None:
        if not ranges or len({own.path for own in ranges}) < len(ranges):
            raise ConfigError("--tune: expected some parameters, each once")
        self.base, self.ranges, self.target, self.seeds, self.path = base, list(ranges), target, list(seeds), path
        self._executor = executor
        # Both ends of every range are tried before anything is played.
        for share in (0.0, 1.0):
            for own in ranges:
                make_arm(base, {own.path: own.change(share)})
        start = np.array([own.share(1.0 if own.times else numbers_at(base, own.path)) for own in ranges])
        self._measures = tuple(measures_of(target))
        bounds = np.tile([0.0, 1.0], (len(ranges), 1))
        self._search = CMA(mean=np.clip(start, 0.02, 0.98), sigma=0.2, bounds=bounds, seed=seed, population_size=trials)
        self.start = self._changes(start)
        self._open(seed)
        self.trials: list[Trial] = []

    @property
    def size(self) -> int:
        """Trials of a generation."""
        return int(self._search.population_size)

    def _changes(self, point: NDArray[np.float64]) -> dict[str, float | str]:
        return {own.path: own.change(float(share)) for own, share in zip(self.ranges, point, strict=True)}

    def _open(self, seed: int) -> None:
        settings: dict[str, Any] = {
            "calibration": 1,
            "base": make_arm(self.base, {}).key,
            "ranges": [[own.path, own.low, own.high, own.times] for own in self.ranges],
            "target": {"name": self.target.name, "centre": self.target.centre, "half_width": self.target.half_width},
            "seeds": self.seeds,
            "seed": seed,
            "trials": self.size,
            "code": code_hash(),
            "versions": versions_of(PACKAGES),
        }
        file = self.path / "calibration.json"
        if file.exists():
            found = read_json(file, str(file))
            for name, own in settings.items():
                if found.get(name) != own:
                    raise ConfigError(
                        f"{self.path}: another search's folder: its {name} is {shown(found.get(name))}, this is {shown(own)}; give another --out"
                    )
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise ConfigError(f"{self.path}: expected a search's folder, an empty one or none, found something else")
        make_folder(self.path)
        write_json(file, settings)
        make_folder(self.path / "generations")

    def measure(self, points: Sequence[Mapping[str, float | str]], seeds: Sequence[int] | None = None) -> list[Trial]:
        """Play some points, on the search's seeds or on others."""
        arms: list[Arm] = [make_arm(self.base, point, f"{number}") for number, point in enumerate(points)]
        jobs = [
            Job(arm, f"{number}", seed, self._measures)
            for number, arm in enumerate(arms)
            for seed in seeds or self.seeds
        ]
        rows: list[list[Mapping[str, float | None]]] = [[] for _ in arms]
        for job, row in self._executor(jobs):
            rows[int(job.key)].append(row)
        return [self._trial(point, own) for point, own in zip(points, rows, strict=True)]

    def _trial(self, point: Mapping[str, float | str], rows: Sequence[Mapping[str, float | None]]) -> Trial:
        means: dict[str, float | None] = {}
        for name in self.target.centre:
            known = sorted(
                value for row in rows if (value := row[f"facts.{name}"]) is not None
            )  # in whatever order they came
            means[name] = float(np.mean(known)) if 2 * len(known) > len(rows) else None
        return Trial(dict(point), self.target.loss(means), means)

    def generation(self, number: int) -> list[Trial]:
        """Ask for a generation's points, play those that are not known, and tell the search.

        Raises:
            ConfigError: a kept generation is damaged.
            RunFolderError: it cannot be written.
        """
        points = [self._search.ask() for _ in range(self.size)]
        changes = [self._changes(point) for point in points]
        file = self.path / "generations" / f"{number:05d}.json"
        if file.exists():
            trials = _read(file, changes)
        else:
            trials = self.measure(changes)
            write_json(file, [{"changes": t.changes, "loss": t.loss, "facts": t.facts} for t in trials])
        self._search.tell([(point, trial.loss) for point, trial in zip(points, trials, strict=True)])
        self.trials += trials
        return trials

    def run(self, generations: int, progress: Callable[[float], None]) -> Trial:
        """Search for so many generations; return the trial at the search's centre or the best, whichever is better.

        A trial's loss is noisy, and the best of many is a lucky one: the centre of the search is played beside it on as many fresh
        seeds.
        """
        for number in range(generations):
            self.generation(number)
            progress(min(trial.loss for trial in self.trials))
        best = min(self.trials, key=lambda trial: trial.loss)
        centre = self._changes(np.clip(self._search.mean, 0.0, 1.0))
        fresh = [seed + FRESH for seed in self.seeds]
        return min(self.measure([best.changes, centre], fresh), key=lambda trial: trial.loss)


def _read(file: Path, changes: Sequence[Mapping[str, float | str]]) -> list[Trial]:
    found = load_json(read_bytes(file, str(file), LARGEST_GENERATION), str(file))
    try:
        trials = [
            Trial(own["changes"], finite(own["loss"]), {n: finite_or_none(v) for n, v in own["facts"].items()})
            for own in found
        ]
    except (AttributeError, TypeError, KeyError, ValueError, OverflowError):
        raise ConfigError(
            f"{file}: expected the trials of a generation; remove it and the later ones, and they are played again"
        ) from None
    if [trial.changes for trial in trials] != list(changes):
        raise ConfigError(f"{file}: its points are not those that this search asks for; give another --out")
    return trials


def unmet(target: Target, found: Mapping[str, float | None]) -> list[tuple[str, float | None, float, float]]:
    """Facts outside the target's range: name, value, low and high of the range, the farthest first."""
    apart = target.apart(found)
    outside = sorted((name for name in apart if abs(apart[name]) > 1), key=lambda name: -abs(apart[name]))
    return [
        (
            name,
            found.get(name),
            target.centre[name] - target.half_width[name],
            target.centre[name] + target.half_width[name],
        )
        for name in outside
    ]


def measures_of(target: Target) -> list[Measure]:
    """Its facts as measures."""
    return [find(f"facts.{name}", []) for name in target.centre]
