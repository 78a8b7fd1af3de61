"""Whoever reads a run says the same of what is missing, damaged or cut off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import runners.facts as facts_command
import runners.report.__main__ as report_command
from market_env.config import ConfigError
from runners import lobster, replay, simulate
from runners.audit import compare, complete
from runners.exchange import facts
from runners.files.read import recorded_timesteps
from runners.files.run import load_run


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored") / "run"
    arguments = ["--timesteps", "520", "--no-audit", "--no-report", "--no-tensorboard"]
    assert simulate.main([*arguments, "--run-dir", str(folder)]) == 0
    return folder


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
        lambda: facts_command.main([str(copy)]),
        lambda: lobster.main(["export", str(copy), str(tmp_path / "files")]),
        lambda: report_command.main([str(copy)]),
    ):
        assert command() == 2
        assert expected in capsys.readouterr().err
    with pytest.raises(ConfigError, match=expected):
        _ = load_run(copy).events


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "timesteps: Field required"),
        ("[]", "expected a JSON object, got list"),
        ("null", "expected a JSON object, got NoneType"),
        ("xx", "not JSON"),
        ('"timesteps": "a"', "timesteps: Input should be a valid integer, got 'a'"),
        ('"timesteps": -5', "timesteps: expected 0 to 520, found -5"),
        ('"timesteps": 99999999', "timesteps: expected 0 to 520, found 99999999"),
        ('"kinds": 7', "kinds: Input should be an object, got 7"),
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
        compare.audit(copy)
    assert complete.complete(copy) == 500
    assert recorded_timesteps(copy) == 500
    printed = compare.report_of(compare.audit(copy))
    assert "not checked, since the run was cut off" in printed
    assert "incomplete: 500 of 520 timesteps" in printed
