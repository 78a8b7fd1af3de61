"""Training: short real ones, killed and taken up again, from the command to a policy that the market accepts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from market_env.config import ConfigError, MarketConfig
from runners import checkpoint, evaluate, train
from runners.board import TRAINING_TAGS
from runners.train import Training
from scripted_agents.frozen_ppo import FrozenPPO

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


@pytest.fixture(autouse=True)
def few_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "VALIDATION_SEEDS", range(10, 18))
    # So short a training may end without a policy within its limits; what is kept is tested here, not how good it is.
    monkeypatch.setattr(train, "within_limits", lambda point: True)


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
    assert train.main([*options(TINY), "--run-dir", str(folder)]) == 0
    assert "best liquidation gain" in capsys.readouterr().out
    assert FrozenPPO(str(folder / "policy.zip")).build(MarketConfig())
    result = json.loads((folder / "training.json").read_text())
    assert result["timesteps"] == TINY.total_timesteps
    assert [point["timesteps"] for point in result["curve"]] == [512, 1_024, 1_536, 2_048]
    assert result["best"] == max(point["liquidation_gain"] for point in result["curve"])
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    tags = board.Tags()
    assert {tag.name for tag in TRAINING_TAGS if tag.plugin == "scalars"} == set(tags["scalars"])
    assert {"run/config/text_summary", "custom_scalars__config__"} <= set(tags["tensors"])
    gains = board.Scalars("validation/liquidation_gain")
    assert [event.value for event in gains] == pytest.approx([point["liquidation_gain"] for point in result["curve"]])
    assert any(name.startswith("_hparams_/") for name in board.summary_metadata)
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "checkpoint.pt", "policy.zip", "training.json", "tensorboard",
    }  # fmt: skip


def test_the_same_seed_gives_the_same_weights_and_another_others(tmp_path: Path) -> None:
    short = replace(TINY, total_timesteps=512)
    hashes = [
        train.train(replace(short, seed=seed), tmp_path / str(number))["weights"]
        for number, seed in enumerate((1, 1, 2))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


KILLED = """
import sys
from runners import evaluate, train
evaluate.VALIDATION_SEEDS = range(10, 18)
train.within_limits = lambda point: True
save = train.checkpoint.save
def told(*arguments):
    save(*arguments)
    print("checkpoint", flush=True)
train.checkpoint.save = told
sys.exit(train.main(sys.argv[1:]))
"""


@pytest.mark.long
@pytest.mark.parametrize(("mode", "checkpoints"), [("single", 1), ("single", 6), ("shared", 3), ("league", 5)])
def test_a_killed_training_goes_on_to_the_weights_of_one_that_was_not(
    mode: str, checkpoints: int, tmp_path: Path
) -> None:
    whole = train.train(MODES[mode], tmp_path / "whole")
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *options(MODES[mode]), "--run-dir", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=Path(__file__).parents[2],
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
    assert train.main(["--resume", str(folder)]) == 0
    resumed = json.loads((folder / "training.json").read_text())
    assert resumed["weights"] == whole["weights"]
    assert resumed["curve"] == json.loads(json.dumps(whole["curve"]))
    policies = [FrozenPPO(str(tmp_path / name / "policy.zip")).build(MarketConfig()) for name in ("whole", "killed")]
    assert policies[0].parameter_hash() == policies[1].parameter_hash()
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    steps = [event.step for event in board.Scalars("train/loss")]
    assert steps == sorted(set(steps))
    assert not list(folder.glob(".*partial*"))


def test_resuming_a_training_that_has_ended_changes_nothing(tmp_path: Path) -> None:
    short = replace(TINY, total_timesteps=512)
    first = train.train(short, tmp_path / "run")
    again = train.train(short, tmp_path / "run", resume=True)
    assert again["weights"] == first["weights"]
    assert again["curve"] == first["curve"]


def test_a_league_seats_earlier_selves_that_differ_from_market_to_market(tmp_path: Path) -> None:
    training = MODES["league"]
    model, env = train.build(training)
    course = train.Course(training, tmp_path, env)
    course.init_callback(model)
    for timesteps in (0, 512, 1_024):
        course.num_timesteps = model.num_timesteps = timesteps
        course.curve = [{}]
        course.next["validate"] = course.next["checkpoint"] = 10**9
        with torch.no_grad():
            for tensor in model.policy.parameters():
                tensor += 0.01
        course.on_rollout_start()
    assert len(course.league) == 3
    starts = env.batch._cast.starts[:, 1:3]
    assert len(np.unique(starts)) > 1
    assert env.num_envs == training.markets


def test_one_policy_is_judged_in_all_of_its_seats(tmp_path: Path) -> None:
    training = MODES["shared"]
    assert training.market(10).agent_ids[:2] == training.seats() == ["ppo_0", "ppo_1"]
    _, env = train.build(training)
    assert env.num_envs == 8


def test_bad_input_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--total-timesteps", "0"], "total_timesteps: Input should be greater than or equal to 1, got 0"),
        (["--learners", "0"], "learners: Input should be greater than or equal to 1, got 0"),
        (["--opponents", "-1"], "opponents: Input should be greater than or equal to 0, got -1"),
        (["--markets", "1000000000"], "markets: 1,000,000,000 would take"),
        (["--hidden", "0"], "hidden[0]: Input should be greater than or equal to 1, got 0"),
        (["--resume", str(tmp_path / "none")], "cannot be read"),
    ):
        assert train.main([*arguments, "--run-dir", str(tmp_path / "new")]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ")
        assert message in error
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    assert train.main([*options(TINY), "--run-dir", str(tmp_path / "full")]) == 2
    assert "expected an empty folder" in capsys.readouterr().err
    assert (tmp_path / "full" / "mine.txt").read_text() == "kept"


def test_a_checkpoint_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    short = replace(TINY, total_timesteps=256)
    folder = tmp_path / "run"
    train.train(short, folder)
    whole = (folder / checkpoint.FILE).read_bytes()

    def refused(training: Training, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            train.train(training, folder, resume=True)

    refused(replace(short, seed=9), "expected one of a training with seed 9, found 1")
    refused(replace(short, hidden=(8,)), r"with hidden \[8\], found \[64, 64\]")
    (folder / checkpoint.FILE).write_bytes(whole[: len(whole) // 2])
    refused(short, "checkpoint .*checkpoint.pt: damaged")
    (folder / checkpoint.FILE).unlink()
    refused(short, "expected a file, found nothing")
    state = torch.load(_put(folder, whole), weights_only=True)
    purpose: dict[str, Any] = json.loads(state["purpose"])
    torch.save(
        {**state, "purpose": json.dumps({**purpose, "features": purpose["features"][1:]})}, folder / checkpoint.FILE
    )
    refused(short, "expected one of a training with features")
    torch.save({**state, "format": 99}, folder / checkpoint.FILE)
    refused(short, "expected format 1, found 99")
    _put(folder, whole)
    assert train.main(["--resume", str(folder), "--seed", "3"]) == 2


def _put(folder: Path, content: bytes) -> Path:
    (folder / checkpoint.FILE).write_bytes(content)
    return folder / checkpoint.FILE


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    short = replace(TINY, total_timesteps=256)
    train.train(short, tmp_path / "run")
    before = (tmp_path / "run" / checkpoint.FILE).read_bytes()
    model, env = train.build(short)
    checkpoint.load(tmp_path / "run", model, env, train.checkpoint_purpose(short))
    shutil.rmtree(tmp_path / "run" / "tensorboard")
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoint.save(tmp_path / "run", model, env, train.checkpoint_purpose(short), {"bad": object()}, [])
    assert (tmp_path / "run" / checkpoint.FILE).read_bytes() == before
