"""Fetching memory ahead of its use: hints to the processor, which change nothing that a program computes.

A batch of many markets is larger than the caches. A turn that waits for each line of its market from memory spends most of its
time so; while one market is played, the next one's lines are under way. Cost: a few ns a record.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from market_env.engine.kernel import kernel

LINE = 64
"""Bytes that memory comes in."""
HEAD = 15 * LINE
"""From a market's first byte to the end of its heap, in a market of up to 32 agents: what every turn reads."""
AROUND = 24
"""Ticks each way of the reference price whose levels are fetched."""
NEXT = 10
"""Arrivals ahead."""


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
        builder.call(prefetch, [place, word(0), word(3), word(1)])  # to read, kept in all caches, data
        following = builder.add(line, ir.Constant(ir.IntType(64), 1))
        line.add_incoming(following, start)
        builder.cbranch(builder.icmp_signed("<", following, arguments[2]), start, after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return signature, generate


@kernel
def fetch_head(market):
    """Ask for what every turn of a market reads."""
    fetch(market, 0, HEAD // LINE)


@kernel
def fetch_tables(market):
    """Ask for the levels around the price and the clocks of the next arrivals; the head must have come."""
    around = int(market.reference) - AROUND
    for tick in range(0, 2 * AROUND, LINE // 16):
        fetch(market.levels[(around + tick) & (len(market.levels) - 1)], 0, 1)
    for place in range(min(NEXT, market.clock_count)):
        fetch(market.clocks[market.heap[place]], 0, 4)


@kernel
def fetch_agents(market):
    """Ask for the accounts of those who arrive next; their clocks must have come."""
    if market.acting >= 0:
        fetch_agent(market, market.acting)
    for place in range(min(NEXT, market.clock_count)):
        fetch_agent(market, market.clocks[market.heap[place]].agent)


@kernel
def fetch_agent(market, agent):
    """Ask for what a turn reads of an account; ``agent`` may be NONE."""
    fetch(market.agents[max(agent, 0)], 0, 10)


@kernel
def fetch_orders(market):
    """Ask for the orders at the best quotes, and for the ends of the lists of those who arrive next; their accounts must have come."""
    for price in (market.best_bid, market.best_ask):
        level = market.levels[price & (len(market.levels) - 1)]
        fetch(market.orders[max(level.head, 0)], 0, 1)
        fetch(market.orders[max(level.tail, 0)], 0, 1)
    for place in range(min(NEXT, market.clock_count)):
        account = market.agents[max(market.clocks[market.heap[place]].agent, 0)]
        for slot in (account.oldest, account.newest):
            fetch(market.orders[max(slot, 0)], 0, 1)
            fetch(market.owned[max(slot, 0)], 0, 1)
    fetch(market.orders[max(market.free, 0)], 0, 1)
