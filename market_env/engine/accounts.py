"""Accounts and pre-trade risk: integer cash and lots, checked before anything matches.

Promise: whatever fills, no agent passes its inventory bound and none's cash falls below its floor. The worst
case counts: position plus own open orders of a side within the bound, and the limit price of every open buy
reserved in cash, and what its fees could cost beyond that. A sale credits cash at once; short sales are limited by the bound
alone. An order that asks for too much is cut to what may be, never refused whole for a part.

Cash is before fees, which stand beside it in whole thousandths of a tick-lot, so that nothing is ever rounded; what an agent
has is its cash less its fees. What all have paid is what the exchange has collected.
"""

from __future__ import annotations

from market_env.engine import book
from market_env.engine.kernel import inline_kernel, kernel
from market_env.engine.state import BUY, NONE, SELL

UNIT = 1_000
"""Thousandths of a tick-lot in one: :data:`market_env.config.FEE_UNIT`, which a test holds to this."""


@kernel
def open_accounts(market):
    """Give every agent its starting inventory and cash, and no orders; nobody has paid anything."""
    market.collected = 0
    for i in range(market.agent_count):
        account = market.agents[i]
        account.inventory = account.start_inventory
        account.cash = account.start_cash
        account.fees = 0
        account.reserved = 0
        account.reserved_fees = 0
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
    """Cash above the floor that no open order has reserved and no fee has taken, whole tick-lots."""
    free = account.cash - account.cash_floor - account.reserved
    taken = account.fees + account.reserved_fees
    if taken != 0:  # where there are no fees, a division costs more than a look
        free += -taken // UNIT
    return max(0, free)


@kernel
def free_thousandths(account):
    """The same to the thousandth of a tick-lot, in a market with fees."""
    return max(0, UNIT * (account.cash - account.cash_floor - account.reserved) - account.fees - account.reserved_fees)


@inline_kernel
def affordable(account, side, price, lots):
    """How many of an order's lots free cash covers, at its limit price and the larger of both fees."""
    worst = max(account.maker_fee, account.taker_fee)
    if worst <= 0:
        return min(lots, free_cash(account) // price) if side == BUY else lots
    cost = UNIT * price + worst if side == BUY else worst - UNIT * price
    return min(lots, free_thousandths(account) // cost) if cost > 0 else lots


@kernel
def fees_reserved(account, side, price):
    """What a fill of a resting order would cost beyond its price, or beyond what it brings, thousandths a lot."""
    if account.maker_fee <= 0:
        return 0
    return account.maker_fee if side == BUY else max(0, account.maker_fee - UNIT * price)


@kernel
def reserve(account, side, price, lots):
    """An order of ``lots`` begins to rest."""
    account.reserved_fees += fees_reserved(account, side, price) * lots
    if side == BUY:
        account.open_bid_lots += lots
        account.reserved += price * lots
    else:
        account.open_ask_lots += lots


@kernel
def release(account, side, price, lots):
    """``lots`` of a resting order leave the book, traded or cancelled."""
    account.reserved_fees -= fees_reserved(account, side, price) * lots
    if side == BUY:
        account.open_bid_lots -= lots
        account.reserved -= price * lots
    else:
        account.open_ask_lots -= lots


@kernel
def settle(market, taker, maker, side, price, lots):
    """Move lots and cash between the accounts of a trade, and let both pay their fees; ``side`` is the taker's."""
    bought = lots if side == BUY else -lots
    taker.inventory += bought
    taker.cash -= price * bought
    maker.inventory -= bought
    maker.cash += price * bought
    pay(market, taker, taker.taker_fee * lots)
    pay(market, maker, maker.maker_fee * lots)


@kernel
def pay(market, account, thousandths):
    """Let an agent pay the exchange, or get a rebate."""
    account.fees += thousandths
    market.collected += thousandths


@kernel
def charge_message(market, agent, part):
    """A message of the turn that is answered is carried out: its sender pays for it, if it is beyond the free ones.

    Args:
        market: a record.
        agent: the sender.
        part: of its turn's messages: 1 the cancel, 2 the bid, 4 the ask. Each counts once.
    """
    account = market.agents[agent]
    if account.message_fee == 0:
        return
    bill = market.bills[agent]
    if bill.turn != market.answering:
        bill.turn = market.answering
        bill.parts = 0
    if bill.parts & part:
        return
    bill.parts |= part
    if bill.timestep != market.timestep:
        bill.timestep = market.timestep
        bill.messages = 0
    bill.messages += 1
    if bill.messages > account.free_messages:
        pay(market, account, min(account.message_fee, free_thousandths(account)))


@kernel
def wealth(market, account):
    """Cash less fees plus inventory at the reference price, tick-lots, float64."""
    cash = float(account.cash)
    if account.fees != 0:
        cash -= account.fees / UNIT
    return cash + account.inventory * market.reference


@kernel
def liquidation_wealth(market, agent):
    """Cash less fees after closing the inventory against the others' resting orders, tick-lots, float64.

    It pays a taker's fee for every lot. The walk passes over the agent's own orders; what the book cannot take goes at the
    worst price reached, or at the reference price if there was none. The market is not changed.
    """
    account = market.agents[agent]
    left = abs(account.inventory)
    value = account.cash - (account.fees + account.taker_fee * left) / UNIT
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
