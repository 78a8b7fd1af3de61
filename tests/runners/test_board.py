"""TensorBoard's own reader finds every documented tag, and the values that the market told."""

from __future__ import annotations

import warnings
from pathlib import Path

import polars as pl
import pytest

from runners import simulate
from runners.board import TAGS

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("board") / "run"
    assert simulate.main(["--timesteps", "150", "--ppo", "0", "--run-dir", str(path), "--no-report"]) == 0
    return path


@pytest.fixture(scope="module")
def board(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def test_the_tags_are_the_documented_ones(board: EventAccumulator) -> None:
    expected = {
        tag.replace("<kind>", kind)
        for tag in TAGS
        for kind in (("noise", "maker", "momentum") if "<kind>" in tag else ("",))
    }
    assert set(board.Tags()["scalars"]) == expected


def test_each_timestep_is_written_once_in_order(board: EventAccumulator) -> None:
    assert [event.step for event in board.Scalars("market/mid")] == list(range(150))


def test_the_values_are_those_of_the_tables(board: EventAccumulator, run: Path) -> None:
    turns = pl.read_parquet(run / "turns.parquet")
    per_timestep = dict(turns.group_by("timestep").len().iter_rows())
    assert {event.step: event.value for event in board.Scalars("flow/turns")} == per_timestep
    agents = pl.read_parquet(run / "agents.parquet")
    makers = agents.filter(pl.col("agent").cast(pl.String).str.starts_with("maker_"))
    taken = board.Scalars("agents/maker/maker_lots")
    assert sum(event.value for event in taken) == makers["maker_lots"].sum() > 0
