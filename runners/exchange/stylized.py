"""Stylized facts that no range of real half hours is known of here: measured and shown, and judged by nobody.

Returns after Cont (2001, "Empirical properties of asset returns: stylized facts and statistical issues"): leverage effect,
volume against volatility, gain and loss asymmetry, aggregational normality. Orders after Bouchaud, Gefen, Potters and
Wyart (2004, "Fluctuations and response in financial markets"): what one order does to the price by lag; and how long orders
live. ``stylized_facts.json`` has definitions and what two real days and one real half hour show. Cost: as much again as
:mod:`runners.exchange.facts` for a sample.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from runners.exchange import window
from runners.exchange.sample import Floats, Sample, excess_kurtosis, finite, number, ratio

REAL: dict[str, Any] = json.loads((Path(__file__).parent / "stylized_facts.json").read_text(encoding="utf-8"))
"""Definitions, and the real figures with their sources."""

TITLE = "stylized facts, judged by nobody, since no range of half hours is known:"

LEVERAGE_LAGS = (1, 2, 5, 10)
HORIZONS = (1, 10, 60, 300)
RESPONSE_LAGS = (1, 2, 5, 10, 20, 50, 100)
QUARTILES = (0.25, 0.5, 0.75)

Values = list[float | None]


def correlation(one: Floats, other: Floats) -> float | None:
    """Pearson's; None for fewer than ten pairs or where one does not vary."""
    if len(one) < 10 or one.std() == 0 or other.std() == 0:
        return None
    return finite(np.corrcoef(one, other)[0, 1])


def leverage(sample: Sample) -> Values:
    """Correlation of a second's return with the square of the one so many seconds later."""
    returns = sample.returns()
    return [correlation(returns[:-lag], returns[lag:] ** 2) for lag in LEVERAGE_LAGS]


def volume_and_volatility(sample: Sample) -> float | None:
    """Correlation over whole minutes of units traded and the size of the return; minutes before the first quotes are left out."""
    count = int((sample.end - sample.start) // 60)
    traded = sample.of_type(window.EXECUTE)
    minute = ((sample.messages["time"][traded] - sample.start) // 60).astype(np.int64)
    sizes = sample.messages["size"][traded].astype(np.float64)
    volume = np.bincount(minute, sizes, count)[:count].astype(np.float64)
    returns = sample.returns(60)
    return correlation(volume[count - len(returns) :], np.abs(returns))


def skewness(values: Floats) -> float | None:
    """Third standardised moment; None for fewer than ten values or equal ones."""
    if len(values) < 10 or not values.std() > 0:
        return None
    deviations = values - values.mean()
    squares = deviations**2
    if squares.mean() <= (np.finfo(np.float64).resolution * values.mean()) ** 2:
        return None  # rounding alone
    return finite((squares * deviations).mean() / squares.mean() ** 1.5)


def waiting(sample: Sample, direction: int) -> float | None:
    """Mean seconds until the mid first lies a standard deviation of a minute's change further, from each second on.

    Waits that the sample's end cuts off are left out. Inverse statistics after Jensen, Johansen and Simonsen (2003, "Inverse
    statistics in economics: the gain-loss asymmetry").
    """
    mids = sample.mid_at(1)
    changes = np.diff(sample.mid_at(60))
    if len(changes) < 10 or changes.std() == 0:
        return None
    path, goal = direction * mids, float(changes.std())
    waits = []
    # From the end back: of the later seconds those that are higher than all nearer ones, the farthest and highest first.
    later: list[int] = []
    for second in range(len(path) - 1, -1, -1):
        low, high = 0, len(later)
        while low < high:
            middle = (low + high) // 2
            if path[later[middle]] >= path[second] + goal:
                low = middle + 1
            else:
                high = middle
        if low:
            waits.append(later[low - 1] - second)
        while later and path[later[-1]] <= path[second]:
            later.pop()
        later.append(second)
    return float(np.mean(waits)) if waits else None


def gain_and_loss(sample: Sample) -> Values:
    """Skewness of returns over a second and a minute, and how long a rise takes for one as long a fall does."""
    up, down = waiting(sample, 1), waiting(sample, -1)
    return [
        skewness(sample.returns()),
        skewness(sample.returns(60)),
        ratio(up, down) if up is not None and down is not None else None,
    ]


def response(sample: Sample) -> Values:
    """Mean move of the mid in a market order's direction, from just before it to just before a later one, in mean spreads."""
    spread = sample.mean_over_time(sample.sides[-1][0][:, 0] - sample.sides[1][0][:, 0])
    before, signs = sample.mid[sample.orders], sample.signs
    found: Values = []
    for lag in RESPONSE_LAGS:
        moved = signs[:-lag] * (before[lag:] - before[:-lag])
        known = moved[~np.isnan(moved)]
        found.append(ratio(float(known.mean()), spread) if len(known) >= 10 and spread else None)
    return found


def lives(sample: Sample, end: int) -> Floats:
    """Seconds from an order's submission to its first message of a type, for orders whose submission is in the sample."""
    messages = sample.messages
    new = messages[sample.of_type(window.NEW)]
    over = messages[sample.of_type(end)]
    _, first = np.unique(over["order"], return_index=True)
    over = over[first]
    _, born, ended = np.intersect1d(new["order"], over["order"], return_indices=True)
    found: Floats = over["time"][ended] - new["time"][born]
    return found


def quartiles(values: Floats) -> Values:
    """Lower quartile, median and upper quartile; None for fewer than ten values."""
    return [float(value) for value in np.quantile(values, QUARTILES)] if len(values) >= 10 else [None] * 3


class Measure(NamedTuple):
    """How a fact is measured."""

    of: Callable[[Sample], Values]
    parts: Sequence[str]
    """Names of its values, one each; of a single value an empty one."""


THIRDS = ("lower quartile", "median", "upper quartile")

MEASURES: dict[str, Measure] = {
    "leverage_effect": Measure(leverage, [f"{lag} s" for lag in LEVERAGE_LAGS]),
    "volume_volatility": Measure(lambda s: [volume_and_volatility(s)], [""]),
    "gain_loss_asymmetry": Measure(gain_and_loss, ["skewness 1 s", "skewness 60 s", "rise for fall"]),
    "aggregational_normality": Measure(
        lambda s: [excess_kurtosis(s.returns(seconds)) for seconds in HORIZONS],
        [f"{seconds} s" for seconds in HORIZONS],
    ),
    "response": Measure(response, [f"lag {lag}" for lag in RESPONSE_LAGS]),
    "seconds_to_fill": Measure(lambda s: quartiles(lives(s, window.EXECUTE)), THIRDS),
    "seconds_to_cancel": Measure(lambda s: quartiles(lives(s, window.DELETE)), THIRDS),
}
"""By the name of each fact how it is measured; what it means says :data:`REAL`."""


def measure(sample: Sample) -> dict[str, dict[str, Any]]:
    """Every fact of a sample: by name its ``definition``, ``parts``, ``values`` and the ``real`` markets' values by name.

    What cannot be measured is None.
    """
    return {
        name: {
            "definition": REAL["facts"][name]["definition"],
            "parts": list(parts),
            "values": of(sample),
            "real": REAL["facts"][name]["real"],
        }
        for name, (of, parts) in MEASURES.items()
    }


def beside(real: dict[str, float | None]) -> str:
    """The real markets' values as text."""
    return ", ".join(f"{market} {number(value)}" for market, value in real.items() if value is not None)


def by_part(found: dict[str, dict[str, Any]]) -> list[tuple[str, float | None, dict[str, float | None]]]:
    """The facts part by part: name, value, and the real markets' values by name."""
    return [
        (
            f"{name}: {part}" if part else name,
            fact["values"][number],
            {market: values[number] for market, values in fact["real"].items()},
        )
        for name, fact in found.items()
        for number, part in enumerate(fact["parts"])
    ]
