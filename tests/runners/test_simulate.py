"""The measurement run as its user runs it: real processes, real files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from market_env.config import AgentConfig, ConfigError, Every, MarketConfig, roster
from runners.audit import compare
from runners.files.folder import OWN_NAMES
from runners.files.record import Recorder
from runners.files.schema import TABLES, arrow_schema
from runners.simulate import main
from runners.simulation.config import RunConfig
from runners.simulation.run import Tracker
from runners.simulation.run import simulate as simulate_here
from scripted_agents.populations import population

ROOT = Path(__file__).parents[2]
QUICK = ["--no-audit", "--no-report", "--no-tensorboard"]


def simulate(*arguments: str, cwd: Path = ROOT, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run_simulation.py"), *arguments],
        cwd=cwd, capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


def parquet_hashes(run: Path) -> dict[str, str]:
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.rglob("*.parquet"))
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run by the command, 1,100 timesteps, seed 3."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    done = simulate("--seed", "3", "--timesteps", "1100", "--run-dir", str(folder))
    assert done.returncode == 0, done.stderr
    assert "trades" in done.stdout
    assert str(folder) in done.stdout
    return folder


def test_a_run_leaves_the_folder_that_the_design_names(run: Path) -> None:
    assert sorted(entry.name for entry in run.iterdir()) == sorted({*OWN_NAMES} - {"report.html"})  # that one on demand
    assert [path.name for path in sorted((run / "events").iterdir())] == [f"part-0000{n}.parquet" for n in range(3)]
    assert (run / "report.pdf").read_bytes().startswith(b"%PDF")
    assert (run / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert list((run / "tensorboard").iterdir())


def test_every_table_has_its_schema_with_units_and_meanings(run: Path) -> None:
    for table in TABLES:
        for path in (run / "events").iterdir() if table == "events" else [run / f"{table}.parquet"]:
            found = pq.read_schema(path)
            assert found.equals(arrow_schema(table), check_metadata=True), table
            for field in found:
                if not field.nullable:
                    assert pq.read_table(path, columns=[field.name]).column(0).null_count == 0, field.name


def test_the_summary_shows_trades_by_every_kind_a_two_sided_book_and_an_unchanged_policy(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert summary["complete"] is True
    assert summary["learning"] is False
    assert {kind for kind, figures in summary["kinds"].items() if figures["trades"] > 0} == {
        "ppo",
        "noise",
        "maker",
        "momentum",
        "informed",
    }
    assert summary["two_sided_share_after_opening"] > 0.99
    assert summary["parameters_before"] == summary["parameters_after"]
    assert len(summary["parameters_before"]["ppo_0"]) == 64


def test_the_tables_hang_together(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    events = pl.concat([pl.read_parquet(path) for path in sorted((run / "events").iterdir())])
    trades, quotes, depth, agents, turns = (
        pl.read_parquet(run / f"{t}.parquet") for t in ("trades", "quotes", "depth", "agents", "turns")
    )
    assert events["seq"].to_list() == list(range(events.height))
    assert events["time"].is_sorted()
    assert quotes["timestep"].to_list() == depth["timestep"].to_list() == list(range(1_100))
    assert agents.height == 1_100 * 28
    assert trades.height == events.filter(pl.col("kind") == "trade").height > 300
    assert trades.filter(pl.col("buyer") == pl.col("seller")).height == 0
    assert quotes["best_bid"].to_list() == depth["bid_price_1"].to_list()
    assert quotes["ask_lots"].to_list() == depth["ask_lots_1"].to_list()
    assert turns.height == events.filter(pl.col("kind") == "turn").height
    assert (turns["first_seq"].to_list()[1:], turns["last_seq"].to_list()[-1]) == (
        [n + 1 for n in turns["last_seq"].to_list()[:-1]],
        events.height - 1,
    )
    assert turns["reward"].null_count() == 0
    totals = agents.group_by("timestep", maintain_order=True).agg(pl.col("inventory").sum(), pl.col("cash").sum())
    assert set(totals["inventory"].to_list()) == {sum(agent["inventory"] for agent in config["market"]["agents"])}
    assert set(totals["cash"].to_list()) == {sum(agent["cash"] for agent in config["market"]["agents"])}
    bought = trades.group_by("buyer").agg(pl.col("lots").sum())
    sold = trades.group_by("seller").agg(pl.col("lots").sum())
    net = dict(bought.iter_rows())
    for agent, lots in sold.iter_rows():
        net[agent] = net.get(agent, 0) - lots
    last = agents.filter(pl.col("timestep") == 1_099)
    assert {row["agent"]: row["inventory"] for row in last.iter_rows(named=True)} == {
        a["id"]: net.get(a["id"], 0) for a in config["market"]["agents"]
    }


def test_the_same_seed_in_another_process_and_from_the_runs_own_config_gives_identical_bytes(
    run: Path, tmp_path: Path
) -> None:
    again, rerun, other = tmp_path / "again", tmp_path / "rerun", tmp_path / "other"
    assert simulate("--seed", "3", "--timesteps", "1100", "--run-dir", str(again), *QUICK).returncode == 0
    assert simulate("--config", str(run / "config.json"), "--run-dir", str(rerun), *QUICK).returncode == 0
    assert simulate("--seed", "4", "--timesteps", "1100", "--run-dir", str(other), *QUICK).returncode == 0
    assert len(parquet_hashes(run)) == 9
    assert parquet_hashes(run) == parquet_hashes(again) == parquet_hashes(rerun)
    assert all(parquet_hashes(run)[name] != parquet_hashes(other)[name] for name in parquet_hashes(run))
    assert (run / "config.json").read_bytes() == (again / "config.json").read_bytes()


def test_a_guest_plays_is_named_in_the_record_and_audited(tmp_path: Path) -> None:
    class Buyer:
        def reset(self, stream: Any, memory: Any) -> None: ...

        def act(self, observation: Any) -> Any:
            return np.array([0, 20, 1, 0, 0])

    seat = AgentConfig("buyer_0", "buyer", arrivals=Every(5.0))
    market = MarketConfig(timesteps=100, agents=(*roster(ppo=0), seat))
    folder = tmp_path / "run"
    summary = simulate_here(RunConfig(market=market, seed=2), folder, guests={"buyer_0": Buyer()}, report=False)
    assert summary["complete"]
    config = json.loads((folder / "config.json").read_text())
    assert config["policies"]["buyer_0"]["policy"] == "own"
    assert config["policies"]["buyer_0"]["name"].endswith("Buyer")
    assert json.loads((folder / "audit.json").read_text())["differ"] == 0
    trades = pl.read_parquet(folder / "trades.parquet")
    assert trades.filter(pl.col("buyer") == "buyer_0").height > 10
    with pytest.raises(ConfigError, match=r"guests: expected one or more of .*, got 'ghost_0'"):
        simulate_here(RunConfig(market=market), tmp_path / "other", guests={"ghost_0": Buyer()})
    assert not (tmp_path / "other").exists()


class Erring:
    """A guest that is right a while."""

    def reset(self, stream: Any, memory: Any) -> None:
        self.turns = 0

    def act(self, observation: Any) -> np.ndarray:
        self.turns += 1
        return np.array([0, 200 if self.turns > 12 else 0, 0, 0, 0])


def test_what_the_market_does_not_know_as_an_action_is_its_error_and_not_the_recorders(tmp_path: Path) -> None:
    market = population(timesteps=50).market
    with pytest.raises(ValueError, match="action of ppo_0: bid_offset must be an integer from 0 to 59, got 200"):
        simulate_here(RunConfig(market=market), tmp_path / "run", guests={"ppo_0": Erring()}, report=False)


@pytest.mark.parametrize("timesteps", [0, 30])
def test_a_run_without_report_says_how_to_draw_it_if_there_is_anything_to_draw(
    timesteps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    if not timesteps:
        monkeypatch.setattr(Tracker, "turn", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    main(["--timesteps", "30", "--run-dir", str(folder), *QUICK])
    hint = f"to draw its report: {sys.executable} -m runners.report {folder}"
    assert (hint in capsys.readouterr().out) == bool(timesteps)
    assert json.loads((folder / "summary.json").read_text())["timesteps"] == timesteps


def test_an_interrupt_after_the_last_turn_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish = Recorder.finish

    def interrupted(recorder: Recorder, timesteps: int) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return finish(recorder, timesteps)

    monkeypatch.setattr(Recorder, "finish", interrupted)
    folder = tmp_path / "run"
    assert main(["--timesteps", "60", "--run-dir", str(folder), "--no-tensorboard"]) == 130
    assert "interrupted: the data are whole" in capsys.readouterr().err
    assert json.loads((folder / "summary.json").read_text())["complete"]
    assert not (folder / "audit.json").exists()
    assert not (folder / "report.pdf").exists()


def test_an_interrupt_keeps_what_was_recorded_up_to_the_last_whole_timestep(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run_simulation.py"), "--timesteps", "2000000", "--run-dir", str(folder), "--no-report"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (folder / "events" / "part-00001.parquet").exists():
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "what was recorded is kept" in out
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["complete"] is False
    quotes = pl.read_parquet(folder / "quotes.parquet")
    assert quotes.height == summary["timesteps"] >= 1_000
    events = pl.concat([pl.read_parquet(path) for path in sorted((folder / "events").iterdir())])
    assert events["timestep"].max() == summary["timesteps"] - 1
    assert not list(folder.rglob("*.partial"))
    rebuilt = compare.audit(folder)
    assert not rebuilt.differences, rebuilt.differences[:3]
    # The last turn of each agent was never settled.
    assert pl.read_parquet(folder / "turns.parquet")["reward"].null_count() >= 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--timesteps", "0"], "timesteps: Input should be greater than 0, got 0"),
        (["--timesteps", "-3"], "timesteps: Input should be greater than 0, got -3"),
        (["--seed", "-1"], "seed: Input should be greater than or equal to 0, got -1"),
        (["--noise", "-2"], "number of noise agents: must be 0 or more, got -2"),
        (["--noise", "5000"], "agents: a market holds at most 1,024, got 5,016"),
        (["--population", ""], "population: expected one of default, splitters, santa_fe, day6, got ''"),
        (["--shifts", "0"], "shifts: expected an integer above 0, got 0"),
        (["--shifts", "-2"], "--shifts: expected an integer above 0 of at most nine digits, got '-2'"),
        (["--shifts", "2.5"], "--shifts: expected an integer above 0 of at most nine digits, got '2.5'"),
        (["--shifts", "9" * 5_000], "--shifts: expected an integer above 0 of at most nine digits, got '999"),
        (["--shifts", "9" * 9], "agents: a market holds at most 1,024, got 26,999,999,974"),
        (["--shifts", "20", "--noise", "40"], "agents: a market holds at most 1,024, got 1,101"),
        (["--population", "day6", "--ppo", "0", "--noise", "0", "--maker", "0", "--momentum", "0"], "agents: expected at least one, got none"),
        (["--model", "no/such.zip"], "model no/such.zip: expected a Stable-Baselines3 .zip file, found nothing"),
        (["--config", "no/such.json"], "config no/such.json: cannot be read: No such file or directory"),
        (["--config", "a\0b"], r"config a\x00b: cannot be read: embedded null byte"),
        (["--config", "/dev/zero"], "config /dev/zero: expected a regular file, found a device or a pipe"),
        (["--config", "x" * 300], "cannot be read: File name too long"),
        (["--model", "x" * 300 + ".zip"], ".zip: expected a Stable-Baselines3 .zip file, found nothing"),
        (["--model", "/dev/zero"], "model /dev/zero: expected a regular file, found a device or a pipe"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error_and_nothing_is_written(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert main([*arguments, "--run-dir", str(folder)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not folder.exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected a JSON object, got list"),
        ('{"market": {"tick_size": 0}}', "market.tick_size: Input should be greater than 0"),
        ('{"market": {"lot_size": -1}}', "market.lot_size: Input should be greater than 0"),
        ('{"speed": 1}', "unknown key 'speed', expected some of market, policies, seed, reward"),
        ('{"timesteps": 1}', "unknown key 'timesteps', expected some of market, policies, seed, reward; it is a field of the market: market.timesteps"),
        ('{"market": {"agents": [{"id": "a_0", "kind": "maker", "inventory_bound": -4}]}}', "inventory_bound: Input should be greater than 0"),
        ('{"market": {"agents": [{"id": "a_0", "kind": "whale"}]}}', "kind of a_0: expected one of ppo, noise, maker, momentum"),
        ('{"market": {"agents": [{"id": "a_0", "kind": "maker", "mood": 1}]}}', "mood: unknown, expected some of id, kind, cash"),
        ('{"policies": {"maker": {"policy": "maker", "mood": 1}}}', "mood: unknown, expected some of half_spread"),
        ('{"seed": 1' + "0" * 5_000 + "}", "seed: Input should be a valid integer, got '10000000000000000000... (5,001 digits)'"),
        ('{"models": {"/dev/zero": "0"}}', "model /dev/zero: expected a regular file, found a device or a pipe"),
        ('{"reward": {"scale": 1e-320}}', "reward.scale: Input should be greater than or equal to 0.001"),
        ('{"reward": {"inventory_penalty": 1e308}}', "reward.inventory_penalty: Input should be less than or equal to 1000000"),
        ('{"policies": {"maker": {"half_spread": 2}}}', "policies.maker: expected policy to be one of 'ppo', 'noise', 'patient', 'zero', 'maker', 'quoter', 'momentum', 'informed', 'splitter', 'twap', 'nothing', 'random', 'pusher'"),
        ('{"policies": {"\\ud800": {}}}', "config.json: not JSON: a text in it holds half of a surrogate pair"),
        ('{"schema": true}', "expected schema version 1 to 4, got True"),
        ('{"seed": "' + "x" * 10**6 + '"}', "seed"),
        ('{"policies": {"maker": {"policy": "clairvoyant"}}}', "policies.maker"),
        ('{"policies": {"whale": {"policy": "nothing"}}}', "policies: expected an agent id or a kind of this market, got 'whale'"),
    ],
)  # fmt: skip
def test_a_bad_config_file_is_one_clear_error_and_nothing_is_written(
    config: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = tmp_path / "config.json", tmp_path / "run"
    path.write_text(config)
    assert main(["--config", str(path), "--run-dir", str(folder)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert len(error) < 1_000
    assert not folder.exists()


def test_a_bad_field_of_an_agent_is_not_followed_by_others_that_are_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"market": {"agents": [{"id": "a_0", "kind": "maker", "cash": "much"}]}}')
    assert main(["--config", str(path), "--run-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "cash" in error
    assert "Tuple" not in error


def test_a_byte_order_mark_in_a_config_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'\xef\xbb\xbf{"market": {"timesteps": 5}}')
    assert main(["--config", str(path), "--run-dir", str(tmp_path / "run"), *QUICK]) == 0


def test_it_prints_nothing_and_leaves_matplotlibs_backend_where_it_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mpl.use("svg")
    short = RunConfig(market=MarketConfig(timesteps=60))
    simulate_here(short, tmp_path / "quiet", verbose=False)
    said = capsys.readouterr()
    assert said.out == said.err == ""
    assert (tmp_path / "quiet" / "report.pdf").is_file()
    assert mpl.get_backend() == "svg"


def test_a_folder_in_use_is_refused_and_overwriting_touches_only_a_runs_own_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "config.json").write_text('{"mine": true}')
    arguments = ["--timesteps", "60", "--run-dir", str(folder), *QUICK]
    assert main(arguments) == 2
    assert "expected an empty folder" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 2
    assert "expected a run to overwrite" in capsys.readouterr().err
    assert (folder / "config.json").read_text() == '{"mine": true}'
    (folder / "config.json").unlink()
    (folder / "notes.txt").unlink()
    assert main(arguments) == 0
    (folder / "notes.txt").write_text("mine")
    (folder / "events" / "diary.txt").write_text("mine")
    assert main([*arguments, "--overwrite"]) == 0
    assert (folder / "events" / "diary.txt").read_text() == "mine"
    assert (folder / "notes.txt").read_text() == "mine"
    assert pl.read_parquet(folder / "trades.parquet").height >= 0
    (tmp_path / "file").write_text("mine")
    assert main(["--timesteps", "60", "--run-dir", str(tmp_path / "file")]) == 2
    assert "found a file" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"
    assert main(["--timesteps", "60", "--run-dir", "/proc/run"]) == 2
    assert "run folder /proc/run: cannot be written" in capsys.readouterr().err


def test_a_runs_own_config_insists_on_its_model_and_schema_unless_told_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--timesteps", "30", "--run-dir", str(tmp_path / "first"), *QUICK]) == 0
    config = json.loads((tmp_path / "first" / "config.json").read_text())
    given = tmp_path / "given.json"

    def error_of(changes: dict[str, Any], *arguments: str) -> str:
        given.write_text(json.dumps(config | changes))
        capsys.readouterr()
        assert main(["--config", str(given), "--run-dir", str(tmp_path / "second"), *QUICK, *arguments]) == 2
        assert not (tmp_path / "second").exists()
        return capsys.readouterr().err

    assert "expected schema version 1 to 4, got 99" in error_of({"schema": 99})
    assert "expected sha256 0000" in error_of({"models": {"models/ppo_day5.zip": "0000"}})
    assert "model no/such.zip: expected" in error_of({}, "--model", "no/such.zip")
    assert "has a roster of its own" in error_of({}, "--noise", "3")
    assert main(["--ppo", "0", "--model", "x.zip", "--run-dir", str(tmp_path / "second"), *QUICK]) == 2
    assert "there is no agent with a frozen policy to use it" in capsys.readouterr().err


def test_a_bad_model_loses_nothing_of_the_run_that_it_would_have_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main(["--timesteps", "60", "--run-dir", str(folder), *QUICK]) == 0
    before = parquet_hashes(folder)
    assert main(["--timesteps", "60", "--run-dir", str(folder), "--overwrite", "--model", "none.zip", *QUICK]) == 2
    assert parquet_hashes(folder) == before


def test_runs_go_to_fresh_folders_by_default(tmp_path: Path) -> None:
    for number in range(2):
        done = simulate("--seed", "9", "--timesteps", "30", *QUICK, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "runs" / f"seed-9-{number}" / "summary.json").is_file()


# A limit on the size of files stands for a full disk: the write fails in the same place, with an OSError.
FULL = """
import resource, signal, sys
from runners.{command} import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
sys.exit(main({arguments!r}))
"""


@pytest.mark.parametrize("size", [300, 1_500, 5_000, 40_000, 150_000, 400_000])
def test_a_full_disk_is_one_clear_error_and_finished_parts_stay(size: int, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    program = FULL.format(command="simulate", size=size, arguments=["--timesteps", "800", "--run-dir", str(folder)])
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.split("\n") if line and "timesteps/s" not in line]
    assert line.startswith("error: ")
    assert "cannot be written: File too large" in line
    assert "Traceback" not in done.stderr
    # What is there is whole.
    for part in folder.rglob("*.parquet"):
        assert pl.read_parquet(part).height
    assert not [path for path in folder.rglob("*") if "partial" in path.name]


@pytest.mark.parametrize("size", [300, 2_000, 40_000])
def test_a_full_disk_ends_a_training_with_one_clear_error(size: int, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = [
        "--total-timesteps",
        "512",
        "--markets",
        "4",
        "--n-steps",
        "32",
        "--batch-size",
        "64",
        "--episode",
        "40",
    ]
    arguments += ["--validate-every", "128", "--checkpoint-every", "128", "--run-dir", str(folder)]
    program = FULL.format(command="train", size=size, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.split("\n") if line.startswith("error: ")]
    assert "cannot be written: File too large" in line
    assert "Traceback" not in done.stderr
    assert not [path for path in folder.rglob("*") if "partial" in path.name]


@pytest.mark.parametrize("command", ["replay", "report"])
def test_a_request_to_end_an_audit_or_a_report_is_one_line_and_loses_nothing(
    command: str, run: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    module = "runners.report.__main__" if command == "report" else f"runners.{command}"
    program = f"""
import os, signal, sys
from {module} import main
calls = 0
def amid(frame, event, argument):
    global calls
    calls += 1
    if calls == 200_000:
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGTERM)
sys.setprofile(amid)
sys.exit(main([{str(copied)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    for path, content in before.items():
        assert path.read_bytes() == content


def test_a_folder_that_may_not_be_written_is_one_line_of_the_report(run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    # The second time as nobody, whom root's rights do not help.
    program = f"""
import os, pathlib, sys
from runners.report.__main__ import main
folder = pathlib.Path({str(copied)!r})
assert main([str(folder)]) == 0
(folder / "figures").chmod(0o555)
folder.chmod(0o555)
print("again", file=sys.stderr)
if os.geteuid() == 0:
    for parent in folder.parents:
        parent.chmod(parent.stat().st_mode | 0o011)
    os.seteuid(65534)
sys.exit(main([str(folder)]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    said = done.stderr.partition("again\n")[2]
    assert done.returncode == 2, done.stderr
    assert said.startswith("error: ")
    assert "cannot be written: Permission denied" in said
    assert said.count("\n") == 1


@pytest.mark.long
def test_two_reports_of_one_run_at_once_leave_one_whole_report(run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    (copied / "report.pdf").unlink()
    command = [sys.executable, "-m", "runners.report", str(copied)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    assert [(process.communicate()[1], process.returncode) for process in both] == [(b"", 0)] * 2
    content = (copied / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert content.rstrip().endswith(b"%%EOF")
    assert not [path for path in copied.rglob("*") if "partial" in path.name]
