"""Facts over many seeds: one history decides nothing about a market.

A population is played on each seed and measured as
:func:`runners.exchange.facts.measure` measures a run; recorded runs can stand for seeds as well. Of each fact it says mean,
95 % interval of the mean over seeds (Student's t), range, and in how many seeds it lies within the real range. Cost: about a
second for a seed of 5,000 timesteps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from market_env.config import MarketConfig
from market_env.market import Market
from runners.exchange import facts, pairs, stylized
from runners.exchange.sample import LEVELS, number
from runners.measures.over_seeds import mean_of
from scripted_agents.policy import PolicyConfig
from scripted_agents.registry import build
from scripted_agents.rollout import run_compiled


@dataclass(frozen=True)
class Spread:
    """Values over seeds."""

    name: str
    mean: float | None
    """None where no seed has one."""
    low: float | None
    """Of the interval of the mean; None below eight seeds."""
    high: float | None
    least: float | None
    most: float | None


@dataclass(frozen=True)
class Row(Spread):
    """A fact, or a part of one, over seeds."""

    real: tuple[float, float] | None
    inside: int
    judged: int
    """Seeds in which it could be judged."""
    half_hourly: bool
    """Whether it has a range over real half hours; the others are judged by two or three whole days."""


@dataclass(frozen=True)
class Unjudged(Spread):
    """A stylized fact, or a part of one, over seeds; see :mod:`runners.exchange.stylized`."""

    real: dict[str, float | None]
    """By market."""


def facts_of_seeds(
    config: MarketConfig, policies: Mapping[str, PolicyConfig], seeds: Iterable[int]
) -> Iterable[dict[str, Any]]:
    """The facts of a population on each seed, one after the other; see :func:`runners.exchange.facts.measure`.

    Raises:
        ConfigError: a policy cannot be built or is not compiled; tick or lot cannot be said in LOBSTER's units.
    """
    players = build(config, policies)
    market = Market(config, log=True)
    for seed in seeds:
        market.reset(seed)
        pair = pairs.pair_of_events(config, run_compiled(market, players), LEVELS, f"seed {seed}")
        end = pairs.OPENING + float(config.timesteps)
        yield facts.measure(pair, float(pairs.OPENING), end, config.tick_size * pairs.PRICE_UNITS)


def spread(
    values: Sequence[float | None],
) -> tuple[float | None, float | None, float | None, float | None, float | None]:
    """Mean, its 95 % interval (low, high), least and most of the values that are known."""
    numbers = np.array([np.nan if value is None else value for value in values], np.float64)
    known = numbers[~np.isnan(numbers)]
    found = mean_of(numbers)
    ends = (float(known.min()), float(known.max())) if len(known) else (None, None)
    return found.mean, found.low, found.high, *ends


def parts_of(
    fact: Mapping[str, Any], name: str
) -> list[tuple[str, float | None, str | None, tuple[float, float] | None]]:
    """A measured fact as parts: name, value, verdict and real range. One with a half-hour range has the median of its windows."""
    days = fact["real_days"]
    if isinstance(fact["value"], list):
        found = []
        for part, (value, verdict) in enumerate(zip(fact["value"], fact["inside"], strict=True)):
            real = [day[part] for day in days if part < len(day)]
            label = f"{name}: {facts.PARTS[name][part]}"
            found.append((label, value, verdict, (min(real), max(real)) if len(real) > 1 else None))
        return found
    band = fact["real_half_hours"]
    value = fact["value"]
    if band:
        known = [window for window in fact["windows"] if window is not None]
        value = float(np.median(known)) if known else None if fact["windows"] else value
    real = [band[0], band[2]] if band else days
    return [(name, value, fact["inside"], (min(real), max(real)) if real else None)]


def over_seeds(found: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Every fact of several measured markets."""
    rows = []
    for name in facts.MEASURES:
        each = [parts_of(one["facts"][name], name) for one in found]
        for part, (label, _, _, real) in enumerate(each[0]):
            if (name, part) == facts.BY_DEFINITION:
                continue
            verdicts = [parts[part][2] for parts in each]
            rows.append(
                Row(
                    label,
                    *spread([parts[part][1] for parts in each]),
                    real,
                    verdicts.count("inside"),
                    sum(verdict is not None for verdict in verdicts),
                    bool(found[0]["facts"][name]["real_half_hours"]),
                )
            )
    return rows


def stylized_over_seeds(found: Sequence[Mapping[str, Any]]) -> list[Unjudged]:
    """Every stylized fact of several measured markets."""
    each = [stylized.by_part(one["stylized"]) for one in found]
    return [
        Unjudged(name, *spread([rows[place][1] for rows in each]), real)
        for place, (name, _, real) in enumerate(each[0])
    ]


def counts(found: Sequence[Mapping[str, Any]], chosen: Callable[[Row], bool]) -> list[int]:
    """In each market how many of the chosen rows lie within the real range."""
    wanted = [row.name for row in over_seeds(found) if chosen(row)]
    result = []
    for one in found:
        verdicts = {
            label: verdict for name in facts.MEASURES for label, _, verdict, _ in parts_of(one["facts"][name], name)
        }
        result.append(sum(verdicts[name] == "inside" for name in wanted))
    return result


def table(found: Sequence[Mapping[str, Any]], title: str) -> str:
    """The facts over seeds as lines of text."""
    rows = over_seeds(found)
    header = ("fact", "mean", "interval", "seeds", "real", "inside")
    cells = [
        (
            f"{'* ' if row.half_hourly else '  '}{row.name}",
            number(row.mean),
            f"{number(row.low)} … {number(row.high)}",
            f"{number(row.least)} … {number(row.most)}",
            f"{number(row.real[0])} … {number(row.real[1])}" if row.real else "",
            f"{row.inside}/{row.judged}" if row.judged else "",
        )
        for row in rows
    ]
    lines = [f"{title}: {len(found)} seed{'s' * (len(found) > 1)}, {found[0]['seconds']:,.0f} timesteps each", ""]
    lines += [f"{a:<47}{b:>9}{c:>20}{d:>20}{e:>20}{f:>8}".rstrip() for a, b, c, d, e, f in (header, *cells)]
    banded, judged = counts(found, lambda row: row.half_hourly), counts(found, lambda row: row.judged > 0)
    of = sum(row.half_hourly for row in rows), sum(row.judged > 0 for row in rows)
    lines += [
        "",
        *(
            [
                f"within the real half hours (*): {np.mean(banded):.1f} of {of[0]} in the mean, {min(banded)} to {max(banded)}",
                f"within the real range, all:     {np.mean(judged):.1f} of {of[1]} in the mean, {min(judged)} to {max(judged)}",
            ]
            if of[1]
            else [f"not judged: shorter than one window of {facts.WINDOW_SECONDS:,} s"]
        ),
        f"real: {found[0]['real_source']}",
        f"{facts.MIRRORED}: {facts.MIRROR_NOTE}",
        "",
        stylized.TITLE,
    ]
    lines += [
        f"  {row.name:<45}{number(row.mean):>9}{f'{number(row.low)} … {number(row.high)}':>20}"
        f"{f'{number(row.least)} … {number(row.most)}':>20}  {stylized.beside(row.real)}".rstrip()
        for row in stylized_over_seeds(found)
    ]
    lines.append(f"real: {stylized.REAL['source']}")
    return "\n".join(lines)
