"""A run is read back as data frames, and any other reader sees the same."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest

from market_env.config import ConfigError
from runners import simulate
from runners.files.run import load_run
from runners.files.schema import tables_of


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("load") / "run"
    arguments = [
        "--timesteps",
        "520",
        "--population",
        "day6",
        "--ppo",
        "0",
        "--run-dir",
        str(folder),
        "--no-report",
        "--no-tensorboard",
    ]
    assert simulate.main(arguments) == 0
    return folder


def test_tables_and_events_are_data_frames_of_the_whole_run(path: Path) -> None:
    run = load_run(path)
    assert run.timesteps == run.depth.height == 520
    assert run.agents.height == 520 * 25
    assert run.events["seq"].to_list() == list(range(run.summary["events"]["all"]))
    assert run.trades.height == run.summary["trades"]
    assert run.kinds == ["noise", "maker", "momentum"]
    assert run.turns is run.turns


def test_duckdb_finds_the_same_figures(path: Path) -> None:
    run = load_run(path)
    for name in tables_of():
        assert duckdb.sql(f"SELECT count(*) FROM '{path}/{name}.parquet'").fetchall() == [(getattr(run, name).height,)]
    lots = duckdb.sql(f"SELECT sum(lots) FROM '{path}/events/*.parquet' WHERE kind = 'trade'").fetchall()
    assert lots == [(run.summary["traded_lots"],)]


def test_the_book_at_a_moment_is_that_of_the_depth_table(path: Path) -> None:
    run = load_run(path)
    book, accounts = run.state_at(400)
    asks = book.filter(pl.col("side") == "sell")
    row = run.depth.row(400, named=True)
    for level in range(min(20, asks.height)):
        assert (asks["price"][level], asks["lots"][level]) == (
            row[f"ask_price_{level + 1}"],
            row[f"ask_lots_{level + 1}"],
        )
    assert accounts.height == 25


def test_what_is_missing_or_damaged_is_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found no folder"):
        load_run(tmp_path / "none")
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("config.json", "summary.json", *(f"{name}.parquet" for name in tables_of())):
        (copy / name).write_bytes((path / name).read_bytes())
    (copy / "depth.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"depth\.parquet is damaged"):
        _ = load_run(copy).depth
    (copy / "trades.parquet").unlink()
    with pytest.raises(ConfigError, match=r"trades\.parquet is missing; if the run was cut off: .* --complete"):
        load_run(copy)
