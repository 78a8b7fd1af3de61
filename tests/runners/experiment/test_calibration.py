"""Calibration: a search finds what was planted, goes on where it was, and leaves a market that runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from market_env.config import ConfigError
from runners.exchange.facts import BANDED
from runners.experiment import calibrate as command
from runners.experiment.arms import Base
from runners.experiment.calibration import Range, Search, Target, pair_target, parse_range, real_target, unmet
from runners.experiment.jobs import Job, Row

BASE = Base.of("default", 300)
RANGES = [Range("market.value.jump", 2.0, 12.0, False), Range("policies.maker.half_spread", 0.5, 2.0, True)]


def planted(jobs: Sequence[Job]) -> Iterator[tuple[Job, Row]]:
    """A market whose volatility is its jump and whose spread its makers' half-spread, with noise by seed."""
    for job in jobs:
        noise = np.random.default_rng(job.seed).normal(0.0, 0.02)
        assert job.arm.market.value is not None
        spread = job.arm.policies["maker_0"].half_spread  # type: ignore[attr-defined]
        yield job, {"facts.volatility_1s_bp": job.arm.market.value.jump + noise, "facts.spread_ticks": spread + noise}


TARGET = Target(
    "planted", {"volatility_1s_bp": 8.0, "spread_ticks": 30.0}, {"volatility_1s_bp": 0.2, "spread_ticks": 1.0}
)


def search(path: Path, generations: int) -> Search:
    found = Search(BASE, RANGES, TARGET, [1, 2], path, 1, planted)
    found.run(generations, lambda loss: None)
    return found


def test_a_planted_optimum_is_found(tmp_path: Path) -> None:
    found = Search(BASE, RANGES, TARGET, [1, 2], tmp_path, 1, planted)
    assert found.start == {"market.value.jump": 4.7, "policies.maker.half_spread": "*1.0"}
    best = found.run(20, lambda loss: None)
    assert best.changes["market.value.jump"] == pytest.approx(8.0, abs=0.2)
    assert float(str(best.changes["policies.maker.half_spread"])[1:]) * 22.0 == pytest.approx(30.0, abs=1.5)
    assert best.loss < 0.05


def test_an_interrupted_search_goes_on_and_ends_as_it_would_have(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", 6)
    search(tmp_path / "cut", 3)
    played: list[Job] = []

    def counting(jobs: Sequence[Job]) -> Iterator[tuple[Job, Row]]:
        played.extend(jobs)
        return planted(jobs)

    gone_on = Search(BASE, RANGES, TARGET, [1, 2], tmp_path / "cut", 1, counting)
    gone_on.run(6, lambda loss: None)
    assert gone_on.trials == whole.trials
    assert len(played) == (3 * gone_on.size + 2) * 2  # three generations, and the last choice
    for name in sorted(path.name for path in (tmp_path / "whole" / "generations").iterdir()):
        assert (tmp_path / "whole" / "generations" / name).read_bytes() == (
            tmp_path / "cut" / "generations" / name
        ).read_bytes()


def test_another_searchs_folder_is_refused(tmp_path: Path) -> None:
    search(tmp_path, 1)
    for ranges, seeds, seed, said in (
        (RANGES[:1], [1, 2], 1, "its ranges is"), (RANGES, [1], 1, "its seeds is"), (RANGES, [1, 2], 2, "its seed is"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            Search(BASE, ranges, TARGET, seeds, tmp_path, seed, planted)
    file = tmp_path / "generations" / "00000.json"
    trials = json.loads(file.read_text())
    huge = json.dumps([{**own, "loss": 10**400} for own in trials])
    lost = json.dumps([{**own, "loss": float("nan")} for own in trials])
    odd = json.dumps([{**own, "facts": {"x": "y"}} for own in trials])
    for content in ("{}", "[]", "[1]", huge, lost, odd, json.dumps([{**trials[0], "changes": {}}, *trials[1:]])):
        file.write_text(content)
        with pytest.raises(ConfigError, match=r"00000\.json"):
            search(tmp_path, 1)


def test_the_target_is_the_middle_of_the_real_ranges_and_costs_nothing_near_it() -> None:
    target = real_target()
    assert tuple(target.centre) == BANDED
    assert len(BANDED) == 18
    assert target.loss(target.centre) == 0.0
    edge = {name: target.centre[name] + target.half_width[name] for name in BANDED}
    assert target.loss(edge) == pytest.approx(0.25)
    assert target.loss(dict.fromkeys(BANDED)) == pytest.approx(3.0**2)
    assert unmet(target, target.centre) == []
    assert unmet(target, {**target.centre, "spread_ticks": None})[0][:2] == ("spread_ticks", None)


def test_a_pair_shorter_than_half_an_hour_is_no_target(tmp_path: Path) -> None:
    book, message = tmp_path / "book.csv", tmp_path / "message.csv"
    message.write_text("".join(f"{34_200 + second}.0,1,{second + 1},100,1000000,1\n" for second in range(60)))
    book.write_text("".join(f"1000100,100,1000000,{100 * (second + 1)}\n" for second in range(60)))
    with pytest.raises(ConfigError, match=r"message.csv: expected at least half an hour \(1,800 s\).*, got 60 s"):
        pair_target(message, book, 0.01)


def test_ranges_read_as_they_are_written() -> None:
    assert parse_range("policies.maker.half_spread=*0.5..*2") == RANGES[1]
    assert parse_range("market.value.jump=2..12") == RANGES[0]
    assert parse_range("a.b=-1.5..1e3") == Range("a.b", -1.5, 1_000.0, False)
    assert RANGES[1].change(0.5) == "*1.0"
    assert Range("x", 2.0, 6.0, False).at(0.5) == 4.0
    for text in ("a=1..", "a=*1..2", "a=1..2..3", "=1..2", "a=2..2", "a=nan..2", "a=1..inf"):
        with pytest.raises(ConfigError, match="--tune"):
            parse_range(text)


@pytest.mark.long
def test_the_command_leaves_a_market_that_runs_and_a_verdict_on_seeds_it_had_not_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "HELD_OUT", range(1_000_000, 1_000_008))
    given = ["--generations", "2", "--seeds", "1", "--out", str(tmp_path / "search"), "--tune", "market.value.jump=2..8",
             "--tune", "policies.maker.half_spread=*0.5..*2"]  # fmt: skip
    assert command.main(given) == 0
    printed = capsys.readouterr().out
    for words in (
        "2 parameters towards half hours of real stocks",
        "8 seeds that the search has not seen",
        "of 18 facts",
    ):
        assert words in printed
    from runners.simulate import main as simulate

    best = str(tmp_path / "search" / "best.json")
    assert (
        simulate(
            [
                "--config",
                best,
                "--timesteps",
                "50",
                "--run-dir",
                str(tmp_path / "run"),
                "--no-report",
                "--no-tensorboard",
            ]
        )
        == 0
    )
