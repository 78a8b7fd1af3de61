"""Training: short real ones, killed and taken up again, from the command to a policy that the market accepts."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import resource
import signal
import subprocess
import sys
import warnings
from collections import deque
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import Logger

from market_env.config import ConfigError, MarketConfig, roster, to_json
from runners import train
from runners.learn import checkpoint, evaluation, schedule, training
from runners.learn.settings import Training, stored_training
from runners.learn.vec_env import MarketVecEnv
from runners.simulation.board import TRAINING_TAGS
from scripted_agents import DoNothing, MarketMaker, population
from scripted_agents.freezing import freeze
from scripted_agents.frozen_ppo import FrozenPPO
from scripted_agents.standards import Standards

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TINY = Training(
    seed=1, total_timesteps=2_048, episode=40, markets=4, n_steps=32, batch_size=64, n_epochs=2,
    validate_every=512, checkpoint_every=256, snapshot_every=512,
)  # fmt: skip
MODES = {
    "single": TINY,
    "shared": replace(TINY, learners=2),
    "league": replace(TINY, learners=1, opponents=2),
}


POPULATION = {
    "market": {"first_price": 5_000, "agents": to_json(MarketConfig(agents=roster(noise=3, maker=1)))["agents"]},
    "policies": {"maker": {"policy": "maker", "half_spread": 4.0}},
}


# So short a training may end without a policy within the usual limits; what is kept is tested here, not how good it is.
LENIENT = Standards(
    validation_seeds=range(10, 18), test_seeds=range(20, 36), least_trading=0.0, most_trading=1.0, most_near_bound=2.0,
    most_lean=1.0,
)  # fmt: skip
main = functools.partial(train.main, standards=LENIENT)
trained = functools.partial(training.train, standards=LENIENT)


def options(training: Training) -> list[str]:
    """The command line of a training."""
    found = []
    for name, value in asdict(training).items():
        if isinstance(value, int) and value != getattr(Training(), name):
            found += [f"--{name.replace('_', '-')}", str(value)]
    return found


def test_a_training_leaves_a_policy_its_curve_and_its_tensorboard_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert main([*options(TINY), "--run-dir", str(folder)]) == 0
    assert "best liquidation gain" in capsys.readouterr().out
    assert FrozenPPO(str(folder / "policy.zip")).build(population().market)
    result = json.loads((folder / "training.json").read_text())
    assert result["timesteps"] == TINY.total_timesteps
    assert [point["timesteps"] for point in result["curve"]] == [512, 1_024, 1_536, 2_048]
    assert result["best"] == max(point["liquidation_gain"] for point in result["curve"])
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    tags = board.Tags()
    assert {tag.name for tag in TRAINING_TAGS if tag.plugin == "scalars"} == set(tags["scalars"])
    assert {"run/config", "custom_scalars__config__"} <= set(tags["tensors"])
    gains = board.Scalars("validation/liquidation_gain")
    assert [event.value for event in gains] == pytest.approx([point["liquidation_gain"] for point in result["curve"]])
    assert any(name.startswith("_hparams_/") for name in board.summary_metadata)
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "checkpoint.pt", "policy.zip", "training.json", "tensorboard",
    }  # fmt: skip


def test_the_same_seed_gives_the_same_weights_and_another_others(tmp_path: Path) -> None:
    short = replace(TINY, total_timesteps=512)
    hashes = [
        trained(replace(short, seed=seed), tmp_path / str(number))["weights"] for number, seed in enumerate((1, 1, 2))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


KILLED = """
import signal, sys
from runners import train
from runners.learn import checkpoint
from tests.runners.learn.test_training import LENIENT
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
save = checkpoint.save
def told(*arguments):
    save(*arguments)
    print("checkpoint", flush=True)
checkpoint.save = told
sys.exit(train.main(sys.argv[1:], standards=LENIENT))
"""


@pytest.mark.long
@pytest.mark.parametrize(("mode", "checkpoints"), [("single", 1), ("single", 6), ("shared", 3), ("league", 5)])
def test_a_killed_training_goes_on_to_the_weights_of_one_that_was_not(
    mode: str, checkpoints: int, tmp_path: Path
) -> None:
    whole = trained(MODES[mode], tmp_path / "whole")
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *options(MODES[mode]), "--run-dir", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        seen += line.startswith("checkpoint")
        if seen == checkpoints:
            process.kill()  # in the middle of whatever comes next
            break
    process.stdout.close()
    assert process.wait() == -9
    assert not (folder / "training.json").exists()
    assert main(["--resume", str(folder)]) == 0
    resumed = json.loads((folder / "training.json").read_text())
    assert resumed["weights"] == whole["weights"]
    assert resumed["curve"] == json.loads(json.dumps(whole["curve"]))
    policies = [
        FrozenPPO(str(tmp_path / name / "policy.zip")).build(population().market) for name in ("whole", "killed")
    ]
    assert policies[0].parameter_hash() == policies[1].parameter_hash()
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    other = EventAccumulator(str(tmp_path / "whole" / "tensorboard"))
    other.Reload()
    for tag in set(other.Tags()["scalars"]) - {"time/fps"}:
        wanted, found = ([(event.step, event.value) for event in each.Scalars(tag)] for each in (other, board))
        assert found == wanted, tag
    assert not list(folder.glob("*partial*"))


def test_a_training_that_was_killed_before_its_first_checkpoint_begins(tmp_path: Path) -> None:
    short = replace(TINY, total_timesteps=256)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(to_json(short)))
    assert main(["--resume", str(tmp_path / "run")]) == 0
    whole = trained(short, tmp_path / "whole")
    assert json.loads((tmp_path / "run" / "training.json").read_text())["weights"] == whole["weights"]


def test_resuming_a_training_that_has_ended_changes_nothing(tmp_path: Path) -> None:
    short = replace(TINY, total_timesteps=512)
    first = trained(short, tmp_path / "run")
    again = trained(short, tmp_path / "run", resume=True)
    assert again["weights"] == first["weights"]
    assert again["curve"] == first["curve"]


def test_an_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *options(replace(TINY, total_timesteps=10**7)), "--run-dir", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "checkpoint\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert f"--resume {folder}" in said
    assert "Traceback" not in said


def test_a_league_seats_earlier_selves_that_differ_from_market_to_market(tmp_path: Path) -> None:
    league = MODES["league"]
    model, env = training.build(league)
    plan = schedule.Schedule(league, tmp_path, env, LENIENT)
    model.set_logger(Logger(None, []))
    plan.init_callback(model)
    plan.next["validate"] = plan.next["checkpoint"] = 10**9
    for timesteps in (0, 512, 1_024):
        plan.num_timesteps = model.num_timesteps = timesteps
        with torch.no_grad():
            for tensor in model.policy.parameters():
                tensor += 0.01
        plan.on_rollout_start()
    assert len(plan.league) == 3
    arrays = env.batch._arrays
    starts = arrays.starts[arrays.cast, 1:3]
    assert len(np.unique(starts)) > 1
    assert env.num_envs == league.markets


def test_one_policy_is_judged_in_all_of_its_seats(tmp_path: Path) -> None:
    shared = MODES["shared"]
    config = shared.market_of(MarketConfig().timesteps)
    assert config.agent_ids[:2] == shared.seats() == ["ppo_0", "ppo_1"]
    model, env = training.build(shared)
    assert env.num_envs == 8
    plan = schedule.Schedule(shared, tmp_path, env, LENIENT)
    model.set_logger(Logger(None, []))
    model.ep_info_buffer = deque()
    plan.init_callback(model)
    plan.judge()
    policy = FrozenPPO(str(tmp_path / "policy.zip")).build(config)
    gains = [
        evaluation.column(
            evaluation.play_seeds(config, "ppo_0", policy, LENIENT.validation_seeds, others, shared.others()),
            "liquidation_gain",
        ).mean()
        for others in ({"ppo_1": policy}, {"ppo_1": DoNothing().build(config)})
    ]
    assert plan.curve[0]["liquidation_gain"] == gains[0] != gains[1]


def test_shared_and_league_trainings_need_no_model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> None:
        raise AssertionError("a model was read")

    monkeypatch.setattr(FrozenPPO, "build", missing)
    for mode in ("shared", "league"):
        trained(replace(MODES[mode], total_timesteps=512), tmp_path / mode)


def test_bad_input_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--total-timesteps", "0"], "total_timesteps: Input should be greater than or equal to 1, got 0"),
        (["--learners", "0"], "learners: Input should be greater than or equal to 1, got 0"),
        (["--opponents", "-1"], "opponents: Input should be greater than or equal to 0, got -1"),
        (["--markets", "1000000000"], "markets: 1,000,000,000 would take"),
        (["--hidden", "0"], "hidden[0]: Input should be greater than or equal to 1, got 0"),
        (["--batch-size", "1"], "batch_size: Input should be greater than or equal to 2, got 1"),
        (["--seed", "1000000"], "seed: Input should be less than 900000, got 1000000"),
        (["--resume", str(tmp_path / "none")], "expected the settings of a training"),
    ):
        assert main([*arguments, "--run-dir", str(tmp_path / "new")]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ")
        assert message in error
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    assert main([*options(TINY), "--run-dir", str(tmp_path / "full")]) == 2
    assert "expected an empty folder" in capsys.readouterr().err
    assert (tmp_path / "full" / "mine.txt").read_text() == "kept"


def test_a_resumed_training_keeps_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    trained(replace(TINY, total_timesteps=256), folder)
    for arguments, message in (
        (["--seed", "3"], "seed: the training in"),
        (["--total-timesteps", str(Training().total_timesteps)], "total_timesteps: the training in"),
        (["--run-dir", str(tmp_path / "other")], "run_dir:"),
    ):
        assert main(["--resume", str(folder), *arguments]) == 2
        assert message in capsys.readouterr().err
    assert main(["--resume", str(folder), "--config", str(folder / "config.json")]) == 2
    assert "give --config or --resume" in capsys.readouterr().err
    given = tmp_path / "given.json"
    given.write_text(json.dumps({**json.loads((folder / "config.json").read_text()), "hidden": [8]}))
    assert main(["--config", str(given), "--seed", "4", "--run-dir", str(tmp_path / "again")]) == 0
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert (written["hidden"], written["seed"], written["total_timesteps"]) == ([8], 4, 256)
    (folder / "config.json").write_text("{")
    assert main(["--resume", str(folder)]) == 2
    assert "config.json: expected the settings of a training: not JSON" in capsys.readouterr().err
    (folder / "config.json").write_text(json.dumps({"schema": 1, "agents": [], "seed": 1}))
    assert main(["--resume", str(folder)]) == 2
    assert "expected the settings of a training, found ['agents', 'schema']" in capsys.readouterr().err


def test_a_checkpoint_that_cannot_be_used_is_named_with_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(TINY, total_timesteps=256)
    folder = tmp_path / "run"
    trained(short, folder)
    file = folder / checkpoint.FILE
    whole = file.read_bytes()

    def refused(other: Training, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            trained(other, folder, resume=True)

    refused(replace(short, seed=9), "expected one of a training with seed 9, found 1")
    refused(replace(short, hidden=(8,)), r"with hidden \[8\], found \[64, 64\]")
    rng = np.random.default_rng(1)
    for place in (0, 70, len(whole) - 1, *rng.integers(len(whole), size=10).tolist()):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        refused(short, "checkpoint .*checkpoint.pt: damaged")
    for content in (b"", whole[: len(whole) // 2], whole[1:]):
        file.write_bytes(content)
        refused(short, "damaged")
    file.write_bytes(whole)
    monkeypatch.setattr(checkpoint, "FORMAT", 3)
    refused(short, "expected format 3, found 2")
    monkeypatch.undo()
    monkeypatch.setattr(schedule, "versions_of", lambda packages: {"torch": "0"})
    refused(short, "with versions {'torch': '0'}")
    monkeypatch.undo()
    known = schedule.trained_for
    monkeypatch.setattr(schedule, "trained_for", lambda config: {**known(config), "features": ["mid"]})
    refused(short, r"with features \['mid'\], found")


class Forbidden:
    """What a hostile checkpoint would run."""

    def __reduce__(self) -> Any:
        return print, ("executed",)


def test_a_checkpoint_of_a_right_checksum_and_another_content_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = replace(TINY, total_timesteps=256)
    folder = tmp_path / "run"
    trained(short, folder)
    file = folder / checkpoint.FILE
    state = checkpoint.read(file)
    capsys.readouterr()

    def refused(content: Any, message: str) -> None:
        written = io.BytesIO()
        torch.save(content, written)
        file.write_bytes(hashlib.sha256(written.getbuffer()).hexdigest().encode() + b"\n" + written.getvalue())
        assert main(["--resume", str(folder)]) == 2
        said = capsys.readouterr()
        assert said.err.startswith(f"error: checkpoint {file}")
        assert message in said.err.replace("\n", "")
        assert said.err.count("\n") == 1
        assert "executed" not in said.out

    def spoilt(field: str, place: int | tuple[int, int], value: int) -> dict[str, Any]:
        records = state["env"]["records"].clone().numpy()
        view = records.view(training.build(short)[1].batch.records.dtype)
        view[field].reshape(len(view), -1)[place] = value
        return {**state, "env": {**state["env"], "records": torch.from_numpy(records)}}

    refused([1, 2], "expected its parts by name, found list")
    for name in checkpoint.CONTENT:
        refused(
            {n: value for n, value in state.items() if n != name}, f"{name}: expected what save wrote, found NoneType"
        )
    refused({**state, "extra": Forbidden()}, "holds more than tensors and plain values")
    refused({**state, "progress": "{"}, "progress: not JSON")
    refused({**state, "progress": "{}"}, "progress: expected curve, found []")
    refused({**state, "policy": {}}, "policy: expected")
    refused({**state, "env": {}}, "env: expected")
    refused(
        {**state, "observations": torch.zeros(3)},
        "observations: expected torch.float32 of shape (4, 51), found torch.float32 of (3,)",
    )
    refused({**state, "extra": [torch.zeros(3)]}, "extra: expected arrays of float64")
    wants = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    refused({**state, "extra": [wants]}, "one that wants a gradient")
    for rest in ("[2000000000, 0, 0.0]", "[-1, 0, 0.0]", "[0.5, 0, 0.0]", "[0, 7, 0.0]", "[0]", "{}"):
        refused({**state, "numpy": {**state["numpy"], "rest": rest}}, f"checkpoint {file}: ")
    refused({**state, "numpy": {**state["numpy"], "key": torch.zeros(3, dtype=torch.int64)}}, "a key of 624 words")
    refused({**state, "episodes": "[1]"}, "episodes: expected r, l and t of each")
    refused({**state, "timesteps": -5}, "timesteps, updates: expected 0 or more")
    told = json.loads(state["progress"])
    for changed in ({"curve": 5}, {"best": "x"}, {"next": None}, {"next": {}}, {"curve": [1]}, {"seconds": "1"}):
        refused({**state, "progress": json.dumps(told | changed)}, "progress: expected a curve")
    weights = {**state["policy"], "action_net.bias": torch.full_like(state["policy"]["action_net.bias"], torch.nan)}
    refused({**state, "policy": weights}, "policy: action_net.bias: expected finite numbers")
    adam = state["optimizer"]
    (group,) = adam["param_groups"]
    for changed, message in (
        ({"state": {0: {}}}, "moments of each weight"),
        ({"state": {**adam["state"], 0: {**adam["state"][0], "exp_avg": torch.zeros(3)}}}, "exp_avg: expected"),
        ({"param_groups": [{**group, "lr": "x"}]}, "lr: expected"),
        ({"param_groups": []}, "expected one group"),
    ):
        refused({**state, "optimizer": {**adam, **changed}}, message)
    for field, place, value in (
        ("acting", (0, 0), 10_000), ("best_bid", (1, 0), -5), ("heap", (0, 0), (1e9, 0, 2**30)), ("free_orders", (2, 0), -1),
        ("agent_count", (0, 0), 33), ("free", (0,), 10**6),
    ):  # fmt: skip
        refused(spoilt(field, place, value), "state: ")


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    short = replace(TINY, total_timesteps=256)
    folder = tmp_path / "run"
    trained(short, folder)
    before = (folder / checkpoint.FILE).read_bytes()
    model, env = training.build(short)
    plan = schedule.Schedule(short, folder, env, LENIENT)
    plan.go_on(*checkpoint.load(folder, model, env, plan.purpose))
    plan.init_callback(model)
    model.set_logger(Logger(None, []))
    # The largest file that the process may write takes the disk's part.
    largest, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, largest[1]))
    try:
        with pytest.raises(ConfigError, match=r"checkpoint\.pt: cannot be written: File too large"):
            plan.save()
        with pytest.raises(OSError, match="File too large"):
            freeze(model, plan.config, folder / "policy.zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, largest)
        signal.signal(signal.SIGXFSZ, handler)
    assert (folder / checkpoint.FILE).read_bytes() == before
    assert FrozenPPO(str(folder / "policy.zip")).build(population().market)
    assert not [path for path in folder.iterdir() if "partial" in path.name]


def test_a_training_takes_its_population_from_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = [*options(replace(TINY, total_timesteps=256)), "--run-dir", str(tmp_path / "run")]
    assert main([*short, "--noise", "5", "--maker", "1", "--momentum", "0", "--shifts", "2"]) == 0
    written = stored_training(tmp_path / "run" / "config.json")
    assert written.counts == {"noise": 5, "maker": 1, "momentum": 0}
    assert len(written.market_of(10).agents) == 1 + 2 * (5 + 1 + 6)
    with pytest.raises(ConfigError, match="shifts: the market has a roster of its own; give one or the other"):
        replace(TINY, market=MarketConfig(), shifts=2)
    assert main(["--population", "moon"]) == 2
    assert "population: expected one of default" in capsys.readouterr().err


def test_a_training_from_before_populations_had_names_is_one_of_the_four_kinds(tmp_path: Path) -> None:
    settings = to_json(TINY)
    for name in ("population", "counts", "market"):
        settings.pop(name)
    (tmp_path / "config.json").write_text(json.dumps(settings | {"noise": 3, "maker": 2, "momentum": 0}))
    stored = stored_training(tmp_path / "config.json")
    assert stored.population == "day6"
    assert stored.market_of(10) == MarketConfig(timesteps=10, agents=roster(noise=3, maker=2, momentum=0))
    # One of a market of its own had the usual counts beside it, which meant nothing.
    own = to_json(MarketConfig(first_price=5_000))
    usual = {"noise": 20, "maker": 4, "momentum": 1}
    (tmp_path / "config.json").write_text(json.dumps(settings | usual | {"market": own}))
    assert stored_training(tmp_path / "config.json").market_of(10).first_price == 5_000


@pytest.mark.parametrize("of_a_run", [False, True])
def test_a_training_takes_its_population_from_a_file_and_goes_on_with_it(
    of_a_run: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "population.json", tmp_path / "run"
    file.write_text(json.dumps(POPULATION | ({"schema": 2, "seed": 77, "reward": {"scale": 1.0}} if of_a_run else {})))
    short = options(replace(TINY, total_timesteps=256))
    assert main([*short, "--config", str(file), "--run-dir", str(folder)]) == 0
    stored = stored_training(folder / "config.json")
    assert stored.seed == TINY.seed
    config = stored.market_of(40)
    assert (config.timesteps, config.first_price, len(config.agents)) == (40, 5_000, 6)
    assert stored.policies == {"maker": MarketMaker(half_spread=4.0)}
    _, env = training.build(stored)
    usual = MarketVecEnv(4, config)
    parameters = env.batch.policy_parameters()
    assert not np.array_equal(parameters, usual.batch.policy_parameters())
    assert np.array_equal(parameters, MarketVecEnv(4, config, policies=stored.policies).batch.policy_parameters())
    assert main(["--resume", str(folder)]) == 0
    capsys.readouterr()
    assert main([*short, "--config", str(file), "--noise", "4", "--run-dir", str(tmp_path / "other")]) == 2
    assert "noise: the market has a roster of its own; give one or the other" in capsys.readouterr().err
    assert main([*short, "--config", str(file), "--learners", "2", "--run-dir", str(tmp_path / "other")]) == 2
    assert "its agents must hold the learners and opponents" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
