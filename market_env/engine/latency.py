"""Messages under way: what a turn decides reaches the exchange when its sender's latency has passed.

A turn's messages travel together as one packet. Packets wait in a heap by time of arrival, equal times by the turn that sent
them; an agent's never overtake each other. The random part of a delay is drawn once a turn, whether anything is sent or not,
from a stream of its own, so no other draw depends on it. Cost: about 50 ns a packet; nothing where no agent has a latency.
"""

from __future__ import annotations

from market_env.engine.kernel import kernel
from market_env.engine.streams import PURPOSE_LATENCY, exponential, seed_stream


@kernel
def start(market):
    """Nothing is under way; every agent's stream is seeded."""
    market.under_way = 0
    for place in range(len(market.places)):
        market.places[place] = place
    for i in range(market.agent_count):
        delay = market.delays[i]
        delay.arrival = 0.0
        delay.under_way = 0
        delay.messages = 0
        if delay.fixed >= 0.0:
            seed_stream(delay.stream, market.key, market.agents[i].name, PURPOSE_LATENCY)


@kernel
def send(market, agent, count):
    """Send the first ``count`` of the turn's messages off; False, and nothing sent, if too many are under way."""
    delay = market.delays[agent]
    travels = delay.fixed
    if delay.random > 0.0:
        travels += delay.random * exponential(delay.stream)
    if count == 0:
        return True
    if delay.under_way == delay.most:
        return False
    # An earlier message that is slower holds up those behind it.
    delay.arrival = max(delay.arrival, market.time + travels)
    delay.under_way += 1
    delay.messages += count
    packet = market.packets[market.places[market.under_way]]
    packet.time = delay.arrival
    packet.turn = market.answering
    packet.agent = agent
    packet.count = count
    for i in range(count):
        packet.messages[i] = market.messages[i]
    sift_up(market, market.under_way)
    market.under_way += 1
    return True


@kernel
def first(market):
    """The next packet to arrive; one must be under way."""
    return market.packets[market.places[0]]


@kernel
def take(market):
    """Take the next packet to arrive off its way."""
    packet = first(market)
    delay = market.delays[packet.agent]
    delay.under_way -= 1
    delay.messages -= packet.count
    market.under_way -= 1
    last, taken = market.places[market.under_way], market.places[0]
    market.places[0], market.places[market.under_way] = last, taken
    sift_down(market, 0)
    return packet


@kernel
def earlier(market, a, b):
    """Whether packet ``a`` arrives before packet ``b``."""
    one, other = market.packets[a], market.packets[b]
    if one.time != other.time:
        return one.time < other.time
    return one.turn < other.turn


@kernel
def sift_up(market, place):
    """Restore the heap above ``place``."""
    moving = market.places[place]
    while place > 0:
        parent = (place - 1) // 2
        if not earlier(market, moving, market.places[parent]):
            break
        market.places[place] = market.places[parent]
        place = parent
    market.places[place] = moving


@kernel
def sift_down(market, place):
    """Restore the heap below ``place``."""
    count = market.under_way
    moving = market.places[place]
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        if child + 1 < count and earlier(market, market.places[child + 1], market.places[child]):
            child += 1
        if not earlier(market, market.places[child], moving):
            break
        market.places[place] = market.places[child]
        place = child
    market.places[place] = moving
