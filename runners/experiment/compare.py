"""Arms compared: means over seeds, paired differences to the base arm, and what they come to in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from runners.experiment.measures import Measure
from runners.measures.over_seeds import (
    FEWEST_SEEDS,
    MOST_SEEDS,
    Difference,
    Floats,
    Mean,
    corrected,
    difference_of,
    mean_of,
)


@dataclass(frozen=True)
class Comparison:
    """One measure over all arms."""

    measure: Measure
    values: dict[str, Floats]
    """By arm the measure on each seed in order, NaN where it is undefined or was not played: shape (seeds,)."""
    means: dict[str, Mean]
    differences: dict[str, Difference]
    """To the base arm, by the other arms' names."""


def by_seed(results: pl.DataFrame, arm: str, seeds: Sequence[int], measure: str) -> Floats:
    """A measure of an arm on each seed, NaN where it is not known."""
    rows = results.filter(pl.col("arm") == arm)
    known = dict(zip(rows["seed"].to_list(), rows[measure].to_list(), strict=True))
    return np.array([np.nan if (value := known.get(seed)) is None else value for seed in seeds], np.float64)


def compare(
    results: pl.DataFrame, arms: Sequence[str], seeds: Sequence[int], measures: Sequence[Measure]
) -> list[Comparison]:
    """Every measure, the first arm being the base; p values are corrected over the measures of each arm's difference."""
    base = arms[0]
    values = {m.name: {arm: by_seed(results, arm, seeds, m.name) for arm in arms} for m in measures}
    differences: dict[str, dict[str, Difference]] = {m.name: {} for m in measures}
    for arm in arms[1:]:
        found = corrected([difference_of(values[m.name][arm], values[m.name][base]) for m in measures])
        for m, own in zip(measures, found, strict=True):
            differences[m.name][arm] = own
    return [
        Comparison(m, values[m.name], {arm: mean_of(values[m.name][arm]) for arm in arms}, differences[m.name])
        for m in measures
    ]


def as_data(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The comparisons as plain data, for JSON."""
    return [
        {
            "measure": c.measure.name,
            "unit": c.measure.unit,
            "means": {arm: asdict(own) for arm, own in c.means.items()},
            "differences": {arm: asdict(own) | {"verdict": own.verdict} for arm, own in c.differences.items()},
        }
        for c in comparisons
    ]


def text(value: float | None) -> str:
    """A figure with about four digits."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    size = abs(value)
    digits = 0 if size >= 1_000 else 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 1 else 4
    return f"{value:,.{digits}f}"


def with_interval(found: Mean, sign: bool = False) -> str:
    """Mean and interval."""
    mean = f"{'+' if sign and found.mean is not None and found.mean > 0 else ''}{text(found.mean)}"
    return mean if found.low is None else f"{mean} [{text(found.low)}, {text(found.high)}]"


def in_words(found: Difference) -> str:
    """A difference's verdict."""
    match found.verdict:
        case "none":
            return f"not judged: known in {found.n} seeds, {FEWEST_SEEDS} are needed"
        case "same":
            return "the same in every seed"
        case "undecided":
            more = (
                f"about {found.deciding:,} seeds would decide"
                if found.deciding
                else f"more than {MOST_SEEDS:,} seeds would decide"
            )
            return f"undecided; {more}"
    return found.verdict


def table(comparisons: Sequence[Comparison], arms: Sequence[str], seeds: int, timesteps: int) -> str:
    """The comparisons as lines of text: a block a measure, a line an arm."""
    width = max(len(arm) for arm in arms) + 2
    lines = [
        f"{seeds} seed{'s' * (seeds > 1)} of {timesteps:,} timesteps in each arm"
        + (f", paired; differences are to {arms[0]}" if len(arms) > 1 else "")
    ]
    for c in comparisons:
        unit = "" if c.measure.unit == "as in summary.json" else f" ({c.measure.unit})"
        lines += ["", f"{c.measure.name}{unit}: {c.measure.meaning}"]
        for arm in arms:
            line = f"  {arm:<{width}}{with_interval(c.means[arm]):<36}"
            if own := c.differences.get(arm):
                together = "" if own.correlation is None else f"; r {own.correlation:.2f}"
                line += f"{with_interval(own, sign=True):<38}{in_words(own)}{together}"
            lines.append(line.rstrip())
    if len(arms) > 1:
        lines += ["", *pairing_lines(comparisons, arms)]
    lines += [
        "",
        "[95 % interval, Student's t over seeds]; a difference counts as decided when its p value stays below 5 % after Holm's",
        "correction over the measures of its arm; r: correlation with the first arm over seeds. As many seeds as would decide do so with a",
        "chance of 80 %, if the difference is as large as it seems.",
    ]
    return "\n".join(lines)


def pairing_lines(comparisons: Sequence[Comparison], arms: Sequence[str]) -> list[str]:
    """What playing the same seeds in all arms saves."""
    lines = []
    for arm in arms[1:]:
        own = [c.differences[arm] for c in comparisons]
        together = [d.correlation for d in own if d.correlation is not None]
        saved = [d.saved for d in own if d.saved is not None]
        if together and saved:
            lines.append(
                f"pairing, {arm}: correlation with the base {np.median(together):.2f} in the median of {len(together)} measures; "
                f"unpaired it would take {np.median(saved):.1f} times as many seeds"
            )
    return lines


def numbers_of(arms: Mapping[str, Mapping[str, Any]]) -> tuple[str, list[float]] | None:
    """The one path whose number makes all the difference between the arms, and its values; None if there is none."""
    paths = {path for changes in arms.values() for path in changes}
    varied = [path for path in paths if len({repr(changes.get(path)) for changes in arms.values()}) > 1]
    if len(varied) != 1:
        return None
    values = [changes.get(varied[0]) for changes in arms.values()]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    return varied[0], [float(value) for value in values]  # type: ignore[arg-type]
