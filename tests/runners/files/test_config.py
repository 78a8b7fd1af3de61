"""A run's config.json: checked field by field, and read in the version before today's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

import runners.facts as facts_command
from market_env.config import ConfigError
from runners import lobster, replay, simulate
from runners.audit import compare
from runners.audit.complete import complete
from runners.exchange.facts import facts_of_run
from runners.files.config import read_config
from runners.files.run import load_run
from runners.files.schema import VERSION
from runners.report import write_html, write_report

OLD = Path(__file__).with_name("schema_1")
"""A run that schema version 1 wrote, with its tables."""


def test_a_run_of_the_version_before_is_read_audited_exported_and_drawn(tmp_path: Path) -> None:
    path = tmp_path / "old"
    shutil.copytree(OLD, path)
    assert json.loads((path / "config.json").read_text())["schema"] == 1 < VERSION
    assert "turn" not in pq.read_schema(path / "events" / "part-00000.parquet").names
    data, market = read_config(path)
    assert (data["schema"], data["market"]["timesteps"], market.timesteps) == (1, 120, 120)
    run = load_run(path)
    first = run.turns["first_seq"]
    expected = [int((first <= seq).sum()) - 1 for seq in run.events["seq"]]
    assert run.events["turn"].to_list() == expected
    rebuilt = compare.audit(path)
    assert not rebuilt.differences, rebuilt.differences[:3]
    book, _ = run.state_at(60)
    asks = book.filter(pl.col("side") == "sell")
    assert asks["lots"][0] == run.depth["ask_lots_1"][60]
    assert replay.main([str(path)]) == 0
    assert facts_of_run(path)["messages"] > 100
    assert lobster.main(["export", str(path), str(tmp_path / "files")]) == 0
    assert facts_command.main([str(path)]) == 0
    write_html(path, write_report(path))


def test_a_run_of_the_version_before_runs_again_and_says_the_same(tmp_path: Path) -> None:
    quick = ["--no-audit", "--no-report", "--no-tensorboard"]
    assert simulate.main(["--config", str(OLD / "config.json"), "--run-dir", str(tmp_path / "run"), *quick]) == 0
    for name in ("trades", "quotes", "depth", "agents", "turns"):
        old, new = (pl.read_parquet(path / f"{name}.parquet") for path in (OLD, tmp_path / "run"))
        assert old.equals(new), name
    events = pl.read_parquet(tmp_path / "run" / "events" / "part-00000.parquet")
    assert events.drop("turn").equals(pl.read_parquet(OLD / "events" / "part-00000.parquet"))


def test_a_run_of_the_version_before_that_was_cut_off_is_completed_in_its_own_version(tmp_path: Path) -> None:
    path = tmp_path / "old"
    shutil.copytree(OLD, path)
    for file in (*path.glob("*.parquet"), path / "summary.json"):
        file.unlink()
    assert complete(path) == 120
    assert pq.read_schema(path / "quotes.parquet").equals(pq.read_schema(OLD / "quotes.parquet"), check_metadata=True)
    assert not compare.audit(path).differences


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": True}, "expected schema version 1 to 2, got True"),
        ({"schema": "2"}, "expected schema version 1 to 2, got '2'"),
        ({"seed": "<script>alert(1)</script>"}, r"seed: Input should be a valid integer, got '<script>"),
        ({"models": {"a.zip": 7}}, r"models\.a\.zip: Input should be a valid string, got 7"),
        ({"versions": ["x"]}, "versions: "),
        ({"parameters": {"ppo_0": None}}, r"parameters\.ppo_0: Input should be a valid string"),
        ({"policies": {"ppo_0": "x"}}, r"policies\.ppo_0: Input should be"),
        ({"reward": {"scale": "x"}}, r"reward\.scale: Input should be a valid number"),
        ({"mood": 1}, "mood: unknown, expected some of schema, seed, market"),
    ],
)
def test_a_field_of_another_type_is_one_clear_error(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    data, _ = read_config(OLD)
    (tmp_path / "config.json").write_text(json.dumps(data | {"schema": VERSION} | changes))
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
