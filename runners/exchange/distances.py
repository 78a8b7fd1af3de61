"""How far apart two markets' distributions lie, as LOB-Bench measures generated data against real data.

After Nagy, Frey, Li, Sarkar, Vyetrenko, Zohren, Calinescu and Foerster (2025, "LOB-Bench: Benchmarking generative AI for
finance"): 21 unconditional scores of messages and levels, their histograms over common bins, the total variation between
them, and Wasserstein's first distance, with 95 % intervals from a bootstrap over single values. Prices count in
ticks and sizes in units of each market, so some scores are units and some behaviour, and each says which. Cost: some seconds
for 30,000 messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from runners.exchange import window
from runners.exchange.sample import Sample, order_flow_imbalance

Floats = NDArray[np.float64]

FLOW_MESSAGES = 10
"""Messages over which order-flow imbalance is summed, and over which the mid's move after it is looked at."""
DRAWS = 100
"""Of the bootstrap."""
MOST_BINS = 1_000


class Score(NamedTuple):
    """What is compared."""

    meaning: str
    of: Callable[[Sample], Floats]
    units: bool = False
    """Whether tick, lot or price decide it: then a distance may be nothing but units."""


class Distance(NamedTuple):
    """How far apart two distributions lie."""

    total_variation: float
    """Half the sum of absolute differences of two histograms: 0 for equal ones, 1 for such that share nothing."""
    low: float
    high: float
    wasserstein: float
    """First one, over values in standard deviations of the second sample."""
    wasserstein_low: float
    wasserstein_high: float


def _of_side(sample: Sample, direction: int, kinds: tuple[int, ...]) -> tuple[NDArray[np.int64], Floats]:
    """Rows of messages of a side, and their prices, ticks."""
    rows = np.flatnonzero((sample.messages["direction"] == direction) & np.isin(sample.messages["type"], kinds))
    return rows, sample.messages["price"][rows] / sample.tick


def _depth(direction: int, *kinds: int) -> Callable[[Sample], Floats]:
    def of(sample: Sample) -> Floats:
        rows, prices = _of_side(sample, direction, kinds)
        return np.abs(prices - sample.mid[rows])

    return of


def _level(direction: int, *kinds: int) -> Callable[[Sample], Floats]:
    def of(sample: Sample) -> Floats:
        rows, prices = _of_side(sample, direction, kinds)
        # A new order's level is the one that it stands at afterwards, a cancelled one's where it stood before.
        at = rows + 1 if kinds == (window.NEW,) else rows
        levels = sample.sides[direction][0][at]
        found: Floats = 1.0 + (direction * levels > direction * prices[:, None]).sum(axis=1)
        return found.astype(np.float64)

    return of


def _total(direction: int, levels: int | None) -> Callable[[Sample], Floats]:
    return lambda sample: np.nansum(sample.sides[direction][1][1:, :levels], axis=1)


def _spread(sample: Sample) -> Floats:
    found: Floats = sample.sides[-1][0][1:, 0] - sample.sides[1][0][1:, 0]
    return found


def _imbalance(sample: Sample) -> Floats:
    bids, asks = (np.nan_to_num(sample.sides[direction][1][1:, 0]) for direction in (1, -1))
    found: Floats = (bids - asks) / np.maximum(bids + asks, 1.0)
    return found


def _gaps(sample: Sample) -> Floats:
    gaps = np.diff(sample.messages["time"])
    return np.log10(np.maximum(gaps, 1e-6))


def _lives(sample: Sample) -> Floats:
    born: dict[int, float] = {}
    lives = []
    for time, kind, order in zip(*(sample.messages[name].tolist() for name in ("time", "type", "order")), strict=True):
        if kind == window.NEW:
            born[order] = time
        elif kind in (window.PARTIAL, window.DELETE) and order in born:
            lives.append(time - born.pop(order))
    return np.log10(np.maximum(lives, 1e-6))


def _volumes(sample: Sample) -> Floats:
    traded = sample.of_type(window.EXECUTE)
    minutes = ((sample.messages["time"][traded] - sample.start) // 60).astype(np.int64)
    sizes = sample.messages["size"][traded].astype(np.float64)
    found: Floats = np.bincount(minutes, sizes, int((sample.end - sample.start) // 60)).astype(np.float64)
    return found


def _flow(direction: float | None) -> Callable[[Sample], Floats]:
    def of(sample: Sample) -> Floats:
        total = np.concatenate([[0.0], np.cumsum(order_flow_imbalance(sample))])
        n = FLOW_MESSAGES
        flow: Floats = total[n:-n] - total[: -2 * n]
        move = np.sign(sample.mid[2 * n :] - sample.mid[n:-n])
        return flow if direction is None else flow[move == direction]

    return of


REMOVED = (window.PARTIAL, window.DELETE)
SCORES: dict[str, Score] = {
    "spread": Score("best ask less best bid after each message, ticks", _spread, units=True),
    "orderbook_imbalance": Score("(bid - ask) / (bid + ask) size at the touch", _imbalance),
    "log_inter_arrival_time": Score("log10 of seconds between messages", _gaps),
    "log_time_to_cancel": Score("log10 of seconds from submission to the first cancel", _lives),
    "ask_volume": Score("size of the levels shown on the ask side", _total(-1, None), units=True),
    "bid_volume": Score("the same of bids", _total(1, None), units=True),
    "ask_volume_touch": Score("size at the best ask", _total(-1, 1), units=True),
    "bid_volume_touch": Score("size at the best bid", _total(1, 1), units=True),
    "ask_limit_depth": Score("distance of new asks from the mid before, ticks", _depth(-1, window.NEW), units=True),
    "bid_limit_depth": Score("the same of bids", _depth(1, window.NEW), units=True),
    "ask_cancel_depth": Score(
        "distance of cancelled asks from the mid before, ticks", _depth(-1, *REMOVED), units=True
    ),
    "bid_cancel_depth": Score("the same of bids", _depth(1, *REMOVED), units=True),
    "ask_limit_level": Score("number of the level that a new ask stands at", _level(-1, window.NEW)),
    "bid_limit_level": Score("the same of bids", _level(1, window.NEW)),
    "ask_cancel_level": Score("number of the level that a cancelled ask stood at", _level(-1, *REMOVED)),
    "bid_cancel_level": Score("the same of bids", _level(1, *REMOVED)),
    "volume_per_minute": Score("traded size a minute", _volumes, units=True),
    "ofi": Score(f"order-flow imbalance of {FLOW_MESSAGES} messages", _flow(None), units=True),
    "ofi_up": Score(f"the same where the mid rises over the next {FLOW_MESSAGES}", _flow(1.0), units=True),
    "ofi_stay": Score("where it stays", _flow(0.0), units=True),
    "ofi_down": Score("where it falls", _flow(-1.0), units=True),
}
"""LOB-Bench's unconditional scores, by name."""


def histograms(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Shares of two samples in common bins, by the rule of Freedman and Diaconis (1981) on both together.

    The outer half hundredths are clipped, so that one value far out does not make the bins.
    """
    both = np.concatenate([first, second])
    low, high = np.quantile(both, [0.005, 0.995])
    quarter = np.subtract(*np.quantile(both, [0.75, 0.25]))
    width = 2.0 * quarter / len(both) ** (1 / 3) if quarter > 0 else (high - low) / 100
    bins = int(np.clip((high - low) / width if width > 0 else 1, 1, MOST_BINS))
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    counts = [np.histogram(np.clip(values, low, edges[-1]), edges)[0] / len(values) for values in (first, second)]
    return counts[0], counts[1]


def distance(first: Floats, second: Floats, draws: int = DRAWS) -> Distance:
    """How far apart two samples lie."""
    rng = np.random.default_rng(0)
    scale = float(second.std()) or 1.0

    def both(one: Floats, other: Floats) -> tuple[float, float]:
        shares = histograms(one, other)
        return 0.5 * float(np.abs(shares[0] - shares[1]).sum()), float(stats.wasserstein_distance(one, other)) / scale

    apart = both(first, second)
    again = np.array([both(rng.choice(first, len(first)), rng.choice(second, len(second))) for _ in range(draws)])
    # Two resamples differ by their own noise as well, so the basic interval: it takes that off again.
    high, low = np.maximum(2.0 * np.array(apart) - np.quantile(again, [0.025, 0.975], axis=0), 0.0)
    return Distance(apart[0], float(low[0]), float(high[0]), apart[1], float(low[1]), float(high[1]))


def distances(first: Sample, second: Sample, draws: int = DRAWS) -> dict[str, Distance | None]:
    """All scores of two markets; None where one of them has fewer than ten values."""
    found: dict[str, Distance | None] = {}
    for name, score in SCORES.items():
        one, other = (values[np.isfinite(values)] for values in (score.of(first), score.of(second)))
        found[name] = distance(one, other, draws) if min(len(one), len(other)) >= 10 else None
    return found


def table(found: Mapping[str, Distance | None], names: tuple[str, str]) -> str:
    """The distances as lines of text."""
    lines = [f"{names[0]} against {names[1]}", ""]
    lines.append(f"{'score':<26}{'total variation':>26}{'Wasserstein-1':>26}  meaning")
    for name, apart in found.items():
        score = SCORES[name]
        cells = ("-", "-")
        if apart is not None:
            cells = (
                f"{apart.total_variation:.3f} [{apart.low:.3f}, {apart.high:.3f}]",
                f"{apart.wasserstein:.3f} [{apart.wasserstein_low:.3f}, {apart.wasserstein_high:.3f}]",
            )
        lines.append(f"{name:<26}{cells[0]:>26}{cells[1]:>26}  {score.meaning}{' (units)' if score.units else ''}")
    lines.append(
        "intervals: 95 %, bootstrap, less its own noise; a point is biased upwards and may lie above its interval"
    )
    known = {name: apart for name, apart in found.items() if apart is not None}
    for what, chosen in (
        ("mean of all", list(known)),
        ("mean of those that units do not decide", [name for name in known if not SCORES[name].units]),
    ):
        if chosen:
            mean = (
                np.mean([known[name].total_variation for name in chosen]),
                np.mean([known[name].wasserstein for name in chosen]),
            )
            lines.append(f"{what + f' {len(chosen)}':<45}{mean[0]:>7.3f}{mean[1]:>26.3f}")
    return "\n".join(lines)
