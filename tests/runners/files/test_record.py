"""The tables are what the events say: rebuilt here with the plain-Python book, and equal to what the market told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

import scripted_agents
from market_env.aec import raw_env
from market_env.config import MarketConfig, roster
from market_env.engine import state
from market_env.market import Market
from runners import simulate
from runners.audit.rebuild import Event, Replay
from runners.files.derive import derive, turns_with_trades
from runners.files.record import agent_columns, depth_columns, event_columns, quote_columns, trade_columns
from runners.files.schema import arrow_schema
from runners.simulation.drive import drive
from tests.kit import market_configs, random_actions


def assert_rebuilt(config: MarketConfig, events: np.ndarray) -> None:
    """The plain-Python book, fed the events alone, finds every rule kept and every table as the recorder makes it."""
    ids = config.agent_ids
    log = pa.Table.from_pydict(event_columns(events, ids), schema=arrow_schema("events"))
    replayed = Replay(config)
    for row in pl.from_arrow(log).iter_rows():
        replayed.feed(Event(*row))
    replayed.finish(config.timesteps)
    assert not replayed.differences, replayed.differences[:3]
    tables = derive(config, events)
    for name, columns in (
        ("trades", trade_columns(events, ids)),
        ("quotes", quote_columns(tables.quotes)),
        ("depth", depth_columns(tables.depth)),
        ("agents", agent_columns(tables, ids)),
    ):
        assert pa.Table.from_pydict(columns, schema=arrow_schema(name)).to_pydict() == replayed.tables[name], name


@settings(max_examples=40)
@given(market_configs(timesteps=40), st.integers(0, 2**32))
def test_the_events_alone_rebuild_every_table_of_a_random_market(config: MarketConfig, seed: int) -> None:
    market = Market(config, log=True)
    actions = random_actions(config, seed, 2_000)
    going, number = market.reset(seed), 0
    while going:
        going = market.act(actions[number % len(actions)])
        number += 1
    events = market.drain()
    assert_rebuilt(config, events)


def test_the_events_alone_rebuild_every_table_of_a_scripted_market() -> None:
    config = MarketConfig(timesteps=250, agents=roster(ppo=0))
    market = Market(config, log=True)
    market.reset(8)
    events = scripted_agents.run_compiled(market, scripted_agents.build(config))
    assert (events["kind"] == state.KIND_TRADE).sum() > 200
    assert_rebuilt(config, events)


def test_the_tables_are_what_the_infos_told() -> None:
    config = MarketConfig(timesteps=120, agents=roster(ppo=0))
    env = raw_env(config=config, log=True)
    told: dict[tuple[str, int], dict[str, Any]] = {}

    class Listener:
        def turn(self, agent: str, reward: float, info: dict[str, Any], action: Any) -> None:
            told[agent, -1] = info

        def end(self, agent: str, reward: float, info: dict[str, Any]) -> None:
            told[agent, 0] = info

    assert drive(env, scripted_agents.build(config), 4, [Listener()])
    tables = derive(config, env.drain())
    for index, agent in enumerate(config.agent_ids):
        info, row = told[agent, 0], tables.agents[-1, index]
        assert (info["inventory"], info["cash"]) == (row["inventory"], row["cash"])
        assert (info["open_bid_lots"], info["open_ask_lots"]) == (row["open_bid_lots"], row["open_ask_lots"])
        assert info["mid"] == tables.quotes["reference"][-1]
        assert info["ask_depth"] == tables.depth["ask_lots"][-1, :10].sum()


def test_rewards_and_actions_are_recorded_turn_by_turn(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ["--timesteps", "80", "--seed", "6", "--population", "day6", "--ppo", "0", "--run-dir", str(folder)]
    assert simulate.main([*arguments, "--no-report", "--no-tensorboard"]) == 0
    turns = pl.read_parquet(folder / "turns.parquet")
    config = MarketConfig(timesteps=80, agents=roster(ppo=0))
    env = raw_env(config=config)
    seen: list[tuple[str, list[int]]] = []
    rewards: dict[str, list[float]] = {agent: [] for agent in config.agent_ids}

    class Listener:
        def turn(self, agent: str, reward: float, info: dict[str, Any], action: Any) -> None:
            rewards[agent].append(reward)
            seen.append((agent, action.tolist()))

        def end(self, agent: str, reward: float, info: dict[str, Any]) -> None:
            rewards[agent].append(reward)

    drive(env, scripted_agents.build(config), 6, [Listener()])
    assert turns["agent"].to_list() == [agent for agent, _ in seen]
    for agent in config.agent_ids:
        assert turns.filter(pl.col("agent") == agent)["reward"].to_list() == rewards[agent][1:]
    offsets = [*config.offsets, None]
    assert turns["ask_offset"].to_list() == [offsets[action[3]] for _, action in seen]
    assert turns["bid_lots"].to_list() == [config.lots[action[2]] for _, action in seen]


def test_turns_with_trades_counts_turns_since_whose_predecessor_an_order_traded() -> None:
    events = np.zeros(8, state.EVENT)
    events["seq"] = range(8)
    events["maker"] = -1
    rows = [
        ("turn", 0, -1),
        ("turn", 1, -1),
        ("trade", 1, 0),
        ("turn", 0, -1),
        ("turn", 0, -1),
        ("trade", 0, 1),
        ("turn", 1, -1),
        ("turn", 0, -1),
    ]
    for event, (kind, agent, maker) in zip(events, rows, strict=True):
        event["kind"], event["agent"], event["maker"] = state.KINDS.index(kind), agent, maker
    assert turns_with_trades(events, 0).tolist() == [True, False, True]
    assert turns_with_trades(events, 1).tolist() == [True]
