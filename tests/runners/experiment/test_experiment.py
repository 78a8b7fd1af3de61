"""An experiment: the same rows in one go, in blocks, from several processes and after a kill; and the folder is nobody else's."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest

from benchmarks.cluster import rows_in
from market_env.config import ConfigError
from runners.experiment.__main__ import main
from runners.experiment.arms import Arm, Base, crossed
from runners.experiment.execute import in_threads
from runners.experiment.experiment import chosen, parse_block, parse_seeds, run_experiment
from runners.experiment.jobs import Job, Row
from runners.experiment.measures import Seen, measure
from runners.experiment.store import LARGEST_ROW, Store
from runners.files.run import load_run
from runners.files.whole import RunFolderError

BASE = Base.of("day6", 200)
MEASURES = ("spread", "traded_lots", "thin_time")


def arms() -> list[Arm]:
    return crossed(BASE, {"maker": [4, 2]})


def results(path: Path) -> bytes:
    return (path / "results.parquet").read_bytes()


def lines_in(file: Path) -> int:
    return file.read_bytes().count(b"\n")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("experiments") / "whole"
    run_experiment(arms(), range(1, 11), path, MEASURES, progress=False)
    return path


def test_a_row_a_seed_and_arm_with_its_config_and_measures(whole: Path) -> None:
    rows = pl.read_parquet(whole / "results.parquet")
    assert rows.columns == ["arm", "seed", "config", *MEASURES]
    assert rows["arm"].to_list() == ["maker=4"] * 10 + ["maker=2"] * 10
    assert rows["seed"].to_list() == [*range(1, 11)] * 2
    assert rows["config"].n_unique() == 2
    said = json.loads((whole / "experiment.json").read_text())
    assert [arm["key"] for arm in said["arms"]] == rows["config"].unique(maintain_order=True).to_list()
    assert {m["name"]: m["unit"] for m in said["measures"]} == {
        "spread": "ticks",
        "traded_lots": "lots",
        "thin_time": "share",
    }
    compared = json.loads((whole / "comparisons.json").read_text())
    spread = rows.pivot("arm", index="seed", values="spread")
    difference = compared[0]["differences"]["maker=2"]
    assert difference["mean"] == pytest.approx((spread["maker=2"] - spread["maker=4"]).mean())
    assert difference["n"] == 10


def test_what_an_arm_plays_is_what_run_simulation_writes(whole: Path, tmp_path: Path) -> None:
    key = json.loads((whole / "experiment.json").read_text())["arms"][1]["config"]
    done = subprocess.run(
        [sys.executable, "run_simulation.py", "--config", str(whole / key), "--seed", "3", "--run-dir", str(tmp_path / "run"),
         "--no-report", "--no-tensorboard"], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    @measure("log", "bytes", "hash of the log")
    def log(run: Seen) -> float:
        kept.append(run.run.log.tobytes())
        return 0.0

    kept: list[bytes] = []
    list(in_threads([Job(arms()[1], "", 3, (log,))]))
    run = load_run(tmp_path / "run")
    assert kept == [run.log.tobytes()]
    row = pl.read_parquet(whole / "results.parquet").filter((pl.col("arm") == "maker=2") & (pl.col("seed") == 3))
    assert row["traded_lots"].item() == run.summary["traded_lots"]


def test_blocks_one_by_one_give_the_rows_of_one_run(whole: Path, tmp_path: Path) -> None:
    for number in (3, 1, 10, 2, 9, 4, 5, 8, 6, 7):
        found = run_experiment(arms(), range(1, 11), tmp_path, MEASURES, block=(number, 10), progress=False)
    assert results(tmp_path) == results(whole)
    assert found.rows.height == 20


def test_any_number_of_threads_gives_the_same_rows(whole: Path, tmp_path: Path) -> None:
    def one_thread(jobs: Sequence[Job]) -> Iterator[tuple[Job, Row]]:
        return in_threads(jobs, 1)

    def five(jobs: Sequence[Job]) -> Iterator[tuple[Job, Row]]:
        return in_threads(jobs, 5)

    for number, executor in enumerate((one_thread, five)):
        run_experiment(arms(), range(1, 11), tmp_path / str(number), MEASURES, executor=executor, progress=False)
        assert results(tmp_path / str(number)) == results(whole)


def test_more_seeds_and_more_measures_play_only_what_is_missing(tmp_path: Path) -> None:
    played: list[tuple[str, int, list[str]]] = []

    def counting(jobs: Sequence[Job]) -> Iterator[tuple[Job, Row]]:
        played.extend((job.arm.name, job.seed, [own.name for own in job.measures]) for job in jobs)
        return in_threads(jobs)

    def run(last: int, *names: str) -> pl.DataFrame:
        played.clear()
        return run_experiment(arms(), range(1, last), tmp_path, names, executor=counting, progress=False).rows

    run(3, "spread")
    assert sorted(played) == [(arm, seed, ["spread"]) for arm in ("maker=2", "maker=4") for seed in (1, 2)]
    run(4, "spread")
    assert sorted(played) == [("maker=2", 3, ["spread"]), ("maker=4", 3, ["spread"])]
    rows = run(4, "spread", "trades")
    assert {tuple(names) for _, _, names in played} == {("trades",)}
    assert rows.null_count().sum_horizontal().item() == 0
    run(4, "spread", "trades")
    assert played == []


COMMAND = [
    "-m",
    "runners.experiment",
    "--population",
    "day6",
    "--vary",
    "maker=4,2",
    "--seeds",
    "1..20",
    "--timesteps",
    "600",
]


@pytest.mark.long
def test_killed_in_the_middle_and_gone_on_with_it_writes_the_same_file(tmp_path: Path) -> None:
    for name in ("killed", "straight"):
        command = [sys.executable, *COMMAND, "--out", str(tmp_path / name)]
        if name == "killed":
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while rows_in(tmp_path / name) < 5:
                assert process.poll() is None
                os.sched_yield()
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not (tmp_path / name / "results.parquet").exists()
            kept = rows_in(tmp_path / name)
            assert 5 <= kept < 40
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        if name == "killed":  # what was there was not played again
            assert rows_in(tmp_path / name) == 40
            assert lines_in(tmp_path / name / "rows" / "000002.jsonl") == 40 - kept
        assert "paired; differences are to maker=4" in done.stdout
    assert results(tmp_path / "killed") == results(tmp_path / "straight")
    for picture in ("arms.png", "differences.png", "experiment.pdf"):
        assert (tmp_path / "straight" / picture).stat().st_size > 10_000


def test_an_interrupt_keeps_what_was_played_and_says_how_to_go_on(tmp_path: Path) -> None:
    # So many that it cannot have ended when the signal comes.
    command = [sys.executable, *COMMAND, "--seeds", "1..800", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What runs the tests in the background may ignore interrupts, and its children would as well.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while rows_in(tmp_path / "run") < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert f"what was played is kept; go on with --out {tmp_path / 'run'}" in errors
    assert "Traceback" not in errors
    for row in (tmp_path / "run" / "rows" / "000001.jsonl").read_text().splitlines():
        json.loads(row)


@measure("mine", "lots", "a measure of this file's")
def mine(run: Seen) -> float:
    return float(run.run.trades["lots"].sum())


def test_the_command_takes_a_users_own_measure_and_several_names_in_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = f"{mine_module()}:mine"
    given = [
        "--population",
        "day6",
        "--timesteps",
        "100",
        "--seeds",
        "1..8",
        "--measure",
        "facts.sign_acf_lag1,spread,trades",
        own,
    ]
    assert main([*given, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for words in ("spread (ticks): mean spread", "trades (count)", "mine (lots): a measure of this file's", "arms.png"):
        assert words in printed


def mine_module() -> str:
    return __name__


def test_another_experiments_folder_is_left_as_it_is(whole: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}

    @measure("spread2", "ticks", "one")
    def first(run: Seen) -> float:
        return 1.0

    @measure("spread2", "ticks", "one")
    def second(run: Seen) -> float:
        return 2.0

    for others, measures, said in (
        (
            crossed(Base.of("day6", 201), {"maker": [4, 2]}),
            MEASURES,
            r"its arm 'maker=4' is another configuration \(market.timesteps: 200, here 201\)",
        ),
        (crossed(BASE, {"noise": [5, 6]}), MEASURES, "expected the arms"),
    ):
        with pytest.raises(ConfigError, match=said):
            run_experiment(others, range(1, 11), whole, measures, progress=False)
    # A measure of one's own that has changed since is measured anew, whatever was asked for in between.
    for measures, expected in (([first], 1.0), (["spread"], None), ([second], 2.0), ([first], 1.0)):
        rows = run_experiment(arms(), [1], tmp_path / "own", measures, progress=False).rows
        assert expected is None or rows["spread2"].to_list() == [expected, expected]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="expected an experiment's folder, an empty one or none"):
        run_experiment(arms(), [1], tmp_path / "other", MEASURES, progress=False)
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


def test_rows_of_other_code_are_not_taken_for_ones_own(whole: Path, tmp_path: Path) -> None:
    run_experiment(arms(), [1], tmp_path, MEASURES, progress=False)
    said = json.loads((tmp_path / "experiment.json").read_text())
    for name, value in (("code", "0" * 16), ("versions", {"numpy": "1.0"}), ("experiment", 99), ("code", ["<script>"])):
        (tmp_path / "experiment.json").write_text(json.dumps(said | {name: value}))
        with pytest.raises(ConfigError, match=f"its rows were made with {name} "):
            run_experiment(arms(), [1], tmp_path, MEASURES, progress=False)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"arm": "x", "seed": 1}',
        '{"arm": ["x"], "seed": 1, "row": {}}',
        '{"arm": "x", "seed": 1.5, "row": {}}',
        '{"arm": "x", "seed": 1, "row": {"spread": NaN}}',
        '{"arm": "x", "seed": 1, "row": {"spread": 1e999}}',
        '{"arm": "x", "seed": 1, "row": {"spread": 1' + "0" * 400 + "}}",
        '{"arm": "x", "seed": 1, "row": {"spread": "x"}}',
        '{"arm": "x", "seed": 1, "row": {"spread": true}}',
        '{"arm": "x", "seed": 1, "row": {"spread"',
        '{"arm": "x", "seed": 1, "row": {"spread": {}}}',
        "1" * (LARGEST_ROW + 1),
    ],
)
def test_a_damaged_row_is_one_error_that_names_its_line(content: str, tmp_path: Path) -> None:
    run_experiment(arms(), [1], tmp_path, MEASURES, progress=False)
    file = tmp_path / "rows" / "000001.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], content, *lines[1:], ""]))
    with pytest.raises(ConfigError, match=f"{file.name}, line 2: "):
        run_experiment(arms(), [1], tmp_path, MEASURES, progress=False)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ConfigError, match=f"{file.name}: expected a regular file"):
        run_experiment(arms(), [1], tmp_path, MEASURES, progress=False)


def test_a_row_that_was_cut_off_is_played_again(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "cut")
    file = tmp_path / "cut" / "rows" / "000001.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    run_experiment(arms(), range(1, 11), tmp_path / "cut", MEASURES, progress=False)
    assert lines_in(file) == 19
    assert lines_in(file.with_name("000002.jsonl")) == 1
    assert results(tmp_path / "cut") == results(whole)


def test_processes_that_play_the_same_at_once_do_not_meet(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = [Store(tmp_path, arms(), range(1, 11), chosen(MEASURES, arms())) for _ in range(2)]
    jobs = store[0].missing()
    with monkeypatch.context() as patched, store[0].keeping() as first, store[1].keeping() as second:
        patched.setattr(Path, "glob", lambda *_: iter(()))  # as if each had looked before the other had a file
        for job, row in in_threads(jobs):
            first(job, row)
            second(job, row)
    assert sorted(file.name for file in (tmp_path / "rows").iterdir()) == ["000001.jsonl", "000002.jsonl"]
    assert rows_in(tmp_path) == 40
    run_experiment(arms(), range(1, 11), tmp_path, MEASURES, progress=False)
    assert rows_in(tmp_path) == 40
    assert results(tmp_path) == results(whole)


def test_rows_of_one_run_join_and_two_that_differ_are_refused(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "twice")
    file = tmp_path / "twice" / "rows" / "000001.jsonl"
    first = json.loads(file.read_text().splitlines()[0])
    store = Store(tmp_path / "twice", arms(), range(1, 11), chosen(MEASURES, arms()))
    part = {"spread": first["row"]["spread"]}
    for row in (part, {}, {"of another experiment": 1.0}):
        file.with_name("999999.jsonl").write_text(json.dumps(first | {"row": row}) + "\n")
        assert store.results().equals(pl.read_parquet(whole / "results.parquet"))
    file.with_name("999999.jsonl").write_text(json.dumps(first | {"row": {"spread": part["spread"] + 1}}) + "\n")
    with pytest.raises(
        ConfigError, match=r"999999.jsonl, line 1: its spread is .*, and .* in another row of the same run"
    ):
        store.results()
    file.with_name("999999.jsonl").write_text(json.dumps(first | {"seed": 11, "row": {}}) + "\n")
    more = Store(tmp_path / "twice", arms(), range(1, 12), chosen(MEASURES, arms()))
    assert more.results().height == 20  # nothing is known of that run
    with more.keeping() as keep:
        for job, row in in_threads(more.missing()):
            keep(job, row)
    assert lines_in(file.with_name("1000000.jsonl")) == 2
    assert more.results().height == 22


def test_a_disk_that_fails_at_the_end_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        if Path(f"/proc/self/fd/{file}").readlink().suffix == ".jsonl":
            raise OSError(errno.EDQUOT, "")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFolderError, match="rows: cannot be written: Disk quota exceeded"):
        run_experiment(arms(), [1], tmp_path, MEASURES, progress=False)
    assert rows_in(tmp_path) == 2


def test_a_full_disk_is_one_error_and_keeps_what_was_written(tmp_path: Path) -> None:
    # A limit on how large a file of that process may be stands for the disk: what is over it is written in part.
    command = [
        sys.executable,
        *COMMAND,
        "--seeds",
        "1..200",
        "--timesteps",
        "100",
        "--measure",
        *MEASURES,
        "--out",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'run' / 'rows'}: cannot be written: ")
    assert 5 < rows_in(tmp_path / "run") < 400


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises((RunFolderError, ConfigError), match="file"):
        run_experiment(arms(), [1], tmp_path / "file" / "run", MEASURES, progress=False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--vary", "makr=3"], "unknown 'makr'; nearest: maker"),
        (["--vary", "maker=3", "--vary", "maker=4"], "--vary maker: expected each path once"),
        (["--vary", "policies.maker.half_spread=-1"], "half_spread"),
        (["--measure", "spred"], "unknown 'spred'; nearest: spread"),
        (["--measure", "spread,spread"], "expected each name once"),
        (["--measure", "nowhere:mine"], "measure: nowhere:mine: No module named 'nowhere'"),
        (["--measure", "json:dumps"], "expected one that measure(name, unit, meaning) made, got function"),
        (["--seeds", "3..1"], "seeds: expected a range"),
        (["--seeds", "1..x"], "seeds: expected numbers or a range"),
        (["--seeds", "1", "1..2"], "expected each once"),
        (["--seeds"], "seeds: expected some"),
        (["--vary", "maker=4,2", "--seeds", "1..7"], "seeds: expected at least 8, for an interval, got 7"),
        (["claims", "--seeds", "1"], "seeds: expected at least 8"),
        (["impact", "--seeds", "1..3"], "seeds: expected at least 8"),
        (["claims", "walls", "--publish"], "--publish: expected all claims, all populations and at least 64 seeds"),
        (["--measure", ":x"], "measure: expected module:name, got ':x'"),
        (["--vary", "policies.splitter.lots=1,2"], "there is no splitter agent to change"),
        (["--model", "models/ppo_day5.zip", "--vary", 'policies.ppo={"policy": "nothing"}'], "--model: varies policies.ppo, and so does --vary"),
        (["--block", "0/3"], "--block: expected a block of several"),
        (["--block", "4/3"], "--block: expected a block of several"),
        (["--block", "x"], "--block: expected a block of several"),
        (["--model", "none.zip"], "none.zip"),
        (["--model", "models/ppo_day5.zip", "--ppo", "0"], "there is no ppo agent to use it"),
        (["--arms", "none.json"], "none.json"),
        (["claim"], "expected a flag or one of claims, impact, calibrate"),
        (["claims", "wals"], "claim: unknown 'wals'; nearest: walls"),
        (["claims", "12"], "or its number, 1 to 11"),
        (["claims", "--populations", "santa_fe"], "--populations: expected some of default, day6"),
        (["claims", "informed", "--populations", "day6"], "none of informed is about day6"),
        (["impact", "--sizes", "4", "2"], "--sizes: expected some lots"),
        (["impact", "--turns", "3"], "--turns: expected at least 10"),
        (["impact", "--population", "nowhere"], "population: expected one of"),
        (["calibrate", "--tune", "policies.maker.half_spread=3"], "--tune: expected path=low..high"),
        (["calibrate", "--tune", "policies.maker.half_spread=3..1"], "expected a low end below the high one"),
        (["calibrate", "--tune", "policies.maker.half_spred=1..3"], "nearest: half_spread"),
        (["calibrate", "--tune", "policies.maker.half_spread=-1..3"], "half_spread"),
        (["calibrate", "--pair", "a.csv"], "--pair: expected a message and an order-book file, got 1 files"),
        (["calibrate", "--pair", "none.csv", "none2.csv"], "none.csv: cannot be read"),
        (["calibrate", "--seeds", "1000000"], "expected others than those held out"),
        (["calibrate", "--timesteps", "900"], "--timesteps: expected at least 1,800"),
        (["calibrate", "--generations", "0"], "--generations: expected at least 1"),
        (["calibrate", "--trials", "3"], "--trials: expected 4 to 1,000, got 3"),
        (["calibrate", "--trials", "1001"], "--trials: expected 4 to 1,000, got 1,001"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_before_anything_is_played(
    given: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*given, "--out", str(out)] if given[0] != "claim" else given) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert errors.startswith("error: ")
    assert said in errors
    assert not (out / "rows").exists()


def test_seeds_and_blocks_read_as_they_are_written() -> None:
    assert parse_seeds(["1..4", "9"]) == [1, 2, 3, 4, 9]
    assert parse_block("3/10") == (3, 10)


def test_more_blocks_than_seeds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected at most as many blocks as seeds, 2, got 3"):
        run_experiment(arms(), [1, 2], tmp_path, MEASURES, block=(3, 3), progress=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("arms", [{"name": []}, 3]),
        ("arms", "x"),
        ("arms", [{"name": {}, "key": 1}]),
        ("arms", [{"name": "maker=4", "key": "../../experiment"}]),
        ("experiment", []),
        ("code", 10**400),
    ],
)
def test_a_hostile_description_is_one_error(name: str, value: object, tmp_path: Path) -> None:
    run_experiment(arms(), [1], tmp_path, MEASURES, progress=False)
    file = tmp_path / "experiment.json"
    own = json.loads(file.read_text())
    for content in (json.dumps({**own, name: value}), "[]", "{"):
        file.write_text(content)
        with pytest.raises(ConfigError, match=re.escape(str(tmp_path))):
            run_experiment(arms(), [1], tmp_path, MEASURES, progress=False)


def test_a_folder_whose_experiment_was_cut_off_as_it_began_goes_on(whole: Path, tmp_path: Path) -> None:
    run_experiment(arms(), range(1, 11), tmp_path, MEASURES, progress=False)
    for path in (*(tmp_path / "rows").iterdir(), *(tmp_path / "arms").iterdir()):
        path.unlink()
    (tmp_path / "rows").rmdir()
    run_experiment(arms(), range(1, 11), tmp_path, MEASURES, progress=False)
    assert results(tmp_path) == results(whole)


def test_a_bug_in_a_users_measure_is_a_traceback_and_keeps_what_was_played(tmp_path: Path) -> None:
    @measure("buggy", "none", "fails on the third seed")
    def buggy(run: Seen) -> float:
        if run.run.seed == 3:
            raise ZeroDivisionError
        return 1.0

    with pytest.raises(ZeroDivisionError) as found:
        run_experiment(crossed(BASE, {}), range(1, 9), tmp_path, [buggy], progress=False)
    assert found.value.__notes__ == ["in the measure buggy of seed 3"]
    assert 1 <= rows_in(tmp_path) < 8


def test_what_is_set_goes_into_every_arm(tmp_path: Path) -> None:
    given = [
        "--population",
        "day6",
        "--vary",
        "maker=4,2",
        "--timesteps",
        "60",
        "--seeds",
        "1..8",
        "--measure",
        "halts",
    ]
    changed = ["--set", "market.fees.taker=300", "--set", "market.halt.move=2", "--set", "policies.maker.half_spread=5"]
    assert main([*given, *changed, "--out", str(tmp_path / "out")]) == 0
    arms = [json.loads(file.read_text()) for file in (tmp_path / "out" / "arms").glob("*.json")]
    assert len(arms) == 2
    for arm in arms:
        assert (arm["market"]["fees"]["taker"], arm["market"]["halt"]["move"]) == (300, 2)
        assert arm["policies"]["maker_0"]["half_spread"] == 5.0
    assert pl.read_parquet(tmp_path / "out" / "results.parquet")["halts"].sum() > 0
