"""A run's config.json: checked field by field, and read in the versions before today's."""

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
from runners.files.schema import VERSION, tables_of
from runners.report import write_html, write_report

OLD = {version: Path(__file__).with_name(f"schema_{version}") for version in range(1, VERSION)}
"""A run that each version before today's wrote, with its tables."""


@pytest.mark.parametrize("version", OLD)
def test_a_run_of_a_version_before_is_read_audited_exported_and_drawn(version: int, tmp_path: Path) -> None:
    path = tmp_path / "old"
    shutil.copytree(OLD[version], path)
    assert json.loads((path / "config.json").read_text())["schema"] == version
    assert ("turn" in pq.read_schema(path / "events" / "part-00000.parquet").names) == (version > 1)
    assert (path / "news.parquet").exists() == (version > 2)
    data, market = read_config(path)
    assert (data["schema"], data["market"]["timesteps"], market.timesteps) == (version, 120, 120)
    run = load_run(path)
    first = run.turns["first_seq"]
    expected = [int((first <= seq).sum()) - 1 for seq in run.events["seq"]]
    assert run.events["turn"].to_list() == expected
    assert run.news.is_empty() == (version <= 2)
    assert (run.agents["fees"] == 0).all()
    assert run.summary["events"]["halt"] == run.summary["rejected_lots"]["under_way"] == 0
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


MODELS_NOW = {"models/ppo_day5.zip": "models/ppo_day6.zip"}
"""Under which name a model lies today that was called otherwise when the run was made."""


@pytest.mark.parametrize("version", OLD)
def test_a_run_of_a_version_before_runs_again_and_says_the_same(
    version: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, config = OLD[version], tmp_path / "run", tmp_path / "config.json"
    quick = ["--no-audit", "--no-report", "--no-tensorboard"]
    text = (old / "config.json").read_text()
    config.write_text(text)
    if any(name in text for name in MODELS_NOW):
        # Another model lies there now, and the run says so; its own is told by its hash.
        assert simulate.main(["--config", str(config), "--run-dir", str(new), *quick]) == 2
        assert "expected sha256" in capsys.readouterr().err
        for name, now in MODELS_NOW.items():
            text = text.replace(name, now)
        config.write_text(text)
    assert simulate.main(["--config", str(config), "--run-dir", str(new), *quick]) == 0
    for name in tables_of(version):
        before = pl.read_parquet(old / f"{name}.parquet")
        assert before.equals(pl.read_parquet(new / f"{name}.parquet").select(before.columns)), name
    was, now = (pl.read_parquet(path / "events" / "part-00000.parquet") for path in (old, new))
    assert now.select(was.columns).equals(was)


@pytest.mark.parametrize("version", OLD)
def test_a_run_of_a_version_before_that_was_cut_off_is_completed_in_its_own_version(
    version: int, tmp_path: Path
) -> None:
    path = tmp_path / "old"
    shutil.copytree(OLD[version], path)
    for file in (*path.glob("*.parquet"), path / "summary.json"):
        file.unlink()
    last = pl.read_parquet(path / "events" / "part-00000.parquet")["timestep"][-1]
    assert complete(path) == last + 1  # of quiet timesteps at the end the log says nothing
    was, now = (pq.read_schema(folder / "quotes.parquet") for folder in (OLD[version], path))
    assert now.equals(was, check_metadata=True)
    assert not compare.audit(path).differences


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": True}, "expected schema version 1 to 4, got True"),
        ({"schema": "2"}, "expected schema version 1 to 4, got '2'"),
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
    data, _ = read_config(OLD[1])
    (tmp_path / "config.json").write_text(json.dumps(data | {"schema": VERSION} | changes))
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
