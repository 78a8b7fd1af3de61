"""The news of a run made anew from its seed and configuration, in plain Python.

Written from the description of the generator and of the process alone: no numba, and nothing of the engine's. Cost: some
µs a piece of news.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from market_env.config import MarketConfig, Value
from runners.audit.streams import VALUE, uniforms

BURN_IN = 30.0
HIGHEST = float(2**30)


class Piece(NamedTuple):
    """A piece of news."""

    time: float
    jump: float
    value: float


def news(config: MarketConfig, seed: int, end: float) -> Iterator[Piece]:
    """The news of a run before ``end``, in order; none in a market without a value."""
    if config.value is not None:
        yield from _news(config.value, float(config.first_price), uniforms(seed, VALUE, VALUE), end)


def _news(value: Value, start: float, chances: Iterator[float], end: float) -> Iterator[Piece]:
    def unit() -> float:
        return -math.log(1.0 - next(chances))

    calm = 1.0 - value.branching_ratio
    excitation = value.rate * value.branching_ratio
    time, level, last = -BURN_IN / (value.decay * calm), start, 0.0

    def wait() -> float:
        nonlocal excitation
        passed = unit() / (value.rate * calm)
        if excitation > 0.0:
            left = 1.0 - value.decay * unit() / excitation
            if left > 0.0:
                passed = min(passed, -math.log(left) / value.decay)
        excitation = excitation * math.exp(-value.decay * passed) + value.branching_ratio * value.decay
        return passed

    while time < 0.0:
        time += wait()
    while time < end:
        size = value.jump * (value.tail - 1.0) * (math.exp(unit() / value.tail) - 1.0)
        before = level
        if value.reversion:
            before = start + (level - start) * math.exp(-value.reversion * (time - last))
        falls = next(chances) < 0.5
        level = min(max(before - size if falls else before + size, 1.0), HIGHEST)
        last = time
        yield Piece(time, level - before, level)
        time += wait()
