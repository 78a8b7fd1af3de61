"""Fees, latency and halts: what each does to one order, by hand. Beside the twin, on random actions, they are in test_turn.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from market_env import config as rules
from market_env.aec import raw_env
from market_env.config import AgentConfig, Every, Fees, Halt, Latency, MarketConfig
from market_env.engine import accounts, state
from market_env.market import Market
from market_env.observations import INDEX
from tests.kit import random_actions

PRICE = 1_000
OFFSETS = (-5, -1, 0, 1, 5)
KEEP, ALL = 0, 4


def market_of(*seats: dict[str, Any], timesteps: int = 50, log: bool = True, **market: Any) -> Market:
    """Agents that arrive one after another within each timestep, in the roster's order."""
    agents = tuple(
        AgentConfig(f"a_{n}", "a", arrivals=Every(1.0, n / 8), **{"cash": 100_000} | seat)
        for n, seat in enumerate(seats)
    )
    made = Market(
        MarketConfig(
            timesteps=timesteps, first_price=PRICE, offsets=OFFSETS, lots=(0, 1, 2, 10), agents=agents, **market
        ),
        log=log,
    )
    made.reset(1)
    return made


def action(cancel: int = KEEP, bid: tuple[int, int] = (0, 0), ask: tuple[int, int] = (0, 0)) -> np.ndarray:
    """By (offset in ticks, code of lots)."""
    return np.array([cancel, OFFSETS.index(bid[0]), bid[1], OFFSETS.index(ask[0]), ask[1]])


NOTHING = action()


def kinds(events: np.ndarray) -> list[tuple[str, int, float]]:
    """Kind, turn and time of all events but turns."""
    return [
        (state.KINDS[event["kind"]], int(event["turn"]), float(event["time"]))
        for event in events
        if event["kind"] != state.KIND_TURN
    ]


def test_the_engines_unit_of_fees_is_the_configs() -> None:
    assert accounts.UNIT == rules.FEE_UNIT == 1_000


def test_maker_and_taker_pay_by_the_lot_and_the_exchange_takes_in_what_is_between() -> None:
    market = market_of({"fees": Fees(maker=-200, taker=900)}, {}, fees=Fees(maker=50, taker=300))
    market.act(action(ask=(1, 3)))
    market.act(action(bid=(-1, 2)))
    maker, taker = market.records[0]["agents"][:2]
    assert (maker["inventory"], maker["cash"], maker["fees"]) == (-2, 100_000 + 2 * (PRICE + 1), -2 * 200)
    assert (taker["inventory"], taker["cash"], taker["fees"]) == (2, 100_000 - 2 * (PRICE + 1), 2 * 300)
    assert market.records[0]["collected"] == 200
    info = market.info(1)
    assert info["fees"] == 0.6
    assert info["wealth"] == info["cash"] - 0.6 + 2 * market.reference
    assert market.info(0)["fees"] == -0.4


def test_an_order_is_cut_to_what_its_fill_costs_with_the_fee() -> None:
    # Ten lots at 1,000 cost 10,000 without a fee; with one of a tick a lot the cash covers nine.
    for fee, lots in ((0, 10), (1_000, 9), (1, 9)):
        market = market_of({}, {"cash": 10_000}, fees=Fees(taker=fee))
        market.act(action(ask=(0, 3)))
        market.act(action(bid=(0, 3)))
        assert market.records[0]["agents"]["inventory"][1] == lots
        refused = market.drain()
        refused = refused[refused["kind"] == state.KIND_REJECT]
        assert [int(event["lots"]) for event in refused] == [10 - lots] * (lots < 10)
        assert (refused["reason"] == state.REASON_CASH).all()


def test_a_resting_order_reserves_its_makers_fee_and_a_sale_what_the_price_does_not_cover() -> None:
    market = market_of({"cash": 2_000_000}, fees=Fees(maker=rules.MOST_FEE, taker=0))
    market.act(action(bid=(5, 2), ask=(5, 1)))
    agent = market.records[0]["agents"][0]
    assert (agent["reserved"], agent["reserved_fees"]) == (2 * 995, 2 * 1_000_000)  # 1,005 ticks cover 1,000
    cheap = market_of({"inventory": 5}, {"cash": 90}, fees=Fees(maker=rules.MOST_FEE), timesteps=9)
    cheap.records["reference"] = 100.0
    cheap.records["agents"]["cash"][0, 0] = 1_000
    cheap.act(action(ask=(0, 2)))
    agent = cheap.records[0]["agents"][0]
    assert (agent["open_ask_lots"], agent["reserved_fees"]) == (1, 1_000_000 - 100_000)  # one of two is covered


def test_messages_beyond_the_free_ones_cost_and_what_cannot_be_paid_is_waived() -> None:
    market = market_of({"fees": Fees(message=700, free_messages=2)}, timesteps=9)
    fees = []
    for decision in (
        action(bid=(5, 1), ask=(5, 1)),  # two messages, both free
        action(ALL, bid=(5, 1), ask=(5, 1)),  # a cancel that takes two orders out is one of three
        NOTHING,
        action(ALL),
        action(ALL),  # nothing rests any more: it does nothing, and is none
        action(bid=(-1, 1), ask=(-1, 1)),  # the later meets the first and is refused; it counts all the same
    ):
        market.act(decision)
        fees.append(int(market.records[0]["agents"]["fees"][0]))
    assert fees == [0, 700, 700, 700, 700, 700]
    poor = market_of({"cash": 3, "fees": Fees(message=2_000)}, timesteps=9)
    for expected in (2_000, 3_000, 3_000):
        poor.act(action(ask=(5, 1)))
        assert poor.records[0]["agents"]["fees"][0] == expected


def test_a_message_arrives_when_its_latency_has_passed_and_finds_another_book() -> None:
    market = market_of({}, {"latency": Latency(0.75)}, timesteps=3)
    market.act(action(ask=(5, 1)))
    market.act(action(bid=(-5, 1)))
    assert kinds(market.drain())[-2:] == [("accept", 1, 0.875), ("trade", 1, 0.875)]
    # What it sees is gone when its order arrives, at 1.075: the first acts at 1.
    slow = market_of({}, {"latency": Latency(0.95)}, timesteps=3)
    slow.act(action(ask=(5, 1)))
    slow.act(action(bid=(-5, 1)))
    assert slow.info(1)["messages_under_way"] == 1
    assert slow.observe(1)[INDEX["under_way"]] == np.float32(1 / 8)
    assert slow.observe(0)[INDEX["under_way"]] == 0.0
    slow.act(action(ALL))
    assert [kind for kind, _, _ in kinds(slow.drain())] == ["accept", "cancel", "accept"]
    assert slow.info(1)["messages_under_way"] == 0
    assert slow.info(1)["open_bid_lots"] == 1


def test_a_cancel_may_come_too_late() -> None:
    market = market_of({"latency": Latency(0.5)}, {}, timesteps=3)
    market.act(action(ask=(0, 1)))  # arrives at 0.5
    market.act(NOTHING)
    market.act(action(ALL))  # sent at 1, arrives at 1.5
    market.act(action(bid=(0, 1)))  # trades at 1.125
    market.act(NOTHING)
    assert [kind for kind, _, _ in kinds(market.drain())] == ["accept", "accept", "trade"]
    assert market.records[0]["agents"]["inventory"][:2].tolist() == [-1, 1]


def test_an_agents_messages_keep_their_order_however_long_one_takes() -> None:
    market = market_of({"latency": Latency(0.0, 3.0, 256)}, timesteps=200)
    for number in range(200):
        market.act(action(bid=(5, 1)) if number % 2 else action(ALL))
    found = [(turn, time) for _, turn, time in kinds(market.drain())]
    assert len(found) > 150
    assert found == sorted(found)
    assert all(time >= turn for turn, time in found)
    assert np.mean([time - turn for turn, time in found]) > 3.0  # some wait behind others


def test_what_is_sent_beyond_the_most_under_way_is_refused_before_it_leaves() -> None:
    market = market_of({"latency": Latency(10.0, under_way=2)}, timesteps=9)
    for _ in range(3):
        market.act(action(ALL, bid=(5, 1), ask=(5, 2)))
    refused = market.drain()
    refused = refused[refused["kind"] == state.KIND_REJECT]
    assert sorted(refused["lots"].tolist()) == [1, 2]
    assert set(refused["reason"].tolist()) == {state.REASON_UNDER_WAY}
    assert market.info(0)["rejected_under_way"] == 3


def test_a_zero_latency_is_no_latency_to_the_byte() -> None:
    def played(latency: Latency | None) -> bytes:
        agents = tuple(AgentConfig(f"a_{n}", "a", arrivals=Every(1.0), latency=latency) for n in range(4))
        market = Market(MarketConfig(timesteps=100, agents=agents), log=True)
        going, actions = market.reset(3), random_actions(market.config, 3, 500)
        for number in range(400):
            going = going and market.act(actions[number])
        events: bytes = market.drain().tobytes()
        return events

    assert played(Latency(0.0)) == played(None)


def test_an_added_latency_shifts_no_draw_of_anybodys() -> None:
    def turns(latency: Latency | None) -> list[tuple[float, int]]:
        agents = tuple(AgentConfig(f"a_{n}", "a", arrivals=rules.Poisson(1.0), latency=latency) for n in range(4))
        market = Market(MarketConfig(timesteps=100, agents=agents), log=True)
        going = market.reset(3)
        while going:
            going = market.act(NOTHING_AT_ALL)
        events = market.drain()
        return list(zip(events["time"].tolist(), events["agent"].tolist(), strict=True))

    assert turns(Latency(0.1, 5.0)) == turns(None)


NOTHING_AT_ALL = np.zeros(5, np.int64)


def test_a_halt_stops_trading_and_says_so_and_orders_may_only_be_cancelled() -> None:
    market = market_of({}, {}, {}, halt=Halt(3, 2, 2.5), timesteps=20)
    market.act(action(bid=(1, 1), ask=(1, 3)))
    market.act(NOTHING)
    market.act(NOTHING)
    market.act(action(ALL, bid=(-5, 1)))  # bids 1,005 and no ask: the reference price goes there
    assert market.info(0)["halted"] == 1
    assert market.observe(2)[INDEX["halted"]] == 1.0
    market.act(action(ask=(5, 1)))
    market.act(NOTHING)
    market.act(action(ALL))
    events = market.drain()
    assert kinds(events)[-3:] == [("halt", 3, 1.0), ("reject", 4, 1.125), ("cancel", 6, 2.0)]
    assert market.agent_ids[events[events["kind"] == state.KIND_HALT][0]["agent"]] == "a_0"
    assert market.info(1)["rejected_halt"] == 1
    while market.records[0]["halted"]:
        market.act(NOTHING)
    assert kinds(market.drain())[-1] == ("resume", 11, 3.5)
    market.act(action(ask=(5, 1)))
    assert kinds(market.drain())[-1][0] == "accept"


def test_the_reward_is_after_fees_and_an_outcome_tells_them() -> None:
    agents = tuple(AgentConfig(f"a_{n}", "a", arrivals=Every(1.0, n / 8)) for n in range(2))
    plain = MarketConfig(timesteps=6, first_price=PRICE, offsets=OFFSETS, lots=(0, 1, 2, 10), agents=agents)

    def rewards(config: MarketConfig) -> tuple[float, float]:
        env = raw_env(config, reward=lambda outcome: outcome["wealth_change"])
        env.reset(seed=1)
        for decision in (action(ask=(1, 3)), action(bid=(-1, 2)), NOTHING):
            env.step(decision)
        return float(env.rewards["a_1"]), float(env.market.outcome(1)["fees"])

    free, charged = rewards(plain), rewards(rules.amend(plain, fees=Fees(taker=250)))
    assert free[1] == 0.0
    assert charged == (pytest.approx(free[0] - 0.5), 0.5)


def test_liquidation_pays_a_takers_fee() -> None:
    market = market_of({"inventory": 4}, {}, fees=Fees(taker=500), timesteps=9)
    free = market_of({"inventory": 4}, {}, timesteps=9)
    for each in (market, free):
        each.act(NOTHING)
        each.act(action(bid=(1, 3)))
    assert market.liquidation_wealth(0) == free.liquidation_wealth(0) - 4 * 0.5
