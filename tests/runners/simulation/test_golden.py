"""What the market did when these hashes were made, it does now: events, tables, turns, depth, news and infos of four populations."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import scripted_agents
from market_env.aec import raw_env
from market_env.config import MarketConfig, parse_json, roster
from runners.files.schema import tables_of
from runners.simulation.config import RunConfig
from runners.simulation.drive import drive
from runners.simulation.run import simulate
from scripted_agents import DoNothing, population
from tests.kit import random_run

GOLDEN = Path(__file__).with_name("golden.json")
TIMESTEPS = 2_000

CALIBRATED = population("default", timesteps=TIMESTEPS)
POPULATIONS: dict[str, RunConfig] = {
    "day6": RunConfig(market=MarketConfig(timesteps=TIMESTEPS), seed=42),
    # The seat is empty: a policy is trained anew sooner than a market is changed.
    "default": RunConfig(market=CALIBRATED.market, policies=CALIBRATED.over({"ppo": DoNothing()}), seed=42),
    "scripted": RunConfig(
        market=MarketConfig(timesteps=TIMESTEPS, agents=roster(ppo=0, noise=40, maker=2, momentum=6)), seed=7
    ),
    # Tight bounds, little cash, few open orders, all arrival processes, random actions: every rule and reason.
    "tight": parse_json(RunConfig, json.dumps(random_run(147, TIMESTEPS))),
}

EVENT_COLUMNS = [
    "seq", "time", "timestep", "kind", "agent", "order_id", "side", "price", "lots", "maker_order_id", "maker", "reason",
]  # fmt: skip

LATER = {"rejected_best_only", "fees", "messages_under_way", "halted", "rejected_halt", "rejected_under_way"}
"""Keys of infos, and columns of tables, that are younger than the hashes; 0 in these populations."""


def content_hash(frame: pl.DataFrame) -> str:
    """Hash of a table's contents, whatever the writer's version."""
    return hashlib.sha256(frame.write_csv().encode()).hexdigest()


class Infos:
    """Hashes all infos, in the order in which the agents are told."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def turn(self, agent: str, reward: float, info: dict[str, Any], action: Any) -> None:
        self.end(agent, reward, info)

    def end(self, agent: str, reward: float, info: dict[str, Any]) -> None:
        info = {name: value for name, value in info.items() if name not in LATER}
        self.digest.update(json.dumps([agent, reward, info], sort_keys=True).encode())


def contents(run: RunConfig, folder: Path) -> dict[str, str]:
    """The hashes of a run."""
    simulate(run, folder, audit=False, report=False, tensorboard=False)
    tables = {name: pl.read_parquet(folder / f"{name}.parquet") for name in tables_of()}
    younger = [frame[name] for frame in tables.values() for name in LATER & set(frame.columns)]
    assert not any((column != 0).any() for column in younger)
    found = {name: content_hash(frame.drop(LATER, strict=False)) for name, frame in tables.items()}
    events = pl.concat([pl.read_parquet(part) for part in sorted((folder / "events").iterdir())])
    infos = Infos()
    assert drive(raw_env(run.market, run.reward), scripted_agents.build(run.market, run.policies), run.seed, [infos])
    return {"events": content_hash(events.select(EVENT_COLUMNS)), **found, "infos": infos.digest.hexdigest()}


@pytest.mark.parametrize("name", POPULATIONS)
def test_a_run_reproduces_its_golden_contents(name: str, tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert contents(POPULATIONS[name], tmp_path / "run") == golden[name], (
        "the market behaves differently: if that is meant, note it in CHANGELOG and renew golden.json"
    )
