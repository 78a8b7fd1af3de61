"""The tables are what the events say: rebuilt here with the plain-Python book, and equal to what the market told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scripted_agents
from market_env.aec import raw_env
from market_env.config import MarketConfig, roster
from market_env.engine import state
from market_env.market import Market
from runners import simulate
from runners.audit.rebuild import Event, Replay
from runners.files import record
from runners.files.derive import Derived, derive
from runners.files.record import (
    agent_columns,
    arrow_table,
    depth_columns,
    event_columns,
    quote_columns,
    trade_columns,
    written_in_pieces,
)
from runners.files.schema import arrow_schema
from runners.files.summary import Figures, summarise
from runners.simulation.drive import drive
from tests.kit import market_configs, random_actions, turns_with_trades


def assert_rebuilt(config: MarketConfig, events: np.ndarray) -> None:
    """The plain-Python book, fed the events alone, finds every rule kept and every table as the recorder makes it."""
    ids = config.agent_ids
    log = pa.Table.from_pydict(event_columns(events, ids), schema=arrow_schema("events"))
    replayed = Replay(config)
    for row in pl.from_arrow(log).iter_rows():
        replayed.feed(Event(*row))
    replayed.finish(config.timesteps)
    assert not replayed.differences, replayed.differences[:3]
    rebuilt, tables = replayed.take().tables, derive(config, events)
    for name, columns in (
        ("trades", trade_columns(events, ids)),
        ("quotes", quote_columns(tables.quotes)),
        ("depth", depth_columns(tables.depth)),
        ("agents", agent_columns(tables, ids)),
    ):
        assert pa.Table.from_pydict(columns, schema=arrow_schema(name)).to_pydict() == rebuilt[name], name


def played_at_random(config: MarketConfig, seed: int) -> np.ndarray:
    """The log of an episode of random actions."""
    market = Market(config, log=True)
    actions = random_actions(config, seed, 2_000)
    going, number = market.reset(seed), 0
    while going:
        going = market.act(actions[number % len(actions)])
        number += 1
    return market.drain()


@settings(max_examples=40)
@given(market_configs(timesteps=40), st.integers(0, 2**32))
def test_the_events_alone_rebuild_every_table_of_a_random_market(config: MarketConfig, seed: int) -> None:
    assert_rebuilt(config, played_at_random(config, seed))


@settings(max_examples=30)
@given(market_configs(timesteps=40), st.integers(0, 2**32), st.sets(st.integers(1, 39)))
def test_tables_and_figures_made_part_by_part_are_those_of_the_whole(
    config: MarketConfig, seed: int, cuts: set[int]
) -> None:
    events = played_at_random(config, seed)
    whole = derive(config, events)
    derived, figures, parts = Derived(config), Figures(config), []
    for end in (*sorted(cuts), 40):
        rows = events[(events["timestep"] >= derived.end) & (events["timestep"] < end)]
        parts.append(derived.add(rows, end))
        figures.add(rows, parts[-1])
    for made, expected in zip(zip(*parts, strict=True), whole, strict=True):
        joined = np.concatenate(made)
        assert joined.shape == expected.shape
        assert all(np.array_equal(joined[name], expected[name]) for name in expected.dtype.names or ())
    told = figures.result()
    assert told == summarise(config, events, whole)
    for index, agent in enumerate(config.agent_ids):
        traded = turns_with_trades(events, index)
        share = float(traded.mean()) if len(traded) else None
        assert told["agents"][agent]["trading_turns_share"] == share


def test_a_table_in_pieces_has_the_bytes_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = MarketConfig(timesteps=120, agents=roster(ppo=0))
    market = Market(config, log=True)
    market.reset(8)
    events = scripted_agents.run_compiled(market, scripted_agents.build(config))
    monkeypatch.setattr(record, "ROW_GROUP", 500)
    for pieces in ([events[n : n + 333] for n in range(0, len(events), 333)], [events], [events[:0]]):
        rows = np.concatenate(pieces)
        whole = arrow_table("events", event_columns(rows, config.agent_ids))
        words = ["kind", "agent", "side", "maker", "reason"]
        pq.write_table(whole, tmp_path / "whole", 500, compression="zstd", compression_level=3, use_dictionary=words)
        with written_in_pieces(tmp_path / "pieces", "events") as take:
            for piece in pieces:
                take(event_columns(piece, config.agent_ids))
        assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pieces", "whole"]


def test_a_run_whose_log_is_not_held_in_memory_has_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = ["--timesteps", "130", "--no-report", "--no-tensorboard", "--no-audit"]
    monkeypatch.setattr(record, "PART_TIMESTEPS", 20)
    assert simulate.main([*quick, "--run-dir", str(tmp_path / "held")]) == 0
    monkeypatch.setattr(record, "MOST_HELD", 100)
    assert simulate.main([*quick, "--run-dir", str(tmp_path / "read")]) == 0
    files = sorted(path.name for path in (tmp_path / "held").glob("*.parquet"))
    assert len(files) == 6
    for name in (*files, "summary.json"):
        assert (tmp_path / "held" / name).read_bytes() == (tmp_path / "read" / name).read_bytes(), name


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
