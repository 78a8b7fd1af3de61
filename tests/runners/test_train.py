"""Training: a short real one, from the command to a policy that the market accepts."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from market_env.config import MarketConfig
from runners import evaluate, train
from runners.board import TRAINING_TAGS
from scripted_agents.frozen_ppo import DEFAULT_MODEL, FrozenPPO, sha256

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_a_short_training_leaves_a_policy_and_its_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, "TEST_SEEDS", range(3))
    monkeypatch.setattr(evaluate, "VALIDATION_SEEDS", range(10, 12))
    out = tmp_path / "policy.zip"
    arguments = [
        "--out",
        str(out),
        "--total-timesteps",
        "40000",
        "--validate-every",
        "10000",
        "--markets",
        "8",
        "--seed",
        "1",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    # So short a training may end without a policy within its limits; what is kept is tested here, not how good it is.
    monkeypatch.setattr(train, "within_limits", lambda point: True)
    assert train.main(arguments) == 0
    assert "validation" in capsys.readouterr().out
    assert FrozenPPO(str(out)).build(MarketConfig())
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["sha256"] == sha256(out)
    assert len(card["curve"]) >= 4
    assert out.with_suffix(".md").read_text().count(card["sha256"]) == 1
    assert out.with_suffix(".png").is_file()
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    board.Reload()
    tags = board.Tags()
    assert {tag.name for tag in TRAINING_TAGS if tag.plugin == "scalars"} == set(tags["scalars"])
    assert {"run/config/text_summary", "custom_scalars__config__"} <= set(tags["tensors"])
    gains = board.Scalars("validation/liquidation_gain")
    assert [event.value for event in gains] == pytest.approx([point["liquidation_gain"] for point in card["curve"]])
    assert gains[-1].step == card["curve"][-1]["timesteps"]
    assert any(name.startswith("_hparams_/") for name in board.summary_metadata)


def test_the_policy_in_the_repository_is_the_one_that_its_card_describes() -> None:
    card = json.loads((ROOT / DEFAULT_MODEL).with_suffix(".json").read_text())
    assert card["sha256"] == sha256(ROOT / DEFAULT_MODEL)
    assert card["arguments"]["total_timesteps"] >= 500_000
    figures = card["results"]["frozen PPO"]
    assert figures["seeds"] >= 16
    for baseline in ("nothing", "random"):
        for measure in ("gain", "liquidation_gain"):
            assert figures["above"][baseline][measure]["interval"][0] > 0
    assert 0.01 <= figures["trading_turns"] <= 0.6
    assert figures["near_bound"] < 0.01


@pytest.mark.long
def test_the_cards_figures_come_out_again_on_some_of_its_seeds() -> None:
    config = MarketConfig()
    policy = FrozenPPO(str(ROOT / DEFAULT_MODEL)).build(config)
    episodes = evaluate.play_seeds(config, "ppo_0", policy, evaluate.TEST_SEEDS[:16])
    gains = [episode.liquidation_gain for episode in episodes]
    assert sum(gain > 0 for gain in gains) >= 14
    assert all(episode.near_bound < 0.05 for episode in episodes)


def test_bad_input_is_one_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--total-timesteps", "0"]) == 2
    assert "must be above 0" in capsys.readouterr().err
