"""What a market is: one row of a structured array.

Everything that a market remembers (book, accounts, clocks, random streams, counters, configuration) is one
record with nested tables. A snapshot is a copy of the record, a batch is many rows, and pickling, shared
memory and restoring need no code. Kernels take a row.

Capacities are part of the dtype and compile anew when they change, so there are a few presets. The record of a market of up
to 32 agents takes 95 KiB (``python -m benchmarks scale``), 132 where messages can be under way. Prices are ticks, quantities
lots, cash tick-lots, times timesteps.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from market_env.actions import MAX_GRID

NONE = -1
"""No order, no agent."""
STALE = -2
"""A price that has to be looked for anew."""

BUY, SELL = 0, 1
SIDES = ("buy", "sell")

KINDS = ("turn", "accept", "trade", "cancel", "reject", "halt", "resume")
KIND_TURN, KIND_ACCEPT, KIND_TRADE, KIND_CANCEL, KIND_REJECT, KIND_HALT, KIND_RESUME = range(7)

REASONS = (
    "agent", "self_trade", "ioc", "price_band", "inventory", "cash", "open_orders", "self_cross", "post_only", "best_only",
    "halt", "under_way",
)  # fmt: skip
"""Reasons of cancels and rejects; an event's ``reason`` indexes this, or is NONE."""
(
    REASON_AGENT, REASON_SELF_TRADE, REASON_IOC, REASON_PRICE_BAND,
    REASON_INVENTORY, REASON_CASH, REASON_OPEN_ORDERS, REASON_SELF_CROSS, REASON_POST_ONLY, REASON_BEST_ONLY,
    REASON_HALT, REASON_UNDER_WAY,
) = range(12)  # fmt: skip
REJECT_REASONS = (
    "price_band", "inventory", "cash", "open_orders", "self_cross", "post_only", "best_only", "halt", "under_way",
)  # fmt: skip

MESSAGE_SUBMIT, MESSAGE_REDUCE, MESSAGE_CANCEL = range(3)
"""What an agent can tell the exchange."""

READY = 0
"""Status: an agent's turn has begun. All others are below 0, so an agent's index can stand for it."""
OVER = -1
"""Status: the episode is over."""
LOG_FULL = -2
"""Status: the event buffer cannot hold another turn; drain it and call again."""
OUT_OF_RANGE = -3
"""Status: an action has a code out of range; nothing of it was carried out."""
NOT_BEGUN = -4
"""Status: no episode was ever begun."""

MAX_PARTS = 3
"""Most exponentials that a Hawkes group's kernel is the sum of."""

MEMORY = 8
"""Numbers that a policy may remember from turn to turn."""

CLOCK_EVERY, CLOCK_POISSON, CLOCK_HAWKES = range(3)

OPENED, LIVE = range(2)
"""Where a market with a tape stands: its book is laid out and not logged yet; the tape runs."""

HISTORY = 64
"""Past reference prices kept, one a timestep; longer than the longest return window."""

FILL_TRADE, FILL_SELF = range(2)

ORDER = np.dtype(
    [
        ("id", "i8"),        # order id, NONE while the slot is free
        ("agent", "i4"),     # owner's index
        ("side", "i4"),      # BUY or SELL
        ("price", "i4"),     # ticks
        ("lots", "i4"),      # still resting
        ("next", "i4"),      # in its level's queue, older first; in the list of free slots
        ("prev", "i4"),
    ],
    align=True,
)  # fmt: skip
"""A resting order: what matching and depth read of it, half a cache line."""

OWNED = np.dtype(
    [
        ("time", "f8"),      # of acceptance
        ("own_next", "i4"),  # in its owner's list, older first
        ("own_prev", "i4"),
        ("price", "i4"),     # as the order's, so that a walk along the list reads nothing else
        ("side", "i4"),
    ],
    align=True,
)  # fmt: skip
"""The rest of a resting order, by the same slot: what its owner's list knows of it."""

LEVEL = np.dtype([("lots", "i8"), ("head", "i4"), ("tail", "i4")], align=True)
"""A price level: total resting lots and the ends of its queue. Price p stands at p modulo the number of levels."""

FILL = np.dtype([("order_id", "i8"), ("maker", "i4"), ("price", "i4"), ("lots", "i4"), ("kind", "i4")], align=True)
"""What one incoming order did to one resting order: a trade, or a cancel of the taker's own order."""

MESSAGE = np.dtype(
    [
        ("order_id", "i8"),  # reduce, cancel: which order; NONE in a cancel by `which`
        ("price", "i4"),     # submit: limit price, ticks
        ("lots", "i4"),      # submit, reduce
        ("kind", "i4"),
        ("side", "i4"),      # submit
        ("immediate", "i4"), # submit: cancel what does not trade at once
        ("which", "i4"),     # cancel: oldest, bids, asks or all of the sender's orders, as in an action
        ("refusal", "i4"),   # submit: a reason for which the exchange must refuse it, else NONE
    ],
    align=True,
)  # fmt: skip
"""What an agent tells the exchange: submit an order, take lots off one, cancel one or several."""

TURN_MESSAGES = 3
"""Most messages of one turn: a cancel, and an order on each side."""

PACKET = np.dtype(
    [
        ("time", "f8"),   # of arrival at the exchange
        ("turn", "i8"),   # that sent it
        ("agent", "i4"),
        ("count", "i4"),  # of its messages
        ("messages", MESSAGE, (TURN_MESSAGES,)),
    ],
    align=True,
)  # fmt: skip
"""What one turn has sent and the exchange has not got yet."""

DELAY = np.dtype(
    [
        ("arrival", "f8"),    # of its last packet at the exchange
        ("under_way", "i8"),  # packets
        ("messages", "i8"),   # in them
        ("stream", "u8", (4,)),
        # configuration
        ("fixed", "f8"),      # timesteps; negative: no latency
        ("random", "f8"),     # mean of the random part
        ("most", "i8"),       # packets under way
    ],
    align=True,
)  # fmt: skip
"""How long an agent's messages travel."""

BILL = np.dtype(
    [
        ("timestep", "i8"),  # in which the messages are counted
        ("messages", "i8"),  # carried out in it
        ("turn", "i8"),      # whose messages were last counted
        ("parts", "i8"),     # of them: 1 its cancel, 2 its bid, 4 its ask
    ],
    align=True,
)  # fmt: skip
"""What an agent has to pay messages for."""

TAPE = np.dtype(
    [
        ("time", "f8"),    # timesteps from the tape's start; below 0 what the book starts with
        ("mid", "f8"),     # of the history's own book after it, ticks; 0 while that is one-sided
        ("row", "i8"),     # of the files that it was made from
        ("handle", "i4"),  # which of the history's orders; used anew once one is gone
        ("price", "i4"),   # ticks
        ("lots", "i4"),    # that rest, leave or trade
        ("kind", "i2"),
        ("side", "i2"),    # of the resting order
    ],
    align=True,
)  # fmt: skip
"""One message of a recorded day."""

TAPE_ADD, TAPE_REDUCE, TAPE_DELETE, TAPE_EXECUTE = range(4)

HANDLE = np.dtype([("order_id", "i8"), ("slot", "i4"), ("lots", "i4")], align=True)
"""Where one of the history's orders rests, and how many lots the history itself has left of it."""

OUTCOME = np.dtype(
    [
        ("turn", "i8"),             # number of the agent's turn that this is the outcome of; NONE before its first
        ("time", "f8"),             # when it was settled: the agent's next arrival, or the end
        ("elapsed", "f8"),          # since that turn
        ("wealth", "f8"),           # at settlement, tick-lots
        ("wealth_change", "f8"),    # since the agent saw the market at that turn, tick-lots
        ("fees", "f8"),             # paid less rebates since then; the wealth is after them
        ("carry", "f8"),            # of it: what the inventory that it held then has gained by the reference price
        ("move", "f8"),             # of the reference price since then, ticks
        ("inventory", "f8"),        # at settlement, lots
        ("inventory_bound", "f8"),
        ("cash", "f8"),             # at settlement, before fees, tick-lots
        ("maker_lots", "f8"),       # traded by its resting orders since that turn began
        ("taker_lots", "f8"),       # traded by its incoming orders in that turn
        ("refused", "i8"),          # lots rejected since that turn began, in all; then by reason
        ("rejected", "i8", (len(REASONS),)),
    ],
    align=True,
)  # fmt: skip
"""What came of one turn of one agent: all that a reward may depend on. Amounts are float64, for its arithmetic."""

SEEN = np.dtype(
    [
        ("turn", "i8"),  # number of the turn in which the agent looked; NONE before its first
        ("time", "f8"),
        ("wealth", "f8"),
        ("fees", "i8"),
        ("inventory", "i8"),
        ("reference", "f8"),
        ("maker_lots", "i8"),  # the counters as they stood then
        ("taker_lots", "i8"),
        ("refused", "i8"),
        ("rejected", "i8", (len(REASONS),)),
    ],
    align=True,
)
"""How an agent stood when it last looked: an outcome is the difference to that."""

LINE = 64
"""Bytes that memory comes in: a cache line."""


def _on_lines(fields: list[tuple[Any, ...]]) -> np.dtype[np.void]:
    """A dtype that is whole lines long, in which every field of two lines or more begins with one.

    What lies between is fields too, so that a row has no padding but what its fields have.
    """
    laid: list[tuple[Any, ...]] = []
    end = 0
    for field in [*fields, ("", np.dtype((np.void, 2 * LINE)))]:
        kind = np.dtype(field[1:] if len(field) > 2 else field[1])
        gap = -end % (LINE if kind.itemsize >= 2 * LINE else kind.base.alignment)
        if gap:
            laid.append((f"gap_{end}", "u1", (gap,)))
        laid.append(field)
        end += gap + kind.itemsize
    return np.dtype(laid[:-1], align=True)


AGENT = _on_lines(
    [
        # A line each: account, orders and limits, streams, duties.
        ("inventory", "i8"),
        ("cash", "i8"),
        ("reserved", "i8"),         # cash bound by open bids
        ("fees", "i8"),             # paid less rebates, thousandths of a tick-lot; cash is before them
        ("reserved_fees", "i8"),    # that open orders could cost beyond what they bring, thousandths
        ("open_bid_lots", "i8"),
        ("open_ask_lots", "i8"),
        ("open_orders", "i4"),
        ("oldest", "i4"),           # ends of the list of own orders
        ("newest", "i4"),
        ("own_best_bid", "i4"),     # highest own bid, 0 if there is none; STALE after that order has gone
        ("own_best_ask", "i4"),
        ("max_open_orders", "i4"),  # configuration, as are all limits, fees and duties
        ("maker_lots", "i8"),       # so far
        ("taker_lots", "i8"),
        ("refused", "i8"),          # lots rejected so far
        ("inventory_bound", "i8"),
        ("cash_floor", "i8"),
        ("maker_fee", "i4"),        # thousandths of a tick a lot
        ("taker_fee", "i4"),
        ("clock_stream", "u8", (4,)),
        ("policy_stream", "u8", (4,)),
        ("signal", "f8"),           # standard deviation of its error about the value, ticks; negative: it sees none
        ("shift_length", "f8"),     # timesteps
        ("shift_phase", "f8"),      # share of that by which changes come earlier
        ("shift", "i4"),
        ("shifts", "i4"),           # that take turns; 1: always on duty
        ("message_fee", "i4"),      # thousandths of a tick-lot
        ("free_messages", "i4"),    # a timestep
        ("clock", "i4"),
        ("post_only", "i2"),        # narrow, to end with the line
        ("best_only", "i2"),
        ("name", "u8"),             # key of its id
        ("start_inventory", "i8"),  # only a reset reads it, and the starting cash
        # Of what takes more than a line, few turns read the end.
        ("memory", "f8", (MEMORY,)),  # its policy's own, zero at the start
        ("seen", SEEN),             # at its last turn
        ("start_cash", "i8"),
        ("outcome", OUTCOME),
        ("rejected", "i8", (len(REASONS),)),  # lots so far, by reason
    ]
)  # fmt: skip
"""One agent's account, clock, streams and limits."""

ARRIVAL = np.dtype(
    [
        ("time", "f8"),
        ("agent", "i4"),  # whose it is; NONE for an absent member of a group
        ("clock", "i4"),
    ],
    align=True,
)  # fmt: skip
"""A clock's next arrival: what the order of turns is found by, a quarter of a cache line."""

CLOCK = np.dtype(
    [
        ("count", "i8"),       # arrivals so far
        ("start", "f8"),       # phase
        ("period", "f8"),      # every; configuration, as all to the members
        ("rate", "f8"),        # poisson: arrivals a timestep; hawkes: of the whole group
        ("process", "i8"),
        ("parts", "i4"),
        ("size", "i4"),        # members that a group's clock runs for, absent ones included
        ("first_member", "i4"),
        ("members", "i4"),
        ("since", "f8"),       # Hawkes: of what last set off arrivals, an arrival or a piece of news
        ("wait", "f8"),        # Hawkes: from then to the next arrival
        ("excitation", "f8", (MAX_PARTS,)),  # Hawkes: intensity above the baseline just after that, by part of the kernel
        ("stream", "u8", (4,)),  # Hawkes; the other clocks draw from their agent's clock stream
        ("branching", "f8", (MAX_PARTS,)),  # from here on configuration
        ("decay", "f8", (MAX_PARTS,)),
        ("news", "f8", (MAX_PARTS,)),  # arrivals that a piece of news sets off, by part of the kernel
        ("phase", "f8"),       # every; negative: draw it
        ("name", "u8"),        # key of the group's name
    ],
    align=True,
)  # fmt: skip
"""An arrival process: one agent's own, or a Hawkes group's."""

VALUE = np.dtype(
    [
        ("level", "f8"),       # just after the last piece of news, ticks
        ("time", "f8"),        # of the last piece of news
        ("count", "i8"),       # pieces of news so far
        ("next", "f8"),        # time of the next
        ("excitation", "f8"),  # intensity of news above the baseline, just after the next
        ("stream", "u8", (4,)),
        # configuration
        ("rate", "f8"),        # news a timestep; 0: there is no value
        ("branching", "f8"),
        ("decay", "f8"),
        ("jump", "f8"),        # mean absolute jump, ticks
        ("tail", "f8"),
        ("reversion", "f8"),
    ],
    align=True,
)  # fmt: skip
"""What the asset is worth: exogenous, and shown to nobody but by signals."""

EVENT = np.dtype(
    [
        ("seq", "i8"),
        ("time", "f8"),
        ("order_id", "i8"),
        ("maker_order_id", "i8"),
        ("turn", "i8"),         # in which the message was sent that it comes of, or the exchange acted by itself
        ("timestep", "i4"),
        ("agent", "i4"),
        ("price", "i4"),
        ("lots", "i4"),
        ("maker", "i4"),
        ("kind", "i1"),
        ("side", "i1"),
        ("reason", "i2"),  # wide, so that rows have no padding and equal rows equal bytes
    ],
    align=True,
)  # fmt: skip
"""One line of the exchange's log. Absent fields are NONE, an absent price 0."""


class Capacity(NamedTuple):
    """Sizes that are compiled in."""

    agents: int
    orders: int
    levels: int  # a power of two
    packets: int = 1  # under way; where no agent has a latency there is none
    handles: int = 1  # orders of a recorded day that rest at one time; without one there is none


PRESETS = (Capacity(32, 512, 1024), Capacity(128, 2048, 1024), Capacity(1024, 16384, 1024))
PACKETS = 8
"""Packets for each agent in the presets of markets with latency."""


@functools.cache
def market_dtype(capacity: Capacity) -> np.dtype[np.void]:
    """The record of a market of this capacity: the same dtype object on every call, which makes calls cheap."""
    return _on_lines(
        [
            # What every turn reads lies side by side, ahead of the tables, so that it can be fetched at once.
            # clock
            ("time", "f8"),             # of the turn under way
            ("end", "f8"),              # timesteps of an episode
            ("timestep", "i8"),
            ("turns", "i8"),            # begun so far
            ("acting", "i4"),           # whose turn it is; NONE once the episode is over
            ("finished", "i4"),
            ("agent_count", "i4"),
            ("clock_count", "i4"),
            # book
            ("reference", "f8"),
            ("best_bid", "i4"),         # 0 if there is none
            ("best_ask", "i4"),
            ("bid_levels", "i4"),       # occupied
            ("ask_levels", "i4"),
            ("free_orders", "i4"),      # slots without an order
            ("fill_count", "i4"),
            ("next_order_id", "i8"),
            ("first_price", "i4"),
            ("price_band", "i4"),
            ("protection_ticks", "i4"),
            ("halt_move", "i4"),        # ticks; 0: no halts
            ("halt_within", "i4"),      # timesteps
            ("offset_count", "i4"),
            ("lots_count", "i4"),
            ("free", "i4"),             # first of the free slots, which a chain of `next` links
            # what has been, for the observation
            ("variance", "f8", (2,)),   # moving averages, fast and slow
            ("flow", "f8", (2,)),       # aggressor's buys - sells, lots a timestep
            ("volume", "f8", (2,)),
            ("activity", "f8"),         # turns a timestep
            ("trades", "i8"),
            ("traded_lots", "i8"),
            # log
            ("seq", "i8"),              # events so far
            ("logged", "i8"),           # of them, in the buffer now
            # under way
            ("delayed", "i8"),          # agents with a latency
            ("under_way", "i8"),
            ("answering", "i8"),        # turn whose messages are carried out
            # halts
            ("halted", "i8"),
            ("halt_end", "f8"),         # timesteps
            ("halt_since", "i8"),       # first timestep whose end counts
            ("halt_agent", "i8"),       # whose message has set it off
            ("halt_pause", "f8"),       # timesteps
            ("key", "u8"),
            ("config", "u8"),           # key of the whole configuration
            ("collected", "i8"),        # fees that the exchange has taken in less rebates, thousandths of a tick-lot
            ("tape_rows", "i8"),        # of a recorded day; 0: there is none
            # what it is all about
            ("value", VALUE),
            ("messages", MESSAGE, (TURN_MESSAGES,)),  # of the turn under way
            ("offsets", "i4", (MAX_GRID,)),
            ("lots", "i4", (MAX_GRID,)),
            ("history", "f8", (HISTORY,)),
            ("heap", ARRIVAL, (capacity.agents,)),  # one of each clock, the next first
            ("members", "i4", (capacity.agents,)),  # agents of each Hawkes group, side by side
            # tables
            ("clocks", CLOCK, (capacity.agents,)),
            ("agents", AGENT, (capacity.agents,)),
            ("levels", LEVEL, (capacity.levels,)),
            ("orders", ORDER, (capacity.orders,)),
            ("owned", OWNED, (capacity.orders,)),
            ("fills", FILL, (capacity.orders + 1,)),
            ("bills", BILL, (capacity.agents,)),
            ("delays", DELAY, (capacity.agents,)),
            ("packets", PACKET, (capacity.packets,)),
            ("places", "i4", (capacity.packets,)),  # a heap of those under way, next arrival first, then the free ones
            # a recorded day
            ("tape_stage", "i8"),
            ("tape_next", "i8"),        # row
            ("tape_start", "f8"),       # timesteps into the tape at which the episode starts
            ("tape_cut", "i8"),         # lots that its messages were about and agents had traded before
            ("tape_displaced", "i8"),   # lots that agents traded in the history's place, being first in line
            ("tape_skipped", "i8"),     # messages about orders that were gone
            ("tape_unqueued", "i8"),    # executions of orders that were not first in line, carried out as cancels
            ("tape_first", "f8"),       # earliest start of an episode, timesteps into the tape
            ("tape_last", "f8"),        # latest
            ("tape_maker", "i8"),       # seat of the history's resting orders
            ("tape_taker", "i8"),       # seat of those that traded with them
            ("handles", HANDLE, (capacity.handles,)),
        ]
    )  # fmt: skip


def fitting(agents: int, orders: int, packets: int = 0) -> Capacity:
    """The smallest preset that holds so many agents, open orders and turns whose messages are under way.

    Raises:
        ValueError: no preset is large enough.
    """
    for capacity in PRESETS:
        room = PACKETS * capacity.agents
        if agents <= capacity.agents and orders <= capacity.orders and packets <= room:
            return capacity._replace(packets=room) if packets else capacity
    largest = PRESETS[-1]
    raise ValueError(
        f"a market holds at most {largest.agents} agents, {largest.orders} open orders in all (the sum of max_open_orders) and "
        f"{PACKETS * largest.agents} turns under way (of latency.under_way), got {agents}, {orders} and {packets}"
    )


LEVELS = (1_024, 4_096, 16_384, 65_536)
"""Price levels to choose from where a recorded day needs more."""
POOLS = (4_096, 16_384, 65_536, 262_144, 1_048_576)
"""Open orders to choose from in a market with a recorded day."""


def with_tape(capacity: Capacity, orders: int, ticks: int) -> Capacity:
    """A capacity with room for a recorded day besides.

    Args:
        capacity: for all else.
        orders: of the day that rest at one time.
        ticks: from its lowest price to its highest.

    Raises:
        ValueError: there is none.
    """
    pool = next((size for size in POOLS if size >= capacity.orders + orders), None)
    levels = next((size for size in LEVELS if size >= max(capacity.levels, 2 * (ticks + 1))), None)
    if pool is None or levels is None:
        raise ValueError(
            f"tape: a market holds at most {POOLS[-1]:,} open orders and prices within {LEVELS[-1] // 2 - 1:,} ticks of each other, "
            f"got {orders:,} orders of the day beside {capacity.orders:,}, and {ticks:,} ticks from its lowest price to its highest"
        )
    # Packets are small beside such a book: one size, latency or not, compiles once.
    packets, handles = PACKETS * capacity.agents, next(size for size in POOLS if size >= orders)
    return capacity._replace(orders=pool, levels=levels, packets=packets, handles=handles)


def covering(capacities: Iterable[Capacity]) -> Capacity:
    """The smallest capacity that holds what each of some holds."""
    return Capacity(*map(max, zip(*capacities, strict=True)))


TURN_EVENTS = 32
"""Events of a turn beside those that end an order of the book, at most."""


def longest_turn(orders: int) -> int:
    """Most events that one turn can log in a market of so many open orders: each may end once."""
    return orders + TURN_EVENTS
