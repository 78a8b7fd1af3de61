"""Claims: planted figures get the verdict that they call for, and the command decides, writes and goes on."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runners.experiment import claims as command
from runners.experiment.judge import Standing, Values, judge
from runners.experiment.page import in_words
from runners.experiment.registry import ARMS, BASE, CLAIMS, Claim, Part, arms_of, wanted
from runners.measures.over_seeds import Floats
from runners.report.standing import standings
from scripted_agents import population

ROOT = Path(__file__).parents[3]
RNG = np.random.default_rng(4)


def claim_of(*parts: Part) -> Claim:
    return Claim("planted", "Something.", "a test", "it is not so", parts, ())


def values_of(**measures: dict[str, tuple[float, float]]) -> Values:
    """By measure and arm exact mean and deviation over 32 seeds; arms share most of what is a seed's own."""
    rng = np.random.default_rng(4)

    def noise() -> Floats:
        drawn = rng.normal(0.0, 1.0, 32)
        return (drawn - drawn.mean()) / drawn.std(ddof=1)

    common = noise()
    return {
        name: {arm: mean + deviation * (0.8 * common + 0.6 * noise()) for arm, (mean, deviation) in arms.items()}
        for name, arms in measures.items()
    }


@pytest.mark.parametrize(
    ("part", "base", "other", "standing"),
    [
        (Part("", "x", "above", less=0.5), (0.7, 0.1), (0.0, 0.0), "supported"),
        (Part("", "x", "above", less=0.5), (0.3, 0.1), (0.0, 0.0), "refuted"),
        (Part("", "x", "above", less=0.5), (0.55, 0.5), (0.0, 0.0), "undecided"),
        (Part("", "x", "below", less=0.01), (0.0, 0.0), (0.0, 0.0), "supported"),
        (Part("", "x", "below", "other", BASE), (5.0, 1.0), (3.0, 1.0), "supported"),
        (Part("", "x", "below", "other", BASE), (5.0, 1.0), (7.0, 1.0), "refuted"),
        (Part("", "x", "below", "other", BASE), (5.0, 0.0), (5.0, 0.0), "refuted"),
        (Part("", "x", "below", "other", BASE, more=0.1), (5.0, 0.2), (5.2, 0.2), "supported"),
        (Part("", "x", "below", "other", BASE, more=0.1), (5.0, 0.2), (6.0, 0.2), "refuted"),
        (Part("", "x", "above", along=(("other", 0.0), (BASE, 1.0))), (5.0, 0.3), (3.0, 0.3), "supported"),
        (Part("", "x", "below", along=(("other", 0.0), (BASE, 1.0))), (5.0, 0.3), (3.0, 0.3), "refuted"),
        (Part("", "x", "apart", least=0.1), (-0.5, 0.2), (0.0, 0.0), "supported"),
        (Part("", "x", "apart", least=0.5), (0.0, 0.2), (0.0, 0.0), "refuted"),
        (Part("", "x", "apart", least=0.01), (0.1, 1.0), (0.0, 0.0), "undecided"),
        (Part("", "x", "above", least=2.0), (0.3, 1.0), (0.0, 0.0), "refuted"),
        (Part("", "x", "above", least=2.0), (2.2, 1.0), (0.0, 0.0), "undecided"),  # above 0, and perhaps too little to count
        (Part("", "x", "above", least=2.0), (3.0, 1.0), (0.0, 0.0), "supported"),
        (Part("", "x", "apart", least=2.0), (2.2, 1.0), (0.0, 0.0), "undecided"),
        (Part("", "x", "never"), (0.0, 0.0), (0.0, 0.0), "supported"),
        (Part("", "x", "never"), (1.0, 0.0), (0.0, 0.0), "refuted"),
    ],
)  # fmt: skip
def test_planted_figures_get_the_verdict_that_they_call_for(
    part: Part, base: tuple[float, float], other: tuple[float, float], standing: Standing
) -> None:
    found = judge(claim_of(part), "planted", values_of(x={BASE: base, "other": other}))
    assert found.standing == standing
    assert in_words(found).startswith(standing.capitalize())
    if standing == "undecided":
        assert "seeds would decide" in in_words(found)


def test_a_single_jump_in_a_single_seed_refutes() -> None:
    jumps = np.zeros(64)
    part = Part("", "x", "never")
    assert judge(claim_of(part), "planted", {"x": {BASE: jumps}}).standing == "supported"
    jumps[17] = 1.0
    assert judge(claim_of(part), "planted", {"x": {BASE: jumps}}).standing == "refuted"
    # None in a few seeds says little, one in a few says all.
    assert judge(claim_of(part), "planted", {"x": {BASE: np.zeros(3)}}).standing == "undecided"
    assert judge(claim_of(part), "planted", {"x": {BASE: np.array([0.0, 1.0])}}).standing == "refuted"


def test_one_part_that_fails_refutes_and_one_that_is_open_leaves_it_undecided() -> None:
    holds, fails, is_open = (Part(name, name, "above") for name in ("a", "b", "c"))
    values = values_of(a={BASE: (9.0, 1.0)}, b={BASE: (-9.0, 1.0)}, c={BASE: (0.1, 1.0)})
    assert judge(claim_of(holds, fails, is_open), "planted", values).standing == "refuted"
    assert judge(claim_of(holds, is_open), "planted", values).standing == "undecided"
    assert judge(claim_of(holds), "planted", values).standing == "supported"


def test_weights_let_seeds_count_by_their_episodes() -> None:
    ratio = np.where(np.arange(40) % 2 == 0, 1.0, -1.0) + RNG.normal(0.0, 0.1, 40)
    weight = np.where(np.arange(40) % 2 == 0, 9.0, 1.0)
    values = {"x": {BASE: ratio}, "w": {BASE: weight}}
    assert judge(claim_of(Part("", "x", "above")), "planted", values).standing == "undecided"
    found = judge(claim_of(Part("", "x", "above", weight="w")), "planted", values)
    assert found.standing == "supported"
    assert found.parts[0].found.mean == pytest.approx((ratio * weight).sum() / weight.sum())


def test_the_interval_of_a_weighted_mean_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(400):
        weight = rng.poisson(60, 64).astype(float)
        values = {"x": {BASE: 0.76 + rng.normal(0.0, 3.0, 64) / np.sqrt(weight)}, "w": {BASE: weight}}
        found = judge(claim_of(Part("", "x", "above", weight="w")), "planted", values).parts[0].found
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.76 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_the_registry_is_whole() -> None:
    assert len(CLAIMS) == len({claim.name for claim in CLAIMS}) >= 10
    for name in ARMS:
        arms = arms_of(name, 100)
        assert {arm: keys for arm, keys in wanted(CLAIMS, name).items() if arm not in arms} == {}
        assert len({arm.key for arm in arms.values()}) == len(arms)
    for claim in CLAIMS:
        assert claim.says.endswith(".")
        assert claim.source
        assert claim.refuted
        assert claim.parts
        assert claim.panels


def test_unclustered_arrivals_are_as_many_in_the_mean() -> None:
    from runners.experiment.ablations import unclustered
    from runners.experiment.measures import MEASURES, Seen
    from runners.files.played import play
    from scripted_agents.registry import build

    for name in ("default", "day6"):
        of = population(name)
        turns = defaultdict(list)
        for label, made in (("as it is", of), ("not clustered", unclustered(of))):
            for seed in range(8):
                seen = Seen(play(made.market, build(made.market, made.policies), seed))
                turns[label].append(MEASURES["turns"](seen))
        clustered, alone = (np.array(turns[label], float) for label in turns)
        apart = clustered.mean() - alone.mean()
        assert abs(apart) < 3 * np.hypot(clustered.std(ddof=1), alone.std(ddof=1)) / np.sqrt(8)
        assert clustered.std() > 2 * alone.std()


@pytest.mark.long
def test_the_command_decides_writes_a_page_and_plays_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["walls", "2", "--populations", "day6", "--seeds", "1..8", "--timesteps", "600", "--out", str(tmp_path)]
    assert command.main(given) == 0
    printed = capsys.readouterr().out
    assert "day6: 4 arms of 8 seeds, 32 runs, 32 of them to play" in printed
    page = (tmp_path / "claims.md").read_text()
    for words in (
        "# What is true of this market",
        "## 1. walls",
        "## 2. teleport",
        "0 in 8 seeds",
        "**holds**",
        "over 8 seeds of 600",
        "(`depth`, lots, p ",
    ):
        assert words in page
    said: dict[str, Any] = json.loads((tmp_path / "claims.json").read_text())
    assert set(said["day6"]["claims"]) == {"walls", "teleport"}
    assert said["day6"]["claims"]["teleport"]["standing"] == "supported"
    for name in ("walls", "teleport"):
        with Image.open(tmp_path / "claims" / f"{name}.png") as picture:
            assert picture.width > 600
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("rows/*")}
    for block in ("1/2", "1/1"):
        assert command.main([*given, "--block", block]) == 0
        assert "0 of them to play" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("rows/*")} == before


def test_the_published_standings_are_of_todays_populations_and_of_the_page() -> None:
    page = (ROOT / "docs" / "claims.md").read_text()
    assert set(standings()) == set(ARMS)
    for name, said in standings().items():
        # A population that was tuned anew must be judged anew: python -m runners.experiment claims --publish
        assert said["place"] == arms_of(name, 5_000)[BASE].place, name
        assert said["seeds"] == 64
        assert set(said["claims"]) == {claim.name for claim in CLAIMS if name in claim.populations}
    for number, claim in enumerate(CLAIMS, 1):
        cells = [
            said["claims"][claim.name]["standing"] if claim.name in said["claims"] else ""
            for said in standings().values()
        ]
        assert f"| [{number}. {claim.says}](#{number}-{claim.name}) | {' | '.join(cells)} |" in page
        assert (ROOT / "docs" / "claims" / f"{claim.name}.png").exists()
