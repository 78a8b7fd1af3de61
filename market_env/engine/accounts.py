"""Accounts and pre-trade risk: integer cash and lots, checked before anything matches.

Promise: whatever fills, no agent passes its inventory bound and none's cash falls below its floor. The worst
case counts: position plus own open orders of a side within the bound, and the limit price of every open buy
reserved in cash. A sale credits cash at once; short sales are limited by the bound alone. An order that asks
for too much is trimmed to what may be, never refused whole for a part.
"""

from __future__ import annotations

from market_env.engine.kernel import kernel
from market_env.engine.state import BUY


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
def settle(buyer, seller, price, lots):
    """Move lots and cash between two accounts."""
    buyer.inventory += lots
    buyer.cash -= price * lots
    seller.inventory -= lots
    seller.cash += price * lots


@kernel
def wealth(market, account):
    """Cash plus inventory at the reference price, tick-lots, float64."""
    return account.cash + account.inventory * market.reference
