"""Fetching memory ahead of its use: hints to the processor, which change nothing that a program computes.

A batch of many markets is larger than the caches. A turn that waits for each line of its market from memory spends most of its
time so; while one market is played, the next ones' lines are under way. Cost: some 5 ns a line, which is what memory takes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from market_env.engine.kernel import inline_kernel, kernel
from market_env.engine.state import AGENT, ARRIVAL, HISTORY, LEVEL, LINE, NONE, PRESETS, market_dtype
from market_env.engine.streams import advanced, below, output
from market_env.observations import RETURN_WINDOWS


def _places(kind: np.dtype[np.void], *names: str) -> list[int]:
    """Where fields begin in a record, bytes."""
    assert kind.fields is not None
    return [kind.fields[name][1] for name in names]


OFFSETS_AT, LOTS_AT, HISTORY_AT, HEAP_AT = _places(market_dtype(PRESETS[0]), "offsets", "lots", "history", "heap")
"""Where these begin in a market, whatever its capacity."""
NEVER_RESET = np.uint64(0)
"""The key of a market that no episode was begun in: what it says of places was never checked."""
AROUND = 24
"""Ticks each way of the reference price whose levels are fetched."""
NEXT = 10
"""Clocks whose next arrivals are looked at."""
MEMBERS = 6
"""Arrivals of a group's members that are foreseen."""
SEEN_AT, OUTCOME_AT = _places(AGENT, "seen", "outcome")
"""A turn reads the lines of an account up to the second of what was seen, and two of the outcome."""
LEVELS_A_LINE, ARRIVAL_BYTES = LINE // LEVEL.itemsize, ARRIVAL.itemsize


@intrinsic
def fetch(typing_context: Any, record: Any, first: Any, count: Any) -> Any:
    """Ask for ``count`` lines of a record, from its byte ``first`` on."""
    signature = types.void(record, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        )
        base = builder.gep(builder.bitcast(arguments[0], byte), [arguments[1]])
        start = builder.append_basic_block("fetch")
        after = builder.append_basic_block("fetched")
        before = builder.block
        builder.branch(start)
        builder.position_at_end(start)
        line = builder.phi(ir.IntType(64))
        line.add_incoming(ir.Constant(ir.IntType(64), 0), before)
        place = builder.gep(base, [builder.mul(line, ir.Constant(ir.IntType(64), LINE))])
        builder.call(prefetch, [place, word(0), word(2), word(1)])  # to read, kept beyond the first cache, data
        following = builder.add(line, ir.Constant(ir.IntType(64), 1))
        line.add_incoming(following, start)
        builder.cbranch(builder.icmp_signed("<", following, arguments[2]), start, after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return signature, generate


@kernel
def fetch_head(market):
    """Ask for what every turn of a market reads, and for the next arrivals and who they may be."""
    fetch(market, 0, OFFSETS_AT // LINE)
    fetch(market, OFFSETS_AT, 2)
    fetch(market, LOTS_AT, 1)
    fetch(market, HEAP_AT, 1 + NEXT * ARRIVAL_BYTES // LINE)
    fetch(market, HEAP_AT + ARRIVAL_BYTES * len(market.heap), 2)


@kernel
def fetch_tables(market):
    """Ask for the levels around the price, clocks, past prices and where orders go; the head must have come."""
    around = int(market.reference) - AROUND
    for tick in range(0, 2 * AROUND, LEVELS_A_LINE):
        fetch(market.levels[np.uint32((around + tick) & (len(market.levels) - 1))], 0, 1)
    for place in range(min(NEXT, market.clock_count)):
        fetch(market.clocks[np.uint32(market.heap[place].clock)], 0, 2)
    for window in RETURN_WINDOWS:
        fetch(market, HISTORY_AT + 8 * ((market.timestep - window) % HISTORY), 1)
    fetch(market.fills[0], 0, 2)
    fetch_slot(market, market.free)


@kernel
def horizon(market):
    """When the acting agent arrives again; infinite where none of the next arrivals is known to be its."""
    for place in range(min(NEXT, market.clock_count)):
        if market.heap[place].agent == market.acting:
            return market.heap[place].time
    return np.inf


@kernel
def fetch_agent(market, agent):
    """Ask for what a turn reads of an account; ``agent`` may be NONE."""
    account = market.agents[np.uint32(max(agent, 0))]
    fetch(account, 0, SEEN_AT // LINE + 2)
    fetch(account, OUTCOME_AT, 2)


@kernel
def fetch_slot(market, slot):
    """Ask for an order; ``slot`` may be NONE."""
    fetch(market.orders[np.uint32(max(slot, 0))], 0, 1)
    fetch(market.owned[np.uint32(max(slot, 0))], 0, 1)


@kernel
def fetch_ends(market, agent):
    """Ask for the ends of the list of an agent's orders; ``agent`` may be NONE."""
    account = market.agents[np.uint32(max(agent, 0))]
    fetch_slot(market, account.oldest)
    fetch_slot(market, account.newest)


@kernel
def fetch_arrivals(market, ends):
    """Ask for the accounts of the acting agent and of those who arrive before it does again; for the ends of their orders if ``ends``.

    Their clocks must have come, for the ends their accounts. Which members of a group come after its next arrival is not drawn
    yet: a copy of its stream says, by the order in which :func:`market_env.engine.arrivals.draw_hawkes` draws.
    """
    if market.acting != NONE:
        fetch_either(market, market.acting, ends)
    until = horizon(market)
    for place in range(min(NEXT, market.clock_count)):
        arrival = market.heap[place]
        if arrival.time > until:
            continue
        fetch_either(market, arrival.agent, ends)
        clock = market.clocks[np.uint32(arrival.clock)]
        if clock.members > 1:
            if not ends:
                fetch(clock, 2 * LINE, 2)
            words = (clock.stream[0], clock.stream[1], clock.stream[2], clock.stream[3])
            for _ in range(MEMBERS):
                for _ in range(1 + clock.parts):  # the draws for the waiting time
                    words = advanced(words)
                member = below(output(words), clock.size)
                words = advanced(words)
                if member < clock.members:
                    fetch_either(market, market.members[np.uint32(clock.first_member + member)], ends)


@inline_kernel
def fetch_either(market, agent, ends):
    """Ask for an account, or for the ends of its orders."""
    if ends:
        fetch_ends(market, agent)
    else:
        fetch_agent(market, agent)


@kernel
def fetch_touch(market):
    """Ask for the orders at the best quotes; the levels must have come."""
    for price in (market.best_bid, market.best_ask):
        level = market.levels[np.uint32(price & (len(market.levels) - 1))]
        fetch(market.orders[np.uint32(max(level.head, 0))], 0, 1)
        fetch(market.orders[np.uint32(max(level.tail, 0))], 0, 1)


@kernel
def fetch_next(markets, i):
    """While market ``i`` is played, ask for what the next ones need: in stages, since each says where the next one's memory lies.

    Another thread may be playing one of them: whatever it reads there has been a place of it at some moment.
    """
    last = len(markets) - 1
    fetch_head(markets[min(i + 4, last)])
    fetch_tables(markets[min(i + 3, last)])
    market = markets[min(i + 2, last)]
    if market.key != NEVER_RESET:
        fetch_arrivals(market, False)
        following = market.orders[np.uint32(max(market.free, 0))].next  # the free slots are a chain
        fetch_slot(market, following)
    market = markets[min(i + 1, last)]
    if market.key != NEVER_RESET:
        fetch_arrivals(market, True)
        fetch_touch(market)
        following = market.orders[np.uint32(max(market.free, 0))].next
        fetch_slot(market, market.orders[np.uint32(max(following, 0))].next)
