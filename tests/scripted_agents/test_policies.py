"""What each scripted policy does with what it sees."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import scripted_agents
from market_env import observations
from market_env.config import ConfigError, MarketConfig, roster
from market_env.engine.kernel import PolicyFunction
from market_env.engine.observe import PARTS, parts_of
from market_env.engine.state import MEMORY
from market_env.engine.streams import new_stream
from scripted_agents import DoNothing, FrozenPPO, MarketMaker, MomentumTrader, NoiseTrader, RandomActions
from scripted_agents.maker import STANDING
from scripted_agents.policy import CompiledPolicy
from scripted_agents.populations import RECIPES, population
from scripted_agents.pusher import Pusher
from scripted_agents.registry import build, resolve
from scripted_agents.schedules import Participation, Peg, Schedule
from scripted_agents.twap import Twap

CONFIG = MarketConfig()
MARKET = len(CONFIG.offsets)


def calm(**features: float) -> NDArray[np.float32]:
    """A calm, balanced book with a spread of 6 ticks and no own orders, some features replaced."""
    seen = np.zeros(observations.SIZE, np.float32)
    values = {"spread": 6 / 32, "own_bid_distance": 1.0, "own_ask_distance": 1.0, "time_left": 1.0, "cash": 0.5}
    for side in ("bid", "ask"):
        for level in range(observations.LEVELS):
            values[f"{side}_distance_{level + 1}"] = (3 + level) / 32
            values[f"{side}_lots_{level + 1}"] = float(np.log1p(10) / 7)
    for name, value in {**values, **features}.items():
        seen[observations.INDEX[name]] = value
    return seen


def decide(policy: Any, seen: NDArray[np.float32], count: int = 1) -> list[dict[str, int | None]]:
    """Decoded actions: cancel, and offsets and lots (None: no order; offset 999: market order)."""
    policy.reset(new_stream(1, "test_0"), np.zeros(MEMORY))
    offsets = [*CONFIG.offsets, 999]
    actions = []
    for _ in range(count):
        cancel, bid_offset, bid_lots, ask_offset, ask_lots = policy.act(seen).tolist()
        actions.append(
            {
                "cancel": cancel,
                "bid": offsets[bid_offset] if CONFIG.lots[bid_lots] else None,
                "bid_lots": CONFIG.lots[bid_lots],
                "ask": offsets[ask_offset] if CONFIG.lots[ask_lots] else None,
                "ask_lots": CONFIG.lots[ask_lots],
            }
        )
    return actions


def test_a_maker_quotes_both_sides_at_its_half_spread() -> None:
    (action,) = decide(MarketMaker(half_spread=3.0, lots=6.0).build(CONFIG), calm())
    assert (action["bid"], action["ask"], action["bid_lots"], action["ask_lots"]) == (3, 3, 6, 6)


def test_a_maker_widens_with_volatility() -> None:
    maker = MarketMaker(half_spread=3.0, volatility_weight=1.0).build(CONFIG)
    widths = [decide(maker, calm(volatility_fast=v / 32))[0]["bid"] for v in (0, 1, 3, 7)]
    assert widths == [3, 4, 6, 10]


def test_a_maker_leans_against_its_inventory() -> None:
    maker = MarketMaker(half_spread=4.0, skew=8.0).build(CONFIG)
    (long,) = decide(maker, calm(inventory=0.25))
    (short,) = decide(maker, calm(inventory=-0.25))
    assert (long["bid"], long["ask"]) == (6, 2)
    assert (short["bid"], short["ask"]) == (2, 6)


def test_a_small_order_inside_the_spread_hardly_moves_a_maker() -> None:
    maker = MarketMaker(half_spread=4.0).build(CONFIG)
    # One lot bid a tick below the ask: the mid of the touch rises by half of what the bid improved, 2.5 ticks.
    led = calm(bid_distance_1=0.5 / 32, ask_distance_1=0.5 / 32, bid_lots_1=float(np.log1p(1) / 7))
    for level in range(2, 6):
        led[observations.INDEX[f"bid_distance_{level}"]] = (3.5 + level) / 32
        led[observations.INDEX[f"ask_distance_{level}"]] = (level - 0.5) / 32
    # Mean distances by lots: asks 2.5 ticks; bids 1 lot at 0.5 ticks and 10 each at 5.5 to 8.5.
    led[observations.INDEX["depth_mid"]] = 0.5 * (2.5 - (0.5 + 10 * 28.0) / 41) / 32
    (action,) = decide(maker, led)
    # Seen from the new mid its bid stands further off and its ask nearer: both stay about where they were.
    assert action["bid"] >= 5
    assert action["ask"] <= 3


def test_a_maker_keeps_a_front_order_within_its_tolerance_and_builds_layers_behind() -> None:
    maker = MarketMaker(half_spread=3.0, layers=3, layer_gap=2.0, tolerance=2.0, shown=0.5).build(CONFIG)
    seen = calm(own_bid_distance=4 / 64, own_ask_distance=3 / 64, open_bid_lots=0.05, open_ask_lots=0.4)
    actions = decide(maker, seen, 50)
    assert {action["cancel"] for action in actions} == {0}
    assert {action["bid"] for action in actions} == {5, 7}
    assert {action["ask"] for action in actions} == {None}
    (stale,) = decide(maker, calm(own_bid_distance=9 / 64, own_ask_distance=3 / 64, open_ask_lots=0.4))
    assert (stale["cancel"], stale["bid"], stale["ask"]) == (2, 3, None)


@pytest.mark.parametrize(("move", "side"), [(8.0, "bid"), (-8.0, "ask")])
def test_momentum_follows_a_large_move_with_market_orders(move: float, side: str) -> None:
    trader = MomentumTrader(window=20, threshold=1.0).build(CONFIG)
    (action,) = decide(trader, calm(return_20=move / 64, volatility_slow=1 / 32))
    assert action[side] == 999
    assert action["ask" if side == "bid" else "bid"] is None


def test_momentum_waits_out_small_moves_and_closes_when_the_move_has_faded() -> None:
    trader = MomentumTrader(window=20, threshold=1.0, exit_threshold=0.25).build(CONFIG)
    (quiet,) = decide(trader, calm(return_20=2 / 64, volatility_slow=1 / 32))
    assert (quiet["bid"], quiet["ask"]) == (None, None)
    for held, lots in ((1, 1), (3, 3), (30, 4)):
        signed = {"inventory": held / 80, "inventory_lots": float(np.log1p(held) / 7)}
        (leaving,) = decide(trader, calm(return_20=0.0, volatility_slow=1 / 32, **signed))
        assert (leaving["ask"], leaving["ask_lots"], leaving["bid"]) == (999, lots, None)
    (full,) = decide(trader, calm(return_20=8 / 64, volatility_slow=1 / 32, inventory=0.7))
    assert (full["bid"], full["ask"]) == (None, None)


def test_noise_traders_take_and_make_on_both_sides_in_their_shares() -> None:
    trader = NoiseTrader(market_share=0.3, inside_share=0.1)
    actions = decide(trader.build(CONFIG), calm(), 4_000)
    takes = np.array([999 in (a["bid"], a["ask"]) for a in actions])
    buys = np.array([a["bid"] is not None for a in actions])
    assert takes.mean() == pytest.approx(0.3, abs=0.03)
    assert buys.mean() == pytest.approx(0.5, abs=0.03)
    offsets = np.array([a["bid"] if a["bid"] is not None else a["ask"] for a in actions])[~takes]
    assert (offsets == 2).mean() == pytest.approx(0.1, abs=0.02)  # a tick inside a spread of 6
    assert (offsets >= 2).all()
    sizes = np.array([a["bid_lots"] + a["ask_lots"] for a in actions])
    assert np.median(sizes) == 3
    assert all((a["bid"] is None) != (a["ask"] is None) for a in actions)


def test_the_sizes_of_noise_traders_are_log_normal_rounded_down_to_the_grid() -> None:
    actions = decide(NoiseTrader(median_lots=3.0, log_spread=0.8).build(CONFIG), calm(), 20_000)
    found = np.array([a["bid_lots"] + a["ask_lots"] for a in actions])
    drawn = np.exp(np.random.default_rng(1).normal(np.log(3.0), 0.8, 200_000))
    grid = np.array(CONFIG.lots[1:])
    wanted = grid[np.maximum(np.searchsorted(grid, drawn, "right") - 1, 0)]
    seen, expected = ((sizes[:, None] == grid).mean(axis=0) for sizes in (found, wanted))
    common = expected > 0.001
    counts = 20_000 * np.array([[*seen[common], seen[~common].sum()], [*expected[common], expected[~common].sum()]])
    assert stats.chisquare(counts[0], counts[1] * counts[0].sum() / counts[1].sum()).pvalue > 1e-3
    for median, lots in ((3.0, 3), (3.5, 3), (0.2, 1)):
        (same,) = {
            a["bid_lots"] + a["ask_lots"]
            for a in decide(NoiseTrader(median_lots=median, log_spread=0.0).build(CONFIG), calm(), 50)
        }
        assert same == lots


def test_noise_traders_cancel_more_the_more_they_have_open_and_lean_by_flow_and_inventory() -> None:
    trader = NoiseTrader(cancel_rate=1.0, herding=0.5, aversion=0.5).build(CONFIG)
    cancels = [
        np.mean([a["cancel"] for a in decide(trader, calm(open_orders=share), 2_000)]) for share in (0.0, 0.3, 0.8)
    ]
    assert cancels == pytest.approx([0.0, 0.3, 0.8], abs=0.04)
    for features, expected in (({"flow_fast": 0.8}, 0.7), ({"inventory": 0.8}, 0.3)):
        buys = np.mean([a["bid"] is not None for a in decide(trader, calm(**features), 2_000)])
        assert buys == pytest.approx(expected, abs=0.04)


def test_the_baselines_do_nothing_and_anything() -> None:
    assert DoNothing().build(CONFIG).act(calm()).tolist() == [0, 0, 0, 0, 0]
    policy = RandomActions().build(CONFIG)
    policy.reset(new_stream(1, "a_0"), np.zeros(MEMORY))
    actions = np.array([policy.act(calm()) for _ in range(4_000)])
    assert actions.max(axis=0).tolist() == [4, MARKET, 13, MARKET, 13]
    assert actions.min(axis=0).tolist() == [0, 0, 0, 0, 0]


def test_a_wrong_observation_is_one_clear_error() -> None:
    with pytest.raises(
        ValueError, match=r"observation: expected float32 of shape \(\d+,\), got float64 of shape \(3,\)"
    ):
        DoNothing().build(CONFIG).act(np.zeros(3))


def test_makers_take_the_four_standings_in_turn_unless_told_otherwise() -> None:
    config = MarketConfig(agents=roster(maker=6))
    assert [resolve(config, {})[f"maker_{n}"] for n in range(6)] == [STANDING[n % 4] for n in range(6)]
    own = MarketMaker(half_spread=9.0)
    assert resolve(config, {"maker": own, "maker_2": STANDING[0]})["maker_5"] == own
    assert resolve(config, {"maker": own, "maker_2": STANDING[0]})["maker_2"] == STANDING[0]


def test_an_unknown_kind_and_an_unknown_name_are_named() -> None:
    odd = MarketConfig(agents=(replace(roster()[0], id="whale_0", kind="whale"),))
    with pytest.raises(
        ConfigError,
        match=r"kind of whale_0: expected one of ppo, noise, maker, momentum, informed, splitter .* got 'whale'",
    ):
        build(odd)
    with pytest.raises(ConfigError, match="policies: expected an agent id or a kind of this market, got 'whales'"):
        resolve(CONFIG, {"whales": DoNothing()})
    assert isinstance(resolve(CONFIG, {})["ppo_0"], FrozenPPO)


def test_a_maker_without_orders_quotes_in_the_wildest_market() -> None:
    for volatility in (10, 28, 32):
        maker = MarketMaker(half_spread=9.0, layers=1).build(CONFIG)
        (action,) = decide(maker, calm(volatility_fast=volatility / 32))
        assert None not in (action["bid"], action["ask"])


def test_momentum_does_not_close_less_than_it_can_order() -> None:
    config = MarketConfig(lots=(0, 5))
    trader = MomentumTrader().build(config)
    trader.reset(new_stream(1, "a_0"), np.zeros(MEMORY))
    seen = calm(volatility_slow=1 / 32, inventory=2 / 80, inventory_lots=float(np.log1p(2) / 7))
    assert trader.act(seen).tolist() == [0, 0, 0, 0, 0]


def every_policy() -> dict[str, CompiledPolicy]:
    """Of each way to act that says what it reads, by every population's parameters and by its own defaults."""
    found = {}
    for name in RECIPES:
        of = population(name)
        for agent, policy in build(of.market, of.policies).items():
            found[f"{name} {agent.split('_')[0]} {policy.parameter_hash()[:6]}"] = policy
    for own in (Twap(), Schedule(urgency=0.01), Participation(), Peg(), Pusher(), DoNothing(), RandomActions()):
        found[type(own).__name__] = own.build(CONFIG)
    return {label: policy for label, policy in found.items() if policy.function.reads is not None}


EVERY_POLICY = every_policy()


def test_all_policies_but_the_network_say_what_they_read() -> None:
    functions = {policy.function.__name__ for policy in EVERY_POLICY.values()}
    defined = set()
    for module in pkgutil.iter_modules(scripted_agents.__path__, "scripted_agents."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, PolicyFunction):
                defined.add(value.__name__)
    assert defined - functions == {"frozen_network"}
    assert sorted(name for part in PARTS for name in part) == sorted(observations.NAMES)
    assert parts_of(observations.NAMES) == parts_of(None)


@pytest.mark.parametrize("label", EVERY_POLICY)
def test_what_a_policy_does_not_say_that_it_reads_changes_nothing(label: str) -> None:
    policy = EVERY_POLICY[label]
    assert policy.function.reads is not None
    read = [observations.INDEX[name] for name in policy.function.reads]
    rng = np.random.default_rng(7)
    streams = np.zeros((2, 4), np.uint64)
    for number in range(300):
        seen = rng.uniform(observations.LOW, observations.HIGH).astype(np.float32)
        seen[rng.random(len(seen)) < 0.2] = 0.0
        other = np.full_like(seen, [np.nan, 1.0, -1.0][number % 3])
        other[read] = seen[read]
        streams[:] = new_stream(number, "test_0")
        memories = np.repeat(rng.uniform(-3.0, 3.0, (1, MEMORY)) * (number % 2), 2, axis=0)
        acts = []
        for place, what in enumerate((seen, other)):
            policy.reset(streams[place], memories[place])
            acts.append(policy.act(what).tolist())
        assert acts[0] == acts[1]
        assert memories[0].tobytes() == memories[1].tobytes()
        assert streams[0].tobytes() == streams[1].tobytes()


def test_a_feature_that_there_is_none_of_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match="reads: expected names of features, got 'weather'"):
        parts_of(("spread", "weather"))
