"""The generator against its published vectors, and the streams' independence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_env.config import AgentConfig, Every, Hawkes, MarketConfig, Poisson, roster
from market_env.engine import state
from market_env.engine.state import EVENT
from market_env.engine.streams import draw, exponential, integer, new_stream, uniform
from market_env.market import Market
from scripted_agents import DoNothing, RandomActions, run_compiled


def test_draws_match_the_published_vectors_of_xoshiro256_plus_plus() -> None:
    # State 1, 2, 3, 4; the values that the authors' C code gives, as published with rand_xoshiro.
    stream = np.array([1, 2, 3, 4], np.uint64)
    assert [int(draw(stream)) for _ in range(10)] == [
        41943041,
        58720359,
        3588806011781223,
        3591011842654386,
        9228616714210784205,
        9973669472204895162,
        14011001112246962877,
        12406186145184390807,
        15849039046786891736,
        10450023813501588000,
    ]


def test_draws_match_a_twin_in_python_integers() -> None:
    stream = new_stream(7, "noise_3")
    s = [int(word) for word in stream]
    mask = 2**64 - 1

    def rotl(x: int, k: int) -> int:
        return ((x << k) | (x >> (64 - k))) & mask

    for _ in range(1_000):
        expected = (rotl((s[0] + s[3]) & mask, 23) + s[0]) & mask
        t = (s[1] << 17) & mask
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 45)
        assert int(draw(stream)) == expected


def test_uniforms_exponentials_and_integers_have_their_distributions() -> None:
    from scipy import stats

    stream = new_stream(1, "a_0")
    uniforms = np.array([uniform(stream) for _ in range(20_000)])
    assert uniforms.min() >= 0.0
    assert uniforms.max() < 1.0
    assert stats.kstest(uniforms, "uniform").pvalue > 1e-3
    assert stats.kstest([exponential(stream) for _ in range(20_000)], "expon").pvalue > 1e-3
    counts = np.bincount([integer(stream, 7) for _ in range(20_000)], minlength=7)
    assert len(counts) == 7
    assert stats.chisquare(counts).pvalue > 1e-3


def test_streams_differ_by_seed_name_and_purpose() -> None:
    market = Market(MarketConfig())
    words = set()
    for seed in (1, 2):
        market.reset(seed)
        agents = market.records[0]["agents"][: len(market.agent_ids)]
        words |= {tuple(row.tolist()) for row in agents["policy_stream"]}
        words |= {tuple(row.tolist()) for row in agents["clock_stream"]}
    assert len(words) == 2 * 2 * len(market.agent_ids)


def arrivals_of(config: MarketConfig, seed: int) -> dict[str, list[float]]:
    market = Market(config, log=True)
    nothing = np.zeros(5, np.int64)
    going = market.reset(seed)
    while going:
        going = market.act(nothing)
    events = market.drain()
    turns = events[events["kind"] == state.KIND_TURN]
    return {agent: turns["time"][turns["agent"] == i].tolist() for i, agent in enumerate(market.agent_ids)}


@pytest.mark.parametrize("arrivals", [Every(2.0), Poisson(0.7), Hawkes(0.5, 0.6, 1.0, group="others")])
def test_an_added_agent_shifts_no_draw_of_the_others(arrivals: Every | Poisson | Hawkes) -> None:
    config = MarketConfig(timesteps=300)
    newcomer = AgentConfig("guest_0", "guest", arrivals=arrivals)
    for agents in ((*config.agents, newcomer), (newcomer, *config.agents)):
        before, after = arrivals_of(config, 11), arrivals_of(replace(config, agents=agents), 11)
        assert {agent: after[agent] for agent in before} == before
        assert after["guest_0"]


GUESTS = st.sampled_from(
    [
        Every(0.7),
        Every(1.0, 0.0),
        Poisson(1.3),
        Hawkes(0.5, 0.6, 1.0, group="others"),
        Hawkes(0.3, 0.9, 5.0, group="more"),
    ]
)


@settings(max_examples=60)
@given(st.integers(0, 2**40), GUESTS, st.booleans())
def test_a_guest_that_never_trades_changes_nothing_of_the_others_market(
    seed: int, arrivals: Every | Poisson | Hawkes, in_front: bool
) -> None:
    config = MarketConfig(timesteps=100, agents=roster(ppo=0))
    guest = AgentConfig("guest_0", "guest", arrivals=arrivals)
    agents = (guest, *config.agents) if in_front else (*config.agents, guest)
    logs = []
    for market_config in (config, replace(config, agents=agents)):
        market = Market(market_config, log=True)
        market.reset(seed)
        # The scripted policies' features count turns, the guest's among them: random actions do not look.
        policies = {agent: RandomActions() if agent != "guest_0" else DoNothing() for agent in market.agent_ids}
        events = run_compiled(market, {agent: policy.build(market_config) for agent, policy in policies.items()})
        ids = np.array([*market.agent_ids, ""])
        events = events[ids[events["agent"]] != "guest_0"]
        names = [name for name in EVENT.names or () if name not in {"seq", "turn", "agent", "maker"}]
        logs.append(
            [*(events[name].tobytes() for name in names), ids[events["agent"]].tolist(), ids[events["maker"]].tolist()]
        )
    assert logs[0] == logs[1]
