"""Whose turn is next: one clock for each agent or Hawkes group, in a binary heap.

The heap holds each clock's next arrival (time and agent). The earliest opens a turn and draws its successor from its
agent's clock stream, or from the group's, so clocks never disturb each other. Equal times go by a hash of (run
key, timestep, agent), which costs no draw. Cost: O(log clocks) a turn, O(clocks) a piece of news.

Hawkes clocks use the exact scheme of Dassios and Zhao (2013) for an exponential kernel: no thinning. A kernel that is a
sum of exponentials is the race of its parts. They begin in the stationary state: the process runs for 30 relaxation times,
1 / (slowest decay x (1 - branching)) each, before time 0, which leaves exp(-30) of the start's influence.

News of the value raise a group's excitation, and its next arrival is drawn anew from there. That is exact, since the wait
so far says nothing about the rest of it, and news come from outside: nobody's turns or draws decide when. Arrivals set off
by trades or quotes are not offered: a change of one agent's policy would shift everybody's arrivals, and arms of an
experiment would no longer be pairs.
"""

from __future__ import annotations

import numpy as np

from market_env.engine import value
from market_env.engine.kernel import inline_kernel, kernel
from market_env.engine.state import CLOCK_EVERY, CLOCK_HAWKES, CLOCK_POISSON, NONE
from market_env.engine.streams import exponential, integer, mix, uniform

BURN_IN = 30.0
"""Relaxation times that a Hawkes clock runs before time 0."""

INFINITE = np.inf
"""After every episode's end."""


@kernel
def start_clock(market, index):
    """Bring a clock, its stream just seeded, to its first arrival at or after time 0, at its own place in the heap."""
    clock, arrival = market.clocks[index], market.heap[index]
    clock.count = 0
    clock.excitation[:] = 0.0
    arrival.clock = index
    arrival.agent = market.members[clock.first_member]
    own_stream = market.agents[arrival.agent].clock_stream
    if clock.process == CLOCK_EVERY:
        clock.start = clock.phase if clock.phase >= 0.0 else uniform(own_stream) * clock.period
        arrival.time = clock.start
    elif clock.process == CLOCK_POISSON:
        arrival.time = exponential(own_stream) / clock.rate
    else:
        slowest, quiet = clock.decay[0], 1.0
        for part in range(clock.parts):
            slowest = min(slowest, clock.decay[part])
            quiet -= clock.branching[part]
            clock.excitation[part] = clock.rate * clock.branching[part]
        clock.since = -BURN_IN / (slowest * quiet)
        draw_hawkes(market, clock, arrival)
        while arrival.time < 0.0:
            next_hawkes(market, clock, arrival)


@inline_kernel
def next_arrival(market, arrival):
    """Move a clock on: its arrival becomes the next one."""
    clock = market.clocks[arrival.clock]
    clock.count += 1
    if clock.process == CLOCK_EVERY:
        arrival.time = clock.start + clock.count * clock.period
    elif clock.process == CLOCK_POISSON:
        arrival.time += exponential(market.agents[arrival.agent].clock_stream) / clock.rate
    else:
        next_hawkes(market, clock, arrival)


@kernel
def next_hawkes(market, clock, arrival):
    """The arrival of a Hawkes group is there: let it set off others, and draw the next."""
    for part in range(clock.parts):
        clock.excitation[part] = (
            clock.excitation[part] * np.exp(-clock.decay[part] * clock.wait) + clock.branching[part] * clock.decay[part]
        )
    clock.since = arrival.time
    draw_hawkes(market, clock, arrival)


@kernel
def draw_hawkes(market, clock, arrival):
    """Draw waiting time and member of a Hawkes group's next arrival; :mod:`ahead` foresees members by the order of these draws."""
    quiet = 1.0
    for part in range(clock.parts):
        quiet -= clock.branching[part]
    wait = exponential(clock.stream) / (clock.rate * quiet)
    for part in range(clock.parts):
        if clock.excitation[part] > 0.0:
            # Arrivals from the fading excitation are finite in number: with some chance none comes.
            left = 1.0 - clock.decay[part] * exponential(clock.stream) / clock.excitation[part]
            if left > 0.0:
                wait = min(wait, -np.log(left) / clock.decay[part])
    clock.wait = wait
    arrival.time = clock.since + wait
    member = integer(clock.stream, clock.size)
    arrival.agent = market.members[clock.first_member + member] if member < clock.members else NONE


@kernel
def set_off(market, time):
    """A piece of news is out: groups that react to it have their next arrival drawn anew."""
    touched = False
    for place in range(market.clock_count):
        arrival = market.heap[place]
        clock = market.clocks[arrival.clock]
        told = 0.0
        for part in range(clock.parts):
            told += clock.news[part]
        if clock.process != CLOCK_HAWKES or told == 0.0:
            continue
        touched = True
        for part in range(clock.parts):
            clock.excitation[part] = (
                clock.excitation[part] * np.exp(-clock.decay[part] * (time - clock.since))
                + clock.news[part] * clock.decay[part]
            )
        clock.since = time
        draw_hawkes(market, clock, arrival)
    if touched:
        build_heap(market)


@kernel
def tie(market, clock, agent, time):
    """The hash that orders an arrival among others at the same time."""
    timestep = np.uint64(np.int64(time))
    owner = market.clocks[clock].name if agent == NONE else market.agents[agent].name
    return mix(market.key ^ mix(timestep) ^ owner)


@kernel
def earlier_by_tie(market, clock, agent, other, time):
    """Whether the arrival of a clock is before another one at the same time."""
    return tie(market, clock, agent, time) < tie(market, other.clock, other.agent, time)


@inline_kernel
def earlier(market, first, second):
    """Whether an arrival is before another one."""
    if first.time == second.time:
        return earlier_by_tie(market, first.clock, first.agent, second, first.time)
    return first.time < second.time


@kernel
def sift_down(market, place):
    """Restore the heap below ``place``."""
    count = market.clock_count
    heap = market.heap
    time, agent, clock = heap[place].time, heap[place].agent, heap[place].clock
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        if child + 1 < count:
            child += earlier(market, heap[child + 1], heap[child])
        below = heap[child]
        if below.time > time or (below.time == time and earlier_by_tie(market, clock, agent, below, time)):
            break
        heap[place].time, heap[place].agent, heap[place].clock = below.time, below.agent, below.clock
        place = child
    heap[place].time, heap[place].agent, heap[place].clock = time, agent, clock


@kernel
def start_clocks(market):
    """Start every clock and build the heap."""
    for index in range(market.clock_count):
        start_clock(market, index)
    build_heap(market)


@kernel
def build_heap(market):
    """Order the heap anew."""
    for place in range(market.clock_count // 2 - 1, -1, -1):
        sift_down(market, place)


@kernel
def on_duty(account, time):
    """Whether an agent's shift is on duty."""
    if account.shifts == 1:
        return True
    return int(np.floor(time / account.shift_length + account.shift_phase)) % account.shifts == account.shift


@inline_kernel
def take_arrival(market, until):
    """Make the earliest arrival before ``until`` (timesteps) the acting agent's, and draw its clock's next; return its time.

    News that come before it are published, and arrivals of absent members pass, as do those of agents off duty with nothing to
    withdraw. INFINITE if the episode is over before anybody arrives; if ``until`` is due no later than the next arrival, ``until``
    itself, and nobody acts then.
    """
    while True:
        arrival = market.heap[0]
        arrives = arrival.time if market.clock_count > 0 else INFINITE
        due = min(arrives, until)
        if market.value.rate > 0.0 and market.value.next <= due and market.value.next < market.end:
            value.release(market.value, market.first_price)
            set_off(market, market.value.time)
            continue
        if due >= market.end:
            market.acting = NONE
            return INFINITE
        if until <= arrives:
            return until
        time, agent = arrival.time, arrival.agent
        next_arrival(market, arrival)
        sift_down(market, 0)
        if agent != NONE and (market.agents[agent].open_orders > 0 or on_duty(market.agents[agent], time)):
            market.acting = agent
            return time
