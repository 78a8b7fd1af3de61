"""What the seeds say of a claim: part by part, and in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from runners.experiment.compare import text
from runners.experiment.registry import Claim, Part
from runners.measures.over_seeds import FEWEST_SEEDS, MOST_SEEDS, Difference, Floats, corrected, difference_of

Values = Mapping[str, Mapping[str, Floats]]
"""By measure and arm the figure on each seed, NaN where there is none: shape (seeds,)."""

Standing = Literal["supported", "refuted", "undecided"]


@dataclass(frozen=True)
class Judged:
    """A part of a claim, tested."""

    part: Part
    found: Difference
    """Of the figure that must lie above, below or apart from 0."""
    holds: bool | None
    """None: undecided."""
    figures: str
    """What was seen, in words."""


@dataclass(frozen=True)
class Verdict:
    """A claim, decided in one population or not."""

    claim: Claim
    population: str
    standing: Standing
    parts: list[Judged]


def figure(part: Part, values: Values) -> Floats:
    """What a part is about, on each seed."""
    of = values[part.measure]
    if part.along:
        numbers = np.array([number for _, number in part.along])
        each = np.stack([of[arm] for arm, _ in part.along])
        apart = numbers - numbers.mean()
        slopes: Floats = (apart[:, None] * each).sum(axis=0) / (apart**2).sum()
        return slopes
    found = of[part.arm] - part.less
    if part.against is not None:
        found = found - (1.0 + part.more) * of[part.against]
    if part.weight is not None:
        weights = values[part.weight][part.arm]
        known = ~np.isnan(found) & ~np.isnan(weights)
        if known.any():
            mean = float((weights[known] * found[known]).sum() / weights[known].sum())
            # What the weighted mean depends on, linearised: its mean is the weighted one, its deviation that of a ratio.
            found = np.where(known, mean + weights / weights[known].mean() * (found - mean), np.nan)
    return found


def judge_part(part: Part, found: Difference) -> bool | None:
    """Whether a part holds; None if that is undecided."""
    if part.way == "never":  # one count above 0 refutes; that there is none takes as many seeds as anything
        return False if found.mean else True if found.verdict == "same" else None
    if found.verdict == "none" or found.mean is None:
        return None
    if shown_small(part, found) or found.verdict == "same":  # neither above nor below, in any seed
        return False
    if found.verdict == "undecided":
        return None
    if part.way != "apart" and (found.verdict == "higher") != (part.way == "above"):
        return False
    return True if shown_large(part, found) else None


def shown_small(part: Part, found: Difference) -> bool:
    """Whether the interval leaves out all that counts."""
    if found.low is None or found.high is None or not part.least:
        return False
    up, down = found.high < part.least, found.low > -part.least
    return up if part.way == "above" else down if part.way == "below" else up and down


def shown_large(part: Part, found: Difference) -> bool:
    """Whether all of the interval counts."""
    if not part.least:
        return True
    return found.low is not None and found.high is not None and (found.low >= part.least or found.high <= -part.least)


def judge(claim: Claim, name: str, values: Values) -> Verdict:
    """Decide a claim.

    Args:
        claim: of the registry.
        name: the population.
        values: its measures.
    """
    zero = np.zeros_like(next(iter(next(iter(values.values())).values())))
    tests = corrected([difference_of(figure(part, values), zero) for part in claim.parts])
    judged = [
        Judged(part, found, holds, in_figures(part, found, values))
        for part, found in zip(claim.parts, tests, strict=True)
        for holds in [judge_part(part, found)]
    ]
    standing: Standing = "undecided"
    if any(own.holds is False for own in judged):
        standing = "refuted"
    elif all(own.holds for own in judged):
        standing = "supported"
    return Verdict(claim, name, standing, judged)


def _mean(values: Floats) -> str:
    known = values[~np.isnan(values)]
    return text(float(known.mean())) if len(known) else "-"


def _interval(found: Difference, shift: float = 0.0) -> str:
    if found.mean is None:
        return "undefined"
    middle = text(found.mean + shift)
    return (
        middle
        if found.low is None or found.high is None
        else f"{middle} [{text(found.low + shift)}, {text(found.high + shift)}]"
    )


def in_figures(part: Part, found: Difference, values: Values) -> str:
    """The numbers behind a part."""
    of = values[part.measure]
    if part.way == "never":
        return f"{np.nansum(of[part.arm]):,.0f} in {found.n} seeds"
    if part.along:
        means = ", ".join(f"{_mean(of[arm])} {arm}" for arm, _ in part.along)
        return f"{means}; slope {_interval(found)}"
    if part.against is not None:
        change = difference_of(of[part.arm], of[part.against])
        allowed = f"; less the {100 * part.more:g} % that are allowed: {_interval(found)}" if part.more else ""
        return f"{_mean(of[part.arm])} ({part.arm}) against {_mean(of[part.against])} ({part.against}): {_interval(change)}{allowed}"
    side = "" if part.way != "apart" or not found.decided else ", above 0" if (found.mean or 0.0) > 0 else ", below 0"
    return f"{_interval(found, part.less)}{side}"


def decides(own: Judged) -> str:
    """How many seeds would decide an undecided part."""
    if own.found.n < FEWEST_SEEDS:
        return f"defined in {own.found.n} seeds, fewer than {FEWEST_SEEDS}"
    if own.found.deciding:
        return f"about {own.found.deciding:,} seeds would decide"
    return f"more than {MOST_SEEDS:,} seeds would decide"
