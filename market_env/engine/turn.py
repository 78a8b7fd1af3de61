"""One turn of the market: who arrives, what came of its last turn, what it does now.

:func:`begin` moves the clock to the next arrival, lets what falls due before it happen, and settles that agent's previous
turn; :func:`act` carries out its action, or sends it off. Between the two the agent looks (:mod:`observe`) and decides. :func:`decode` turns the action into
messages, which :mod:`exchange` carries out: the cancel, then the two sides, the first of them by one draw of the
agent's clock stream.
"""

from __future__ import annotations

import numpy as np

from market_env.actions import CANCEL_ALL, CANCEL_KEEP
from market_env.engine import accounts, ahead, arrivals, book, exchange, history, latency, value
from market_env.engine.arrivals import INFINITE
from market_env.engine.exchange import TAU_FAST, TAU_SLOW
from market_env.engine.kernel import inline_kernel, kernel
from market_env.engine.state import (
    BUY,
    HISTORY,
    KIND_TURN,
    LOG_FULL,
    MESSAGE_CANCEL,
    MESSAGE_SUBMIT,
    NONE,
    OPENED,
    OVER,
    READY,
    REASON_SELF_CROSS,
    REASON_UNDER_WAY,
    SELL,
    TURN_EVENTS,
)
from market_env.engine.streams import PURPOSE_CLOCK, PURPOSE_POLICY, draw, seed_stream

TAU_RATIO = int(TAU_SLOW / TAU_FAST)
"""A whole number, see :func:`fade`."""


@kernel
def reset(market, key, tape):
    """Start an episode: everything but the configuration is set anew from the run's ``key``, and from the tape if there is one."""
    market.key = key
    market.time = 0.0
    market.timestep = 0
    market.acting = NONE
    market.finished = 0
    market.turns = 0
    market.seq = 0
    market.logged = 0
    market.trades = 0
    market.traded_lots = 0
    market.answering = NONE
    market.halted = 0
    market.halt_end = 0.0
    market.halt_since = -1
    market.halt_agent = NONE
    market.reference = market.first_price
    market.history[:] = market.first_price
    market.variance[:] = 0.0
    market.flow[:] = 0.0
    market.volume[:] = 0.0
    market.activity = 0.0
    book.clear(market)
    accounts.open_accounts(market)
    for i in range(market.agent_count):
        market.agents[i].open_orders = 0
        market.agents[i].oldest = NONE
        market.agents[i].newest = NONE
        market.agents[i].own_best_bid = 0
        market.agents[i].own_best_ask = 0
    value.start(market.value, key, market.first_price)
    if tape is not None:  # known to the compiler: without a tape nothing of one is compiled
        history.lay_out(market, tape)
    for i in range(market.agent_count):
        agent = market.agents[i]
        seed_stream(agent.clock_stream, key, agent.name, PURPOSE_CLOCK)
        seed_stream(agent.policy_stream, key, agent.name, PURPOSE_POLICY)
        agent.maker_lots = 0
        agent.taker_lots = 0
        agent.refused = 0
        agent.rejected[:] = 0
        agent.memory[:] = 0.0
        market.bills[i].timestep = NONE
        market.bills[i].messages = 0
        market.bills[i].turn = NONE
        market.bills[i].parts = 0
        first_look(market, agent, agent.seen)
        agent.outcome.refused = 0
        agent.outcome.rejected[:] = 0
        write_outcome(market, agent, agent.seen, agent.outcome)
    for i in range(market.clock_count):
        seed_stream(market.clocks[i].stream, key, market.clocks[i].name, PURPOSE_CLOCK)
    latency.start(market)
    arrivals.start_clocks(market)


@kernel
def first_look(market, agent, seen):
    """Let ``seen`` say that the agent looks for the first time, now."""
    seen.turn = NONE
    seen.time = market.time
    seen.wealth = accounts.wealth(market, agent)
    seen.fees = agent.fees
    seen.inventory = agent.inventory
    seen.reference = market.reference
    seen.maker_lots = agent.maker_lots
    seen.taker_lots = agent.taker_lots
    seen.refused = agent.refused
    for reason in range(len(agent.rejected)):
        seen.rejected[reason] = agent.rejected[reason]


@kernel
def write_outcome(market, agent, seen, outcome):
    """Write what has come of the agent's turn since ``seen``, and let it see the market as it stands now."""
    wealth = accounts.wealth(market, agent)
    outcome.turn = seen.turn
    outcome.time = market.time
    outcome.elapsed = market.time - seen.time
    outcome.wealth = wealth
    outcome.wealth_change = wealth - seen.wealth
    outcome.fees = 0.0 if agent.fees == seen.fees else (agent.fees - seen.fees) / accounts.UNIT
    outcome.move = market.reference - seen.reference
    outcome.carry = seen.inventory * outcome.move
    outcome.inventory = agent.inventory
    outcome.inventory_bound = agent.inventory_bound
    outcome.cash = agent.cash
    outcome.maker_lots = agent.maker_lots - seen.maker_lots
    outcome.taker_lots = agent.taker_lots - seen.taker_lots
    seen.time = market.time
    seen.wealth = wealth
    seen.fees = agent.fees
    seen.inventory = agent.inventory
    seen.reference = market.reference
    seen.maker_lots = agent.maker_lots
    seen.taker_lots = agent.taker_lots
    if outcome.refused > 0:  # in the turn before: seldom, and twelve numbers
        outcome.rejected[:] = 0
    outcome.refused = agent.refused - seen.refused
    seen.refused = agent.refused
    for reason in range(len(agent.rejected) if outcome.refused > 0 else 0):
        outcome.rejected[reason] = agent.rejected[reason] - seen.rejected[reason]
        seen.rejected[reason] = agent.rejected[reason]


@kernel
def begin(market, events, tape):
    """Open the next turn: the acting agent's last turn is settled and its arrival logged. Return a status.

    What falls due before it happens first: a halt ends, messages reach the exchange, those of a tape after the agents'.
    """
    if market.finished:
        return OVER
    while True:
        if len(events) > 0 and market.logged + len(market.orders) + TURN_EVENTS > len(events):
            return LOG_FULL
        due = INFINITE
        if market.under_way > 0:
            due = latency.first(market).time
        if market.halted:
            due = min(due, market.halt_end)
        if tape is not None:
            if market.tape_stage == OPENED:
                history.log_book(market, events)
            if market.tape_next < market.tape_rows:
                due = min(due, history.due(market, tape))
        time = arrivals.take_arrival(market, due)
        if time == INFINITE:
            market.finished = 1
            market.time = market.end
            end_timesteps(market)
            for i in range(market.agent_count):
                agent = market.agents[i]
                write_outcome(market, agent, agent.seen, agent.outcome)
            return OVER
        before = market.time
        market.time = time
        end_timesteps(market)
        fade(market, time - before)
        if time < due:
            break
        if market.halted and market.halt_end == due:
            exchange.resume(market, events)
        elif market.under_way > 0 and latency.first(market).time == due:
            deliver(market, events)
        elif tape is not None and not history.carry_out(market, tape, events):
            return LOG_FULL
    if market.clock_count > 0:
        ahead.fetch_agent(market, market.heap[0].agent)  # whose turn is probably next
    agent = market.agents[market.acting]
    agent.own_best_bid, agent.own_best_ask = book.own_best(market, agent)
    write_outcome(market, agent, agent.seen, agent.outcome)
    agent.seen.turn = market.turns
    market.answering = market.turns
    market.turns += 1
    market.activity += 1.0 / TAU_FAST
    exchange.log(market, events, KIND_TURN, market.acting, NONE, NONE, 0, 0, NONE, NONE, NONE)
    return READY


@kernel
def deliver(market, events):
    """The next messages under way reach the exchange, which carries them out."""
    packet = latency.take(market)
    market.answering = packet.turn
    for i in range(packet.count):
        exchange.carry_out(market, events, packet.agent, packet.messages[i])
    exchange.close_turn(market, events, packet.agent)


@inline_kernel
def end_timesteps(market):
    """Close the timesteps that the clock has passed: the reference price enters the history."""
    timestep = int(market.time)
    while market.timestep < timestep:
        change = market.reference - market.history[(market.timestep - 1) % HISTORY]
        square = change * change
        market.variance[0] += (square - market.variance[0]) / TAU_FAST
        market.variance[1] += (square - market.variance[1]) / TAU_SLOW
        market.history[market.timestep % HISTORY] = market.reference
        market.timestep += 1


@kernel
def fade(market, elapsed):
    """Let the moving averages of flow fade over ``elapsed`` timesteps."""
    slow = np.exp(-elapsed / TAU_SLOW)
    fast = slow**TAU_RATIO  # some multiplications, where another exponential costs five times that
    market.flow[0] *= fast
    market.flow[1] *= slow
    market.volume[0] *= fast
    market.volume[1] *= slow
    market.activity *= fast


@kernel
def in_range(market, action):
    """Whether every component is a code of its grid."""
    return (
        0 <= action[0] <= CANCEL_ALL
        and 0 <= action[1] <= market.offset_count
        and 0 <= action[2] < market.lots_count
        and 0 <= action[3] <= market.offset_count
        and 0 <= action[4] < market.lots_count
    )


@kernel
def act(market, events, action, reference):
    """Carry out the acting agent's ``action`` (five codes, in range) by offsets from ``reference``, what it saw.

    Where it has a latency, the messages are sent off instead.
    """
    agent = market.acting
    count = decode(market, agent, action, reference)
    if market.delayed and market.delays[agent].fixed >= 0.0:
        if not latency.send(market, agent, count):
            refuse(market, events, agent, count)
        return
    for i in range(count):
        exchange.carry_out(market, events, agent, market.messages[i])
    exchange.close_turn(market, events, agent)


@kernel
def refuse(market, events, agent, count):
    """Log the orders among the turn's messages as refused, since too many are under way."""
    for i in range(count):
        message = market.messages[i]
        if message.kind == MESSAGE_SUBMIT:
            exchange.reject(market, events, agent, message.side, message.price, message.lots, REASON_UNDER_WAY)


@inline_kernel
def decode(market, agent, action, reference):
    """Write the messages that ``agent``'s action means to ``market.messages``, in the order of execution; return how many.

    A bid's price rounds down, an ask's up; a market order is an IOC order at its protection price. The later of two
    orders whose prices meet carries the refusal for it. Off duty whatever it does withdraws what is open.
    """
    count = 0
    working = arrivals.on_duty(market.agents[agent], market.time)
    cancel = action[0] if working else CANCEL_ALL
    if cancel != CANCEL_KEEP:
        message = market.messages[0]
        message.kind = MESSAGE_CANCEL
        message.order_id = NONE
        message.which = cancel
        count = 1
    bid_market = action[1] == market.offset_count
    ask_market = action[3] == market.offset_count
    bid_lots = market.lots[action[2]] if working else 0
    ask_lots = market.lots[action[4]] if working else 0
    if bid_market:
        bid_price = int(np.floor(reference + market.protection_ticks))
    else:
        bid_price = int(np.floor(reference - market.offsets[action[1]]))
    if ask_market:
        # A price is at least one tick, however cheap the market.
        ask_price = max(1, int(np.ceil(reference - market.protection_ticks)))
    else:
        ask_price = int(np.ceil(reference + market.offsets[action[3]]))
    barred = bid_lots > 0 and ask_lots > 0 and bid_price >= ask_price
    # Drawn on every turn, so that the stream's place depends on nothing but the number of turns.
    bid_first = draw(market.agents[agent].clock_stream) >> np.uint64(63) == np.uint64(0)
    for half in range(2):
        refusal = REASON_SELF_CROSS if barred and half == 1 else NONE
        if bid_first == (half == 0):
            if bid_lots > 0:
                order(market.messages[count], BUY, bid_price, bid_lots, bid_market, refusal)
                count += 1
        elif ask_lots > 0:
            order(market.messages[count], SELL, ask_price, ask_lots, ask_market, refusal)
            count += 1
    return count


@kernel
def order(message, side, price, lots, immediate, refusal):
    """Fill a message that submits an order."""
    message.kind = MESSAGE_SUBMIT
    message.order_id = NONE
    message.side = side
    message.price = price
    message.lots = lots
    message.immediate = immediate
    message.refusal = refusal
