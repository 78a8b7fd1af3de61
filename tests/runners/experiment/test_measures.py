"""Measures: the figures are those of the run's own files, a user's own are taken, and names are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from market_env.config import ConfigError, MarketConfig
from runners.exchange import ensemble
from runners.exchange.facts import facts_of_run
from runners.experiment.measures import DEFAULT, MEASURES, Seen, fact_names, find, listing, measure, summary_names
from runners.files.played import play
from runners.files.run import load_run
from runners.measures.timeline import timeline
from runners.simulation.config import RunConfig
from runners.simulation.run import simulate
from scripted_agents import population
from scripted_agents.registry import build

OF = population("default", timesteps=2_000)


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen(play(OF.market, build(OF.market, OF.policies), 3))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    run = RunConfig(market=OF.market, policies=dict(OF.policies), seed=3, reward=OF.reward)
    simulate(run, path, audit=False, report=False, tensorboard=False, verbose=False)
    return path


def test_what_is_played_here_is_what_a_recorded_run_writes(seen: Seen, recorded: Path) -> None:
    run = load_run(recorded)
    assert seen.run.log.tobytes() == run.log.tobytes()
    for name in ("events", "trades", "quotes", "depth", "agents", "news"):
        assert seen.run.table(name).equals(run.table(name)), name
    # The compiled rollout keeps no actions and rewards; the rest of a turn is there.
    columns = ["turn", "time", "timestep", "agent", "first_seq", "last_seq"]
    assert seen.run.turns[columns].equals(run.turns[columns])
    assert seen.run.summary == {name: run.summary[name] for name in seen.run.summary}


def test_measures_are_the_figures_of_the_runs_own_files(seen: Seen, recorded: Path) -> None:
    run = load_run(recorded)
    line = timeline(run)
    for name, expected in (
        ("spread", run.summary["mean_spread"]),
        ("trades", run.trades.height),
        ("traded_lots", run.trades["lots"].sum()),
        ("depth_near", line.near_depth.sum(axis=1).mean()),
        ("policy_gain", run.summary["agents"]["ppo_0"]["wealth_change"]),
        ("policy_near_bound", run.summary["agents"]["ppo_0"]["near_bound_share"]),
        ("summary.kinds.noise.trades", run.summary["kinds"]["noise"]["trades"]),
        ("summary.rejected_lots.cash", run.summary["rejected_lots"]["cash"]),
    ):
        assert find(name, [OF.market])(seen) == pytest.approx(float(expected)), name
    depth = run.depth
    levels = sum(depth[f"{side}_lots_{level}"].sum() for side in ("bid", "ask") for level in range(1, 11))
    assert MEASURES["depth"](seen) == pytest.approx(levels / 2_000)


def test_facts_are_those_that_the_facts_command_prints(seen: Seen, recorded: Path) -> None:
    found = facts_of_run(recorded)
    for name in found["facts"]:
        for part, value, _, _ in ensemble.parts_of(found["facts"][name], name):
            mine = find(f"facts.{part}", [])(seen)
            assert mine == (None if value is None else pytest.approx(value)), part
    inside = sum(fact["inside"] == "inside" for fact in found["facts"].values() if fact["real_half_hours"])
    assert MEASURES["facts_inside"](seen) == inside


def test_every_measure_gives_a_number_or_none_and_says_what_it_is(seen: Seen) -> None:
    for own in MEASURES.values():
        value = own(seen)
        assert value is None or (isinstance(value, float) and np.isfinite(value)), own.name
        assert own.unit
        assert own.meaning
        assert own.name in listing()
    assert set(DEFAULT) <= set(MEASURES)
    assert all(name in listing() for name in fact_names())


@pytest.mark.parametrize("timesteps", [1, 30])
def test_every_measure_of_a_run_too_short_for_it_is_none_and_no_error(timesteps: int) -> None:
    for name in ("default", "day6"):
        of = population(name, timesteps=timesteps)
        short = Seen(play(of.market, build(of.market, of.policies), 1))
        for own in (*MEASURES.values(), *(find(fact, []) for fact in fact_names())):
            own(short)


def test_no_trader_at_all_measures_as_nothing() -> None:
    of = population("default", {"maker": 0, "noise": 0, "informed": 0, "momentum": 0}, timesteps=200)
    alone = Seen(play(of.market, build(of.market, of.over({"ppo": build_nothing()})), 1))
    assert MEASURES["trades"](alone) == 0.0
    assert MEASURES["spread"](alone) is None
    for own in (*MEASURES.values(), *(find(fact, []) for fact in fact_names())):
        own(alone)


def build_nothing() -> object:
    from scripted_agents import DoNothing

    return DoNothing()


def test_a_users_own_measure_is_one_function_of_a_run(seen: Seen) -> None:
    @measure("largest_trade", "lots", "lots of the largest trade")
    def largest(run: Seen) -> float:
        return float(run.run.trades["lots"].max())  # type: ignore[arg-type]

    assert largest.name == "largest_trade"
    assert largest(seen) == float(seen.run.trades["lots"].max())  # type: ignore[arg-type]

    @measure("largest_trade", "lots", "lots of the largest trade")
    def other(run: Seen) -> float:
        return 0.0

    assert largest.version != other.version


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("spred", "unknown 'spred'; nearest: spread"),
        ("facts.sign_acf_lag9", "nearest: facts.sign_acf_lag5|facts.sign_acf_lag1"),
        ("summary.kinds.noise.trade", "nearest: kinds.noise.trades"),
        ("", "measure: unknown ''"),
    ],
)
def test_an_unknown_measure_is_told_the_nearest(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find(name, [OF.market])


def test_summary_names_are_all_numbers_of_a_runs_summary(recorded: Path) -> None:
    names = summary_names(MarketConfig())
    assert {"mean_spread", "kinds.maker.wealth_change", "agents.ppo_0.turns", "events.trade"} <= set(names)
    assert not [name for name in names if name.endswith(".kind")]
