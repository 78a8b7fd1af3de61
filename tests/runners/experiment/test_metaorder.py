"""Impact: a planted law is found, a metaorder trades what it should, and the command says what it saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from runners.experiment import impact as command
from runners.experiment.metaorder import BEGIN, SEAT, SLICES, Plan, arms_of, impacts, law_of, measures_of
from runners.files.played import play
from scripted_agents.registry import build

PLAN = Plan((4, 16, 64, 256, 1_024), 100)


def planted(exponent: float, seeds: int) -> pl.DataFrame:
    """Rows of a market that moves by the power of the size, keeps a third of it, and has noise of its own."""
    rng = np.random.default_rng(3)
    looks = PLAN.looks
    noise = rng.normal(0.0, 4.0, (seeds, len(looks))).cumsum(axis=1)
    share = np.concatenate([np.linspace(0, 1, SLICES + 1), np.linspace(0.9, 1 / 3, len(looks) - SLICES - 1)])
    rows = []
    for arm in arms_of("day6", PLAN):
        way, _, size = arm.name.partition(" ")
        sign = {"buy": 1.0, "sell": -1.0}.get(way, 0.0)
        lots = float(size or 0)
        for seed in range(seeds):
            own = rng.normal(0.0, 0.05, len(looks)) * lots**exponent
            mids = 1_000 + noise[seed] + sign * (lots**exponent * share + own * (share > 0))
            rows.append({"arm": arm.name, "seed": seed, **{f"mid_{look}": mid for look, mid in zip(looks, mids, strict=True)},
                         "executed": lots, "price": float(mids[0] + sign * 2.0) if lots else None})  # fmt: skip
    return pl.DataFrame(rows)


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_a_planted_law_is_found_within_its_interval(exponent: float) -> None:
    found = impacts(planted(exponent, 16), range(16), PLAN)
    law = law_of(found)
    assert law is not None
    assert law.low <= exponent <= law.high
    assert law.high - law.low < 0.1
    for own in found:
        assert own.end.mean == pytest.approx(own.lots**exponent, rel=0.1)
        assert own.left.mean == pytest.approx(own.lots**exponent / 3, rel=0.15)
        assert own.cost.mean == pytest.approx(2.0)


def test_without_an_impact_no_law_is_fitted() -> None:
    rows = planted(0.5, 16).with_columns(pl.col(f"mid_{look}") * 0 + 1_000.0 for look in PLAN.looks)
    assert law_of(impacts(rows, range(16), PLAN)) is None


def test_a_metaorder_trades_its_lots_in_its_time_and_no_other() -> None:
    plan = Plan((40,), 100)
    for arm in arms_of("default", plan)[1:]:
        run = play(arm.market, build(arm.market, arm.policies), 5)
        own = run.trades.filter((pl.col("buyer") == SEAT) | (pl.col("seller") == SEAT))
        assert own["lots"].sum() == 40
        assert set(own["aggressor"].cast(pl.String)) == {SEAT}
        assert own["timestep"].min() >= BEGIN  # type: ignore[operator]
        assert own["timestep"].max() < BEGIN + 100  # type: ignore[operator]
        bought = own.filter(pl.col("buyer").cast(pl.String) == SEAT).height
        assert bought == (own.height if arm.name.startswith("buy") else 0)
        halves = own.group_by(pl.col("timestep") < BEGIN + 50).agg(pl.col("lots").sum())
        assert sorted(halves["lots"].to_list()) == [20, 20]


def test_arms_are_one_market_until_the_metaorder_begins() -> None:
    plan = Plan((64,), 50)
    quotes = []
    for arm in arms_of("day6", plan):
        quotes.append(play(arm.market, build(arm.market, arm.policies), 5).quotes)
    for other in quotes[1:]:
        assert other[:BEGIN].equals(quotes[0][:BEGIN])
        assert not other.equals(quotes[0])
    assert len(measures_of(plan)) == len(plan.looks) + 2


@pytest.mark.long
def test_the_command_says_and_draws_what_it_saw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--population", "day6", "--sizes", "60", "200", "600", "--turns", "100", "--seeds", "1..8"]
    assert command.main([*given, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for words in ("day6: metaorders worked by TWAP over 100 timesteps", "impact ~ lots ^ ", "square-root law"):
        assert words in printed
    assert (tmp_path / "impact.png").stat().st_size > 10_000
