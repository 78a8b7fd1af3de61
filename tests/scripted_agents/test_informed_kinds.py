"""What the policies of the calibrated market do with what they see: quoters, informed traders, splitters, noise, a pusher."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from market_env import observations
from market_env.engine.state import MEMORY
from market_env.engine.streams import new_stream
from scripted_agents import InformedTrader, MarketMaker, PatientTrader, Quoter, Splitter, population
from scripted_agents.pusher import Pusher
from scripted_agents.zero_intelligence import ZeroIntelligence

CONFIG = population().market
WIDE = population("santa_fe").market
KEEP, OLDEST, BIDS, ASKS, ALL = range(5)


def seen(spread: float = 14.0, **ticks: float) -> NDArray[np.float32]:
    """A book of this spread without own orders; features by name in their own units (ticks, shares)."""
    found = np.zeros(observations.SIZE, np.float32)
    for name, value in {"spread": spread, "own_bid_distance": 64.0, "own_ask_distance": 64.0, **ticks}.items():
        found[observations.INDEX[name]] = value / observations.FEATURES[observations.INDEX[name]].scale
    return found


def decide(policy: Any, what: NDArray[np.float32], count: int, config: Any = CONFIG) -> list[dict[str, Any]]:
    """Decoded actions of a policy that begins anew: offsets in ticks (None: market order), lots of 0 without an order."""
    policy.reset(new_stream(1, "test_0"), np.zeros(MEMORY))
    offsets, lots = [*config.offsets, None], config.lots
    return [
        {"cancel": c, "bid": offsets[b], "bid_lots": lots[bl], "ask": offsets[a], "ask_lots": lots[al]}
        for c, b, bl, a, al in (policy.act(what).tolist() for _ in range(count))
    ]


def test_a_quoter_never_quotes_nearer_to_its_belief_than_its_edge() -> None:
    policy = Quoter(edge=6.5).build(CONFIG)
    for belief in (-12.0, -3.0, 0.0, 5.0, 20.0):
        for action in decide(policy, seen(signal=belief), 300):
            assert action["bid_lots"] > 0
            assert action["ask_lots"] > 0
            # A bid that far below the mid stands that far below the belief, which lies above the mid by as much.
            assert action["bid"] + belief >= 6.5
            assert action["ask"] - belief >= 6.5
            assert min(action["bid"], action["ask"]) >= 1.0 - 7.0  # never through the other side's best


def test_a_quoter_joins_and_betters_the_best_where_its_belief_allows() -> None:
    bids = np.array([a["bid"] for a in decide(Quoter(join=0.4, better=0.3, edge=2.0).build(CONFIG), seen(), 4_000)])
    assert np.mean(bids == 7.0) == pytest.approx(0.4, abs=0.03)
    assert np.mean(bids < 7.0) == pytest.approx(0.3, abs=0.03)
    assert bids[bids < 7.0].min() >= 2.0
    # With a belief far below it does neither.
    assert min(a["bid"] for a in decide(Quoter(edge=2.0).build(CONFIG), seen(signal=-10.0), 300)) >= 12.0


def test_a_quoter_withdraws_what_is_stale_and_replaces_good_quotes_now_and_then() -> None:
    quoter = Quoter(half_spread=20.0, edge=6.5, patience=20.0, flicker=0.0)
    good = {"own_bid_distance": 18.0, "own_ask_distance": 18.0, "open_bid_lots": 0.1, "open_ask_lots": 0.1}
    assert {a["cancel"] for a in decide(quoter.build(CONFIG), seen(**good), 100)} == {KEEP}
    fallen = decide(quoter.build(CONFIG), seen(**good, signal=-13.0), 100)
    assert {a["cancel"] for a in fallen} == {BIDS}
    assert all(a["bid_lots"] and not a["ask_lots"] for a in fallen)
    far = decide(quoter.build(CONFIG), seen(**{**good, "own_ask_distance": 45.0}), 100)
    assert {a["cancel"] for a in far} == {ASKS}
    both = decide(quoter.build(CONFIG), seen(**{**good, "own_ask_distance": 45.0}, signal=-13.0), 100)
    assert {a["cancel"] for a in both} == {ALL}
    flickers = [a["cancel"] for a in decide(Quoter(half_spread=20.0, flicker=0.5).build(CONFIG), seen(**good), 4_000)]
    assert np.mean(np.array(flickers) == BIDS) == pytest.approx(0.25, abs=0.03)
    assert np.mean(np.array(flickers) == ASKS) == pytest.approx(0.25, abs=0.03)


def test_inventory_leans_against_both_quotes_of_a_quoter() -> None:
    quoter = Quoter(join=0.0, better=0.0, at_place=1.0, skew=10.0)
    (flat,) = decide(quoter.build(CONFIG), seen(), 1)
    (full,) = decide(quoter.build(CONFIG), seen(inventory=1.0), 1)
    assert (flat["bid"], flat["ask"]) == (12, 12)
    assert (full["bid"], full["ask"]) == (22, 2)


def test_a_maker_with_a_belief_quotes_around_its_signal() -> None:
    around = {"half_spread": 23.0, "volatility_weight": 0.0, "skew": 0.0, "layers": 1}
    (blind,) = decide(MarketMaker(**around).build(CONFIG), seen(signal=10.0), 1)
    (believes,) = decide(MarketMaker(**around, belief=1.0).build(CONFIG), seen(signal=10.0), 1)
    assert (blind["bid"], blind["ask"]) == (23, 23)
    assert (believes["bid"], believes["ask"]) == (13, 34)  # the next offset of the grid
    # One that stands far off goes after the tolerance, or after its own patience.
    off = {"own_bid_distance": 55.0, "own_ask_distance": 23.0, "open_bid_lots": 0.2, "open_ask_lots": 0.2}
    goes, stays = (
        decide(MarketMaker(**around, tolerance=5.0, patience=patience).build(CONFIG), seen(**off), 1)[0]
        for patience in (None, 60.0)
    )
    assert (goes["cancel"], stays["cancel"]) == (BIDS, KEEP)


@pytest.mark.parametrize(("belief", "side"), [(9.0, "bid"), (-9.0, "ask"), (7.5, None), (0.0, None)])
def test_an_informed_trader_takes_what_stands_on_the_wrong_side_of_its_signal(belief: float, side: str | None) -> None:
    actions = decide(InformedTrader(threshold=1.0).build(CONFIG), seen(signal=belief), 50)
    for word in ("bid", "ask"):
        assert all((action[f"{word}_lots"] > 0) == (word == side) for action in actions)
    if side:
        assert {action[side] for action in actions} == {None}  # market orders
    # At its bound it wants more to go on that way, and less to come back.
    (full,) = decide(InformedTrader(threshold=1.0, aversion=8.0).build(CONFIG), seen(signal=9.0, inventory=1.0), 1)
    (short,) = decide(InformedTrader(threshold=1.0, aversion=8.0).build(CONFIG), seen(signal=7.5, inventory=-1.0), 1)
    assert (full["bid_lots"], short["bid_lots"] > 0) == (0, True)
    idle = decide(InformedTrader(idle=0.6).build(CONFIG), seen(signal=40.0), 2_000)
    assert np.mean([action["bid_lots"] == 0 for action in idle]) == pytest.approx(0.6, abs=0.04)


def test_a_splitter_works_orders_of_pareto_length_one_side_at_a_time() -> None:
    policy = Splitter(start=1.0, tail=1.5, most=1e9).build(CONFIG)
    actions = decide(policy, seen(), 60_000)
    sides = np.array([1 if action["bid_lots"] else -1 for action in actions])
    assert all(bool(action["bid_lots"]) != bool(action["ask_lots"]) for action in actions)
    # The lengths: a policy that pauses between metaorders shows where each ends.
    policy = Splitter(start=0.02, tail=1.5, most=1e9).build(CONFIG)
    sent = np.array([action["bid_lots"] + action["ask_lots"] > 0 for action in decide(policy, seen(), 200_000)])
    edges = np.flatnonzero(np.diff(np.concatenate([[0], sent.astype(int), [0]])))
    lengths = np.diff(edges)[::2]
    assert len(lengths) > 2_000
    # Few begin at once behind another; the survival of their lengths falls with the power 1.5.
    for length in (2, 4, 8):
        assert np.mean(lengths >= length) == pytest.approx((length - 1) ** -1.5, rel=0.25)
    assert np.corrcoef(sides[:-1], sides[1:])[0, 1] > 0.3
    assert {action["cancel"] for action in actions} == {KEEP}


def test_patient_noise_places_inside_at_and_behind_the_best_as_told() -> None:
    trader = PatientTrader(market_share=0.1, inside=0.2, at_best=0.3, depth=10.0, tail=2.0).build(CONFIG)
    actions = decide(trader, seen(), 8_000)
    offsets = np.array([a["bid"] if a["bid_lots"] else a["ask"] for a in actions], object)
    taking = np.array([offset is None for offset in offsets])
    assert taking.mean() == pytest.approx(0.1, abs=0.02)
    placed = offsets[~taking].astype(float)
    assert np.mean(placed < 7) == pytest.approx(0.2, abs=0.02)
    assert np.mean(placed == 7) == pytest.approx(0.3, abs=0.02)
    behind = placed[placed > 7] - 7
    # Lomax: half of them within depth (2 ** (1 / tail) - 1), and a tenth beyond depth (10 ** (1 / tail) - 1).
    assert np.median(behind) == pytest.approx(10 * (2**0.5 - 1), abs=1.0)
    assert np.mean(behind > 21.6) == pytest.approx(0.1, abs=0.03)
    buys = np.mean(
        [a["bid_lots"] > 0 for a in decide(PatientTrader(aversion=1.0).build(CONFIG), seen(inventory=0.5), 4_000)]
    )
    assert buys == pytest.approx(0.25, abs=0.03)
    full = decide(
        PatientTrader(cancel_rate=1.0, rests_after=1.0, market_share=0.0).build(CONFIG), seen(open_orders=1.0), 50
    )
    assert all(a["cancel"] == OLDEST and not a["bid_lots"] + a["ask_lots"] for a in full)


def test_zero_intelligence_is_uniform_over_its_reach() -> None:
    trader = ZeroIntelligence(market_share=0.2, reach=30.0, lots=1.0).build(WIDE)
    actions = decide(trader, seen(spread=6.0), 12_000, WIDE)
    offsets = [a["bid"] if a["bid_lots"] else a["ask"] for a in actions]
    assert np.mean([offset is None for offset in offsets]) == pytest.approx(0.2, abs=0.02)
    placed = np.array([offset for offset in offsets if offset is not None])
    # From one tick before the other side's best, three ticks through the mid, on.
    assert placed.min() == 1 - 3
    assert placed.max() == 1 - 3 + 29
    counts = np.bincount(placed - placed.min(), minlength=30)
    assert counts.min() > 0.75 * counts.mean()
    assert counts.max() < 1.25 * counts.mean()
    assert {a["bid_lots"] + a["ask_lots"] for a in actions} == {1}


def test_a_pusher_overbids_and_takes_in_turn_and_turns_round() -> None:
    policy = Pusher(period=10.0, lots=2.0).build(CONFIG)
    actions = decide(policy, seen(spread=14.0), 20)
    for number, action in enumerate(actions):
        side = "bid" if number < 10 else "ask"
        assert action["cancel"] == ALL
        assert action[f"{side}_lots"] == 2
        assert action[side] == (None if number % 2 else 6)  # one tick before the best, seven from the mid
    full = decide(policy, seen(spread=14.0, inventory=1.0), 10)
    assert {action["bid"] for action in full} == {6}
