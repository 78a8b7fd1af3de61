"""Statistics of a market beside those of real ones, by one code for both.

A run is first turned into the messages and the ten levels that LOBSTER would show of it. The facts, their definitions
and the ranges of three real days stand in ``market_facts.json``; a fact with a range over half hours is also measured
over each whole window of 1,800 timesteps, as that range was. Cost: about two seconds for 100,000 messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market_env.config import ConfigError, MarketConfig
from runners.exchange import pairs, stylized, window
from runners.exchange.sample import (
    LEVELS,
    Floats,
    Sample,
    autocorrelation,
    excess_kurtosis,
    finite,
    hill,
    number,
    order_flow_imbalance,
    ratio,
    sample_of,
    span_of,
)  # fmt: skip
from runners.files.config import read_config
from runners.files.read import load_events, recorded_timesteps

WINDOW_SECONDS = 1_800

REAL: dict[str, Any] = json.loads((Path(__file__).parent / "market_facts.json").read_text(encoding="utf-8"))
"""The real markets' figures, with source and limits."""

Value = float | list[float | None] | None


def variance_ratio(sample: Sample, seconds: int) -> float | None:
    """Variance of returns over ``seconds`` against that of 1 s returns, scaled (Lo and MacKinlay 1988)."""
    long, short = sample.returns(seconds), sample.returns()
    return ratio(float(long.var()), seconds * float(short.var())) if len(long) >= 10 else None


def mean_autocorrelation(values: Floats, lags: Sequence[int]) -> float | None:
    """Mean of the autocorrelations at several lags."""
    found = [autocorrelation(values, lag) for lag in lags]
    return float(np.mean([value for value in found if value is not None])) if None not in found else None


def spread_ticks(sample: Sample) -> float | None:
    """Time-weighted mean spread in ticks."""
    return sample.mean_over_time(sample.sides[-1][0][:, 0] - sample.sides[1][0][:, 0])


def by_level(sample: Sample, what: Callable[[Floats, Floats], Floats]) -> list[float | None]:
    """Time-weighted mean over both sides of what a side's prices and sizes say of each level."""
    sides = [what(*sample.sides[direction]) for direction in (1, -1)]
    found: list[float | None] = []
    for level in range(sides[0].shape[1]):
        means = [mean for side in sides if (mean := sample.mean_over_time(side[:, level])) is not None]
        found.append(float(np.mean(means)) if means else None)
    return found


def depth_by_level(sample: Sample) -> list[float | None]:
    """Time-weighted mean size of each level, where there is one."""
    return by_level(sample, lambda prices, sizes: sizes)


def print_moves_best(sample: Sample) -> float | None:
    """Share of visible executions after which the best price of the side that they hit is another."""
    moved = np.zeros(len(sample.messages), np.bool_)
    for direction in (1, -1):
        best = np.nan_to_num(sample.sides[direction][0][:, 0])
        moved |= (sample.messages["direction"] == direction) & (best[1:] != best[:-1])
    prints = sample.of_type(window.EXECUTE)
    return ratio(int((moved & prints).sum()), int(prints.sum()))


def ofi_r2(sample: Sample, seconds: int = 10) -> float | None:
    """R2 of mid changes over ``seconds`` on order-flow imbalance, with an intercept."""
    count = int((sample.end - sample.start) // seconds)
    grid = sample.start + seconds * np.arange(count + 1)
    rows = np.searchsorted(sample.messages["time"], grid, side="right")
    change = np.diff(sample.mid[rows])
    flow = np.diff(np.concatenate([[0.0], np.cumsum(order_flow_imbalance(sample))])[rows])
    known = ~np.isnan(change)
    change, flow = change[known], flow[known]
    if len(change) < 10 or change.std() == 0 or flow.std() == 0:
        return None
    return finite(np.corrcoef(change, flow)[0, 1] ** 2)


def up_by_imbalance(sample: Sample) -> list[float | None]:
    """P(next mid move is up) in five equal bins of touch imbalance, each message's book counted once."""
    (_, bids), (_, asks) = sample.sides[1], sample.sides[-1]
    imbalance = (bids[:, 0] - asks[:, 0]) / (bids[:, 0] + asks[:, 0])
    change = np.diff(sample.mid)
    moves = np.flatnonzero(np.nan_to_num(change) != 0)
    following = np.searchsorted(moves, np.arange(len(imbalance)))
    known = (following < len(moves)) & ~np.isnan(imbalance)
    bins = np.clip(((imbalance[known] + 1) / 0.4).astype(np.int64), 0, 4)
    up = change[moves[following[known]]] > 0
    return [float(up[bins == number].mean()) if (bins == number).any() else None for number in range(5)]


def placement(sample: Sample) -> list[float | None]:
    """Shares of submissions better than, at and behind the best price of their side just before."""
    submitted = sample.of_type(window.NEW)
    distance = np.zeros(len(sample.messages))
    for direction in (1, -1):
        best = sample.sides[direction][0][:-1, 0]
        own = direction * (sample.messages["price"] / sample.tick - best)
        distance = np.where(sample.messages["direction"] == direction, np.where(np.isnan(best), 1.0, own), distance)
    distance = distance[submitted]
    return [
        ratio(int(count), len(distance))
        for count in ((distance > 0).sum(), (distance == 0).sum(), (distance < 0).sum())
    ]


MEASURES: dict[str, Callable[[Sample], Value]] = {
    "excess_kurtosis_1s": lambda s: excess_kurtosis(s.returns()),
    "excess_kurtosis_1min": lambda s: excess_kurtosis(s.returns(60)),
    "hill_tail_index_1s": lambda s: hill(s.returns(), 0.02),
    "hill_tail_index_1s_5pct": lambda s: hill(s.returns(), 0.05),
    "acf_abs_return_lag1": lambda s: autocorrelation(np.abs(s.returns()), 1),
    "acf_abs_return_mean_lag1_10": lambda s: mean_autocorrelation(np.abs(s.returns()), range(1, 11)),
    "acf_return_lag1": lambda s: autocorrelation(s.returns(), 1),
    "variance_ratio_10s": lambda s: variance_ratio(s, 10),
    "variance_ratio_60s": lambda s: variance_ratio(s, 60),
    "zero_return_share_1s": lambda s: ratio(int((s.returns() == 0).sum()), len(s.returns())),
    "volatility_1s_bp": lambda s: finite(1e4 * s.returns().std()) if len(s.returns()) >= 10 else None,
    "sign_acf_lag1": lambda s: autocorrelation(s.signs, 1),
    "sign_acf_lag5": lambda s: autocorrelation(s.signs, 5),
    "sign_acf_lag10": lambda s: autocorrelation(s.signs, 10),
    "sign_acf_lags_2_5_10_20": lambda s: [autocorrelation(s.signs, lag) for lag in (2, 5, 10, 20)],
    "events_per_second": lambda s: ratio(len(s.messages), s.end - s.start),
    "event_count_fano_1s": lambda s: ratio(float(s.counts.var()), float(s.counts.mean())),
    "event_count_acf_1s": lambda s: autocorrelation(s.counts, 1),
    "event_count_acf_1_10_60s": lambda s: [autocorrelation(s.counts, lag) for lag in (1, 10, 60)],
    "cancel_per_submit": lambda s: ratio(
        int(s.of_type(window.PARTIAL, window.DELETE).sum()), int(s.of_type(window.NEW).sum())
    ),
    "exec_per_submit": lambda s: ratio(int(s.of_type(window.EXECUTE).sum()), int(s.of_type(window.NEW).sum())),
    "submit_log_size_sd": lambda s: (
        finite(np.log(s.messages["size"][s.of_type(window.NEW)]).std()) if s.of_type(window.NEW).any() else None
    ),
    "print_moves_best_share": print_moves_best,
    "placement_inside_atbest_behind": placement,
    "spread_ticks": spread_ticks,
    "best_depth_shares": lambda s: depth_by_level(s)[0],
    "depth_by_level_shares": depth_by_level,
    "level_distance_ticks": lambda s: by_level(s, lambda prices, sizes: np.abs(prices - prices[:, :1])),
    "ofi_r2_10s": ofi_r2,
    "p_up_by_imbalance": up_by_imbalance,
}
"""By the name of each fact how it is measured; what it means says :data:`REAL`."""

BANDED = tuple(name for name in MEASURES if "half_hour_min_median_max" in REAL["facts"][name])
"""Facts that have a range over real half hours."""

NEED_ALL_LEVELS = (
    "events_per_second", "event_count_fano_1s", "event_count_acf_1s", "event_count_acf_1_10_60s", "cancel_per_submit",
    "exec_per_submit", "submit_log_size_sd", "placement_inside_atbest_behind",
)  # fmt: skip
"""Facts about messages: real ones were counted over those that changed the first :data:`LEVELS` levels, and a pair with
fewer shows fewer of them. There they are measured and not judged."""

MIRRORED = "p_up_by_imbalance"
"""The fact whose real days are judged together with their mirror images, bids for asks and up for down: one of the three days
fell throughout, which says nothing of what an imbalance does."""
MIRROR_NOTE = (
    "judged by the days and their mirror images (up for down, bids for asks), since one of the three fell throughout"
)

PARTS: dict[str, Sequence[str]] = {
    "sign_acf_lags_2_5_10_20": ("lag 2", "lag 5", "lag 10", "lag 20"),
    "event_count_acf_1_10_60s": ("1 s", "10 s", "60 s"),
    "p_up_by_imbalance": ("-1.0 to -0.6", "-0.6 to -0.2", "-0.2 to 0.2", "0.2 to 0.6", "0.6 to 1.0"),
    "placement_inside_atbest_behind": ("inside", "at the best", "behind"),
    "depth_by_level_shares": tuple(f"level {level}" for level in range(1, LEVELS + 1)),
    "level_distance_ticks": tuple(f"level {level}" for level in range(1, LEVELS + 1)),
}
"""Names of the parts of facts that are lists."""


LABELS = {
    "excess_kurtosis_1s": "excess kurtosis of 1 s returns",
    "excess_kurtosis_1min": "excess kurtosis of 1 min returns",
    "hill_tail_index_1s": "tail index of 1 s returns, largest 2 %",
    "hill_tail_index_1s_5pct": "tail index of 1 s returns, largest 5 %",
    "acf_abs_return_lag1": "memory of |1 s return|, lag 1",
    "acf_abs_return_mean_lag1_10": "memory of |1 s return|, lags 1 to 10",
    "acf_return_lag1": "memory of 1 s returns, lag 1",
    "variance_ratio_10s": "variance ratio, 10 s over 1 s",
    "variance_ratio_60s": "variance ratio, 60 s over 1 s",
    "zero_return_share_1s": "share of seconds without a return",
    "volatility_1s_bp": "volatility of 1 s returns, basis points",
    "sign_acf_lag1": "memory of order signs, lag 1",
    "sign_acf_lag5": "memory of order signs, lag 5",
    "sign_acf_lag10": "memory of order signs, lag 10",
    "sign_acf_lags_2_5_10_20": "memory of order signs",
    "events_per_second": "messages a second",
    "event_count_fano_1s": "messages in 1 s, variance over mean",
    "event_count_acf_1s": "memory of messages in 1 s, lag 1",
    "event_count_acf_1_10_60s": "memory of messages in 1 s",
    "cancel_per_submit": "cancels a submission",
    "exec_per_submit": "executions a submission",
    "submit_log_size_sd": "spread of sizes, sd of ln(size)",
    "print_moves_best_share": "share of prints that move the best",
    "placement_inside_atbest_behind": "placement of orders, share",
    "spread_ticks": "spread, ticks",
    "best_depth_shares": "size at the best, units",
    "depth_by_level_shares": "size of a level, units",
    "level_distance_ticks": "distance from the best, ticks",
    "ofi_r2_10s": "R² of 10 s moves on order-flow imbalance",
    "p_up_by_imbalance": "next move by imbalance, P(up)",
}
"""What each fact is called where its name says too little, with its unit."""


BY_DEFINITION = ("level_distance_ticks", 0)
"""The fact and its part that is 0 in every market: how far the best is from the best. Nobody judges it."""


def measure(pair: pairs.Pair, start: float, end: float, tick: float) -> dict[str, Any]:
    """All facts of a pair, beside the real ones.

    Args:
        pair: messages and levels.
        start: seconds; where the first window begins.
        end: seconds.
        tick: price units of a tick.

    Returns:
        ``name``, ``seconds``, ``messages``, ``windows`` (how many whole ones), and ``facts``: by name the definition,
        the ``value`` over all, its ``windows``, the ``real`` ranges, and whether it is ``inside`` them. A list fact has
        lists. What cannot be measured is None. ``stylized`` has :func:`runners.exchange.stylized.measure`, which nothing
        judges.
    """
    return measured(pair, start, end, tick)[0]


def measured(pair: pairs.Pair, start: float, end: float, tick: float) -> tuple[dict[str, Any], Sample]:
    """The facts as :func:`measure` has them, and the first level as they looked at it."""
    within: dict[str, list[Value]] = {name: [] for name in BANDED}
    windows = 0
    for begin in window_starts(start, end):  # one after the other: what a window makes goes with it
        part = sample_of(pair, begin, begin + WINDOW_SECONDS, tick)
        windows += 1
        for name in BANDED:
            within[name].append(MEASURES[name](part))
    whole = sample_of(pair, start, end, tick)
    found = {
        "name": pair.name,
        "seconds": end - start,
        "messages": len(whole.messages),
        "windows": windows,
        "levels": min(pair.levels, LEVELS),
        "real_source": REAL["source"],
        "real_limits": REAL["limits"],
        "facts": {
            name: beside_real(name, how(whole), within.get(name), pair.levels, windows)
            for name, how in MEASURES.items()
        },
        "stylized": stylized.measure(whole),
    }
    return found, whole.touch()


def windows_of(pair: pairs.Pair, start: float, end: float, tick: float) -> list[Sample]:
    """The whole windows of :data:`WINDOW_SECONDS` of a stretch, one after the other."""
    return [sample_of(pair, begin, begin + WINDOW_SECONDS, tick) for begin in window_starts(start, end)]


def window_starts(start: float, end: float) -> Floats:
    """Where the whole windows of a stretch begin, seconds."""
    return np.arange(start, end - WINDOW_SECONDS + 1e-9, WINDOW_SECONDS)


def measure_one(name: str, whole: Sample, windows: Sequence[Sample], levels: int) -> dict[str, Any]:
    """One fact, beside the real ones; see :func:`measure`.

    Args:
        name: one of :data:`MEASURES`.
        whole: all of it.
        windows: its windows.
        levels: how many of the book's levels are known.
    """
    how = MEASURES[name]
    within = [how(part) for part in windows] if name in BANDED else None
    return beside_real(name, how(whole), within, levels, len(windows))


def beside_real(name: str, value: Value, within: list[Value] | None, levels: int, windows: int) -> dict[str, Any]:
    """A fact's value over all and within each window, if it has a range over half hours, beside the real ones."""
    real = REAL["facts"][name]
    band = real.get("half_hour_min_median_max")
    days = list(real.get("whole_day", {}).values())
    note = real.get("note")
    if name == MIRRORED:
        days += [[1.0 - share for share in reversed(day)] for day in days]
        note = MIRROR_NOTE
    seen = levels >= LEVELS or name not in NEED_ALL_LEVELS
    inside = verdicts(value, within, band, days, judged=bool(windows) and seen)
    if isinstance(inside, list):
        inside = [None if (name, part) == BY_DEFINITION else verdict for part, verdict in enumerate(inside)]
    return {
        "definition": real["definition"],
        "value": value,
        "windows": within,
        "real_half_hours": band,
        "real_days": days,
        "inside": inside,
        **({"note": note} if note else {}),
    }


def verdicts(
    value: Value, windows: list[Value] | None, band: list[float] | None, days: list[Any], *, judged: bool
) -> Any:
    """Inside, below or above the real range; None if it cannot be said.

    A fact with a half-hour range is judged by the median of its windows, another by its value against the lowest and
    highest of two or three days. Less than one window of data (``judged`` False) is not judged.
    """
    if isinstance(value, list):
        parts = [[day[number] for day in days if number < len(day)] for number in range(len(value))]
        return [
            _verdict(part, real) if judged and len(real) > 1 else None for part, real in zip(value, parts, strict=True)
        ]
    if not judged:
        return None
    if band:
        known = [part for part in windows or [] if isinstance(part, float)]
        return _verdict(float(np.median(known)) if known else None, [band[0], band[2]])
    return _verdict(value, days)


def _verdict(value: float | None, real: Sequence[float]) -> str | None:
    if value is None or not real:
        return None
    return "below" if value < min(real) else "above" if value > max(real) else "inside"


def tally(found: dict[str, Any]) -> tuple[int, int]:
    """Facts within the real range, and facts that could be judged."""
    judged = [verdict for _, verdict in judged_facts(found)]
    return judged.count("inside"), len(judged)


def judged_facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Names of facts that could be judged with their verdicts, one a part, as :func:`tally` counts them."""
    judged = []
    for name, fact in found["facts"].items():
        own = fact["inside"] if isinstance(fact["inside"], list) else [fact["inside"]]
        judged += [(name, verdict) for verdict in own if verdict]
    return judged


def table_rows(
    found: dict[str, Any], names: Mapping[str, str] | None = None
) -> list[tuple[str, str, str, str, str, str]]:
    """The facts as text: name, over all, lowest and highest window, real half hours, real days, verdict.

    Args:
        found: see :func:`measure`.
        names: what to call the facts, such as :data:`LABELS`; by default their names.
    """

    def span(values: Sequence[float]) -> str:
        ends = dict.fromkeys(number(end) for end in (min(values), max(values))) if values else ()
        return " … ".join(ends)

    lines = []
    for name, fact in found["facts"].items():
        called = names[name] if names else name
        if isinstance(fact["value"], list):
            for part, (value, verdict) in enumerate(zip(fact["value"], fact["inside"], strict=True)):
                real = [day[part] for day in fact["real_days"] if part < len(day)]
                lines.append((f"{called}: {PARTS[name][part]}", number(value), "", "", span(real), verdict or ""))
            continue
        windows = [value for value in fact["windows"] or [] if value is not None]
        band, days = fact["real_half_hours"] or [], fact["real_days"]
        lines.append((called, number(fact["value"]), span(windows), span(band), span(days), fact["inside"] or ""))
    return lines


def first_levels(found: dict[str, Any]) -> str:
    """Which levels were looked at."""
    levels = found["levels"]
    return f"first {levels} levels" if levels > 1 else "first level"


def table(found: dict[str, Any]) -> str:
    """The facts as lines of text."""
    header = ("fact", "all", "windows", "real half hours", "real days", "")
    lines = [
        f"{found['name']}: {found['messages']:,} messages in {found['seconds']:,.0f} s, {first_levels(found)}, "
        f"{found['windows']} windows of {WINDOW_SECONDS:,} s",
        "",
        *(f"{n:<45}{v:>9}{w:>17}{h:>18}{d:>17}  {verdict}" for n, v, w, h, d, verdict in (header, *table_rows(found))),
    ]
    inside, judged = tally(found)
    lines.append("")
    if judged:
        lines.append(f"{inside} of {judged} within the real range")
    banded = [fact["inside"] for fact in found["facts"].values() if fact["real_half_hours"] and fact["inside"]]
    if banded:
        lines[-1] += f", {banded.count('inside')} of the {len(banded)} that real half hours are known of"
    if found["levels"] < LEVELS:
        lines.append(f"not judged: {', '.join(NEED_ALL_LEVELS)}, which need the first {LEVELS} levels")
    if not found["windows"]:
        lines.append(f"not judged: shorter than one window of {WINDOW_SECONDS:,} s")
    lines += [f"real: {found['real_source']}", f"      {found['real_limits']}"]
    lines += [f"{name}: {fact['note']}" for name, fact in found["facts"].items() if "note" in fact]
    lines += ["", stylized.TITLE]
    lines += [
        f"{name:<45}{number(value):>9}  {stylized.beside(real)}"
        for name, value, real in stylized.by_part(found["stylized"])
    ]
    lines.append(f"real: {stylized.REAL['source']}")
    lines.append("definitions: runners/exchange/market_facts.json, stylized_facts.json, or --json")
    return "\n".join(line.rstrip() for line in lines)


def facts_of_run(path: Path) -> dict[str, Any]:
    """All facts of a run; see :func:`measure`.

    Raises:
        ConfigError: there is no run, its log is damaged, it has no orders, or its tick or lot cannot be said in
            LOBSTER's units.
    """
    _, config = read_config(path)
    return facts_of_events(config, load_events(path), recorded_timesteps(path), path)[0]


def facts_of_events(
    config: MarketConfig, events: NDArray[np.void], timesteps: int, path: Path
) -> tuple[dict[str, Any], Sample]:
    """All facts of a run's log, and the first level as they looked at it; raises as :func:`facts_of_run`."""
    pair = pairs.pair_of_events(config, events, LEVELS, path.name)
    if not len(pair.messages):
        raise ConfigError(f"run {path}: expected orders, found none in its log")
    if not timesteps:
        raise ConfigError(f"run {path}: expected a whole timestep, found none")
    end = pairs.OPENING + float(timesteps)
    return measured(pair, float(pairs.OPENING), end, config.tick_size * pairs.PRICE_UNITS)


def facts_of_pair(message: Path, orderbook: Path, tick_size: float = 0.01) -> dict[str, Any]:
    """All facts of a LOBSTER pair; see :func:`measure`. It counts from its first whole second to its last.

    Raises:
        FormatError: see :func:`runners.exchange.pairs.read_pair`.
    """
    pair = pairs.read_pair(message, orderbook)
    return measure(pair, *span_of(pair), tick_size * pairs.PRICE_UNITS)
