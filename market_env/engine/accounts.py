"""Accounts and pre-trade risk: integer cash and lots, checked before anything matches.

Promise: whatever fills, no agent passes its inventory bound and none's cash falls below its floor. The worst
case counts: position plus own open orders of a side within the bound, and the limit price of every open buy
reserved in cash. A sale credits cash at once; short sales are limited by the bound alone. An order that asks
for too much is cut to what may be, never refused whole for a part.
"""

from __future__ import annotations

from market_env.engine import book
from market_env.engine.kernel import kernel
from market_env.engine.state import BUY, NONE, SELL


@kernel
def open_accounts(market):
    """Give every agent its starting inventory and cash, and no orders."""
    for i in range(market.agent_count):
        account = market.agents[i]
        account.inventory = account.start_inventory
        account.cash = account.start_cash
        account.reserved = 0
        account.open_bid_lots = 0
        account.open_ask_lots = 0


@kernel
def room_in_inventory(account, side):
    """Lots that the bound still allows on this side."""
    if side == BUY:
        return max(0, account.inventory_bound - account.inventory - account.open_bid_lots)
    return max(0, account.inventory_bound + account.inventory - account.open_ask_lots)


@kernel
def free_cash(account):
    """Cash above the floor that no open bid has reserved, tick-lots."""
    return max(0, account.cash - account.cash_floor - account.reserved)


@kernel
def reserve(account, side, price, lots):
    """An order of ``lots`` begins to rest."""
    if side == BUY:
        account.open_bid_lots += lots
        account.reserved += price * lots
    else:
        account.open_ask_lots += lots


@kernel
def release(account, side, price, lots):
    """``lots`` of a resting order leave the book, traded or cancelled."""
    if side == BUY:
        account.open_bid_lots -= lots
        account.reserved -= price * lots
    else:
        account.open_ask_lots -= lots


@kernel
def settle(taker, maker, side, price, lots):
    """Move lots and cash between the accounts of a trade; ``side`` is the taker's."""
    bought = lots if side == BUY else -lots
    taker.inventory += bought
    taker.cash -= price * bought
    maker.inventory -= bought
    maker.cash += price * bought


@kernel
def wealth(market, account):
    """Cash plus inventory at the reference price, tick-lots, float64."""
    return account.cash + account.inventory * market.reference


@kernel
def liquidation_wealth(market, agent):
    """Cash after closing the inventory against the others' resting orders, tick-lots, float64.

    The walk passes over the agent's own orders; what the book cannot take goes at the worst price reached, or at
    the reference price if there was none. The market is not changed.
    """
    account = market.agents[agent]
    left = abs(account.inventory)
    value = float(account.cash)
    side = SELL if account.inventory < 0 else BUY
    sign = -1 if side == SELL else 1
    price = market.best_ask if side == SELL else market.best_bid
    levels = market.ask_levels if side == SELL else market.bid_levels
    worst = market.reference
    while left > 0 and levels > 0:
        slot = book.level_of(market, price).head
        if slot != NONE:
            levels -= 1
        while slot != NONE and left > 0:
            order = market.orders[slot]
            if order.agent != agent:
                lots = min(left, order.lots)
                worst = float(price)
                value += sign * lots * worst
                left -= lots
            slot = order.next
        price -= sign
    return value + sign * left * worst
