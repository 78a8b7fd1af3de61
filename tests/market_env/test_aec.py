"""The PettingZoo face: its kit with warnings as errors, and a lock-step test to the bit."""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import numpy as np
import pettingzoo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import api_test, render_test, seed_test
from pettingzoo.utils.wrappers import BaseWrapper, OrderEnforcingWrapper

import market_env
import scripted_agents
from market_env.aec import OrderEnforcing, raw_env
from market_env.config import AgentConfig, Every, MarketConfig
from tests.kit import market_configs, random_actions, same


def play(env: Any, seed: int, actions: np.ndarray, turns: int = 10**9) -> list[tuple[Any, ...]]:
    """All that every agent is told over an episode."""
    env.reset(seed=seed)
    told = []
    for number, agent in enumerate(env.agent_iter()):
        told.append((agent, *env.last(), env.rewards.copy(), env.state()))
        if number == turns:
            break
        env.step(None if env.truncations[agent] else actions[number % len(actions)])
    return told


def equal(a: list[tuple[Any, ...]], b: list[tuple[Any, ...]]) -> bool:
    return len(a) == len(b) and all(all(map(same, x, y)) for x, y in zip(a, b, strict=True))


def test_api_for_a_thousand_cycles_of_all_agents() -> None:
    config = MarketConfig(timesteps=4_000)
    env = market_env.env(config=config)
    market = env.unwrapped.market
    act, turns = market.act, []
    market.act = lambda action: turns.append(1) or act(action)
    api_test(env, num_cycles=26_500)
    assert len(turns) > 26 * 1_000


def test_seed() -> None:
    seed_test(lambda: market_env.env(config=MarketConfig(timesteps=100)))


def test_render(capsys: pytest.CaptureFixture[str]) -> None:
    render_test(lambda render_mode: market_env.env(config=MarketConfig(timesteps=100), render_mode=render_mode))
    assert "reference" in capsys.readouterr().out


def test_it_is_registered() -> None:
    env = pettingzoo.make("aec", "market_env/market-v1", config=MarketConfig(timesteps=3))
    env.reset(seed=1)
    assert isinstance(env.unwrapped, raw_env)


@settings(max_examples=15)
@given(market_configs(timesteps=60), st.integers(0, 2**32))
def test_equal_seeds_tell_everyone_the_same_to_the_bit_over_whole_episodes(config: MarketConfig, seed: int) -> None:
    actions = random_actions(config, seed, 5_000)
    first = play(market_env.env(config=config), seed, actions)
    env = market_env.env(config=config)
    play(env, seed + 1, actions, turns=20)  # what an environment did before must not matter
    assert equal(first, play(env, seed, actions))


def test_different_seeds_tell_different_things() -> None:
    config = MarketConfig(timesteps=60)
    actions = random_actions(config, 0, 5_000)
    env = market_env.env(config=config)
    assert not equal(play(env, 1, actions), play(env, 2, actions))


def test_resets_without_a_seed_go_on_from_the_last_seed() -> None:
    config = MarketConfig(timesteps=30)
    runs = []
    for _ in range(2):
        env = market_env.env(config=config)
        env.reset(seed=9)
        told = []
        for _ in range(2):
            env.reset()
            told.append([(agent, env.last()[0].tobytes()) for agent in env.agent_iter(1)])
            told.append([env.unwrapped.market.records["key"][0].item()])
        runs.append(told)
        assert told[1] != told[3]
    assert runs[0] == runs[1]


@settings(max_examples=10)
@given(market_configs(timesteps=60), st.integers(0, 2**32), st.integers(0, 150))
def test_a_saved_environment_goes_on_to_the_bit_in_another_one(config: MarketConfig, seed: int, turns: int) -> None:
    actions = random_actions(config, seed, 5_000)

    def rest(env: Any) -> list[tuple[Any, ...]]:
        told = []
        for number, agent in enumerate(env.agent_iter()):
            told.append((agent, *env.last(), env.state()))
            env.step(None if env.truncations[agent] else actions[number % len(actions)])
        return told

    env = raw_env(config=config)
    play(env, seed, actions, turns)
    if not env.agents:
        return
    saved = pickle.loads(pickle.dumps(env.save()))
    expected = rest(env)
    other = raw_env(config=config)
    other.reset(seed=seed + 1)
    other.restore(saved)
    assert equal(expected, rest(other))


def test_a_state_of_another_market_is_refused() -> None:
    one, other = (
        raw_env(config=MarketConfig(timesteps=9)),
        raw_env(config=MarketConfig(agents=(AgentConfig("b_0", "b"),))),
    )
    one.reset(seed=1)
    other.reset(seed=1)
    with pytest.raises(ValueError, match="saved by a market of the same config"):
        other.restore(one.save())


def test_a_reward_is_the_change_in_wealth_less_the_inventory_penalty_since_the_agents_last_turn() -> None:
    config = MarketConfig(timesteps=80)
    env = raw_env(config=config)
    env.reset(seed=4)
    actions = random_actions(config, 4, 5_000)
    last: dict[str, tuple[float, float]] = {}
    checked = 0
    for number, agent in enumerate(env.agent_iter()):
        _, reward, _, truncated, info = env.last()
        if agent in last:
            wealth, time = last[agent]
            held = 0.01 * info["inventory"] ** 2 * (info["time"] - time)
            assert reward == pytest.approx((info["wealth"] - wealth - held) / 80.0)
            checked += 1
        else:
            assert reward == 0.0
        last[agent] = (info["wealth"], info["time"])
        env.step(None if truncated else actions[number])
    assert checked > 300


def test_the_carry_of_an_outcome_is_what_the_inventory_that_was_held_has_gained() -> None:
    config = MarketConfig(timesteps=80)
    env = raw_env(config=config)
    env.reset(seed=4)
    actions = random_actions(config, 4, 5_000)
    last: dict[str, tuple[int, float]] = {}
    idle = traded = 0
    for number, agent in enumerate(env.agent_iter()):
        *_, truncated, info = env.last()
        outcome = env.market.outcome(env.market.index[agent])
        if agent in last:
            inventory, mid = last[agent]
            assert outcome["carry"] == inventory * (info["mid"] - mid)
            if info["maker_lots"] + info["taker_lots"] == 0:
                assert outcome["carry"] == outcome["wealth_change"]
                idle += outcome["carry"] != 0.0
            else:
                traded += outcome["carry"] != outcome["wealth_change"]
        last[agent] = (info["inventory"], info["mid"])
        env.step(None if truncated else actions[number])
    assert min(idle, traded) > 50


def test_rewards_have_a_standard_deviation_of_about_one_under_random_actions() -> None:
    env = scripted_agents.learner_env(MarketConfig(timesteps=3_000))
    env.reset(seed=3)
    rng = np.random.default_rng(3)
    rewards, going = [], True
    while going:
        _, reward, _, truncated, _ = env.step(rng.integers(0, env.market.codes))
        rewards.append(reward)
        going = not truncated
    assert 0.7 < np.std(rewards) < 1.5


def test_an_info_says_what_was_traded_and_rejected_since_the_last_turn_began() -> None:
    config = MarketConfig(
        timesteps=10,
        first_price=100,
        agents=tuple(
            AgentConfig(f"a_{n}", "a", cash=5_000, inventory_bound=20, arrivals=Every(1.0, n / 2)) for n in range(2)
        ),
    )
    env = raw_env(config=config)
    env.reset(seed=1)
    code = {lots: number for number, lots in enumerate(config.lots)}
    offset = {ticks: number for number, ticks in enumerate(config.offsets)}
    env.step([0, offset[1], code[30], 0, 0])  # bid 99 for 30: 20 within the bound
    assert env.infos["a_1"]["bid_depth"] == 20
    env.step([0, 0, 0, len(config.offsets), code[8]])  # sells 8 at market
    info = env.infos["a_0"]
    assert env.agent_selection == "a_0"
    assert (info["maker_lots"], info["taker_lots"], info["inventory"]) == (8, 0, 8)
    assert (info["rejected_lots"], info["rejected_inventory"], info["rejected_cash"]) == (10, 10, 0)
    assert (info["best_bid"], info["best_ask"], info["two_sided"], info["spread"], info["imbalance"]) == (
        99,
        0,
        0,
        0,
        0.0,
    )
    env.step([0, 0, 0, 0, 0])
    assert (env.infos["a_1"]["maker_lots"], env.infos["a_1"]["taker_lots"]) == (0, 8)
    assert env.infos["a_1"]["timestep"] == 1
    assert set(env.infos["a_1"]) >= {
        "time", "mid", "ask_depth", "cash", "wealth", "open_orders", "open_bid_lots", "open_ask_lots",
    }  # fmt: skip


def test_observe_and_last_may_be_called_at_any_time_for_any_agent() -> None:
    config = MarketConfig(timesteps=20)
    actions = random_actions(config, 1, 2_000)
    quiet = play(raw_env(config=config), 3, actions)
    env = raw_env(config=config)
    env.reset(seed=3)
    told = []
    for number, agent in enumerate(env.agent_iter()):
        for other in env.agents:
            env.observe(other)
        env.last()
        told.append((agent, *env.last(), env.rewards.copy(), env.state()))
        env.step(None if env.truncations[agent] else actions[number])
    assert equal(quiet, told)


def test_stepping_before_reset_or_after_the_end_is_one_clear_error(small_config: MarketConfig) -> None:
    env = raw_env(config=small_config)
    with pytest.raises(RuntimeError, match=r"no episode is under way; call reset\(\) first"):
        env.step([0, 0, 0, 0, 0])
    env.reset(seed=1)
    wrapped = market_env.env(config=small_config)
    wrapped.reset(seed=1)
    for one in (env, wrapped):
        for agent in one.agent_iter():
            one.step(None if one.truncations[agent] else [0, 0, 0, 0, 0])
        with pytest.raises(RuntimeError, match=r"no episode is under way; call reset\(\) first"):
            one.step([0, 0, 0, 0, 0])
    with pytest.raises(RuntimeError, match="no episode is under way"):
        raw_env(config=small_config).observe("ppo_0")
    with pytest.raises(ValueError, match=r"agent: expected one of .* got 'ghost_0'"):
        wrapped.observe("ghost_0")
    with pytest.raises(AttributeError, match="cannot be accessed before reset"):
        _ = market_env.env(config=small_config).agent_selection


@pytest.mark.parametrize(
    "name", ["agents", "agent_selection", "rewards", "terminations", "truncations", "infos", "num_agents"]
)
def test_before_a_reset_pettingzoo_s_own_wrapper_and_ours_say_the_same(name: str, small_config: MarketConfig) -> None:
    said = []
    for wrapped in (market_env.env(config=small_config), OrderEnforcingWrapper(raw_env(config=small_config))):
        with pytest.raises(AttributeError) as caught:
            getattr(wrapped, name)
        said.append(str(caught.value))
        for call in (
            wrapped.last,
            wrapped.render,
            wrapped.state,
            partial(wrapped.observe, "ppo_0"),
            wrapped.agent_iter,
        ):
            with pytest.raises((AttributeError, AssertionError), match=r"before reset|reset\(\) needs to be called"):
                call()
        wrapped.reset(seed=1)
        assert getattr(wrapped, name) == getattr(wrapped.unwrapped, name)
    assert said[0] == said[1]
    assert said[0] == f"{name} cannot be accessed before reset"


def test_a_loop_without_a_step_is_an_error_as_in_pettingzoo(small_config: MarketConfig) -> None:
    env = market_env.env(config=small_config)
    env.reset(seed=1)
    turns = iter(env.agent_iter())
    next(turns)
    with pytest.raises(AssertionError, match="need to call step"):
        next(turns)


class Doubled(BaseWrapper[str, Any, Any]):
    """A wrapper that changes what is told, and has an attribute of its own."""

    mark = "mine"

    def observe(self, agent: str) -> Any:
        return 2.0 * self.env.observe(agent)


def test_what_wrappers_within_and_around_say_comes_through(small_config: MarketConfig) -> None:
    plain, within = market_env.env(config=small_config), OrderEnforcing(Doubled(raw_env(config=small_config)))
    around = Doubled(market_env.env(config=small_config))

    class Own(OrderEnforcing):
        def observe(self, agent: str) -> Any:
            return 2.0 * super().observe(agent)

    own = Own(raw_env(config=small_config))
    changed = [within, around, own]
    for env in (plain, *changed):
        env.reset(seed=5)
    assert within.mark == around.mark == "mine"
    codes = random_actions(small_config, 5, 500)
    for number, agent in enumerate(plain.agent_iter(400)):
        seen, *told = plain.last()
        for env in changed:
            assert env.agent_selection == agent
            other, *same_told = env.last()
            assert same(other, 2.0 * seen)
            assert same(told, same_told)
            assert env.last(observe=False)[0] is None
        for env in (plain, *changed):
            env.step(None if told[2] else codes[number])
    assert all(env.unwrapped.market.records.tobytes() == plain.unwrapped.market.records.tobytes() for env in changed)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "7"])
def test_a_bad_seed_is_one_clear_error(seed: Any, small_config: MarketConfig) -> None:
    with pytest.raises(ValueError, match="seed: expected an integer of 0 or more, got"):
        raw_env(config=small_config).reset(seed=seed)


def test_a_bad_render_mode_is_one_clear_error(small_config: MarketConfig) -> None:
    with pytest.raises(ValueError, match=r"render_mode: expected one of .* or None, got 'film'"):
        raw_env(config=small_config, render_mode="film")
    env = raw_env(config=small_config)
    env.reset(seed=1)
    with pytest.raises(ValueError, match="make the environment with render_mode"):
        env.render()


def test_all_agents_are_truncated_when_the_clock_passes_the_last_timestep(small_config: MarketConfig) -> None:
    env = raw_env(config=small_config)
    env.reset(seed=1)
    while not any(env.truncations.values()):
        assert not any(env.terminations.values())
        assert env.infos[env.agent_selection]["time"] < small_config.timesteps
        env.step([0, 0, 0, 0, 0])
    assert all(env.truncations.values())
    assert not any(env.terminations.values())
    assert {info["time"] for info in env.infos.values()} == {float(small_config.timesteps)}


def test_the_image_shows_recent_depth() -> None:
    env = raw_env(config=MarketConfig(timesteps=40), render_mode="rgb_array")
    env.reset(seed=1)
    first = env.render()
    actions = random_actions(env.config, 1, 1_000)
    for number, agent in enumerate(env.agent_iter(200)):
        env.step(None if env.truncations[agent] else actions[number])
    image = env.render()
    assert image.dtype == np.uint8
    assert image.shape == (256, 640, 3)
    assert (image != first).any()
