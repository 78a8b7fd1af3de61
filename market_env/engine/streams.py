"""Random streams: xoshiro256++ (Blackman and Vigna, 2021), four ``uint64`` words of state each.

Promise: the words of a stream are all there is to it, so streams live in records, copy with them and restore
with them. A run's seed goes through :class:`numpy.random.SeedSequence`; every stream of the run is keyed by
that and by a name, so no stream depends on which others exist. The words are filled by SplitMix64, as the
generator's authors advise. Cost: about 1 ns a draw.

The draws index their ``stream`` only, so an array row in a record and a C pointer both serve.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from market_env.engine.kernel import inline_kernel, kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
U17, U11, U19, U23, U27, U30, U31, U32, U41, U45 = (np.uint64(n) for n in (17, 11, 19, 23, 27, 30, 31, 32, 41, 45))

PURPOSE_CLOCK = np.uint64(1)
PURPOSE_POLICY = np.uint64(2)
PURPOSE_VALUE = np.uint64(3)
PURPOSE_LATENCY = np.uint64(4)
PURPOSE_TAPE = np.uint64(5)


@kernel
def mix(word):
    """SplitMix64's finaliser: a bijection of ``uint64`` whose output bits all depend on all input bits."""
    word = (word ^ (word >> U30)) * MIX_1
    word = (word ^ (word >> U27)) * MIX_2
    return word ^ (word >> U31)


@kernel
def seed_stream(stream, key, name, purpose):
    """Fill ``stream`` from the run's ``key``, the owner's ``name`` and a ``purpose`` (all ``uint64``)."""
    state = mix(key + GOLDEN) ^ mix(name + GOLDEN * purpose)
    for i in range(4):
        state = state + GOLDEN
        stream[i] = mix(state)


@inline_kernel
def output(words):
    """The 64 random bits of a stream's four words."""
    total = words[0] + words[3]
    return ((total << U23) | (total >> U41)) + words[0]


@inline_kernel
def advanced(words):
    """A stream's four words after a draw."""
    s0, s1, s2, s3 = words
    shifted = s1 << U17
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    return s0, s1, s2, (s3 << U45) | (s3 >> U19)


@kernel
def draw(stream):
    """Next 64 random bits as ``uint64``."""
    words = (stream[0], stream[1], stream[2], stream[3])
    stream[0], stream[1], stream[2], stream[3] = advanced(words)
    return output(words)


@kernel
def uniform(stream):
    """A float64 in [0, 1), of 53 random bits."""
    return float(draw(stream) >> U11) * (1.0 / 9007199254740992.0)


@kernel
def exponential(stream):
    """A float64 > 0 with mean 1."""
    # 1 - u is exact, so the plain logarithm loses nothing, and it costs a third of log1p.
    return -np.log(1.0 - uniform(stream))


@inline_kernel
def below(bits, count):
    """An int64 in [0, count) of 64 random bits."""
    return np.int64(((bits >> U32) * np.uint64(count)) >> U32)


@kernel
def integer(stream, count):
    """An int64 in [0, count), by multiplying and shifting 32 bits (Lemire, 2019); bias below ``count / 2**32``."""
    return below(draw(stream), count)


def run_key(seed: int) -> np.uint64:
    """The 64-bit key of a run with this seed (a non-negative int), through numpy's ``SeedSequence``."""
    return np.uint64(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])


def name_key(name: str) -> np.uint64:
    """The 64-bit key of an agent id or a group name."""
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


def new_stream(seed: int, name: str) -> NDArray[np.uint64]:
    """A policy stream that stands alone: the one that agent ``name`` has in a run with ``seed``."""
    stream = np.zeros(4, np.uint64)
    seed_stream(stream, run_key(seed), name_key(name), PURPOSE_POLICY)
    return stream
