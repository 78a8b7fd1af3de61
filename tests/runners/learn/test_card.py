"""The model card says what its trainings and its policy are, and the one in the repository is true."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

import runners.card as command
from market_env.config import ConfigError, to_json
from runners.experiment.seat import FIGURES as SEAT_FIGURES
from runners.learn import card, evaluation, rivals
from scripted_agents import population
from scripted_agents.frozen_ppo import DEFAULT_MODEL, FrozenPPO, sha256
from scripted_agents.standards import STANDARDS
from tests.runners.learn.test_training import LENIENT, TINY, trained

ROOT = Path(__file__).parents[3]
CARD = json.loads((ROOT / DEFAULT_MODEL).with_suffix(".json").read_text())
FIGURES = CARD["results"][CARD["policy"]]


def test_the_best_of_some_trainings_by_validation_is_published_with_its_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / str(seed) for seed in (1, 2)]
    results = [
        trained(replace(TINY, seed=seed, total_timesteps=1_024), folder) for seed, folder in enumerate(folders, start=1)
    ]
    out = tmp_path / "models" / "mine.zip"
    beside = ["--beside", str(folders[1])]
    assert command.main([*map(str, folders), "--out", str(out), *beside], standards=LENIENT) == 0
    assert "mine.zip above nothing" in capsys.readouterr().out
    best = int(np.argmax([result["best"] for result in results]))
    policies = [FrozenPPO(str(path)).build(population().market) for path in (out, folders[best] / "policy.zip")]
    assert policies[0].parameter_hash() == policies[1].parameter_hash()
    found = json.loads(out.with_suffix(".json").read_text())
    assert found["sha256"] == sha256(out)
    assert [run["weights"] for run in found["trainings"]] == [result["weights"] for result in results]
    of = population()
    episodes = evaluation.play_seeds(of.market, "ppo_0", policies[0], range(20, 36), policies=of.policies)
    mean = float(evaluation.column(episodes, "liquidation_gain").mean())
    assert found["results"]["mine.zip"]["liquidation_gain"] == pytest.approx(mean)
    text = out.with_suffix(".md").read_text()
    assert found["beside"]["seed"] == 2
    assert "trained and played in a seat with no signal" in text
    assert text.count(found["sha256"]) == 1
    for name in ("curve", "state", "rivals"):
        picture = out.with_name(f"mine_{name}.png")
        assert f"]({picture.name})" in text
        assert plt.imread(picture).std() > 0.05
    assert len(list(out.parent.iterdir())) == 6
    # The one that leans more is left out if only the other stays within the limit, and without any there is no card.
    leans = [run["lean"] for run in found["trainings"]]
    card.publish(folders, out, replace(LENIENT, most_lean=sum(leans) / 2))
    straight = FrozenPPO(str(folders[int(np.argmin(leans))] / "policy.zip")).build(population().market)
    assert FrozenPPO(str(out)).build(population().market).parameter_hash() == straight.parameter_hash()
    with pytest.raises(ConfigError, match="every policy sits on one side"):
        card.publish(folders, out, replace(LENIENT, most_lean=-1.0))
    with pytest.raises(ConfigError, match="expected each seed once"):
        card.publish([folders[0], folders[0]], out)
    other = json.loads((folders[1] / "training.json").read_text())
    other["training"]["gamma"] = 0.5
    (folders[1] / "training.json").write_text(json.dumps(other))
    with pytest.raises(ConfigError, match=r"expected the settings of .* but for the seed"):
        card.publish(folders, out)


def test_behaviour_by_state_is_what_the_policy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    of = population(timesteps=200)
    config = of.market
    policy = FrozenPPO(str(ROOT / DEFAULT_MODEL)).build(config)
    seen, done = card.decisions(config, policy, {}, of.policies)
    assert len(seen) == len(done) == 200 * card.STATE_SEEDS
    assert all(policy.act(seen[i]).tolist() == done[i].tolist() for i in range(0, len(seen), 97))
    cells = card.by_state(config, policy, {}, of.policies)
    assert cells["turns"].sum() == pytest.approx(1.0)
    lots = np.array(config.lots)
    held = np.rint(seen[:, card.INVENTORY] * 100)
    cell = (held >= -3) & (held < 3) & (np.abs(seen[:, card.IMBALANCE]) < 0.2)
    assert cells["turns"][4, 2] == pytest.approx(cell.mean(), abs=0.01)
    assert cells["net"][4, 2] == pytest.approx((lots[done[cell, 2]] - lots[done[cell, 4]]).mean(), abs=0.3)


def test_bad_input_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(tmp_path / "none"), "--out", str(tmp_path / "x.zip")]) == 2
    assert "expected training.json, which a training writes when it ends" in capsys.readouterr().err
    folder = tmp_path / "run"
    folder.mkdir()
    whole = {
        "best": None, "training": to_json(TINY), "versions": {}, "timesteps": 1, "seconds": 1, "weights": "x", "curve": [],
    }  # fmt: skip
    for content, message in (
        (whole, "kept no policy"),
        ({"best": 1}, "training: Field required"),
        ([], "expected a JSON object, got list"),
    ):
        (folder / "training.json").write_text(json.dumps(content))
        assert command.main([str(folder), "--out", str(tmp_path / "x.zip")]) == 2
        assert message in capsys.readouterr().err
    assert command.main([str(folder), "--out", str(tmp_path / "x")]) == 2
    assert "expected a file ending in .zip" in capsys.readouterr().err
    assert command.main(["--out", str(tmp_path / "x.zip")]) == 2
    assert "expected at least one folder" in capsys.readouterr().err
    assert not (tmp_path / "x.zip").exists()


def test_the_policy_in_the_repository_is_the_one_that_its_card_describes() -> None:
    assert CARD["sha256"] == sha256(ROOT / DEFAULT_MODEL)
    assert len(CARD["trainings"]) == 3
    assert all(run["timesteps"] >= 5_000_000 for run in CARD["trainings"])
    assert FIGURES["seeds"] == len(STANDARDS.test_seeds) == 64
    for rival in ("nothing", "random", "noise", "momentum"):
        for measure in evaluation.GAINS:
            assert FIGURES["above"][rival][measure]["interval"][0] > 0
    assert set(FIGURES["above"]["maker"]) == {"gain", "liquidation_gain"}
    assert STANDARDS.within(FIGURES)
    assert FIGURES["lean"] < STANDARDS.most_lean


@pytest.mark.long
def test_the_cards_figures_come_out_again() -> None:
    of = population()
    for name, policy in ((CARD["policy"], FrozenPPO(str(ROOT / DEFAULT_MODEL))), ("maker", rivals.RIVALS["maker"])):
        episodes = evaluation.play_seeds(
            of.market, "ppo_0", policy.build(of.market), STANDARDS.test_seeds, policies=of.policies
        )
        for figure in SEAT_FIGURES:
            found = float(evaluation.column(episodes, figure).mean())
            # Another processor may round a logit the other way, and a market takes it from there.
            assert found == pytest.approx(CARD["results"][name][figure], rel=0.1, abs=0.01)
