"""Evaluation: figures recomputed by other means, intervals that cover, pairing by seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

from market_env.config import ConfigError, MarketConfig
from runners import evaluate
from runners.learn import evaluation, rivals
from runners.measures import over_seeds
from scripted_agents import DoNothing, MarketMaker, population

mpl.use("Agg")

CONFIG = MarketConfig(timesteps=300)


def test_doing_nothing_gains_exactly_nothing() -> None:
    for episode in evaluation.play_seeds(CONFIG, "ppo_0", DoNothing().build(CONFIG), range(3)):
        assert [episode[name] for name in ("gain", "liquidation_gain", "trading_turns", "traded_lots")] == [0.0] * 4


def test_a_maker_in_the_seat_is_paired_with_every_rival_by_seed() -> None:
    results = evaluation.compare(CONFIG, "ppo_0", {"mine": MarketMaker(half_spread=5.0)}, range(8))
    mine = results["mine"]
    assert set(results) == {"mine", *rivals.RIVALS}
    assert mine["seeds"] == 8
    above = mine["above"]["nothing"]["gain"]
    assert above["mean"] == pytest.approx(mine["gain"])  # doing nothing gains 0 on every seed
    low, high = above["interval"]
    assert low < above["mean"] < high
    assert mine["above"]["random"]["gain"]["mean"] == pytest.approx(mine["gain"] - results["random"]["gain"])
    assert 0.0 < mine["trading_turns"] < 1.0
    assert results["random"]["near_bound"] > mine["near_bound"]
    assert "mean_over_deviation" not in results["nothing"]
    episodes = evaluation.play_seeds(CONFIG, "ppo_0", MarketMaker(half_spread=5.0).build(CONFIG), range(8))
    gains = [episode["liquidation_gain"] for episode in episodes]
    assert mine["mean_over_deviation"]["mean"] == pytest.approx(np.mean(gains) / np.std(gains, ddof=1))
    low, high = mine["mean_over_deviation"]["interval"]
    assert low < mine["mean_over_deviation"]["mean"] < high


def test_liquidation_never_pays_more_than_the_reference_price_in_a_two_sided_book() -> None:
    episodes = evaluation.play_seeds(CONFIG, "ppo_0", MarketMaker().build(CONFIG), range(6))
    assert all(evaluation.column(episodes, "liquidation_gain") <= evaluation.column(episodes, "gain"))


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = [
        low <= 5.0 <= high for low, high in (over_seeds.bootstrap_interval(rng.normal(5, 2, 30)) for _ in range(60))
    ]
    assert 0.85 <= np.mean(covered) <= 1.0
    assert over_seeds.bootstrap_interval(np.full(4, 2.5)) == (2.5, 2.5)


def test_bad_input_is_one_clear_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seeds: expected at least 8 for an interval, got 1"):
        evaluation.compare(CONFIG, "ppo_0", {}, [1])
    for arguments, message in (
        (["none.zip"], "model none.zip: expected"),
        (
            ["mines"],
            "policies: expected a .zip file, module:name or one of nothing, random, noise, momentum, maker, got 'mines'",
        ),
        (["nowhere:mine"], "policies: nowhere:mine: No module named 'nowhere'"),
        (
            ["runners.evaluate:mine"],
            "policies: runners.evaluate:mine: module 'runners.evaluate' has no attribute 'mine'",
        ),
        (
            ["runners.evaluate:main"],
            "policy runners.evaluate:main: expected reset(stream, memory) and act(observation)",
        ),
        (["maker", "--against", "nothing", "--noise", "-1"], "number of noise agents: must be 0 or more, got -1"),
        (["maker", "--against", "nothing", "--agent", "ppo_9"], "agent: expected one or more of"),
        (["maker", "--against", "nothing", "--timesteps", "0"], "timesteps"),
        (["maker", "--against", "nothing", "--seeds", "1", "2"], "seeds: expected at least 8"),
        (["maker", "--against", "nothing", "--seeds", *"11112222"], "seeds: expected each once"),
        (["maker", "--against", "nothing", "--seeds", "1", "--validation"], "give seeds or --validation, not both"),
        (["maker", "--against", "nothing", "--picture", "x.bmp"], "picture: expected a file ending in .png"),
        (["maker"], "policies: expected one that is not among those to compare with"),
        (
            ["maker", "--against", "nothing", "--timesteps", "20", "--json", str(tmp_path / "no" / "x.json")],
            "expected a folder to write to",
        ),
    ):
        assert evaluate.main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_the_command_prints_a_table_and_writes_json_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(Path(__file__).parents[3] / "models" / "ppo_day5.zip")
    out, picture = tmp_path / "figures.json", tmp_path / "figures.png"
    seeds = [str(seed) for seed in range(8)]
    arguments = [model, "maker", "--against", "nothing", "random", "--timesteps", "100", "--seeds", *seeds]
    assert evaluate.main([*arguments, "--json", str(out), "--picture", str(picture)]) == 0
    printed = capsys.readouterr().out
    figures = json.loads(out.read_text())["results"]
    assert set(figures) == {model, "maker", "nothing", "random"}
    assert figures[model]["seeds"] == 8
    for name in (model, "maker"):
        for rival in ("nothing", "random"):
            mean = figures[name]["above"][rival]["liquidation_gain"]["mean"]
            (line,) = [line for line in printed.splitlines() if line.startswith(f"{name} above {rival}")]
            assert f"{mean:,.0f}" in line
    assert plt.imread(picture).shape[1] > 500


class Follower:
    """A policy of a user's own, in plain Python: buys a lot where the last turns' prices rose."""

    def reset(self, stream: Any, memory: Any) -> None:
        self._memory = memory

    def act(self, observation: Any) -> list[int]:
        self._memory[0] += 1
        return [0, 20, int(self._memory[0] % 9 == 0), 0, 0]


follower = Follower()


def test_a_policy_of_python_is_set_against_the_rivals(capsys: pytest.CaptureFixture[str]) -> None:
    results = evaluation.compare(CONFIG, "ppo_0", {"mine": follower, "again": Follower()}, range(8))
    assert results["mine"] == results["again"]
    assert set(results["mine"]["above"]) == set(rivals.RIVALS)
    assert results["mine"]["trading_turns"] > 0.05
    here = f"{__name__}:follower"
    command = [here, "--against", "nothing", "--timesteps", "60", "--seeds", *map(str, range(8))]
    assert evaluate.main(command) == 0
    printed = capsys.readouterr().out
    assert f"{here} above nothing" in printed
    # The rest of the population is the flags'.
    assert evaluate.main([*command, "--noise", "0", "--maker", "0", "--momentum", "0", "--informed", "0"]) == 0
    alone = capsys.readouterr().out
    (line,) = [line for line in alone.splitlines() if line.startswith(here) and "above" not in line]
    assert line.split()[1:3] == ["0", "0"]  # nobody to trade with


def test_the_others_policies_come_from_a_runs_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    still = {"maker": {"policy": "nothing"}, "noise": {"policy": "nothing"}, "momentum": {"policy": "nothing"}}
    still["informed"] = {"policy": "nothing"}
    file.write_text(json.dumps({"market": {"timesteps": 60}, "policies": still}))
    command = ["noise", "--against", "nothing", "--config", str(file), "--seeds", *map(str, range(8))]
    assert evaluate.main(command) == 0
    (line,) = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("noise ") and "above" not in line
    ]
    assert line.split()[1] == "0"
    assert evaluate.main(["noise", "--against", "nothing", "--config", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_the_rival_in_the_makers_name_is_the_tuned_one() -> None:
    of = population()
    tuned, default = (
        np.mean(
            [
                e["liquidation_gain"]
                for e in evaluation.play_seeds(
                    of.market, "ppo_0", policy.build(of.market), range(8), policies=of.policies
                )
            ]
        )
        for policy in (rivals.RIVALS["maker"], MarketMaker())
    )
    assert tuned > default
