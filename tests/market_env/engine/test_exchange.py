"""The exchange carries messages out: submit, reduce and cancel, whoever made them of what."""

from __future__ import annotations

import numpy as np
import pytest

from market_env.actions import CANCEL_BIDS, CANCEL_OLDEST
from market_env.config import AgentConfig, MarketConfig
from market_env.engine import exchange, state, turn
from market_env.engine.kernel import kernel
from market_env.market import Market
from tests.kit import check_structure, resting

CONFIG = MarketConfig(
    timesteps=50,
    agents=(AgentConfig("a_0", "a", inventory_bound=1_000), AgentConfig("b_0", "b", inventory_bound=1_000)),
)


@kernel
def carry_out(markets, events, agent, messages):
    """Carry messages of an agent out, one after the other."""
    for i in range(len(messages)):
        exchange.carry_out(markets[0], events, agent, messages[i])


@kernel
def decode(markets, agent, action, reference):
    """See :func:`market_env.engine.turn.decode`."""
    return turn.decode(markets[0], agent, action, reference)


def message(kind: int, **fields: int) -> np.ndarray:
    row = np.zeros(1, state.MESSAGE)
    row["order_id"] = row["refusal"] = state.NONE
    row["kind"] = kind
    for name, value in fields.items():
        row[name] = value
    return row


def submit(side: int, price: int, lots: int) -> np.ndarray:
    return message(state.MESSAGE_SUBMIT, side=side, price=price, lots=lots)


@pytest.fixture
def market() -> Market:
    market = Market(CONFIG, log=True)
    market.reset(1)
    return market


def test_a_reduction_keeps_the_orders_place_and_more_than_it_has_takes_it_out(market: Market) -> None:
    for agent in (0, 1):
        carry_out(market.records, market.events, agent, submit(state.BUY, 9_990, 10))
    carry_out(market.records, market.events, 0, message(state.MESSAGE_REDUCE, order_id=0, lots=4))
    assert resting(market)["buy"][9_990] == [(0, "a_0", 6), (1, "b_0", 10)]
    assert market.records["agents"]["open_bid_lots"][0, :2].tolist() == [6, 10]
    carry_out(market.records, market.events, 0, message(state.MESSAGE_REDUCE, order_id=0, lots=6))
    assert resting(market)["buy"][9_990] == [(1, "b_0", 10)]
    check_structure(market)
    cancels = [event for event in market.drain() if event["kind"] == state.KIND_CANCEL]
    assert [(int(e["order_id"]), int(e["lots"])) for e in cancels] == [(0, 4), (0, 6)]
    assert {state.REASONS[e["reason"]] for e in cancels} == {"agent"}


def test_an_order_is_cancelled_by_its_id_and_nobody_elses(market: Market) -> None:
    for price in (9_990, 9_991):
        carry_out(market.records, market.events, 0, submit(state.BUY, price, 5))
    carry_out(market.records, market.events, 1, message(state.MESSAGE_CANCEL, order_id=0))
    carry_out(market.records, market.events, 0, message(state.MESSAGE_CANCEL, order_id=77))
    assert sorted(resting(market)["buy"]) == [9_990, 9_991]
    carry_out(market.records, market.events, 0, message(state.MESSAGE_CANCEL, order_id=0))
    assert sorted(resting(market)["buy"]) == [9_991]
    carry_out(market.records, market.events, 0, message(state.MESSAGE_CANCEL, which=CANCEL_BIDS))
    assert not resting(market)["buy"]
    check_structure(market)


def test_an_action_decodes_into_a_cancel_and_an_order_on_each_side(market: Market) -> None:
    offset, lots = CONFIG.offsets.index(3), CONFIG.lots.index(8)
    action = np.array([CANCEL_OLDEST, offset, lots, len(CONFIG.offsets), lots])
    assert decode(market.records, 0, action, 10_000.5) == 3
    cancel, *orders = market.records["messages"][0]
    assert (cancel["kind"], cancel["which"], cancel["order_id"]) == (state.MESSAGE_CANCEL, CANCEL_OLDEST, state.NONE)
    bid, ask = sorted(orders, key=lambda order: int(order["side"]))
    # A bid rounds down, an ask up; a market order is immediate, at its protection price.
    assert (bid["price"], bid["lots"], bid["immediate"]) == (9_997, 8, 0)
    assert (ask["price"], ask["lots"], ask["immediate"]) == (9_951, 8, 1)
    # The two meet: the later one carries the refusal.
    assert [int(order["refusal"]) for order in orders] == [state.NONE, state.REASON_SELF_CROSS]
    assert decode(market.records, 0, np.zeros(5, np.int64), 10_000.0) == 0


def test_every_event_carries_the_turn_that_it_comes_of() -> None:
    market = Market(CONFIG, log=True)
    going = market.reset(3)
    rng = np.random.default_rng(0)
    while going:
        going = market.act(rng.integers(0, market.codes))
    events = market.drain()
    assert (events["turn"] == np.cumsum(events["kind"] == state.KIND_TURN) - 1).all()
    assert events["turn"][-1] == int(market.records["turns"][0]) - 1


def test_a_seat_that_takes_the_best_only_takes_no_more_than_others_show_there() -> None:
    config = MarketConfig(
        timesteps=50,
        agents=(
            AgentConfig("a_0", "a", inventory_bound=1_000),
            AgentConfig("b_0", "b", inventory_bound=1_000, best_only=True),
        ),
    )
    market = Market(config, log=True)
    market.reset(1)

    def did(agent: int, row: np.ndarray) -> list[tuple[str, int, int, str | None]]:
        market.drain()
        carry_out(market.records, market.events, agent, row)
        return [
            (
                state.KINDS[event["kind"]],
                int(event["lots"]),
                int(event["price"]),
                None if event["reason"] == state.NONE else state.REASONS[event["reason"]],
            )
            for event in market.drain()
        ]

    for price, lots in ((10_001, 3), (10_001, 4), (10_002, 50)):
        did(0, submit(state.SELL, price, lots))
    did(1, submit(state.SELL, 10_001, 9))  # its own, which it will not meet
    # Of 20 lots only the others' 7 at the best; nothing of it rests, though it is a limit order.
    assert did(1, submit(state.BUY, 10_005, 20)) == [
        ("reject", 13, 10_005, "best_only"),
        ("accept", 7, 10_005, None),
        ("trade", 3, 10_001, None),
        ("trade", 4, 10_001, None),
    ]
    assert resting(market)["sell"][10_001] == [(3, "b_0", 9)]
    # Only its own stand at the best: nothing is left to take.
    assert did(1, submit(state.BUY, 10_005, 5)) == [("reject", 5, 10_005, "best_only")]
    # What does not cross is an order like any other, and who may take all does.
    assert did(1, submit(state.BUY, 9_990, 30)) == [("accept", 30, 9_990, None)]
    assert did(0, submit(state.BUY, 10_001, 12))[0] == ("accept", 12, 10_001, None)
    check_structure(market)
