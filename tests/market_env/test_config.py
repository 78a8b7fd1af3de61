"""A bad value is one line that names the field, what was expected and what was given."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from market_env.config import (
    AgentConfig,
    ConfigError,
    Fees,
    Halt,
    Hawkes,
    Latency,
    MarketConfig,
    amend,
    parse_json,
    roster,
    to_json,
)
from market_env.engine.state import PRESETS, fitting
from market_env.market import Market


def test_the_default_roster_is_the_documented_one() -> None:
    kinds = [agent.kind for agent in MarketConfig().agents]
    assert {kind: kinds.count(kind) for kind in kinds} == {"ppo": 1, "noise": 20, "maker": 4, "momentum": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timesteps": 0}, r"timesteps: .*greater than 0, got 0"),
        ({"timesteps": -5}, r"timesteps: .*greater than 0, got -5"),
        ({"timesteps": True}, r"timesteps: .*valid integer, got True"),
        ({"timesteps": 10.0}, r"timesteps: .*valid integer, got 10\.0"),
        ({"tick_size": 0.0}, r"tick_size: .*greater than 0, got 0\.0"),
        ({"tick_size": float("nan")}, r"tick_size: .*finite"),
        ({"lot_size": -1.0}, r"lot_size: .*greater than 0, got -1\.0"),
        ({"first_price": 0}, r"first_price: .*greater than 0, got 0"),
        ({"price_band": 600}, r"price_band: .*less than 512, got 600"),
        ({"protection_ticks": 300}, r"protection_ticks must not exceed price_band \(200\), got 300"),
        ({"offsets": (1, 0)}, r"offsets must be ascending, got \(1, 0\)"),
        ({"offsets": (0, 201)}, r"offsets must lie within the price band ±200"),
        ({"lots": (1, 2)}, r"lots must ascend from 0"),
        ({"agents": ()}, r"agents: .*at least 1 item"),
        ({"agents": (AgentConfig("a_0", "a"), AgentConfig("a_0", "a"))}, r"ids must be unique, got 'a_0' twice"),
        ({"wrong": 1}, r"wrong: unknown, expected some of timesteps"),
    ],
)
def test_a_bad_market_is_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        MarketConfig(**changes)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inventory_bound": 0}, "inventory_bound: .*greater than 0, got 0"),
        ({"inventory_bound": -3}, "inventory_bound: .*greater than 0, got -3"),
        ({"max_open_orders": 0}, "max_open_orders: .*greater than 0, got 0"),
        ({"inventory": 101}, r"inventory of ppo_0 must lie within its bound ±100, got 101"),
        ({"cash_floor": 3_000_000}, r"cash of ppo_0 must be at least its cash_floor \(3000000\), got 2000000"),
        ({"id": "PPO"}, "id: .*pattern"),
    ],
)
def test_a_bad_agent_is_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        amend(roster()[0], **changes)
    assert "\n" not in str(raised.value)


def test_a_hawkes_group_needs_a_branching_ratio_below_one_and_one_set_of_parameters() -> None:
    with pytest.raises(ConfigError, match=r"branching_ratio: .*less than 1, got 1\.0"):
        Hawkes(branching_ratio=1.0)
    agents = tuple(AgentConfig(f"a_{n}", "a", arrivals=Hawkes(rate=0.1 + n)) for n in range(2))
    with pytest.raises(ConfigError, match="Hawkes group 'crowd' must share one set of parameters"):
        MarketConfig(agents=agents)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ConfigError, match="number of noise agents: must be 0 or more, got -1"):
        roster(noise=-1)


def test_json_goes_there_and_back() -> None:
    import json

    config = MarketConfig(timesteps=7, offsets=(-1, 0, 3))
    assert parse_json(MarketConfig, json.dumps(to_json(config))) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"),
        ('{"speed": 3}', "speed: unknown, expected some of timesteps"),
        ('{"timesteps": "many"}', "timesteps"),
    ],
)
def test_bad_json_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        parse_json(MarketConfig, text)
    assert "\n" not in str(raised.value)


def test_a_market_beyond_the_largest_capacity_says_what_the_largest_is() -> None:
    agents = tuple(AgentConfig(f"a_{n}", "a") for n in range(1_025))
    with pytest.raises(ValueError, match=r"at most 1024 agents, 16384 open orders .* got 1025, 16400 and 0"):
        Market(MarketConfig(agents=agents))
    slow = tuple(AgentConfig(f"a_{n}", "a", latency=Latency(under_way=256)) for n in range(40))
    with pytest.raises(ValueError, match=r"8192 turns under way \(of latency.under_way\), got 40, 640 and 10240"):
        Market(MarketConfig(agents=slow))
    assert fitting(26, 400, 1) == PRESETS[0]._replace(packets=256)
    assert [fitting(*size) for size in ((26, 400), (33, 400), (1_024, 16_384))] == list(PRESETS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Latency(-0.1), r"fixed: .* greater than or equal to 0, got -0.1"),
        (lambda: Latency(0.1, -1.0), r"random: .* greater than or equal to 0, got -1.0"),
        (lambda: Latency(under_way=0), r"under_way: .* greater than 0, got 0"),
        (lambda: Fees(message=-1), r"message: .* greater than or equal to 0, got -1"),
        (lambda: Fees(maker=0.5), r"maker: .* valid integer, got 0.5"),  # type: ignore[arg-type]
        (lambda: Halt(0), r"move: .* greater than 0, got 0"),
        (lambda: Halt(5, 64), r"within: .* less than 64, got 64"),
        (
            lambda: MarketConfig(fees=Fees(-300, 200)),
            r"fees: a rebate above the fee, of 300 and 200 thousandths of a tick a lot: .* set market.subsidised to let it",
        ),
        (
            lambda: MarketConfig(
                agents=(AgentConfig("a_0", "a", fees=Fees(-1, 0)), AgentConfig("a_1", "a", fees=Fees(5, 0)))
            ),
            r"a rebate above the fee, of 1 and 0 ",
        ),
        (
            lambda: MarketConfig(fees=Fees(0, 1), agents=(AgentConfig("a_0", "a", cash=2**42 + 1),)),
            r"cash and cash_floor of a_0: at most 4398046511104 in a market with fees, got 4398046511105 and 0",
        ),
    ],
)
def test_rules_that_cannot_be_are_one_clear_error(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        make()
    assert "\n" not in str(raised.value)


def test_a_subsidised_market_may_pay_more_than_it_takes_in() -> None:
    config = MarketConfig(fees=Fees(-300, 200), subsidised=True)
    assert config.charges
    assert not MarketConfig(fees=Fees(free_messages=9)).charges
    assert parse_json(MarketConfig, json.dumps(to_json(config))) == config
