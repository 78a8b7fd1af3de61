"""Which action codes can have an effect, by component.

Promise: of a masked order no lot is accepted, and a masked cancel takes nothing out, whatever else the turn cancels, as long as its
other order does not trade first and make room or cash. Taken all the same it may cost a message's fee, count as refused, and bar
the turn's other order where their prices meet. Where messages travel nothing is masked: the market moves meanwhile; and where several
learners act at once the mask is of before the first of them has acted. Cost: some tenths of a µs.
"""

from __future__ import annotations

import numpy as np

from market_env.actions import CANCEL_ALL, CANCEL_ASKS, CANCEL_BIDS, CANCEL_KEEP, CANCEL_OLDEST
from market_env.engine import arrivals, book
from market_env.engine.accounts import UNIT
from market_env.engine.kernel import kernel
from market_env.engine.state import BUY, NONE, SELL

CANCELS = 5


@kernel
def mask_codes(market, agent, mask):
    """Write for each code of each component, one after another, whether it can have an effect.

    Args:
        market: a record.
        agent: whose turn it is, or would be.
        mask: bool, shape (5 + 2 x (offsets + 1) + 2 x lots,).
    """
    account = market.agents[agent]
    mask[:] = True
    if not arrivals.on_duty(account, market.time):
        return  # whatever it does withdraws what is open
    if market.delayed and market.delays[agent].fixed >= 0.0:
        return
    any_open = account.oldest != NONE
    mask[CANCEL_OLDEST] = mask[CANCEL_ALL] = any_open
    mask[CANCEL_BIDS] = account.open_bid_lots > 0
    mask[CANCEL_ASKS] = account.open_ask_lots > 0
    mask[CANCEL_KEEP] = True
    offsets, lots = market.offset_count, market.lots_count
    place = CANCELS
    for side in (BUY, SELL):
        can = mask_offsets(market, account, agent, side, mask, place)
        first = place + offsets + 1
        for code in range(lots):
            mask[first + code] = market.lots[code] == 0 or can
        place = first + lots


@kernel
def mask_offsets(market, account, agent, side, mask, place):
    """Write the offsets of one order from ``place`` on; return whether any order of this side can pass."""
    held = account.inventory if side == BUY else -account.inventory
    room = account.inventory_bound - held > 0 and not market.halted
    fee = max(0, account.maker_fee, account.taker_fee)
    cash = UNIT * (account.cash - account.cash_floor) - account.fees
    best = others_best(market, agent, SELL if side == BUY else BUY)
    can = False
    for code in range(market.offset_count + 1):
        immediate = code == market.offset_count
        offset = -market.protection_ticks if immediate else market.offsets[code]
        if side == BUY:
            price = int(np.floor(market.reference - offset))
            cost = UNIT * price + fee
        else:
            price = int(np.ceil(market.reference + offset))
            if immediate:
                price = max(1, price)
            cost = fee - UNIT * price
        passes = room and price >= 1 and abs(price - market.reference) <= market.price_band and cost <= max(0, cash)
        if account.post_only and not immediate and best != 0:
            passes = passes and (price < best if side == BUY else price > best)
        mask[place + code] = passes
        can = can or passes
    if not can:
        mask[place] = True  # one of each component must be there to choose
    return can


@kernel
def others_best(market, agent, side):
    """Best price of a side at which somebody else's order rests; 0 if there is none."""
    price = market.best_bid if side == BUY else market.best_ask
    levels = market.bid_levels if side == BUY else market.ask_levels
    step = -1 if side == BUY else 1
    while levels > 0:
        slot = book.level_of(market, price).head
        levels -= slot != NONE
        while slot != NONE:
            if market.orders[slot].agent != agent:
                return price
            slot = market.orders[slot].next
        price += step
    return 0
