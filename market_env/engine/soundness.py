"""Whether a record is one that the engine could have left behind: checked before a kernel follows its links.

Kernels trust a record: an index out of range reads or writes foreign memory, a chain that closes on itself never ends. One
that comes from outside (a checkpoint, a saved state) is held to its own rules first. Cost: about 20 µs for the default
market, each order and level looked at twice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from market_env.actions import CANCEL_ALL
from market_env.engine import accounts, arrivals, history, latency, value
from market_env.engine.kernel import kernel
from market_env.engine.state import (
    BUY,
    CLOCK_HAWKES,
    LIVE,
    MESSAGE_CANCEL,
    MESSAGE_SUBMIT,
    NONE,
    REASON_SELF_CROSS,
    STALE,
)

CONFIGURATION = (
    "config", "end", "agent_count", "clock_count", "first_price", "price_band", "protection_ticks", "offset_count",
    "lots_count", "offsets", "lots", "members", "halt_move", "halt_within", "halt_pause",
    "delayed", "tape_rows", "tape_first", "tape_last", "tape_maker", "tape_taker",
)  # fmt: skip
AGENT_CONFIGURATION = (
    "name", "clock", "start_inventory", "start_cash", "inventory_bound", "cash_floor", "max_open_orders", "post_only",
    "best_only", "maker_fee", "taker_fee", "message_fee", "free_messages", "signal", "shift", "shifts", "shift_length",
    "shift_phase",
)  # fmt: skip
CLOCK_CONFIGURATION = (
    "name", "process", "period", "phase", "rate", "branching", "decay", "news", "parts", "size", "first_member", "members",
)  # fmt: skip
DELAY_CONFIGURATION = ("fixed", "random", "most")
VALUE_CONFIGURATION = ("rate", "branching", "decay", "jump", "tail", "reversion")
"""Fields of a record, its agents, its clocks, its latencies and its value that :func:`market_env.market.configure` sets for good."""

LARGEST_PRICE, LARGEST_TIME, MOST_COUNTED, MOST_EXCITED = 2.0**31, 1e15, 2**48, 1e6
"""Beyond what any market reaches: ticks, timesteps, turns, and intensity by that of a clock's rate and decay."""

RULES = (
    "",
    "clock: time, timestep and acting agent within the episode",
    "arrivals: a heap of all clocks, each at a time to come, with one of its members and as excited as it can be",
    "free slots: a chain of distinct empty ones",
    "own orders: chains of each agent's orders, as many, as large and as near the touch as its account says",
    "levels: queues of orders of one price and side, as large as they say",
    "best quotes: those of the levels, bid below ask",
    "accounts: inventories within their bounds, messages that can have been counted, and fees that add up to what the exchange has collected",
    "fills: no more than there is room for",
    "value: a level that a price can have, the last news past and the next to come",
    "messages under way: a heap of distinct packets yet to arrive, as many of each agent as it says, of messages that can be",
    "halts: one that has not ended, set off by an agent",
    "tape: the next row within it, a start that can be, and handles of slots that there are",
)
(SOUND, CLOCK, ARRIVALS, FREE_LIST, OWN_ORDERS, LEVELS, QUOTES, ACCOUNTS, FILLS, NEWS, UNDER_WAY, HALTS, ON_TAPE) = (
    range(13)
)


@kernel
def broken_rule(market, marks, tape):
    """Number of the first of :data:`RULES` that a record breaks, SOUND if none.

    Args:
        market: a record.
        marks: int8 work space, one an order, clock or packet.
        tape: TAPE rows of its recorded day; None without one.
    """
    if not clock_holds(market):
        return CLOCK
    if not arrivals_hold(market, marks):
        return ARRIVALS
    marks[:] = 0
    if not free_list_holds(market, marks):
        return FREE_LIST
    if not own_orders_hold(market, marks):
        return OWN_ORDERS
    if not levels_hold(market, marks):
        return LEVELS
    if not quotes_hold(market):
        return QUOTES
    paid = 0
    for i in range(market.agent_count):
        bill = market.bills[i]
        if (
            not 0 <= bill.messages <= MOST_COUNTED
            or not 0 <= bill.parts < 8
            or not NONE <= bill.turn < max(market.turns, 1)
        ):
            return ACCOUNTS
        agent = market.agents[i]
        if agent.inventory > agent.inventory_bound or agent.inventory < -agent.inventory_bound:
            return ACCOUNTS
        paid += agent.fees
    if paid != market.collected:
        return ACCOUNTS
    if market.fill_count < 0 or market.fill_count > len(market.fills):
        return FILLS
    if not value_holds(market, market.value):
        return NEWS
    if not under_way_holds(market, marks):
        return UNDER_WAY
    if market.halted < 0 or market.halted > 1 or not abs(market.halt_since) <= MOST_COUNTED:
        return HALTS
    if market.halted and (market.halt_move == 0 or not market.time <= market.halt_end <= LARGEST_TIME):
        return HALTS
    if market.halted and not 0 <= market.halt_agent < market.agent_count:
        return HALTS
    if tape is not None and not tape_holds(market, tape):
        return ON_TAPE
    return SOUND


@kernel
def clock_holds(market):
    """See :data:`RULES`; a record that was never reset has no acting agent and no key."""
    if not (0.0 <= market.time <= market.end) or market.timestep < 0 or market.timestep > market.end:
        return False
    if not abs(market.reference) <= LARGEST_PRICE or not 0 <= market.turns <= MOST_COUNTED:
        return False
    if market.acting < NONE or market.acting >= market.agent_count:
        return False
    return (market.acting == NONE) == (market.finished != 0 or market.key == 0)


@kernel
def arrivals_hold(market, marks):
    """See :data:`RULES`."""
    if market.key == 0:
        return True  # no clock was ever started
    marks[: market.clock_count] = 0
    for i in range(market.clock_count):
        arrival = market.heap[i]
        if arrival.clock < 0 or arrival.clock >= market.clock_count or marks[arrival.clock] != 0:
            return False
        marks[arrival.clock] = 1
        # The clock of the turn under way has been moved on to its next arrival.
        clock = market.clocks[arrival.clock]
        if not (market.finished or market.time <= arrival.time) or not 0.0 <= arrival.time <= LARGEST_TIME:
            return False
        if not 0 <= clock.count <= MOST_COUNTED or not 0.0 <= clock.start <= LARGEST_TIME:
            return False
        if not abs(clock.since) <= LARGEST_TIME or not 0.0 <= clock.wait <= LARGEST_TIME:
            return False
        if clock.process == CLOCK_HAWKES and (clock.since > market.time or clock.since + clock.wait != arrival.time):
            return False
        for part in range(clock.parts):
            if not 0.0 <= clock.excitation[part] <= MOST_EXCITED * (clock.rate + clock.decay[part]):
                return False
        known = arrival.agent == NONE and clock.size > clock.members
        for member in range(clock.first_member, clock.first_member + clock.members):
            known |= market.members[member] == arrival.agent
        if not known or (i and arrivals.earlier(market, arrival, market.heap[(i - 1) // 2])):
            return False
    return True


@kernel
def value_holds(market, worth):
    """See :data:`RULES`."""
    if market.key == 0 or worth.rate == 0.0:
        return True  # never started
    if not 1.0 <= worth.level <= value.HIGHEST or not 0 <= worth.count <= MOST_COUNTED:
        return False
    if not 0.0 <= worth.time <= market.time or not market.time <= worth.next <= LARGEST_TIME:
        return False
    return 0.0 <= worth.excitation <= MOST_EXCITED * (worth.rate + worth.decay)


@kernel
def under_way_holds(market, marks):
    """See :data:`RULES`."""
    room = len(market.packets)
    if market.key == 0:
        return True  # nothing was ever sent
    if market.under_way < 0 or market.under_way > room or not NONE <= market.answering < max(market.turns, 1):
        return False
    marks[:room] = 0
    for place in range(room):
        slot = market.places[place]
        if slot < 0 or slot >= room or marks[slot] != 0:
            return False
        marks[slot] = 1
        if place < market.under_way and not packet_holds(market, place, slot):
            return False
    for i in range(market.agent_count):
        delay = market.delays[i]
        if not 0 <= delay.under_way <= max(delay.most, 0) or not 0.0 <= delay.arrival <= LARGEST_TIME:
            return False
        packets, messages = 0, 0
        for place in range(market.under_way):
            packet = market.packets[market.places[place]]
            if packet.agent == i:
                packets += 1
                messages += packet.count
        if delay.under_way != packets or delay.messages != messages:
            return False
    return True


@kernel
def tape_holds(market, tape):
    """See :data:`RULES`."""
    if market.key == 0:
        return True
    if market.tape_stage != LIVE or not 0 <= market.tape_next <= market.tape_rows:
        return False
    if not market.tape_first <= market.tape_start <= market.tape_last or not abs(market.value.level) <= LARGEST_PRICE:
        return False
    if market.tape_next < market.tape_rows and not history.due(market, tape) >= market.time:
        return False
    if market.tape_next > 0 and not tape[market.tape_next - 1].time - market.tape_start <= market.time:
        return False
    for i in range(len(market.handles)):
        if market.handles[i].slot < NONE or market.handles[i].slot >= len(market.orders):
            return False
    return True


@kernel
def packet_holds(market, place, slot):
    """Whether a packet under way can be there, and be there in the heap."""
    packet = market.packets[slot]
    if packet.agent < 0 or packet.agent >= market.agent_count or not 0 <= packet.turn < market.turns:
        return False
    if market.delays[packet.agent].fixed < 0.0 or not market.time <= packet.time <= LARGEST_TIME:
        return False
    if packet.count < 1 or packet.count > len(packet.messages):
        return False
    for i in range(packet.count):
        message = packet.messages[i]
        if message.kind == MESSAGE_SUBMIT:
            if (
                message.side < 0
                or message.side > 1
                or message.lots < 1
                or message.immediate < 0
                or message.immediate > 1
            ):
                return False
            if message.refusal != NONE and message.refusal != REASON_SELF_CROSS:
                return False
        elif message.kind != MESSAGE_CANCEL or message.order_id != NONE or not 0 <= message.which <= CANCEL_ALL:
            return False
    return place == 0 or not latency.earlier(market, slot, market.places[(place - 1) // 2])


@kernel
def free_list_holds(market, marks):
    """See :data:`RULES`; marks the free slots 1."""
    capacity = len(market.orders)
    if market.key == 0:
        return True  # the pool is filled by the first reset
    if market.free_orders < 0 or market.free_orders > capacity:
        return False
    slot = market.free
    for _ in range(market.free_orders):
        if slot < 0 or slot >= capacity or marks[slot] != 0 or market.orders[slot].id != NONE:
            return False
        marks[slot] = 1
        slot = market.orders[slot].next
    return slot == NONE


@kernel
def own_orders_hold(market, marks):
    """See :data:`RULES`; marks the orders 2."""
    capacity = len(market.orders)
    total = 0
    for i in range(market.agent_count):
        agent = market.agents[i]
        slot, before, count = agent.oldest, NONE, 0
        bid_lots, ask_lots, reserved, fees = 0, 0, 0, 0
        best_bid, best_ask = 0, 0
        while slot != NONE:
            if slot < 0 or slot >= capacity or marks[slot] != 0:
                return False
            marks[slot] = 2
            order = market.orders[slot]
            if order.id < 0 or order.id >= market.next_order_id or order.agent != i:
                return False
            owned = market.owned[slot]
            if owned.own_prev != before or order.lots <= 0 or order.price < 1:
                return False
            if owned.price != order.price or owned.side != order.side:
                return False
            fees += accounts.fees_reserved(agent, order.side, order.price) * order.lots
            if order.side == BUY:
                best_bid = max(best_bid, order.price)
                bid_lots += order.lots
                reserved += order.price * order.lots
            else:
                best_ask = order.price if best_ask == 0 else min(best_ask, order.price)
                ask_lots += order.lots
            count += 1
            before, slot = slot, owned.own_next
        if agent.own_best_bid not in (best_bid, STALE) or agent.own_best_ask not in (best_ask, STALE):
            return False
        if agent.newest != before or agent.open_orders != count or count > agent.max_open_orders:
            return False
        if agent.open_bid_lots != bid_lots or agent.open_ask_lots != ask_lots or agent.reserved != reserved:
            return False
        if agent.reserved_fees != fees:
            return False
        total += count
    return market.key == 0 or total == capacity - market.free_orders


@kernel
def levels_hold(market, marks):
    """See :data:`RULES`; every order of :func:`own_orders_hold` is in one queue."""
    capacity, levels = len(market.orders), len(market.levels)
    total = 0
    for number in range(levels):
        level = market.levels[number]
        slot, before, lots = level.head, NONE, 0
        while slot != NONE:
            if slot < 0 or slot >= capacity or marks[slot] != 2:
                return False
            marks[slot] = 3
            order, first = market.orders[slot], market.orders[level.head]
            if order.prev != before or order.price & (levels - 1) != number:
                return False
            if order.price != first.price or order.side != first.side or order.side < 0 or order.side > 1:
                return False
            lots += order.lots
            total += 1
            before, slot = slot, order.next
        if level.tail != before or level.lots != lots:
            return False
    return market.key == 0 or total == capacity - market.free_orders


@kernel
def quotes_hold(market):
    """See :data:`RULES`."""
    best_bid, best_ask, bids, asks = 0, 0, 0, 0
    for number in range(len(market.levels)):
        head = market.levels[number].head
        if head != NONE:
            order = market.orders[head]
            if order.side == BUY:
                bids += 1
                best_bid = max(best_bid, order.price)
            else:
                asks += 1
                best_ask = order.price if best_ask == 0 else min(best_ask, order.price)
    if bids != market.bid_levels or asks != market.ask_levels:
        return False
    if best_bid != market.best_bid or best_ask != market.best_ask:
        return False
    return best_bid == 0 or best_ask == 0 or best_bid < best_ask


@kernel
def broken_rules(markets, marks, found, tape):
    """:func:`broken_rule` of every market, into ``found``, int64 of shape (markets,)."""
    for i in range(len(markets)):
        found[i] = broken_rule(markets[i], marks, tape)


def check_records(records: NDArray[np.void], fresh: NDArray[np.void], tape: NDArray[np.void] | None) -> None:
    """Raise a ValueError unless every record could have come of a market.

    Args:
        records: from outside, of the dtype of ``fresh``.
        fresh: a configured record of the same market, shape (1,).
        tape: TAPE rows of their recorded day; None without one.
    """
    agents, clocks = records["agents"], records["clocks"]
    for ours, theirs, names in (
        (fresh, records, CONFIGURATION),
        (fresh["agents"], agents, AGENT_CONFIGURATION),
        (fresh["clocks"], clocks, CLOCK_CONFIGURATION),
        (fresh["delays"], records["delays"], DELAY_CONFIGURATION),
        (fresh["value"], records["value"], VALUE_CONFIGURATION),
    ):
        for name in names:
            if not np.array_equal(np.broadcast_to(ours[name], theirs[name].shape), theirs[name]):
                raise ValueError(f"state: {name} is not that of this market's config")
    found = np.zeros(len(records), np.int64)
    marks = np.zeros(max(records[name].shape[1] for name in ("orders", "clocks", "packets")), np.int8)
    broken_rules(records, marks, found, tape)
    for number in np.flatnonzero(found):
        raise ValueError(f"state: market {number} breaks a rule of every record: {RULES[found[number]]}")
