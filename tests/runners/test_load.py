"""A run is read back as data frames, and any other reader sees the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest

from market_env.config import ConfigError
from runners import facts, lobster, replay, report, simulate
from runners.load import NAMES, load_run, recorded_timesteps


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("load") / "run"
    arguments = ["--timesteps", "520", "--ppo", "0", "--run-dir", str(folder), "--no-report", "--no-tensorboard"]
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
    for name in NAMES:
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


def copy_of(path: Path, folder: Path) -> Path:
    shutil.copytree(path, folder / "run")
    return folder / "run"


def test_a_part_at_the_end_that_is_missing_is_named_by_every_reader(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copy_of(path, tmp_path)
    (copy / "events" / "part-00001.parquet").unlink()
    expected = "events/part-00001.parquet is missing, which summary.json lists"
    for command in (
        lambda: replay.main([str(copy)]),
        lambda: facts.main([str(copy)]),
        lambda: lobster.main(["export", str(copy), str(tmp_path / "files")]),
        lambda: report.main([str(copy)]),
    ):
        assert command() == 2
        assert expected in capsys.readouterr().err
    with pytest.raises(ConfigError, match=expected):
        _ = load_run(copy).events


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "timesteps: expected int, found 'nothing'"),
        ("[]", "expected a JSON object, found list"),
        ("null", "expected a JSON object, found NoneType"),
        ("xx", "is damaged"),
        ('"timesteps": "a"', "timesteps: expected int, found 'a'"),
        ('"timesteps": -5', "timesteps: expected 0 to 520, found -5"),
        ('"timesteps": 99999999', "timesteps: expected 0 to 520, found 99999999"),
        ('"kinds": 7', "kinds: expected dict, found 7"),
    ],
)
def test_a_summary_that_is_none_is_one_clear_error(text: str, expected: str, path: Path, tmp_path: Path) -> None:
    copy = copy_of(path, tmp_path)
    if text.startswith('"'):
        text = json.dumps(json.loads((copy / "summary.json").read_text()) | json.loads(f"{{{text}}}"))
    (copy / "summary.json").write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load_run(copy)
    with pytest.raises(ConfigError, match=expected):
        facts.facts_of_run(copy)


def test_a_run_that_was_cut_off_is_as_long_as_completing_it_makes_it(path: Path, tmp_path: Path) -> None:
    copy = copy_of(path, tmp_path)
    for file in (*copy.glob("*.parquet"), copy / "summary.json", copy / "events" / "part-00001.parquet"):
        file.unlink()
    assert recorded_timesteps(copy) == 500
    assert facts.facts_of_run(copy)["seconds"] == 500
    assert lobster.main(["export", str(copy), str(tmp_path / "files")]) == 0
    assert (tmp_path / "files" / "MARKET_2000-01-03_34200000_34700000_message_10.csv").is_file()
    with pytest.raises(ConfigError, match=r"cut off after 500 whole timesteps; .* --complete"):
        replay.audit(copy)
    assert replay.complete(copy) == 500
    assert recorded_timesteps(copy) == 500
    printed = replay.report_of(replay.audit(copy))
    assert "not checked, since the run was cut off" in printed
    assert "incomplete: 500 of 520 timesteps" in printed


def test_what_is_missing_or_damaged_is_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found no folder"):
        load_run(tmp_path / "none")
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("config.json", "summary.json", *(f"{name}.parquet" for name in NAMES)):
        (copy / name).write_bytes((path / name).read_bytes())
    (copy / "depth.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"depth\.parquet is damaged"):
        _ = load_run(copy).depth
    (copy / "trades.parquet").unlink()
    with pytest.raises(ConfigError, match=r"trades\.parquet is missing; if the run was cut off: .* --complete"):
        load_run(copy)
