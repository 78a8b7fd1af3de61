"""Evaluation: figures recomputed by other means, intervals that cover, pairing by seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from market_env.config import ConfigError, MarketConfig
from runners import evaluate
from scripted_agents import DoNothing, MarketMaker

CONFIG = MarketConfig(timesteps=300)


def test_doing_nothing_gains_exactly_nothing() -> None:
    for episode in evaluate.play_seeds(CONFIG, "ppo_0", DoNothing().build(CONFIG), range(3)):
        assert (episode.gain, episode.liquidation_gain, episode.trading_turns, episode.traded_lots) == (
            0.0,
            0.0,
            0.0,
            0,
        )


def test_a_maker_in_the_seat_is_paired_with_the_baselines_by_seed() -> None:
    results = evaluate.compare(CONFIG, "ppo_0", {"maker": MarketMaker()}, range(8))
    maker = results["maker"]
    assert set(results) == {"maker", "nothing", "random"}
    assert maker["seeds"] == 8
    above = maker["above"]["nothing"]["gain"]
    assert above["mean"] == pytest.approx(maker["gain"])  # doing nothing gains 0 on every seed
    low, high = above["interval"]
    assert low < above["mean"] < high
    assert maker["above"]["random"]["gain"]["mean"] == pytest.approx(maker["gain"] - results["random"]["gain"])
    assert 0.0 < maker["trading_turns"] < 1.0
    assert results["random"]["near_bound"] > maker["near_bound"]


def test_liquidation_never_pays_more_than_the_reference_price_in_a_two_sided_book() -> None:
    episodes = evaluate.play_seeds(CONFIG, "ppo_0", MarketMaker().build(CONFIG), range(6))
    assert all(episode.liquidation_gain <= episode.gain for episode in episodes)


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = [low <= 5.0 <= high for low, high in (evaluate.interval(rng.normal(5, 2, 30)) for _ in range(60))]
    assert 0.85 <= np.mean(covered) <= 1.0
    assert evaluate.interval(np.full(4, 2.5)) == (2.5, 2.5)


def test_bad_input_is_one_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="seeds: expected at least 2 for an interval, got 1"):
        evaluate.compare(CONFIG, "ppo_0", {}, [1])
    for arguments, message in (
        (["none.zip"], "model none.zip: expected"),
        (["--agent", "ppo_9"], "agent: expected one of"),
        (["--timesteps", "0"], "timesteps"),
    ):
        assert evaluate.main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(Path(__file__).parents[2] / "models" / "ppo_day5.zip")
    out = tmp_path / "figures.json"
    assert evaluate.main([model, "--timesteps", "100", "--seeds", "1", "2", "3", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "nothing" in printed
    assert "random" in printed
    figures = json.loads(out.read_text())["results"]
    assert figures[model]["seeds"] == 3
