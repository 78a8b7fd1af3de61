"""Every rule of the market on random valid actions: the engine beside its twin, and the invariants."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from market_env.config import MarketConfig
from market_env.engine import state
from market_env.market import Market
from tests.kit import (
    as_lines,
    check_accounts,
    check_structure,
    decoded,
    market_configs,
    random_actions,
    resting,
    twin_of,
)

TURNS = 700
"""Turns of one example at most."""
EXAMPLES = 220
"""Examples of the twin's test; with TURNS they make over 100,000 turns in all, which a test counts."""

played = {"turns": 0, "trades": 0}


@settings(max_examples=EXAMPLES)
@given(market_configs(), st.integers(0, 2**32))
def test_engine_does_what_its_twin_does_and_keeps_every_invariant(config: MarketConfig, seed: int) -> None:
    market = Market(config, log=True)
    twin = twin_of(market)
    actions = random_actions(config, seed, TURNS)
    going = market.reset(seed)
    seq = len(market.drain())
    for number in range(TURNS):
        if not going:
            break
        name = market.agent_ids[market.acting]
        cancel, orders = decoded(config, actions[number], market.reference)
        going = market.act(actions[number])
        events = market.drain()
        assert events["seq"].tolist() == list(range(seq, seq + len(events)))
        seq += len(events)
        lines = as_lines(events[events["kind"] != state.KIND_TURN], market.agent_ids)
        # Which side goes first is a draw that the twin cannot know: it is told.
        first = next((line.side for line in lines if line.kind != "cancel" and line.agent == name), "buy")
        assert lines == list(twin.turn(name, cancel, first or "buy", orders))
        assert market.reference == twin.reference
        assert resting(market) == {
            side: {
                price: [(order.order_id, order.agent, order.lots) for order in queue] for price, queue in levels.items()
            }
            for side, levels in twin.book.sides.items()
        }
        check_accounts(market)
        if number % 16 == 0 or not going:
            check_structure(market)
        played["turns"] += 1
        played["trades"] += sum(line.kind == "trade" for line in lines)
    for agent, account in zip(config.agents, market.records[0]["agents"], strict=False):
        mirror = twin.accounts[agent.id]
        assert (int(account["cash"]), int(account["inventory"])) == (mirror.cash, mirror.inventory)


def test_the_twins_test_covered_a_hundred_thousand_turns_with_trades() -> None:
    assert played["turns"] >= 100_000
    assert played["trades"] >= 5_000


@settings(max_examples=30)
@given(market_configs(), st.integers(0, 2**32))
def test_trades_print_at_resting_prices_best_first_oldest_first_and_nobody_meets_itself(
    config: MarketConfig, seed: int
) -> None:
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


def test_a_full_log_is_drained_and_nothing_is_lost() -> None:
    config = MarketConfig(timesteps=400)
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
