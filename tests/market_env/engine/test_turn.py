"""Every rule of the market on random valid actions: the engine beside its twin, and the invariants."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_env.config import AgentConfig, Every, MarketConfig
from market_env.engine import state, turn
from market_env.engine.streams import draw
from market_env.market import Market
from tests.kit import (
    beside_twin,
    market_configs,
    random_actions,
    resting,
    ruled,
)

TURNS = 700
"""Turns of one example at most."""
EXAMPLES = 220
"""Examples of the twin's test; with TURNS they make over 100,000 turns in all, which the tests count."""

played: Counter[str] = Counter()


@pytest.mark.long
def test_engine_does_what_its_twin_does_and_keeps_every_invariant_for_a_hundred_thousand_turns() -> None:
    played.clear()
    engine_beside_twin()
    assert played["turns"] >= 100_000
    assert played["trade"] >= 1_500
    for rare in ("halt", "resume", "refused: halt", "refused: under_way", "refused: cash", "paid for messages"):
        assert played[rare] >= 15, rare
    assert played["arrived"] >= 3_000


@settings(max_examples=EXAMPLES)
@given(market_configs(), st.integers(0, 2**32))
def engine_beside_twin(config: MarketConfig, seed: int) -> None:
    beside_twin(config, seed, TURNS, played)


@pytest.mark.long
def test_trades_print_at_resting_prices_best_first_oldest_first_for_a_hundred_thousand_turns() -> None:
    played.clear()
    priority_holds()
    assert played["turns"] >= 100_000


@settings(max_examples=EXAMPLES)
@given(market_configs(), st.integers(0, 2**32))
def priority_holds(config: MarketConfig, seed: int) -> None:
    market = Market(config, log=True)
    actions = random_actions(config, seed, TURNS)
    going = market.reset(seed)
    before = resting(market)
    market.drain()
    for number in range(TURNS):
        if not going:
            break
        before = resting(market)
        going = market.act(actions[number])
        played["turns"] += 1
        events = market.drain()
        book = {side: {price: list(queue) for price, queue in levels.items()} for side, levels in before.items()}
        incoming = None
        for event in events:
            kind, reason = state.KINDS[event["kind"]], event["reason"]
            side = None if event["side"] < 0 else state.SIDES[event["side"]]
            if (
                incoming
                and kind not in {"trade"}
                and not (kind == "cancel" and reason in {state.REASON_SELF_TRADE, state.REASON_IOC})
            ):
                _rest(book, incoming)
                incoming = None
            if kind == "accept":
                incoming = [
                    side,
                    int(event["price"]),
                    int(event["order_id"]),
                    market.agent_ids[event["agent"]],
                    int(event["lots"]),
                ]
            elif kind == "trade":
                other = "sell" if side == "buy" else "buy"
                best = min(book[other]) if other == "sell" else max(book[other])
                assert event["price"] == best, "a level was passed over"
                order_id, owner, _ = book[other][best][0]
                assert (event["maker_order_id"], market.agent_ids[event["maker"]]) == (order_id, owner)
                assert event["agent"] != event["maker"]
                _take(book[other], best, 0, int(event["lots"]))
                assert incoming is not None
                incoming[4] -= int(event["lots"])
            elif kind == "cancel" and reason == state.REASON_IOC:
                assert incoming is not None
                other = "sell" if incoming[0] == "buy" else "buy"
                within = [p for p in book[other] if (p <= incoming[1] if other == "sell" else p >= incoming[1])]
                assert not within, "an IOC was cancelled while something within its limit was left"
                incoming = None
            elif kind == "cancel":
                assert side is not None
                price = int(event["price"])
                place = [order_id for order_id, _, _ in book[side][price]].index(int(event["order_id"]))
                _take(book[side], price, place, int(event["lots"]))
        if incoming:
            _rest(book, incoming)
        assert book == resting(market)


def _rest(book: dict[str, dict[int, list[tuple[int, str, int]]]], incoming: list) -> None:
    side, price, order_id, owner, lots = incoming
    if lots:
        book[side].setdefault(price, []).append((order_id, owner, lots))


def _take(levels: dict[int, list[tuple[int, str, int]]], price: int, place: int, lots: int) -> None:
    order_id, owner, left = levels[price][place]
    assert lots <= left
    if lots == left:
        del levels[price][place]
        if not levels[price]:
            del levels[price]
    else:
        levels[price][place] = (order_id, owner, left - lots)


@pytest.mark.parametrize("config", [MarketConfig(timesteps=400), ruled(MarketConfig(timesteps=900))])
def test_a_full_log_is_drained_and_nothing_is_lost(config: MarketConfig) -> None:
    logging, twin = Market(config, log=True), Market(config, log=True)
    actions = random_actions(config, 1, 20_000)
    often = []
    for market, every_turn in ((logging, False), (twin, True)):
        going = market.reset(5)
        number = 0
        while going:
            if every_turn:
                often.append(market.drain())
            going = market.act(actions[number])
            number += 1
    events = logging.drain()
    assert len(events) > len(logging.events), "the buffer never wrapped: the test needs a longer run"
    assert events.tobytes() == np.concatenate([*often, twin.drain()]).tobytes()


def test_turns_of_an_episode_are_the_same_whether_logged_or_not() -> None:
    config = MarketConfig(timesteps=50)
    actions = random_actions(config, 2, 5_000)
    ends = []
    for log in (True, False):
        market = Market(config, log=log)
        going, number = market.reset(3), 0
        while going:
            going = market.act(actions[number])
            number += 1
        market.drain()
        ends.append(market.save())
    assert ends[0].tobytes() == ends[1].tobytes()


def test_the_first_side_is_a_fair_draw_of_the_agents_clock_stream() -> None:
    config = MarketConfig(timesteps=2_000, agents=(AgentConfig("a_0", "a", cash=10**9, inventory_bound=10**6),))
    market = Market(config, log=True)
    market.reset(3)
    going = True
    while going:
        stream = market.records["agents"]["clock_stream"][0, 0].copy()
        market.drain()
        going = market.act([4, 9, 1, 9, 1])
        accepted = market.drain()
        accepted = accepted[accepted["kind"] == state.KIND_ACCEPT]
        assert accepted["side"][0] == (state.BUY if int(draw(stream)) >> 63 == 0 else state.SELL)
        played.setdefault("bid_first", 0)
        played["bid_first"] += int(accepted["side"][0] == state.BUY)
    assert played["bid_first"] / 2_000 == pytest.approx(0.5, abs=0.04)


def test_the_best_quotes_stay_in_the_window_of_prices_however_far_apart() -> None:
    # The widest book there can be: 1,023 ticks, its mid between two ticks.
    config = MarketConfig(
        timesteps=20,
        first_price=600,
        price_band=511,
        protection_ticks=1,
        offsets=(-511, 0, 511),
        lots=(0, 1),
        agents=tuple(AgentConfig(f"a_{n}", "a", cash=10**6, arrivals=Every(1.0, n / 2)) for n in range(2)),
    )
    market = Market(config, log=True)
    market.reset(1)
    market.act([0, 2, 1, 0, 0])  # bid 89; asks empty, the reference stays 600
    market.act([0, 0, 0, 2, 1])  # ask 1111: mid 600
    market.act([4, 0, 0, 0, 0])  # the bid goes: the reference stays 600
    market.act([0, 0, 0, 0, 0])
    market.act([0, 2, 1, 0, 0])
    ladder = market.depth(1)
    assert (int(ladder[0][0]), int(ladder[2][0])) == (89, 1_111)
    events = market.drain()
    assert not (events["reason"] == state.REASON_PRICE_BAND).any()
    assert market.reference == 600.0


def test_reset_leaves_nothing_of_the_episode_before() -> None:
    config = MarketConfig(timesteps=40)
    actions = random_actions(config, 5, 2_000)
    fresh, used = Market(config), Market(config)
    for seed in (8, 9):
        going, number = used.reset(seed), 0
        while going:
            going = used.act(actions[number])
            number += 1
    used.reset(4)
    fresh.reset(4)
    for name in ("orders", "owned", "levels", "agents", "clocks", "heap"):
        assert used.records[name].tobytes() == fresh.records[name].tobytes(), name


def test_liquidation_walks_the_others_orders_and_takes_the_rest_at_the_worst_level() -> None:
    config = MarketConfig(
        timesteps=99,
        first_price=100,
        lots=(0, 1, 2, 3, 10),
        agents=tuple(
            AgentConfig(
                f"a_{n}", "a", cash=10_000, inventory=10 * (n == 0), inventory_bound=50, arrivals=Every(1.0, n / 4)
            )
            for n in range(3)
        ),
    )
    market = Market(config)
    market.reset(1)
    offset = {ticks: code for code, ticks in enumerate(config.offsets)}
    market.act([0, offset[1], 3, 0, 0])  # a_0's own bid: 3 at 99, passed over
    market.act([0, offset[2], 2, 0, 0])  # a_1: 2 at 97 (the reference is 100: only bids, below it)
    market.act([0, offset[4], 3, 0, 0])  # a_2: 3 at 96
    assert market.reference == 100.0
    bid_prices = market.depth(3)[0].tolist()
    assert bid_prices == [99, 98, 96]
    assert market.liquidation_wealth(0) == 10_000 + 2 * 98 + 3 * 96 + 5 * 96
    assert market.liquidation_wealth(1) == 10_000


def test_a_market_before_its_first_reset_or_after_its_end_says_so() -> None:
    config = MarketConfig(timesteps=2)
    market = Market(config)
    for call in (lambda: market.act([0, 0, 0, 0, 0]), lambda: market.observe(0), lambda: market.info(0)):
        with pytest.raises(RuntimeError, match=r"no episode is under way; call reset\(\) first"):
            call()
    going = market.reset(1)
    while going:
        going = market.act([0, 0, 0, 0, 0])
    with pytest.raises(RuntimeError, match="no episode is under way"):
        market.act([0, 0, 0, 0, 0])
    assert market.info(0)["time"] == 2.0


def test_the_slow_moving_average_takes_a_whole_number_of_times_as_long_as_the_fast_one() -> None:
    assert turn.TAU_SLOW == turn.TAU_RATIO * turn.TAU_FAST
