"""What an agent sees: fills the vector that :mod:`market_env.observations` names. No side effects.

:func:`observe` writes float32 features, :func:`describe` a row of plain figures for infos. Cost: about 0.2 µs.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from market_env.engine import accounts, book, value
from market_env.engine.kernel import inline_kernel, kernel
from market_env.engine.state import (
    BUY,
    HISTORY,
    NONE,
    REASON_BEST_ONLY,
    REASON_CASH,
    REASON_HALT,
    REASON_INVENTORY,
    REASON_OPEN_ORDERS,
    REASON_POST_ONLY,
    REASON_PRICE_BAND,
    REASON_SELF_CROSS,
    REASON_UNDER_WAY,
    REJECT_REASONS,
    SELL,
)
from market_env.observations import (
    AGE,
    HORIZON,
    INDEX,
    LEVELS,
    LOG_LOTS,
    MOVE_TICKS,
    NAMES,
    RETURN_FEATURES,
    RETURN_WINDOWS,
    SIGNAL_TICKS,
    TICKS,
    TURNS,
)

BID_LEVELS = INDEX["bid_distance_1"]
ASK_LEVELS = INDEX["ask_distance_1"]
SPREAD = INDEX["spread"]
IMBALANCE = INDEX["imbalance"]
IMBALANCE_5 = INDEX["imbalance_5"]
MICROPRICE = INDEX["microprice"]
DEPTH_MID = INDEX["depth_mid"]
RETURNS = INDEX[RETURN_FEATURES[0]]
VOLATILITY_FAST = INDEX["volatility_fast"]
VOLATILITY_SLOW = INDEX["volatility_slow"]
FLOW_FAST = INDEX["flow_fast"]
FLOW_SLOW = INDEX["flow_slow"]
VOLUME_FAST = INDEX["volume_fast"]
ACTIVITY_FAST = INDEX["activity_fast"]
INVENTORY = INDEX["inventory"]
INVENTORY_LOTS = INDEX["inventory_lots"]
CASH = INDEX["cash"]
OPEN_BID_LOTS = INDEX["open_bid_lots"]
OPEN_ASK_LOTS = INDEX["open_ask_lots"]
OPEN_ORDERS = INDEX["open_orders"]
OWN_BID_DISTANCE = INDEX["own_bid_distance"]
OWN_ASK_DISTANCE = INDEX["own_ask_distance"]
OWN_BID_AT_TOUCH = INDEX["own_bid_at_touch"]
OWN_ASK_AT_TOUCH = INDEX["own_ask_at_touch"]
OLDEST_ORDER_AGE = INDEX["oldest_order_age"]
WAITED = INDEX["waited"]
TIME_LEFT = INDEX["time_left"]
SIGNAL = INDEX["signal"]
UNDER_WAY = INDEX["under_way"]
HALTED = INDEX["halted"]

PARTS: tuple[tuple[str, ...], ...] = (
    tuple(name for name in NAMES if name.startswith(("bid_", "ask_"))),
    ("imbalance_5", "depth_mid"),
    ("spread", "imbalance", "microprice"),
    RETURN_FEATURES,
    ("volatility_fast", "volatility_slow"),
    ("volume_fast", "activity_fast"),
    ("flow_fast", "flow_slow"),
    ("inventory", "open_bid_lots", "open_ask_lots", "open_orders"),
    ("inventory_lots", "cash"),
    ("own_bid_distance", "own_ask_distance", "own_bid_at_touch", "own_ask_at_touch", "oldest_order_age"),
    ("signal",),
    ("waited", "time_left", "under_way", "halted"),
)
"""Features that are made together. A policy that says what it reads is given those parts alone."""
LADDER, DEPTH, TOUCH, PAST, VOLATILITY, ACTIVITY, FLOW, ACCOUNT, MEANS, OWN_ORDERS, OWN_SIGNAL, REST = (
    1 << part for part in range(len(PARTS))
)
ALL = (1 << len(PARTS)) - 1
"""The whole observation."""


def parts_of(names: Iterable[str] | None) -> int:
    """The parts that hold these features; all for None.

    Raises:
        ValueError: there is no such feature.
    """
    if names is None:
        return ALL
    found = 0
    for name in names:
        if name not in INDEX:
            raise ValueError(f"reads: expected names of features, got {name!r}")
        found |= 1 << next(part for part, own in enumerate(PARTS) if name in own)
    return found


INFO = np.dtype(
    [
        ("timestep", "i8"),
        ("time", "f8"),
        ("best_bid", "i8"),
        ("best_ask", "i8"),
        ("two_sided", "i8"),  # 1 if both sides are quoted; else what is undefined is 0
        ("spread", "i8"),
        ("mid", "f8"),
        ("imbalance", "f8"),
        ("bid_depth", "i8"),
        ("ask_depth", "i8"),
        ("inventory", "i8"),
        ("cash", "i8"),  # before fees
        ("fees", "f8"),  # paid so far less rebates, tick-lots
        ("wealth", "f8"),  # after them
        ("open_orders", "i8"),
        ("open_bid_lots", "i8"),
        ("open_ask_lots", "i8"),
        ("maker_lots", "i8"),
        ("taker_lots", "i8"),
        ("messages_under_way", "i8"),  # its own, to the exchange
        ("halted", "i8"),
        ("rejected_lots", "i8"),  # in all, then by reason
        *((f"rejected_{reason}", "i8") for reason in REJECT_REASONS),
    ],
    align=True,
)
"""An agent's info: the market now, its account now, and what came of its last turn. Plain numbers, the same on every turn:
a price, size, spread or imbalance that is undefined is 0."""

LOG_LOTS_TABLE = np.minimum(np.log1p(np.arange(np.ceil(np.expm1(LOG_LOTS)) + 1)) / LOG_LOTS, 1.0)
"""The feature of every quantity up to where it saturates; a look-up costs a tenth of a logarithm."""

INFO_LEVELS = 10
"""Levels of each side that the infos' depth adds up."""


@kernel
def clip(number, low, high):
    """``number`` within [low, high]."""
    return min(max(number, low), high)


@kernel
def log_lots(lots):
    """A quantity as a feature in [0, 1]."""
    return LOG_LOTS_TABLE[min(lots, len(LOG_LOTS_TABLE) - 1)]


@kernel
def balance(bids, asks):
    """(bids - asks) / sum, 0 if both are 0."""
    total = bids + asks
    return (bids - asks) / total if total > 0 else 0.0


@inline_kernel
def observe_levels(market, side, out, start, ladder):
    """Return total lots and lots times distance of the first levels of a side; write each one's too if ``ladder``."""
    if side == BUY:
        price, levels, step = market.best_bid, market.bid_levels, -1
    else:
        price, levels, step = market.best_ask, market.ask_levels, 1
    total = 0.0
    weighted = 0.0
    for rank in range(min(LEVELS, levels)):
        while book.level_of(market, price).head == NONE:
            price += step
        lots = book.level_of(market, price).lots
        distance = clip(step * (price - market.reference) / TICKS, 0.0, 1.0)
        total += lots
        weighted += lots * distance
        if ladder:
            out[start + 2 * rank] = distance
            out[start + 2 * rank + 1] = log_lots(lots)
        price += step
    for rank in range(levels, LEVELS if ladder else 0):
        out[start + 2 * rank] = 1.0
        out[start + 2 * rank + 1] = 0.0
    return total, weighted


@inline_kernel
def observe_book(market, out, ladder):
    """Write what the first levels of both sides say: of each of them if ``ladder``, and of all together."""
    bids, bid_distance = observe_levels(market, BUY, out, BID_LEVELS, ladder)
    asks, ask_distance = observe_levels(market, SELL, out, ASK_LEVELS, ladder)
    out[IMBALANCE_5] = balance(bids, asks)
    two_sided = market.best_bid != 0 and market.best_ask != 0
    out[DEPTH_MID] = 0.5 * (ask_distance / asks - bid_distance / bids) if two_sided else 0.0


@kernel
def observe_touch(market, out):
    """Write what the best quotes say."""
    if market.best_bid != 0 and market.best_ask != 0:
        bid_lots = float(book.level_of(market, market.best_bid).lots)
        ask_lots = float(book.level_of(market, market.best_ask).lots)
        spread = market.best_ask - market.best_bid
        touch = balance(bid_lots, ask_lots)
        out[SPREAD] = min(spread / TICKS, 1.0)
        out[IMBALANCE] = touch
        out[MICROPRICE] = clip(0.5 * touch * spread / TICKS, -1.0, 1.0)
    else:
        out[SPREAD] = 1.0
        out[IMBALANCE] = 0.0
        out[MICROPRICE] = 0.0


@kernel
def observe_past(market, out):
    """Write returns."""
    for i in range(len(RETURN_WINDOWS)):
        past = market.history[(market.timestep - RETURN_WINDOWS[i]) % HISTORY]
        out[RETURNS + i] = clip((market.reference - past) / MOVE_TICKS, -1.0, 1.0)


@kernel
def observe_volatility(market, out):
    """Write volatility."""
    out[VOLATILITY_FAST] = min(np.sqrt(market.variance[0]) / TICKS, 1.0)
    out[VOLATILITY_SLOW] = min(np.sqrt(market.variance[1]) / TICKS, 1.0)


@kernel
def observe_activity(market, out):
    """Write volume and activity."""
    out[VOLUME_FAST] = min(np.log(1.0 + market.volume[0]) / LOG_LOTS, 1.0)
    out[ACTIVITY_FAST] = market.activity / (market.activity + TURNS)


@kernel
def observe_flow(market, out):
    """Write signed flow."""
    out[FLOW_FAST] = flow_share(market.flow[0], market.volume[0])
    out[FLOW_SLOW] = flow_share(market.flow[1], market.volume[1])


@kernel
def observe_account(market, account, out):
    """Write inventory and open orders."""
    bound = float(account.inventory_bound)
    out[INVENTORY] = account.inventory / bound
    out[OPEN_BID_LOTS] = account.open_bid_lots / (2.0 * bound)
    out[OPEN_ASK_LOTS] = account.open_ask_lots / (2.0 * bound)
    out[OPEN_ORDERS] = account.open_orders / account.max_open_orders


@kernel
def observe_means(market, account, out):
    """Write inventory in lots, and cash."""
    size = log_lots(abs(account.inventory))
    out[INVENTORY_LOTS] = size if account.inventory >= 0 else -size
    free = float(accounts.free_cash(account))
    out[CASH] = free / (free + float(account.inventory_bound) * market.reference)


@kernel
def observe_rest(market, agent, account, outcome, out):
    """Write times, what is under way, and whether trading is halted."""
    out[WAITED] = min(outcome.elapsed / AGE, 1.0) if outcome.turn != NONE else 0.0
    out[TIME_LEFT] = clip((market.end - market.time) / HORIZON, 0.0, 1.0)
    out[UNDER_WAY] = 0.0
    if market.under_way > 0 and market.delays[agent].under_way > 0:
        out[UNDER_WAY] = market.delays[agent].under_way / market.delays[agent].most
    out[HALTED] = market.halted


@kernel
def observe_signal(market, account, out):
    """Write what it sees of the value."""
    out[SIGNAL] = 0.0
    if account.signal >= 0.0:
        out[SIGNAL] = clip((value.seen_by(market, account) - market.reference) / SIGNAL_TICKS, -1.0, 1.0)


@kernel
def observe(market, agent, outcome, out, parts):
    """Write agent ``agent``'s observation after ``outcome`` to ``out``, float32 of shape (SIZE,): those of :data:`PARTS`.

    Entries of other parts are left as they are.
    """
    account = market.agents[agent]
    if parts & (LADDER | DEPTH):
        observe_book(market, out, parts & LADDER != 0)
    if parts & TOUCH:
        observe_touch(market, out)
    if parts & PAST:
        observe_past(market, out)
    if parts & VOLATILITY:
        observe_volatility(market, out)
    if parts & ACTIVITY:
        observe_activity(market, out)
    if parts & FLOW:
        observe_flow(market, out)
    if parts & ACCOUNT:
        observe_account(market, account, out)
    if parts & MEANS:
        observe_means(market, account, out)
    if parts & OWN_ORDERS:
        observe_own_orders(market, account, out)
    if parts & OWN_SIGNAL:
        observe_signal(market, account, out)
    if parts & REST:
        observe_rest(market, agent, account, outcome, out)


@kernel
def flow_share(flow, volume):
    """Signed flow over volume, in [-1, 1]."""
    return clip(flow / volume, -1.0, 1.0) if volume > 1e-9 else 0.0


@kernel
def observe_own_orders(market, account, out):
    """Write where the agent's own orders stand."""
    best_bid, best_ask = book.own_best(market, account)
    out[OWN_BID_DISTANCE] = clip((market.reference - best_bid) / MOVE_TICKS, -1.0, 1.0) if best_bid != 0 else 1.0
    out[OWN_ASK_DISTANCE] = clip((best_ask - market.reference) / MOVE_TICKS, -1.0, 1.0) if best_ask != 0 else 1.0
    out[OWN_BID_AT_TOUCH] = 1.0 if best_bid != 0 and best_bid == market.best_bid else 0.0
    out[OWN_ASK_AT_TOUCH] = 1.0 if best_ask != 0 and best_ask == market.best_ask else 0.0
    if account.oldest == NONE:
        out[OLDEST_ORDER_AGE] = 0.0
    else:
        out[OLDEST_ORDER_AGE] = min((market.time - market.owned[account.oldest].time) / AGE, 1.0)


@kernel
def depth_near(market, side, levels):
    """Total lots of the first ``levels`` price levels of a side."""
    if side == BUY:
        price, occupied, step = market.best_bid, market.bid_levels, -1
    else:
        price, occupied, step = market.best_ask, market.ask_levels, 1
    total = 0
    for _ in range(min(levels, occupied)):
        while book.level_of(market, price).head == NONE:
            price += step
        total += book.level_of(market, price).lots
        price += step
    return total


@kernel
def describe(market, agent, outcome, row):
    """Write agent ``agent``'s info after ``outcome`` to ``row``, an INFO record."""
    account = market.agents[agent]
    row.timestep = market.timestep
    row.time = market.time
    row.best_bid = market.best_bid
    row.best_ask = market.best_ask
    row.mid = market.reference
    row.two_sided = market.best_bid != 0 and market.best_ask != 0
    if row.two_sided:
        row.spread = market.best_ask - market.best_bid
        row.imbalance = balance(
            float(book.level_of(market, market.best_bid).lots), float(book.level_of(market, market.best_ask).lots)
        )
    else:
        row.spread = 0
        row.imbalance = 0.0
    row.bid_depth = depth_near(market, BUY, INFO_LEVELS)
    row.ask_depth = depth_near(market, SELL, INFO_LEVELS)
    row.inventory = account.inventory
    row.cash = account.cash
    row.fees = 0.0 if account.fees == 0 else account.fees / accounts.UNIT
    row.wealth = accounts.wealth(market, account)
    row.open_orders = account.open_orders
    row.open_bid_lots = account.open_bid_lots
    row.open_ask_lots = account.open_ask_lots
    row.maker_lots = int(outcome.maker_lots)
    row.taker_lots = int(outcome.taker_lots)
    row.messages_under_way = market.delays[agent].messages if market.delayed else 0
    row.halted = market.halted
    rejected = outcome.rejected
    row.rejected_price_band = rejected[REASON_PRICE_BAND]
    row.rejected_inventory = rejected[REASON_INVENTORY]
    row.rejected_cash = rejected[REASON_CASH]
    row.rejected_open_orders = rejected[REASON_OPEN_ORDERS]
    row.rejected_self_cross = rejected[REASON_SELF_CROSS]
    row.rejected_post_only = rejected[REASON_POST_ONLY]
    row.rejected_best_only = rejected[REASON_BEST_ONLY]
    row.rejected_halt = rejected[REASON_HALT]
    row.rejected_under_way = rejected[REASON_UNDER_WAY]
    row.rejected_lots = outcome.refused
