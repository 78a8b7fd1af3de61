"""Populations by name: who sits where, what taking some out leaves as it was, and that nobody leads the price."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

import scripted_agents
from benchmarks.push import push
from market_env import actions, raw_env
from market_env.config import ConfigError, Duty, Hawkes, MarketConfig, amend, parse_json, to_json
from market_env.engine import state
from market_env.market import Market
from runners.exchange import ensemble
from runners.files.derive import news
from runners.learn.vec_env import MarketVecEnv
from runners.measures import worth
from runners.simulation.config import RunConfig
from runners.simulation.drive import drive
from scripted_agents import DoNothing, FrozenPPO, MarketMaker, Quoter, learner_env, population, run_compiled
from scripted_agents.batch import Batch
from scripted_agents.populations import RECIPES, reward_of
from scripted_agents.registry import build, build_others
from scripted_agents.standards import STANDARDS

EMPTY = {"ppo": DoNothing()}


def play(
    name: str, seed: int, counts: dict[str, int] | None = None, timesteps: int = 1_000
) -> tuple[Market, np.ndarray]:
    of = population(name, counts, timesteps)
    market = Market(of.market, log=True)
    market.reset(seed)
    return market, run_compiled(market, build(of.market, of.over(EMPTY)))


@pytest.mark.parametrize("name", RECIPES)
def test_a_population_has_a_policy_for_every_seat_and_makes_itself_again(name: str) -> None:
    of = population(name)
    assert list(of.policies) == of.market.agent_ids
    assert Counter(agent.kind for agent in of.market.agents) == dict(RECIPES[name].counts)
    assert to_json(population(name).market) == to_json(of.market)
    assert population(name, timesteps=70).market.timesteps == 70
    _, events = play(name, 1, timesteps=300)
    assert np.count_nonzero(events["kind"] == state.KIND_TRADE) > 30


def test_the_default_has_the_pages_four_kinds_and_informed_traders_and_day6_is_a_bare_market() -> None:
    counts = Counter(agent.kind for agent in population().market.agents)
    assert set(counts) == {"ppo", "noise", "maker", "momentum", "informed"}
    assert counts["ppo"] == counts["momentum"] == 1
    assert population().policies["ppo_0"] == FrozenPPO("models/ppo_day5.zip")
    assert population("day6").market == MarketConfig()
    # The seat learns as an outsider, who must read the book.
    assert [agent.signal for agent in population().market.agents if agent.kind in ("ppo", "noise", "momentum")] == [
        None
    ] * 14


def test_one_maker_in_four_is_a_patient_one_whatever_their_number() -> None:
    for count in (0, 1, 4, 8, 13):
        policies = population("default", {"maker": count}).policies
        makers = [policy for agent, policy in policies.items() if agent.startswith("maker")]
        assert [isinstance(policy, MarketMaker) for policy in makers] == [number % 4 == 3 for number in range(count)]
        assert all(isinstance(policy, Quoter) for policy in makers if not isinstance(policy, MarketMaker))


def test_taking_makers_out_leaves_everybody_elses_arrivals_to_the_byte() -> None:
    def arrivals(makers: int) -> dict[str, list[float]]:
        market, events = play("default", 4, {"maker": makers})
        turns = events[events["kind"] == state.KIND_TURN]
        return {agent: turns["time"][turns["agent"] == index].tobytes() for agent, index in market.index.items()}

    whole = arrivals(8)
    for makers in (4, 0):
        fewer = arrivals(makers)
        assert fewer == {agent: times for agent, times in whole.items() if agent in fewer}
        assert sum(agent.startswith("maker") for agent in fewer) == makers
    # More than there usually are make the makers' clock run for more; the others' stay what they were.
    more = arrivals(12)
    assert {a: t for a, t in more.items() if not a.startswith("maker")} == {
        a: t for a, t in whole.items() if not a.startswith("maker")
    }


@pytest.mark.parametrize("name", RECIPES)
def test_more_shifts_are_the_same_population_several_times_and_one_learner(name: str) -> None:
    once, thrice = population(name), population(name, shifts=3)
    counts = Counter(agent.kind for agent in once.market.agents)
    assert Counter(agent.kind for agent in thrice.market.agents) == {
        kind: count if kind == "ppo" else 3 * count for kind, count in counts.items()
    }
    assert population(name, shifts=1) == once
    assert list(thrice.policies) == thrice.market.agent_ids
    run = RunConfig(market=thrice.market, policies=dict(thrice.policies))
    assert parse_json(RunConfig, json.dumps(to_json(run))) == run


def works(duty: Duty | None, time: float) -> bool:
    return duty is None or duty.works(time)


def test_one_shift_of_each_kind_is_on_duty_and_the_others_withdraw_and_wait() -> None:
    of = population("default", shifts=3, timesteps=700)
    market = Market(of.market, log=True)
    market.reset(5)
    events = run_compiled(market, build(of.market, of.over(EMPTY)))
    duties = [agent.duty for agent in of.market.agents]
    acted: set[int] = set()
    last: dict[int, bool] = {}
    for event in events:
        agent, working = int(event["agent"]), works(duties[event["agent"]], float(event["time"]))
        if event["kind"] == state.KIND_TURN:
            # Off duty a turn comes for one withdrawal at most.
            assert working or last.get(agent, False)
            last[agent] = working
        elif event["kind"] in (state.KIND_ACCEPT, state.KIND_REJECT):
            assert working
            acted.add(agent)
    assert len(acted) > 0.8 * len(duties)  # in seven times a shift's length all had theirs
    accounts = market.records[0]["agents"]
    assert sum(not working for working in last.values()) > 10  # informed traders have nothing to withdraw
    assert not any(accounts[agent]["open_orders"] for agent, working in last.items() if not working)


def test_the_first_shifts_arrivals_are_those_of_the_population_without_shifts() -> None:
    def times(shifts: int) -> dict[str, list[float]]:
        of = population("default", shifts=shifts, timesteps=400)
        market = Market(of.market, log=True)
        market.reset(4)
        events = run_compiled(market, build(of.market, of.over(EMPTY)))
        turns = events[events["kind"] == state.KIND_TURN]
        return {agent: turns["time"][turns["agent"] == index].tolist() for agent, index in market.index.items()}

    once, twice = times(1), times(2)
    duties = {agent.id: agent.duty for agent in population("default", shifts=2).market.agents}
    for agent, found in once.items():
        working = [time for time in found if works(duties[agent], time)]
        assert [time for time in twice[agent] if works(duties[agent], time)] == working


def test_shifts_play_the_same_in_the_loop_and_the_rollout() -> None:
    of = population("default", shifts=2, timesteps=120)
    market = Market(of.market, log=True)
    market.reset(6)
    events = run_compiled(market, build(of.market, of.over(EMPTY)))
    environment = raw_env(of.market, log=True)
    drive(environment, build(of.market, of.over(EMPTY)), seed=6)
    assert environment.drain().tobytes() == events.tobytes()


def test_a_learner_is_always_on_duty() -> None:
    config = population("default", timesteps=30).market
    agents = tuple(amend(agent, duty=Duty(0, 2)) if agent.kind == "ppo" else agent for agent in config.agents)
    config = amend(config, agents=agents)
    for face in (
        lambda: learner_env(config),
        lambda: Batch(config, {}, ["ppo_0"], 2),
        lambda: scripted_agents.parallel_env(config, ["ppo_0"]),
        lambda: MarketVecEnv(2, config),
    ):
        with pytest.raises(ConfigError, match="duty of ppo_0: a learner is always on duty, expected None, got Duty"):
            face()


def test_a_market_in_shifts_is_saved_and_restored_in_the_middle() -> None:
    of = population("default", shifts=3, timesteps=300)
    markets = [Market(of.market, log=True) for _ in range(2)]
    players = [build(of.market, of.over(EMPTY)) for _ in range(2)]
    markets[0].reset(8)
    whole = run_compiled(markets[0], players[0])
    env = raw_env(of.market, log=True)
    env.reset(seed=8)
    others = build(of.market, of.over(EMPTY))
    for agent, policy in others.items():
        policy.reset(
            env.market.policy_stream(env.market.index[agent]), env.market.policy_memory(env.market.index[agent])
        )
    for _ in range(1_500):  # past the first changes of shift
        env.step(others[env.agent_selection].act(env.observe(env.agent_selection)))
    saved, begun = env.save(), env.drain()
    env.restore(saved)
    again = raw_env(of.market, log=True)
    again.restore(saved)
    for restored in (env, again):
        for agent, policy in others.items():
            index = restored.market.index[agent]
            policy.reset(restored.market.policy_stream(index), restored.market.policy_memory(index))
        while not (restored.terminations[restored.agent_selection] or restored.truncations[restored.agent_selection]):
            restored.step(others[restored.agent_selection].act(restored.observe(restored.agent_selection)))
        rest = restored.drain()
        assert rest[rest["seq"] > begun["seq"][-1]].tobytes() == whole[whole["seq"] > begun["seq"][-1]].tobytes()


@pytest.mark.long
def test_splitters_make_signs_be_remembered_for_as_long_as_in_real_markets() -> None:
    def by_lag(name: str) -> dict[str, ensemble.Row]:
        of = population(name)
        found = list(ensemble.facts_of_seeds(of.market, of.over(EMPTY), STANDARDS.test_seeds[:12]))
        assert min(ensemble.counts(found, lambda row: row.half_hourly)) >= 16
        return {row.name.split()[-1]: row for row in ensemble.over_seeds(found) if "lags_2" in row.name}

    with_splitters, without = by_lag("splitters"), by_lag("default")
    for lag in ("5", "10", "20"):
        row = with_splitters[lag]
        assert row.real is not None
        assert row.mean is not None
        assert row.real[0] <= row.mean <= row.real[1]
    assert without["20"].mean < without["20"].real[0]  # type: ignore[operator, index]


@pytest.mark.long
@pytest.mark.parametrize("shifts", [4, 37])
def test_a_hundred_agents_and_a_thousand_are_as_real_as_the_default(shifts: int) -> None:
    of = population("default", shifts=shifts)
    assert len(of.market.agents) == 1 + 27 * shifts
    found = list(ensemble.facts_of_seeds(of.market, of.over(EMPTY), STANDARDS.test_seeds[:4]))
    assert min(ensemble.counts(found, lambda row: row.half_hourly)) >= 16
    assert np.mean(ensemble.counts(found, lambda row: row.judged > 0)) >= 27


def test_clocks_run_for_as_many_as_there_usually_are_or_for_more() -> None:
    def sizes(makers: int) -> dict[str, int]:
        agents = population("default", {"maker": makers}).market.agents
        return {a.arrivals.group: a.arrivals.size or 0 for a in agents if isinstance(a.arrivals, Hawkes)}

    assert sizes(8) == sizes(4) == {"noise": 12, "makers": 6, "patient": 2, "informed": 6}
    assert sizes(12) == {"noise": 12, "makers": 9, "patient": 3, "informed": 6}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: population("market"), r"population: expected one of default, splitters, santa_fe, day6, got 'market'"),
        (lambda: population("day6", {"sharks": 1}), "kind: expected one of ppo, noise, maker, momentum, informed, splitter, got 'sharks'"),
        (lambda: population("day6", {"noise": -1}), "number of noise agents: must be 0 or more, got -1"),
        (lambda: population("default", timesteps=0), "timesteps: Input should be greater than 0, got 0"),
        (lambda: population("santa_fe", {"noise": 0}), "agents: expected at least one, got none"),
        (lambda: population("day6", {"informed": 1}), "signal of informed_0: this market has no value to see"),
        (lambda: learner_env(7), "config: expected a MarketConfig or a population, got int"),  # type: ignore[arg-type]
        (lambda: learner_env([MarketConfig(), MarketConfig()]), "config: expected a MarketConfig or a population, got list"),  # type: ignore[arg-type]
        (lambda: population("day6", {"noise": "x"}), "number of noise agents: expected an integer, got 'x'"),  # type: ignore[dict-item]
        (lambda: population("default", shifts=0), "shifts: expected an integer above 0, got 0"),
        (lambda: population("default", shifts=2.0), "shifts: expected an integer above 0, got 2.0"),  # type: ignore[arg-type]
        (lambda: population("default", shifts=38), "agents: a market holds at most 1,024, got 1,027"),
        (lambda: population("day6", {"noise": 10**12}), "agents: a market holds at most 1,024, got 1,000,000,000,006"),
        (lambda: Duty(3, 3), "shift must be below shifts, the number of them, 3, got 3"),
        (lambda: population(["default"]), "population: expected one of default"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_no_population_is_is_one_clear_error(make: object, message: str) -> None:
    with pytest.raises((ConfigError, TypeError), match=message) as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_a_learners_environment_plays_the_population_that_it_is_told() -> None:
    for rules, prices in ((None, 50_000), (population("day6"), 10_000), (MarketConfig(), 10_000)):
        env = learner_env(rules)
        _, info = env.reset(seed=3)
        assert abs(info["mid"] - prices) < 500
        assert env.reward == reward_of(rules)
    env = learner_env(
        population("day6", timesteps=30), policies={"noise": DoNothing(), "maker_1": MarketMaker(lots=2.0)}
    )
    env.reset(seed=3)
    for _ in range(20):
        _, _, _, _, info = env.step(np.zeros(5, np.int64))
    assert info["mid"] > 9_000


@pytest.mark.parametrize("name", ["default", "day6"])
def test_rewards_under_random_actions_have_a_standard_deviation_of_about_one(name: str) -> None:
    of = population(name, timesteps=10**6)
    batch = Batch(of.market, build_others(of.market, ["ppo_0"], of.policies), ["ppo_0"], 16)
    batch.reset(range(STANDARDS.tuning_seeds[0], STANDARDS.tuning_seeds[0] + 16))
    rng = np.random.default_rng(0)
    rewards = []
    for _ in range(1_000):
        batch.step(rng.integers(0, actions.sizes(of.market.offsets, of.market.lots), (16, 1, 5)))
        rewards.append(of.reward(batch.outcomes[:, 0]))
    assert np.std(rewards[50:]) == pytest.approx(1.0, rel=0.3)


def test_nobody_leads_the_price_in_the_default_as_in_day6() -> None:
    led = push("day6", STANDARDS.test_seeds[:8])
    assert led.low > led.minute
    anchored = push("default")
    assert anchored.high < 0.1 * anchored.minute
    assert anchored.high < 1.0  # ticks
    assert min(led.reached, anchored.reached) >= 90


def test_cash_never_binds_before_the_bound_in_any_seat() -> None:
    for seed in STANDARDS.test_seeds[:3]:
        market, events = play("default", seed, timesteps=5_000)
        rejects = events[events["kind"] == state.KIND_REJECT]
        assert not np.count_nonzero(rejects["reason"] == state.REASON_CASH)
        for account in market.records[0]["agents"][: len(market.agent_ids)]:
            # As many lots as it may hold, at a price far above any that was seen.
            assert account["start_cash"] >= account["inventory_bound"] * 1.2 * market.config.first_price


@pytest.mark.long
def test_makers_and_informed_traders_earn_by_the_value_what_noise_and_momentum_traders_lose() -> None:
    of = population()
    kinds = list(dict.fromkeys(agent.kind for agent in of.market.agents))
    group = np.array([kinds.index(agent.kind) for agent in of.market.agents])
    market, players = Market(of.market, log=True), build(of.market, of.policies)
    each = []
    for seed in STANDARDS.test_seeds[:20]:
        market.reset(seed)
        events = run_compiled(market, players)
        edge, lots = worth.edges(of.market, events, news(of.market, seed, of.market.timesteps), group, len(kinds))
        assert edge.sum() == pytest.approx(0.0, abs=1e-3)  # each trade's edges add up to nothing
        each.append(edge / lots)
    means, errors = np.mean(each, axis=0), np.std(each, axis=0, ddof=1) / np.sqrt(len(each))
    found = {kind: (means[i] - 2 * errors[i], means[i] + 2 * errors[i]) for i, kind in enumerate(kinds)}
    assert min(found[kind][0] for kind in ("maker", "informed", "ppo")) > 0.0
    assert max(found[kind][1] for kind in ("noise", "momentum")) < 0.0


@pytest.mark.long
def test_the_default_lies_within_the_half_hours_of_real_stocks_and_zero_intelligence_does_not() -> None:
    def measured(name: str, seeds: range, *, empty: bool) -> list[Any]:
        of = population(name)
        return list(ensemble.facts_of_seeds(of.market, of.over(EMPTY) if empty else of.policies, seeds))

    def banded(found: list[Any]) -> list[int]:
        return ensemble.counts(found, lambda row: row.half_hourly)

    def judged(found: list[Any]) -> list[int]:
        return ensemble.counts(found, lambda row: row.judged > 0)

    found = measured("default", STANDARDS.test_seeds[:20], empty=False)
    assert min(banded(found)) >= 16
    assert np.mean(banded(found)) >= 17
    assert np.mean(judged(found)) >= 28
    # By name as well: those whose mean over seeds lies within the real range.
    rows = [row for row in ensemble.over_seeds(found) if row.judged and row.real and row.mean is not None]
    within = [row for row in rows if row.real and row.mean is not None and row.real[0] <= row.mean <= row.real[1]]
    assert len(within) >= 28
    assert sum(row.half_hourly for row in within) == 18
    # Nor does it need the policy in its seat.
    alone = measured("default", STANDARDS.test_seeds[:8], empty=True)
    assert min(banded(alone)) >= 16
    assert np.mean(banded(alone)) >= 17
    assert np.mean(judged(alone)) >= 28
    assert max(banded(measured("santa_fe", STANDARDS.test_seeds[:2], empty=False))) <= 10
