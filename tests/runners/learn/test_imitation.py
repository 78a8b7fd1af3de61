"""A policy that begins as an imitation does what its teacher does, the same way every time, and learns on from there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from market_env.config import ConfigError
from market_env.engine.state import MEMORY
from runners import card as command
from runners.experiment import orders
from runners.learn import imitation, order_card, training
from runners.learn.replicas import Replicas
from runners.learn.settings import Training
from scripted_agents import Peg
from scripted_agents.execution import execution
from scripted_agents.frozen_ppo import FrozenPPO, sha256
from scripted_agents.standards import STANDARDS, Standards

ROOT = Path(__file__).parents[3]
SHORT = Training(
    seed=1, task="sell", imitate="peg", total_timesteps=1_024, markets=32, n_steps=16, batch_size=128, n_epochs=1,
    learning_rate=1e-4, validate_every=512, checkpoint_every=512,
)  # fmt: skip
LENIENT = Standards(
    validation_seeds=range(10, 18), test_seeds=range(20, 36), least_trading=0.0, most_trading=1.0, most_near_bound=2.0,
    most_lean=1.0,
)  # fmt: skip


def test_discounted_sums_end_with_the_episode_and_are_whole_where_little_is_missing() -> None:
    rewards = np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]], np.float32)
    ends = np.array([[False, False], [True, False], [False, False]])
    sums, whole = imitation.returns_of(rewards, ends, 0.5)
    assert sums.tolist() == [[2.0, 3.0], [2.0, 4.0], [4.0, 4.0]]
    assert whole.tolist() == [[True, False], [True, False], [False, False]]
    sums, whole = imitation.returns_of(np.ones((6, 1), np.float32), np.zeros((6, 1), np.bool_), 0.5)
    assert whole[:, 0].tolist() == [True, True, False, False, False, False]  # a half to the fifth is below a twentieth
    assert sums[0, 0] == pytest.approx(2.0, abs=2 * imitation.FORGOTTEN)


def test_replicas_remember_each_its_own_episode() -> None:
    of = execution("sell")
    own = Replicas(Peg(), of.market, 3)
    alone = Peg().build(of.market)
    rng = np.random.default_rng(0)
    seen = rng.random((40, 3, 51), np.float32)
    for place in range(3):
        alone.reset(np.zeros(4, np.uint64), np.zeros(MEMORY))
        own.begin(np.ones(3, np.bool_))
        for turn, observations in enumerate(seen):
            if turn == 20 and place == 1:
                alone.reset(np.zeros(4, np.uint64), np.zeros(MEMORY))
            if turn == 20:
                own.begin(np.array([False, True, False]))
            assert np.array_equal(own.act(observations)[place], alone.act(observations[place]))


@pytest.mark.long
def test_an_imitation_is_near_its_teacher_the_same_every_time_and_publishable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(imitation, "ROUNDS", 2)
    hashes = [training.train(SHORT, tmp_path / "a", standards=LENIENT)["weights"]]
    training.train(SHORT, tmp_path / "b", standards=LENIENT, until=512)
    assert "begins as peg" in capsys.readouterr().out
    hashes.append(training.train(SHORT, tmp_path / "b", resume=True, standards=LENIENT)["weights"])
    assert "begins as peg" not in capsys.readouterr().out
    assert hashes[0] == hashes[1]
    untaught = training.train(replace(SHORT, imitate=None), tmp_path / "c", standards=LENIENT)
    assert untaught["weights"] != hashes[0]
    models = [str(tmp_path / name / "policy.zip") for name in ("a", "c")]
    found = orders.executed("sell", 100, 360, "default", models, range(40, 56))
    taught, raw = (found[name] for name in ("a/policy.zip", "c/policy.zip"))
    assert taught.shortfall.mean is not None
    assert raw.shortfall.mean is not None
    assert taught.left.mean is not None
    assert taught.left.mean < 10
    assert taught.shortfall.mean < raw.shortfall.mean

    out = tmp_path / "published" / "mine.zip"
    assert command.main([str(tmp_path / "a"), "--out", str(out)], LENIENT) == 0
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["sha256"] == sha256(out)
    again = orders.executed("sell", 100, 360, "default", [str(out)], LENIENT.test_seeds)["mine.zip"]
    assert card["results"]["mine.zip"]["shortfall"]["mean"] == again.shortfall.mean
    assert set(card["results"]) == set(again.saved) | {"mine.zip"}
    text = out.with_suffix(".md").read_text()
    for picture in ("curve", "paths", "saved"):
        assert f"(mine_{picture}.png)" in text
        assert (out.parent / f"mine_{picture}.png").stat().st_size > 5_000
    assert command.main([str(tmp_path / "a"), "--out", str(out), "--beside", str(tmp_path / "a")], LENIENT) == 2
    assert "beside: is for market making" in capsys.readouterr().err


def test_whom_to_imitate_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"imitate: expected one of nothing, TWAP, .*, peg, got 'maker'"):
        Training(task="buy", imitate="maker")
    with pytest.raises(ConfigError, match=r"imitate: expected one of nothing, .*, maker, got 'peg'"):
        Training(imitate="peg")
    assert Training(imitate="maker").rivals()["maker"]


@pytest.mark.long
def test_the_published_policy_does_what_its_card_says() -> None:
    card = json.loads((ROOT / "models" / "ppo_sell.json").read_text())
    model = ROOT / "models" / "ppo_sell.zip"
    assert card["sha256"] == sha256(model)
    assert FrozenPPO(str(model)).build(execution("sell").market)
    found = orders.executed("sell", 100, 360, "default", [str(model)], STANDARDS.test_seeds)
    for name, own in found.items():
        # Another processor may round a logit the other way, and a market takes it from there.
        assert own.shortfall.mean == pytest.approx(card["results"][name]["shortfall"]["mean"], abs=0.5)
    assert card["results"]["ppo_sell.zip"]["saved"]["TWAP"]["low"] > 0
    assert order_card.text_of("ppo_sell", card).rstrip() + "\n" == model.with_suffix(".md").read_text()
