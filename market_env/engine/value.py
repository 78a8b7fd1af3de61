"""What the asset is worth: a latent level that jumps with the news, exogenous and the same whatever the agents do.

News come as a Hawkes process with an exponential kernel, started in its stationary state (as the arrivals of
:mod:`arrivals`; jumps that set off jumps: Aït-Sahalia, Cacho-Diaz and Laeven, 2015, "Modeling financial contagion using
mutually exciting jump processes"). Sizes have a power-law tail (Lomax), the sign is a fair coin; between two pieces of news
the level may be drawn back to the first price. The stream is the value's own, keyed by the run alone. Nobody sees the
level but by a signal, :func:`seen_by`, whose error is a hash and costs no draw. Cost: about 0.1 µs a piece of news.
"""

from __future__ import annotations

import numpy as np

from market_env.engine.kernel import kernel
from market_env.engine.streams import GOLDEN, PURPOSE_VALUE, exponential, mix, seed_stream, uniform

BURN_IN = 30.0
"""Relaxation times that news run before time 0."""

HIGHEST = float(2**30)
"""The level stays between one tick and this: what a price can be."""


@kernel
def start(value, key, first_price):
    """Bring the value, if there is one, to a run's start: the level at the first price, news under way."""
    value.level = first_price
    value.time = 0.0
    value.count = 0
    value.next = 0.0
    value.excitation = 0.0
    if value.rate > 0.0:
        seed_stream(value.stream, key, PURPOSE_VALUE, PURPOSE_VALUE)
        value.next = -BURN_IN / (value.decay * (1.0 - value.branching))
        value.excitation = value.rate * value.branching
        while value.next < 0.0:
            draw_next(value)


@kernel
def draw_next(value):
    """Draw when the piece of news after the next comes, and let that be the next."""
    wait = exponential(value.stream) / (value.rate * (1.0 - value.branching))
    if value.excitation > 0.0:
        left = 1.0 - value.decay * exponential(value.stream) / value.excitation
        if left > 0.0:
            wait = min(wait, -np.log(left) / value.decay)
    value.next += wait
    value.excitation = value.excitation * np.exp(-value.decay * wait) + value.branching * value.decay


@kernel
def level_at(value, time, first_price):
    """The level at a time from the last piece of news to the next, ticks."""
    if value.reversion == 0.0:
        return value.level
    return first_price + (value.level - first_price) * np.exp(-value.reversion * (time - value.time))


@kernel
def release(value, first_price):
    """The next piece of news is out: the level jumps, and the one after it is drawn; return the jump, ticks."""
    size = value.jump * (value.tail - 1.0) * (np.exp(exponential(value.stream) / value.tail) - 1.0)
    before = level_at(value, value.next, first_price)
    after = before - size if uniform(value.stream) < 0.5 else before + size
    value.level = min(max(after, 1.0), HIGHEST)
    value.time = value.next
    value.count += 1
    draw_next(value)
    return value.level - before


@kernel
def seen_by(market, agent):
    """The level as an agent with a signal sees it now, ticks: its own error is anew with each piece of news.

    The error is a sum of four uniforms of 16 bits of one hash of (run, agent, count of news): nearly normal, and never
    beyond 3.5 standard deviations.
    """
    word = mix(market.key ^ agent.name ^ mix(np.uint64(market.value.count) + GOLDEN))
    total = 0.0
    for _ in range(4):
        total += float(word & np.uint64(65535))
        word >>= np.uint64(16)
    error = (total / 65536.0 - 2.0) * np.sqrt(3.0)
    return level_at(market.value, market.time, market.first_price) + agent.signal * error


@kernel
def tell(markets, key, end, times, jumps, levels):
    """Write the news of a run before ``end``, as many as there is room for; return how many there are.

    Args:
        markets: a configured record, shape (1,); its value is overwritten.
        key: the run's.
        end: timesteps.
        times: float64, timesteps.
        jumps: float64, ticks.
        levels: float64, ticks, just after.
    """
    market = markets[0]
    value = market.value
    start(value, key, market.first_price)
    count = 0
    while value.rate > 0.0 and value.next < end:
        jump = release(value, market.first_price)
        if count < len(times):
            times[count] = value.time
            jumps[count] = jump
            levels[count] = value.level
        count += 1
    return count
