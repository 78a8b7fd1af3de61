"""Replay: nothing differs in runs of all kinds, every mutation is noticed, and killed processes lose a part at most."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tqdm import tqdm

import runners.report.__main__ as report_command
from market_env.config import ConfigError
from runners import replay, simulate
from runners.audit import compare
from runners.audit.figures import Figures
from runners.audit.rebuild import Replay
from runners.files import run
from runners.files.folder import file_hashes
from runners.files.schema import TABLES
from tests import kit

QUICK = ["--no-audit", "--no-report", "--no-tensorboard"]


def run_of(folder: Path, config: dict[str, Any], *arguments: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "given.json").write_text(json.dumps(config))
    path = folder / "run"
    assert simulate.main(["--config", str(folder / "given.json"), "--run-dir", str(path), *QUICK, *arguments]) == 0
    return path


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_nothing_differs_in_a_random_run(seed: int, tmp_path: Path) -> None:
    rebuilt = compare.audit(run_of(tmp_path, kit.random_run(seed, 500)))
    assert not rebuilt.differences, rebuilt.differences[:3]
    assert rebuilt.checked["log"] > 500


def test_nothing_differs_in_the_default_market_and_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_of(tmp_path, {"market": {"timesteps": 300}, "seed": 5})
    capsys.readouterr()
    assert replay.main([str(path)]) == 0
    printed = capsys.readouterr().out
    assert "nothing differs" in printed
    for check in ("best price first", "lots and cash conserved", "quotes.parquet", "summary.json", "actions"):
        assert check in printed


def test_nothing_differs_in_a_run_whose_reward_has_every_term(tmp_path: Path) -> None:
    reward = {
        "inventory_penalty": 0.02, "damping": 0.5, "excess_penalty": 0.3, "refusal_penalty": 0.05, "scale": 10.0,
    }  # fmt: skip
    path = run_of(
        tmp_path, {"market": {"timesteps": 200}, "seed": 6, "reward": reward, "policies": {"ppo": {"policy": "random"}}}
    )
    rebuilt = compare.audit(path)
    assert not rebuilt.differences, rebuilt.differences[:3]
    plain = {**json.loads((path / "config.json").read_text()), "reward": {**reward, "excess_penalty": 0.0}}
    (path / "config.json").write_text(json.dumps(plain))
    assert {difference.check for difference in compare.audit(path).differences} >= {"turns.parquet"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every kind of event but halts, in two parts."""
    return run_of(tmp_path_factory.mktemp("small"), kit.SMALL_RUN)


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with fees, latency and halts."""
    return run_of(tmp_path_factory.mktemp("ruled"), kit.RULED_RUN)


def test_the_small_runs_have_every_kind_of_event(small: Path, ruled: Path) -> None:
    for path, more in ((small, set()), (ruled, {"halt", "resume"})):
        events = pl.concat([pl.read_parquet(part) for part in sorted((path / "events").iterdir())])
        assert set(events["kind"].unique()) == {"turn", "accept", "trade", "cancel", "reject"} | more
        assert set(events.filter(pl.col("kind") == "cancel")["reason"].unique()) >= {"agent", "self_trade", "ioc"}
        assert len(list((path / "events").iterdir())) == 2
    assert not compare.audit(ruled).differences


def test_shifts_are_audited_and_who_acts_off_duty_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert simulate.main(["--shifts", "2", "--timesteps", "250", "--run-dir", str(path), *QUICK]) == 0
    rebuilt = compare.audit(path)
    assert not rebuilt.differences, rebuilt.differences[:3]
    assert rebuilt.checked["duty"] > 1_000
    file = path / "config.json"
    config = json.loads(file.read_text())
    for agent in config["market"]["agents"]:
        if agent["id"] == "maker_0":
            agent["duty"]["shift"] = 1
    file.write_text(json.dumps(config))
    assert compare.audit(path).failed["duty"] > 10


@pytest.mark.long
@pytest.mark.parametrize(
    ("table", "rules"),
    [*((table, "small") for table in TABLES), *((table, "ruled") for table in ("events", "agents", "turns"))],
)
def test_every_mutation_of_every_column_is_noticed(
    table: str, rules: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    small: Path = request.getfixturevalue(rules)
    rng = np.random.default_rng(len(table))
    caught = 0
    name = "events/part-00001.parquet" if table == "events" else f"{table}.parquet"
    columns = pq.read_table(small / name).to_pydict()
    path = tmp_path / "run"
    shutil.copytree(small, path)
    for what, mutate in [*kit.mutations(columns, rng), ("the file truncated", None)]:
        if mutate is None:
            (path / name).write_bytes((small / name).read_bytes()[:-100])
        else:
            kit.rewrite(path / name, table, mutate(columns))
        # The checksums alone would notice; the rebuilt market must notice without them.
        summary = json.loads((small / "summary.json").read_text())
        summary["sha256"] = file_hashes(path)
        (path / "summary.json").write_text(json.dumps(summary))
        silent = table == "turns" and what in {
            "one value of cancel",
            "one value of bid_offset",
            "one value of ask_offset",
        }
        try:
            noticed = bool(compare.audit(path).failed)
        except ConfigError:
            noticed = True
        if silent and not noticed:
            # An action that comes to the same in the log: only the checksum can tell.
            (path / "summary.json").write_bytes((small / "summary.json").read_bytes())
            noticed = bool(compare.audit(path).failed)
        assert noticed, f"{name}: {what}"
        caught += 1
    assert caught == len(columns) + 3


@pytest.mark.long
def test_every_changed_figure_of_the_summary_and_of_the_config_is_noticed(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(small, path)
    original = json.loads((small / "summary.json").read_text())
    for key, value in original.items():
        new = (
            {"changed": 1} if isinstance(value, dict) else (not value if isinstance(value, bool) else (value or 0) + 1)
        )
        (path / "summary.json").write_text(json.dumps(original | {key: new}))
        assert compare.audit(path).failed, key
    (path / "summary.json").write_text(json.dumps(original))
    config = json.loads((small / "config.json").read_text())
    market = config["market"]
    for key in ("tick_size", "first_price", "timesteps"):
        (path / "config.json").write_text(json.dumps(config | {"market": market | {key: market[key] + 1}}))
        assert compare.audit(path).failed, key
    (path / "config.json").write_text(json.dumps(config | {"seed": config["seed"] + 1}))
    assert compare.audit(path).failed


def test_a_difference_is_named_with_its_place(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run"
    shutil.copytree(small, path)
    columns = pq.read_table(path / "quotes.parquet").to_pydict()
    columns["best_bid"] = kit.changed(columns["best_bid"], 77)
    kit.rewrite(path / "quotes.parquet", "quotes", columns)
    assert replay.main([str(path)]) == 1
    printed = capsys.readouterr().out
    wanted = columns["best_bid"][77]
    assert f"timestep 77, best_bid: recorded {wanted}, rebuilt {wanted - 1}" in printed


def test_parts_that_are_missing_reordered_or_damaged_are_named_with_the_row(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error_of(change: Callable[[Path], Any]) -> str:
        path = tmp_path / "run"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(small, path)
        change(path / "events")
        assert replay.main([str(path)]) == 2
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return text

    def swap(events: Path) -> None:
        first, second = events / "part-00000.parquet", events / "part-00001.parquet"
        first.rename(events / "x")
        second.rename(first)
        (events / "x").rename(second)

    assert "part-00000.parquet is missing" in error_of(lambda events: (events / "part-00000.parquet").unlink())
    assert "part-00000.parquet: row 0: expected seq 0, found" in error_of(swap)
    assert "part-00001.parquet: damaged" in error_of(
        lambda events: (events / "part-00001.parquet").write_bytes(b"PAR1")
    )
    assert replay.main([str(tmp_path / "none")]) == 2
    assert "found no folder" in capsys.readouterr().err


def test_the_book_and_the_accounts_at_a_timestep_are_those_of_the_tables(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quotes, agents = pl.read_parquet(small / "quotes.parquet"), pl.read_parquet(small / "agents.parquet")
    for timestep in (0, 250, 509):
        book, accounts = run.state_at(small, timestep)
        bids = book.filter(pl.col("side") == "buy")
        assert (bids["price"].max(), bids["lots"].to_list()[:1] or [0]) == (
            quotes["best_bid"][timestep],
            [quotes["bid_lots"][timestep]],
        )
        recorded = agents.filter(pl.col("timestep") == timestep)
        assert accounts["cash"].to_list() == recorded["cash"].to_list()
        assert accounts["inventory"].to_list() == recorded["inventory"].to_list()
    assert replay.main([str(small), "--at", "250"]) == 0
    assert "momentum_0" in capsys.readouterr().out
    assert replay.main([str(small), "--at", "510"]) == 2
    assert "timestep: expected 0 to 509, which were recorded, got 510" in capsys.readouterr().err


def simulated(words: list[str]) -> None:
    tqdm.set_lock(threading.RLock())  # its own is shared between processes, and would outlive one that is killed
    simulate.main(words)


@pytest.mark.long
def test_twenty_killed_processes_lose_at_most_the_unfinished_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    processes = multiprocessing.get_context("forkserver")  # each from a clean one that has imported what a run needs
    processes.set_forkserver_preload([__name__, "runners.simulation.run"])
    for number in range(20):
        path = tmp_path / f"run-{number}"
        market = ["--timesteps", "1500", "--ppo", "0", "--noise", "4", "--maker", "2"]
        words = [*market, "--seed", str(number), "--run-dir", str(path), *QUICK]
        process = processes.Process(target=simulated, args=(words,))
        process.start()
        # At a random moment: after a random number of parts and a random number of looks at the folder.
        parts, looks = int(rng.integers(1, 4)), int(rng.integers(0, 30_000))
        while process.is_alive() and len(list((path / "events").glob("part-*"))) < parts:
            pass
        for _ in range(looks):
            if (path / "summary.json").exists() or not process.is_alive():
                break
        process.kill()
        process.join()
        found = sorted((path / "events").glob("part-*.parquet"))
        assert len(found) >= parts
        if not (path / "summary.json").exists():
            assert replay.main([str(path), "--complete"]) == 0
            assert "marked incomplete" in capsys.readouterr().out
            summary = json.loads((path / "summary.json").read_text())
            assert summary["complete"] is False
            assert summary["timesteps"] == pl.read_parquet(found[-1])["timestep"].max() + 1
        rebuilt = compare.audit(path)
        assert not rebuilt.differences, rebuilt.differences[:3]
        if number == 0:
            assert report_command.main([str(path)]) == 0
            capsys.readouterr()


def test_completing_a_run_that_is_whole_or_has_nothing_is_one_clear_error(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay.main([str(small), "--complete"]) == 2
    assert "expected a run that was cut off" in capsys.readouterr().err
    (tmp_path / "events").mkdir()
    shutil.copy(small / "config.json", tmp_path)
    assert replay.main([str(tmp_path), "--complete"]) == 2
    assert "expected at least one finished part" in capsys.readouterr().err


def forge(small: Path, path: Path, change: Callable[[dict[str, list[Any]]], None]) -> Replay:
    """Audit a run whose log was changed and whose summary and checksums were made to fit the changed log."""
    shutil.copytree(small, path)
    for part in sorted((path / "events").iterdir()):
        columns = pq.read_table(part).to_pydict()
        change(columns)
        kit.rewrite(part, "events", columns)
    summary = json.loads((path / "summary.json").read_text())
    rebuilt, pieces = compare.replay(path)
    figures = Figures(rebuilt)
    for piece in pieces:
        figures.add(piece)
    summary |= figures.result() | {"sha256": file_hashes(path)}
    (path / "summary.json").write_text(json.dumps(summary))
    return compare.audit(path)


def test_a_log_that_hangs_together_but_breaks_a_rule_is_noticed(small: Path, tmp_path: Path) -> None:
    def other_reason(columns: dict[str, list[Any]]) -> None:
        for row, (kind, reason) in enumerate(zip(columns["kind"], columns["reason"], strict=True)):
            if kind == "reject":
                columns["reason"][row] = "cash" if reason != "cash" else "inventory"

    assert not forge(small, tmp_path / "same", lambda columns: None).failed
    wrong = forge(small, tmp_path / "wrong", other_reason)
    assert wrong.failed["rules"] == 1
    assert "reject" in str(wrong.differences[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["timestep"].__setitem__(3, 2**31 - 1), "timestep: expected 0 to 509"),
        (lambda c: c["time"].__setitem__(3, float("nan")), "row 3: cannot stand here"),
        (
            lambda c: [c[name].pop(0) for name in c] and c.update(seq=[n - 1 for n in c["seq"]]),
            "row 0: cannot stand here",
        ),
    ],
    ids=["beyond the end", "no time", "no first turn"],
)
def test_a_log_that_cannot_be_is_one_clear_error(
    change: Callable[[dict[str, list[Any]]], Any], message: str, small: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    shutil.copytree(small, path)
    part = path / "events" / "part-00000.parquet"
    columns = pq.read_table(part).to_pydict()
    change(columns)
    kit.rewrite(part, "events", columns)
    with pytest.raises(ConfigError, match=message):
        compare.audit(path)


WORDS = pa.array(["a", None, "b", "a"]).dictionary_encode()


@pytest.mark.parametrize(
    "column",
    [
        pa.chunked_array([pa.array([1, None, -(2**31)], pa.int32()), pa.array([7], pa.int32())]),
        pa.chunked_array([pa.array([2**53 + 1, -1], pa.int64())]),
        pa.chunked_array([pa.array([0.1, None, -0.0, 1e300])]),
        pa.chunked_array([WORDS, pa.array(["c"]).dictionary_encode(), WORDS.slice(1, 2)]),
        pa.chunked_array([pa.array(["a", "b", None]).dictionary_encode()]).slice(1),
        pa.chunked_array([], pa.float64()),
        pa.chunked_array([], WORDS.type),
    ],
    ids=["whole numbers", "large ones", "numbers", "words", "a slice", "none", "no words"],
)
def test_a_columns_values_are_those_of_arrow(column: pa.ChunkedArray) -> None:
    found, expected = compare.values_of(column), column.to_pylist()
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))
    assert list(map(str, found)) == list(map(str, expected)), "signs of zeros"
