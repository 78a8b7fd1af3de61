"""Whose turn is next: one clock for each agent or Hawkes group, in a binary heap.

A clock knows its next arrival (time and agent). The earliest opens a turn and draws its successor from its
agent's clock stream, or from the group's, so clocks never disturb each other. Equal times go by a hash of (run
key, timestep, agent), which costs no draw. Cost: O(log clocks) a turn.

Hawkes clocks use the exact scheme of Dassios and Zhao (2013) for an exponential kernel: no thinning. They
begin in the stationary state: the process runs for 30 relaxation times, 1 / (decay (1 - branching)) each,
before time 0, which leaves exp(-30) of the start's influence.
"""

from __future__ import annotations

import numpy as np

from market_env.engine.kernel import kernel
from market_env.engine.state import CLOCK_EVERY, CLOCK_POISSON, NONE
from market_env.engine.streams import exponential, integer, mix, uniform

BURN_IN = 30.0
"""Relaxation times that a Hawkes clock runs before time 0."""


@kernel
def start_clock(market, index):
    """Bring a clock, its stream just seeded, to its first arrival at or after time 0."""
    clock = market.clocks[index]
    clock.count = 0
    clock.excitation = 0.0
    clock.agent = market.members[clock.first_member]
    own_stream = market.agents[clock.agent].clock_stream
    if clock.process == CLOCK_EVERY:
        clock.start = clock.phase if clock.phase >= 0.0 else uniform(own_stream) * clock.period
        clock.time = clock.start
    elif clock.process == CLOCK_POISSON:
        clock.time = exponential(own_stream) / clock.rate
    else:
        clock.time = -BURN_IN / (clock.decay * (1.0 - clock.branching))
        clock.excitation = clock.rate * clock.branching
        while clock.time < 0.0:
            next_hawkes(market, clock)


@kernel
def next_arrival(market, clock):
    """Move a clock to its next arrival."""
    clock.count += 1
    if clock.process == CLOCK_EVERY:
        clock.time = clock.start + clock.count * clock.period
    elif clock.process == CLOCK_POISSON:
        clock.time += exponential(market.agents[clock.agent].clock_stream) / clock.rate
    else:
        next_hawkes(market, clock)


@kernel
def next_hawkes(market, clock):
    """Draw waiting time and member of a Hawkes group's next arrival."""
    wait = exponential(clock.stream) / (clock.rate * (1.0 - clock.branching))
    if clock.excitation > 0.0:
        # Arrivals from the fading excitation are finite in number: with some chance none comes.
        left = 1.0 - clock.decay * exponential(clock.stream) / clock.excitation
        if left > 0.0:
            wait = min(wait, -np.log(left) / clock.decay)
    clock.time += wait
    clock.excitation = clock.excitation * np.exp(-clock.decay * wait) + clock.branching * clock.decay
    clock.agent = market.members[clock.first_member + integer(clock.stream, clock.members)]


@kernel
def tie(market, clock):
    """The hash that orders this arrival among others at the same time."""
    timestep = np.uint64(np.int64(clock.time))
    return mix(market.key ^ mix(timestep) ^ market.agents[clock.agent].name)


@kernel
def earlier(market, a, b):
    """Whether clock ``a`` arrives before clock ``b``."""
    first, second = market.clocks[a], market.clocks[b]
    if first.time != second.time:
        return first.time < second.time
    return tie(market, first) < tie(market, second)


@kernel
def sift_down(market, place):
    """Restore the heap below ``place``."""
    count = market.clock_count
    moving = market.heap[place]
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        if child + 1 < count and earlier(market, market.heap[child + 1], market.heap[child]):
            child += 1
        if not earlier(market, market.heap[child], moving):
            break
        market.heap[place] = market.heap[child]
        place = child
    market.heap[place] = moving


@kernel
def start_clocks(market):
    """Start every clock and build the heap."""
    for index in range(market.clock_count):
        start_clock(market, index)
        market.heap[index] = index
    for place in range(market.clock_count // 2 - 1, -1, -1):
        sift_down(market, place)


@kernel
def take_arrival(market):
    """Make the earliest arrival the acting agent and draw its clock's next; False once the episode is over."""
    clock = market.clocks[market.heap[0]]
    if clock.time >= market.end:
        market.acting = NONE
        market.finished = 1
        market.time = market.end
        return False
    market.time = clock.time
    market.acting = clock.agent
    next_arrival(market, clock)
    sift_down(market, 0)
    return True
