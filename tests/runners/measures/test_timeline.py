"""The market at every event is that of the tables, which the audit proves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from market_env.config import ConfigError
from market_env.engine.tables import DEPTH_LEVELS
from runners import simulate
from runners.files.derive import derive
from runners.files.run import Run, load_run
from runners.measures import timeline as timelines
from runners.measures.timeline import Timeline, timeline
from tests import kit


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    path = tmp_path_factory.mktemp("timeline") / "run"
    assert simulate.main(["--timesteps", "700", "--run-dir", str(path), "--no-report", "--no-tensorboard"]) == 0
    return timeline(load_run(path))


def ends(line: Timeline) -> np.ndarray:
    """Index of each timestep's last event."""
    return np.searchsorted(line.events["timestep"], np.arange(line.run.timesteps), side="right") - 1


def test_quotes_after_the_last_event_of_a_timestep_are_the_tables(line: Timeline) -> None:
    quotes, last = line.run.quotes, line.quotes[ends(line)]
    assert last["best_bid"].tolist() == quotes["best_bid"].fill_null(0).to_list()
    assert last["best_ask"].tolist() == quotes["best_ask"].fill_null(0).to_list()
    assert last["reference"].tolist() == quotes["mid"].to_list()


@pytest.mark.parametrize("part", [1, 7, 10_000])
def test_quotes_made_in_parts_are_those_made_at_once(
    part: int, line: Timeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timelines, "PART", part)
    whole = derive(line.run.market, line.events, line.run.timesteps).quotes
    found = timelines.closing_quotes(line.run.market, line.events, line.run.timesteps)
    assert found.tobytes() == whole.tobytes()
    assert timelines.near_ticks(found) == line.near_ticks


def test_resting_lots_are_those_of_the_depth_table(line: Timeline) -> None:
    prices = line.stretches["price"]
    lowest, highest = int(prices.min()), int(prices.max())
    steps = np.arange(0, line.run.timesteps, 3)
    grid = line.resting(steps, lowest, highest)
    rows = line.run.depth[steps.tolist()]
    for side, name in enumerate(("bid", "ask")):
        for level in range(1, DEPTH_LEVELS + 1):
            price = rows[f"{name}_price_{level}"]
            known = price.is_not_null().to_numpy()
            found = grid[np.flatnonzero(known), side, price.drop_nulls().to_numpy() - lowest]
            assert found.tolist() == rows[f"{name}_lots_{level}"].to_numpy()[known].tolist()
    total = pl.sum_horizontal(
        [f"{name}_lots_{level}" for name in ("bid", "ask") for level in range(1, DEPTH_LEVELS + 1)]
    )
    assert (grid.sum(axis=(1, 2)) >= rows.select(total).to_series().to_numpy()).all()


def test_depth_near_the_mid_is_what_rests_there(line: Timeline) -> None:
    prices = np.arange(int(line.stretches["price"].min()), int(line.stretches["price"].max()) + 1)
    grid = line.resting(np.arange(line.run.timesteps), int(prices[0]), int(prices[-1]))
    near = np.abs(prices - line.mid[:, None]) <= line.near_ticks
    assert line.near_depth.tolist() == (grid * near[:, None, :]).sum(axis=2).tolist()
    kinds = [line.kinds.index(line.run.market.agents[agent].kind) for agent in range(len(line.run.market.agents))]
    assert line.kind_of.tolist() == kinds
    open_lots = line.run.agents.group_by("timestep", maintain_order=True).agg(
        (pl.col("open_bid_lots") + pl.col("open_ask_lots")).sum().alias("lots")
    )
    assert grid.sum(axis=(1, 2)).tolist() == open_lots["lots"].to_list()


def test_stretches_of_an_order_follow_one_another_with_fewer_lots(line: Timeline) -> None:
    rows = np.sort(line.stretches, order=["order_id", "start"])
    same = rows["order_id"][1:] == rows["order_id"][:-1]
    assert same.any()
    assert (rows["start"][1:][same] == rows["end"][:-1][same]).all()
    assert (rows["lots"][1:][same] < rows["lots"][:-1][same]).all()
    assert (rows["end"] >= rows["start"]).all()


def test_a_log_that_no_market_wrote_is_one_clear_error(tmp_path: Path, line: Timeline) -> None:
    import json
    import shutil

    import pyarrow.parquet as pq

    path = tmp_path / "run"
    shutil.copytree(line.run.path, path)
    part = path / "events" / "part-00000.parquet"
    columns = pq.read_table(part).to_pydict()
    columns["maker_order_id"][columns["kind"].index("trade")] = 10**9
    kit.rewrite(part, "events", columns)
    assert json.loads((path / "summary.json").read_text())["complete"]
    with pytest.raises(ConfigError, match=r"run \S+: events: seq \d+: the log breaks the market\'s rules"):
        timeline(Run(path))
