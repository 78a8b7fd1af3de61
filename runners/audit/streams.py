"""A run's random streams made anew from its seed, in plain Python.

Written from the description of the generator alone: no numba, and nothing of the engine's. Cost: some µs a draw.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np

from market_env.config import Latency

WORD = 2**64
VALUE, LATENCY, TAPE = 3, 4, 5
"""What a stream is for."""


def scramble(word: int) -> int:
    """SplitMix64's finaliser."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB % WORD
    return word ^ word >> 31


def uniforms(seed: int, name: int, purpose: int) -> Iterator[float]:
    """The draws of a stream in [0, 1): xoshiro256++, seeded by SplitMix64 from the run's key, a name's and a purpose."""
    golden = 0x9E3779B97F4A7C15
    key = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    word = scramble((key + golden) % WORD) ^ scramble((name + golden * purpose) % WORD)
    state = [scramble((word + golden * number) % WORD) for number in (1, 2, 3, 4)]

    def rotated(number: int, bits: int) -> int:
        return (number << bits | number >> 64 - bits) % WORD

    while True:
        a, b, c, d = state
        yield ((rotated((a + d) % WORD, 23) + a) % WORD >> 11) / 2**53
        c, d = c ^ a, d ^ b
        state = [a ^ d, b ^ c, c ^ (b << 17) % WORD, rotated(d, 45)]


def tape_share(seed: int) -> float:
    """How far between the earliest and the latest start on a tape a run's episode starts, in [0, 1)."""
    key = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    return (scramble(key ^ 0x9E3779B97F4A7C15 * TAPE % WORD) >> 11) / 2**53


def named(name: str) -> int:
    """The key of an agent's id."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def delays(latency: Latency | None, agent: str, seed: int) -> Iterator[float]:
    """How long what each of an agent's turns sends travels, timesteps; 0 without a latency."""
    chances = uniforms(seed, named(agent), LATENCY)
    while True:
        if latency is None:
            yield 0.0
        elif latency.random == 0.0:
            yield latency.fixed
        else:
            yield latency.fixed + latency.random * -math.log(1.0 - next(chances))
