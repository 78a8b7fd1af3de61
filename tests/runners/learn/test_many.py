"""Several trainings: crossed settings, folders that go on, and the worse half ended early without a trace in the better one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.plugins.hparams import metadata as hparams

from market_env.config import ConfigError
from runners import train
from runners.learn import many, training
from runners.learn.settings import RESULT, Training
from scripted_agents.standards import Standards
from tests.runners.learn.test_training import LENIENT, TINY, EventAccumulator


def test_seeds_and_settings_cross_and_each_has_a_name() -> None:
    found = many.crossed(TINY, [5, 6], {"gamma": [0.9, 0.99], "reward.damping": [0.0]})
    assert list(found) == [f"gamma-{gamma}-reward.damping-0.0-seed-{seed}" for gamma in (0.9, 0.99) for seed in (5, 6)]
    assert [(own.gamma, own.seed, own.reward.damping) for own in found.values()] == [
        (0.9, 5, 0.0), (0.9, 6, 0.0), (0.99, 5, 0.0), (0.99, 6, 0.0),
    ]  # fmt: skip
    assert many.crossed(TINY, [], {}) == {"seed-1": TINY}
    ((_, flagged),) = many.crossed(TINY, [1], {"learning-rate": [0.5]}).items()
    assert flagged.learning_rate == 0.5
    assert all("/" not in name for name in many.crossed(TINY, [1], {"population": ["default"], "tape": [None]}))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("gama", 0.9, "--vary gama: expected a setting of a training, one of task, "),
        ("reward.none", 0.9, "--vary reward.none: expected a setting"),
        ("seed", 3, "--vary seed: expected a setting"),
        ("gamma", 2.0, "--vary gamma: .*gamma"),
        ("gamma", "../../x", "--vary gamma"),
    ],
)
def test_a_bad_setting_is_named(path: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        many.crossed(TINY, [1], {path: [value]})


def test_the_better_half_goes_on() -> None:
    legs = [
        many.Leg(replace(TINY, seed=seed, total_timesteps=800, validate_every=100), Path(f"seed-{seed}"))
        for seed in range(5)
    ]
    gains = [3.0, None, 5.0, None, 4.0]
    last = [0.0, -7.0, 0.0, -6.0, 0.0]
    played: list[tuple[int | None, list[int]]] = []

    def executor(own: Sequence[many.Leg], standards: Standards) -> Iterator[tuple[int, dict[str, Any]]]:
        played.append((own[0].until, [leg.training.seed for leg in own]))
        for number, leg in reversed(list(enumerate(own))):
            seed = leg.training.seed
            yield number, {"best": gains[seed], "curve": [{"liquidation_gain": last[seed]}]}

    many.train_all(legs, executor, LENIENT, 2)
    assert played == [(200, [0, 1, 2, 3, 4]), (400, [0, 2, 4]), (None, [2, 4])]
    gains[:] = [None] * 5  # none that may be kept: the last validation decides
    played.clear()
    many.train_all(legs, executor, LENIENT, 1)
    assert played[1] == (None, [0, 2, 4])
    last[3] = 1.0
    played.clear()
    many.train_all(legs, executor, LENIENT, 2)
    assert played[1:] == [(400, [0, 2, 3]), (None, [0, 3])]
    with pytest.raises(ConfigError, match="expected a validation before the first halving"):
        many.train_all([many.Leg(replace(TINY, validate_every=300), Path("x"))], executor, LENIENT, 3)


@pytest.mark.long
def test_a_training_in_legs_ends_with_the_weights_of_one_that_was_never_stopped(tmp_path: Path) -> None:
    whole = training.train(TINY, tmp_path / "whole", standards=LENIENT)
    for until in (600, 600, 1_300):
        stopped = training.train(TINY, tmp_path / "legs", resume=True, standards=LENIENT, until=until)
        assert until <= stopped["timesteps"] < until + 4 * 32
        assert not (tmp_path / "legs" / RESULT).exists()
    found = training.train(TINY, tmp_path / "legs", resume=True, standards=LENIENT)
    assert found["weights"] == whole["weights"]
    assert found["curve"] == whole["curve"]
    assert found["timesteps"] == whole["timesteps"] == TINY.total_timesteps


@pytest.mark.long
def test_the_command_trains_several_goes_on_and_refuses_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--total-timesteps", "512", "--markets", "4", "--n-steps", "32", "--batch-size", "64", "--episode", "40"]
    short += ["--validate-every", "256", "--checkpoint-every", "256", "--run-dir", str(tmp_path / "all")]
    assert train.main([*short, "--seeds", "1", "--vary", "gamma=.9", "--vary", "gamma=.8"], LENIENT) == 2
    assert "--vary gamma: expected each setting once" in capsys.readouterr().err
    assert not (tmp_path / "all").exists()
    command = [*short, "--vary", "gamma=.9,.95", "--seeds", "1..2", "--halve", "1"]
    assert train.main(command, LENIENT) == 0
    printed = capsys.readouterr().out.splitlines()
    first = [line for line in printed if "weights" in line]
    assert len(first) == 6
    assert sum(line.startswith("gamma-0.9-seed-1  ") and "validation: " in line for line in printed) > 0
    (halved,) = [line for line in printed if line.startswith("halved: 2 go on; ended early: ")]
    assert {line.split()[0] for line in first[4:]} | set(halved.rpartition(": ")[2].split(", ")) == {
        f"gamma-{gamma}-seed-{seed}" for gamma in (0.9, 0.95) for seed in (1, 2)
    }
    assert len(list((tmp_path / "all").glob(f"*/{RESULT}"))) == 2
    for board in (tmp_path / "all").glob("*/tensorboard"):
        found = EventAccumulator(str(board)).Reload().SummaryMetadata(hparams.EXPERIMENT_TAG).plugin_data.content
        infos = hparams.parse_experiment_plugin_data(found).hparam_infos
        assert {info.name for info in infos if info.differs} == {"gamma", "seed"}
    assert train.main(command, LENIENT) == 0
    again = [line for line in capsys.readouterr().out.splitlines() if "weights" in line]
    assert again[-2:] == first[-2:]
    assert train.main([*command, "--n-epochs", "2"], LENIENT) == 2
    assert "n_epochs: the training in" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "summary.json").write_text("{}")
    for more, said in (
        (
            ["--seeds", "1..2", "--run-dir", str(tmp_path / "other")],
            "other: expected trainings, an empty folder or none",
        ),
        (["--seeds", "1..2", "--resume", str(tmp_path)], "config.json"),
        (["--halve", "1"], "--halve: is for several trainings"),
        (["--ray"], "--ray: is for several trainings"),
        (["--seeds", "1..2", "--halve", "-1"], "--halve: expected 0 to 19"),
        (["--seeds", "1..2", "--vary", "gamma"], "expected path=value"),
        (["--seeds", "2..1"], "seeds: expected a range"),
        (["--seeds", "--vary", "gamma=.9"], "--seeds: expected some, got none"),
    ):
        assert train.main(more, LENIENT) == 2
        assert said in capsys.readouterr().err


def test_names_tell_all_apart_and_what_is_too_many_is_refused_at_once() -> None:
    found = many.crossed(TINY, [1], {"imitate": ["maker", "noise"], "population": ["default"]})
    assert len(found) == 2
    long = many.crossed(TINY, [1, 2], {"hidden": [[64] * 40, [65] * 40]})
    assert len(long) == 4
    assert max(len(name) for name in long) < 140
    with pytest.raises(ConfigError, match="expected 1 to 10,000, got 20,000"):
        many.crossed(TINY, range(20_000), {})


def test_what_is_varied_stands_on_the_hyperparameters_page() -> None:
    plain = Training()
    for path, value in (
        ("imitate", "maker"),
        ("task", "sell"),
        ("gamma", 0.5),
        ("reward.damping", 0.25),
        ("hidden", [8]),
    ):
        ((_, changed),) = many.crossed(plain, [5], {path: [value]}).items()
        name = path.replace(".", "/")
        assert changed.settings()[name] != plain.settings().get(name)


def test_rungs_halve_the_turns() -> None:
    assert many.rungs_of(1_000, 0) == [None]
    assert many.rungs_of(1_000, 2) == [250, 500, None]
    assert Training().total_timesteps == 5_000_000
