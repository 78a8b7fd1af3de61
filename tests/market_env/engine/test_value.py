"""The value: exogenous news that a plain generator makes anew, signals with their own error, arrivals that news set off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_env.aec import raw_env
from market_env.config import AgentConfig, ConfigError, Every, Hawkes, MarketConfig, Poisson, Value, amend
from market_env.engine.state import KIND_TURN
from market_env.learner import LearnerEnv
from market_env.market import Market
from market_env.observations import INDEX, SIGNAL_TICKS
from runners.audit.news import news as plain_news
from runners.files.derive import news
from scripted_agents import DoNothing, background
from tests.market_env.engine.test_streams import arrivals_of

SIGNAL = INDEX["signal"]
NOTHING = np.zeros(5, np.int64)

values = st.builds(
    Value,
    rate=st.sampled_from([0.05, 0.5, 3.0]),
    branching_ratio=st.sampled_from([0.0, 0.4, 0.9]),
    decay=st.sampled_from([0.05, 1.0, 20.0]),
    jump=st.sampled_from([0.5, 6.0, 400.0]),
    tail=st.sampled_from([2.1, 6.0, 100.0]),
    reversion=st.sampled_from([0.0, 0.001, 2.0]),
)


@settings(max_examples=60)
@given(values, st.integers(0, 2**62), st.sampled_from([1, 40, 50_000]))
def test_a_plain_generator_makes_the_same_news_to_the_bit(value: Value, seed: int, first_price: int) -> None:
    config = MarketConfig(value=value, first_price=first_price)
    found = np.array(news(config, seed, 300)).T
    plain = np.array(list(plain_news(config, seed, 300.0))).reshape(-1, 3)
    np.testing.assert_array_equal(found, plain)
    assert (np.diff(found[:, 0]) >= 0).all()
    assert (found[:, 2] >= 1.0).all()


def test_a_market_publishes_the_news_that_seed_and_config_tell_whatever_its_agents_do() -> None:
    config = MarketConfig(timesteps=200, value=Value(rate=0.5))
    for actions in (None, 5):
        market = Market(config)
        going = market.reset(8)
        rng = np.random.default_rng(actions)
        seen = []
        while going:
            action = NOTHING if actions is None else rng.integers(0, market.codes)
            going = market.act(action)
            value = market.records[0]["value"]
            if int(value["count"]) and (not seen or seen[-1][0] != value["time"]):
                seen.append((float(value["time"]), float(value["level"])))
        told = news(config, 8, 200)
        assert int(market.records[0]["value"]["count"]) == len(told.time) > 50
        # Several pieces between two turns show as the last of them.
        assert set(seen) <= set(zip(told.time.tolist(), told.value.tolist(), strict=True))
        assert len(seen) > 40


def test_news_have_their_rate_their_clustering_and_a_power_law_tail() -> None:
    value = Value(rate=0.4, branching_ratio=0.6, decay=0.5, jump=5.0, tail=3.0)
    told = news(MarketConfig(value=value, first_price=2**29), 4, 200_000)
    assert len(told.time) / 200_000 == pytest.approx(0.4, rel=0.03)
    window = 100
    counts = np.bincount((told.time // window).astype(int), minlength=200_000 // window)
    b = 0.5 * 0.4
    expected = 6.25 + (1 - 6.25) * (1 - np.exp(-b * window)) / (b * window)
    assert counts.var() / counts.mean() == pytest.approx(expected, rel=0.15)
    sizes = np.sort(np.abs(told.jump))
    assert sizes.mean() == pytest.approx(5.0, rel=0.03)
    assert (told.jump > 0).mean() == pytest.approx(0.5, abs=0.01)
    # Lomax: the chance to exceed x is (1 + x / scale) ** -tail with scale = mean x (tail - 1).
    for chance in (0.5, 0.1, 0.01):
        quantile = sizes[int((1 - chance) * len(sizes))]
        assert quantile == pytest.approx(10.0 * (chance ** (-1 / 3) - 1), rel=0.06)


def test_reversion_draws_the_value_back_to_the_first_price() -> None:
    told = {
        reversion: news(MarketConfig(value=Value(reversion=reversion)), 2, 20_000).value.std()
        for reversion in (0.0, 0.1)
    }
    assert told[0.1] < 0.2 * told[0.0]


def seat(number: int, signal: float | None, **fields: Any) -> AgentConfig:
    return AgentConfig(f"a_{number}", "a", signal=signal, arrivals=Every(1.0, 0.0), **fields)


def test_a_signal_is_the_value_with_an_error_of_its_own_that_changes_with_the_news_alone() -> None:
    errors = [0.0, 6.0, 6.0, 20.0]
    config = MarketConfig(
        timesteps=6_000, first_price=10_000, value=Value(jump=0.4, reversion=0.05),
        agents=(*(seat(number, error) for number, error in enumerate(errors)), seat(4, None)),
    )  # fmt: skip
    market = Market(config)
    going = market.reset(3)
    seen, counts = [], []
    while going:
        if market.acting == market.index["a_0"]:
            signals = [float(market.observe(index)[SIGNAL]) for index in range(5)]
            assert abs(signals[0]) < 1.0
            seen.append(SIGNAL_TICKS * np.array(signals))
            counts.append(int(market.records[0]["value"]["count"]))
        going = market.act(NOTHING)
    signals = np.array(seen)
    assert (signals[:, 4] == 0.0).all()
    gap = signals[:, 1:4] - signals[:, :1]
    changes = np.abs(np.diff(gap, axis=0)) > 1e-4
    published = np.diff(counts) > 0
    assert (changes.any(axis=1) == published).all()
    distinct = gap[1:][published]
    assert distinct.std(axis=0) == pytest.approx([6.0, 6.0, 20.0], rel=0.1)
    assert abs(distinct.mean(axis=0) / distinct.std(axis=0)).max() < 0.12
    assert abs(np.corrcoef(distinct.T)[np.triu_indices(3, 1)]).max() < 0.12


def test_to_see_the_value_costs_no_draw_and_changes_nobody_elses_turns() -> None:
    blind = MarketConfig(
        timesteps=100, value=Value(), agents=(seat(0, None), AgentConfig("b_0", "b", arrivals=Poisson(1.0)))
    )
    seeing = amend(blind, agents=(seat(0, 5.0), blind.agents[1]))
    assert arrivals_of(blind, 6) == arrivals_of(seeing, 6)


def test_nothing_but_a_signal_shows_the_value() -> None:
    config = MarketConfig(timesteps=80, value=Value(rate=2.0, jump=50.0), agents=(seat(0, None), seat(1, None)))
    other = amend(config, value=Value(rate=1.0, jump=5.0))
    shown = []
    for market in (config, other):
        env = raw_env(config=market, log=True)
        env.reset(seed=5)
        rows = []
        for agent in env.agent_iter():
            observation, reward, _, truncated, info = env.last()
            rows.append((observation.tobytes(), env.state().tobytes(), reward, info))
            env.step(None if truncated else NOTHING)
            if truncated:
                break
            assert agent in env.agents
        assert env.unwrapped.market.records["value"]["count"][0] > 20
        shown.append((rows, env.drain().tobytes()))
        learner = LearnerEnv(market, background(market, ["a_0"], {"a": DoNothing()}), "a_0")
        shown[-1][0].append((learner.reset(seed=5), learner.step(NOTHING)[1:]))
    assert repr(shown[0]) == repr(shown[1])


def test_news_set_off_as_many_arrivals_as_they_say_and_soon() -> None:
    quick = Hawkes(0.02, 0.5, 10.0, group="quick", news=12.0)
    config = MarketConfig(
        timesteps=30_000, value=Value(rate=0.05, branching_ratio=0.0),
        agents=tuple(AgentConfig(f"a_{number}", "a", arrivals=quick) for number in range(3)),
    )  # fmt: skip
    times = np.sort(np.concatenate(list(arrivals_of(config, 11).values())))
    told = news(config, 11, 30_000).time
    # Twelve directly, and each arrival another one in two: 24 a piece, beside 0.06 a timestep.
    assert len(times) == pytest.approx(24 * len(told) + 0.06 * 30_000, rel=0.05)
    alone = told[:-1][np.diff(told) > 6.0]
    within = np.searchsorted(times, alone + 5.0) - np.searchsorted(times, alone)
    assert within.mean() == pytest.approx(24 + 0.06 * 5, rel=0.05)
    assert (np.searchsorted(times, alone + 0.2) - np.searchsorted(times, alone)).mean() > 12


def test_the_order_of_a_kernels_parts_does_not_matter_to_what_news_set_off() -> None:
    found = []
    for arrivals in (
        Hawkes(0.05, 0.3, 1.0, group="a", further=((0.0, 10.0),), news=10.0),
        Hawkes(0.05, 0.0, 10.0, group="a", further=((0.3, 1.0),), news=10.0),
    ):
        config = MarketConfig(
            timesteps=4_000,
            value=Value(rate=0.05, branching_ratio=0.0),
            agents=(AgentConfig("a_0", "a", arrivals=arrivals),),
        )
        found.append(len(arrivals_of(config, 3)["a_0"]))
    assert min(found) > 1_500
    assert found[0] == pytest.approx(found[1], rel=0.15)


def test_a_sum_of_exponentials_clusters_at_once_and_for_long() -> None:
    slow, fast = (0.4, 0.02), (0.4, 20.0)
    both = Hawkes(0.5, *fast, group="both", further=(slow,))
    config = MarketConfig(timesteps=100_000, agents=(AgentConfig("a_0", "a", arrivals=both),))
    times = np.array(arrivals_of(config, 3)["a_0"])
    assert len(times) / 100_000 == pytest.approx(0.5, rel=0.06)
    assert (np.diff(times) < 0.05).mean() > 0.2  # 0.4 are set off at once, two in three of them within a twentieth
    one = Hawkes(0.5, 0.8, 20.0, group="one")
    alike = MarketConfig(timesteps=100_000, agents=(AgentConfig("a_0", "a", arrivals=one),))
    counts = [
        np.bincount((np.array(arrival) // 20).astype(int), minlength=5_000)
        for arrival in (times, arrivals_of(alike, 3)["a_0"])
    ]
    memory = [np.corrcoef(count[:-1], count[1:])[0, 1] for count in counts]
    assert memory[0] > 0.2 > 0.1 > memory[1]


def test_a_kernel_in_two_equal_halves_is_the_whole_one() -> None:
    # Another draw of the same law: rate and dispersion agree.
    found = []
    for hawkes in (Hawkes(0.5, 0.6, 1.0), Hawkes(0.5, 0.3, 1.0, further=((0.3, 1.0),))):
        config = MarketConfig(timesteps=60_000, agents=(AgentConfig("a_0", "a", arrivals=hawkes),))
        counts = np.bincount((np.array(arrivals_of(config, 9)["a_0"]) // 50).astype(int), minlength=1_200)
        found.append((counts.mean(), counts.var() / counts.mean()))
    assert found[0] == pytest.approx(found[1], rel=0.2)


def test_members_that_are_absent_leave_the_others_arrivals_as_they_were() -> None:
    shared = Hawkes(0.3, 0.5, 4.0, group="crowd", news=6.0, size=8)
    people = [AgentConfig(f"a_{number}", "a", arrivals=shared) for number in range(8)]
    other = AgentConfig("b_0", "b", arrivals=Hawkes(0.3, 0.5, 4.0, group="others", news=6.0))
    config = MarketConfig(timesteps=400, value=Value(), agents=(*people, other))
    whole = arrivals_of(config, 5)
    for left in (4, 1, 0):
        fewer = arrivals_of(amend(config, agents=(*people[:left], other)), 5)
        assert fewer == {agent: whole[agent] for agent in fewer}
        assert len(fewer) == left + 1
    # Without a declared size the clock runs for those that there are.
    loose = [AgentConfig(f"a_{number}", "a", arrivals=Hawkes(0.3, 0.5, 4.0)) for number in range(8)]
    free = amend(config, agents=(*loose, other))
    assert arrivals_of(amend(free, agents=(*loose[:4], other)), 5)["a_0"] != arrivals_of(free, 5)["a_0"]


def test_absent_members_arrivals_are_no_turns_and_move_no_clock() -> None:
    shared = Hawkes(0.2, 0.0, 1.0, size=50)
    config = MarketConfig(timesteps=200, agents=(AgentConfig("a_0", "a", arrivals=shared),))
    market = Market(config, log=True)
    going = market.reset(1)
    turns = 0
    while going:
        turns += 1
        going = market.act(NOTHING)
    events = market.drain()
    assert np.count_nonzero(events["kind"] == KIND_TURN) == turns == len(events)
    assert 20 < turns < 70


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MarketConfig(agents=(seat(0, 2.0),)), "signal of a_0: this market has no value to see"),
        (
            lambda: MarketConfig(agents=(AgentConfig("a_0", "a", arrivals=Hawkes(news=3.0)),)),
            "arrivals of a_0: news set them off, and this market has no value",
        ),
        (lambda: Hawkes(0.1, 0.6, 1.0, further=((0.3, 2.0), (0.1, 0.1))), r"branching_ratio of the group 'crowd' must be below 1.*got 0\.6 \+ 0\.3 \+ 0\.1"),
        (lambda: Hawkes(0.1, 0.1, 1.0, further=((1.0, 2.0),)), r"further\[0\]\[0\]: Input should be less than 1, got 1\.0"),
        (lambda: Hawkes(0.1, 0.1, 1.0, further=((0.1, 2.0),) * 3), "further: Tuple should have at most 2 items"),
        (lambda: Value(branching_ratio=1.0), "branching_ratio: Input should be less than 1, got 1.0"),
        (lambda: Value(decay=1e-9), "the value's news takes .* arrivals to become stationary"),
        (lambda: Hawkes(decay=1e-9), "the group 'crowd' takes .* arrivals to become stationary"),
        (lambda: Value(tail=2.0), "tail: Input should be greater than 2, got 2.0"),
        (lambda: Hawkes(news=1e9), "news: Input should be less than or equal to 10000, got 1000000000.0"),
        (
            lambda: MarketConfig(agents=tuple(AgentConfig(f"a_{n}", "a", arrivals=Hawkes(size=2)) for n in range(3))),
            "size of the Hawkes group 'crowd' must be at least its 3 members, got 2",
        ),
        (lambda: seat(0, -1.0), "signal: Input should be greater than or equal to 0, got -1.0"),
    ],
)  # fmt: skip
def test_what_no_market_can_have_is_one_clear_error(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
