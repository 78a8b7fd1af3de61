"""The batch plays the AEC environment's markets, to the bit, whatever their number and the number of cores."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

import scripted_agents
from market_env.aec import raw_env
from market_env.config import AgentConfig, ConfigError, Every, MarketConfig, Poisson, checked, roster
from market_env.engine import state
from market_env.engine.kernel import policy_kernel
from market_env.engine.streams import integer
from market_env.rewards import DEFAULT_REWARD
from scripted_agents import DoNothing, RandomActions
from scripted_agents.batch import FEW, Batch, bad_decision, bad_market, begin_markets, market_bytes, step_markets
from scripted_agents.policy import OWN, CompiledPolicy
from scripted_agents.registry import build_each, build_others
from scripted_agents.vector import MarketVectorEnv
from tests.kit import random_actions, ruled

AT_ONCE = Every(1.0, 0.0)
SAME_IN_BOTH = (
    "agents", "orders", "owned", "clocks", "heap", "history", "turns", "seq", "reference", "trades", "key", "variance", "collected",
    "delays", "under_way", "halt_end",
)  # fmt: skip
"""Parts of the record that say, together, that two markets are one."""


@policy_kernel
def dither(observation, parameters, memory, stream, action):
    """A user's own policy: a bid or an ask at a fixed offset."""
    side = integer(stream, 2)
    action[1 + 2 * side] = int(parameters[OWN])
    action[2 + 2 * side] = 1


@checked
class Dither:
    """Its parameters."""

    offset: int = 6

    def build(self, config: MarketConfig) -> CompiledPolicy:
        return CompiledPolicy(dither, config, [self.offset])


def tally(outcome: Any) -> Any:
    """A user's own reward."""
    return outcome["maker_lots"] - outcome["taker_lots"] + 0.001 * outcome["wealth_change"]


def aec_episode(
    config: MarketConfig, learner: str, policies: dict[str, Any], seed: int, actions: NDArray[np.int64], reward: Any
) -> tuple[list[tuple[bytes, float, bool]], np.void]:
    """What the learner is told in the AEC environment, and the market's record at the end."""
    env = raw_env(config=config, reward=reward)
    env.reset(seed=seed)
    for agent, policy in policies.items():
        policy.reset(env.policy_stream(agent), env.policy_memory(agent))
    told = []
    turns = iter(actions)
    for agent in env.agent_iter():
        observation, given, _, truncated, _ = env.last()
        if agent == learner:
            told.append((observation.tobytes(), given, truncated))
        if truncated:
            env.step(None)
        else:
            env.step(next(turns) if agent == learner else policies[agent].act(observation))
    return told, env.market.save()[0]


CASES: dict[str, tuple[MarketConfig, str, dict[str, Any]]] = {
    "default": (MarketConfig(timesteps=150), "ppo_0", {}),
    "large": (MarketConfig(timesteps=60, agents=roster(noise=90, maker=9, momentum=5)), "ppo_0", {}),
    "no makers": (MarketConfig(timesteps=150, agents=roster(noise=6, maker=0)), "ppo_0", {}),
    "a noise trader's seat": (MarketConfig(timesteps=150), "noise_3", {"ppo": DoNothing()}),
    "rare": (
        MarketConfig(timesteps=150, agents=(*roster(ppo=0), AgentConfig("guest_0", "guest", arrivals=Poisson(0.2)))),
        "guest_0",
        {},
    ),
    "never": (
        MarketConfig(timesteps=20, agents=(*roster(ppo=0), AgentConfig("guest_0", "guest", arrivals=Poisson(1e-9)))),
        "guest_0",
        {},
    ),
    "fees, latency, halts": (ruled(MarketConfig(timesteps=150)), "ppo_0", {}),
    "own policy": (
        MarketConfig(timesteps=150, agents=(*roster(), AgentConfig("guest_0", "guest", arrivals=Poisson(2.0)))),
        "ppo_0",
        {"guest": Dither(4)},
    ),
}


@pytest.mark.parametrize("reward", [DEFAULT_REWARD, tally], ids=["wealth", "own reward"])
@pytest.mark.parametrize("case", CASES)
def test_each_market_of_a_batch_is_the_aec_environment_to_the_bit(case: str, reward: Any) -> None:
    config, learner, policies = CASES[case]
    seeds = [3, 11, 2**62]
    batch = Batch(config, build_others(config, [learner], policies), [learner], len(seeds))
    actions = random_actions(config, 5, 3 * 400).reshape(400, 3, 1, 5)
    batch.reset(seeds)
    told: list[list[tuple[bytes, float, bool]]] = [[(batch.observations[i, 0].tobytes(), 0.0, False)] for i in range(3)]
    for action in actions:
        playing = ~batch.finished
        if not playing.any():
            break
        batch.step(action)
        rewards = np.where(batch.outcomes["turn"] != state.NONE, reward(batch.outcomes), 0.0)[:, 0]
        for i in np.flatnonzero(playing):
            told[i].append((batch.observations[i, 0].tobytes(), float(rewards[i]), bool(batch.finished[i])))
    assert batch.finished.all()
    for i, seed in enumerate(seeds):
        others = scripted_agents.build(config, {**policies, learner: DoNothing()})
        expected, record = aec_episode(config, learner, others, seed, actions[:, i, 0], reward)
        if case == "never":
            # Nobody to ask: the batch looks at the start, which is the end, and AEC at the end alone.
            assert len(expected) == 1
            assert told[i][0][0] == expected[0][0]
        else:
            assert told[i] == expected
        for part in SAME_IN_BOTH:
            assert batch.records[part][i].tobytes() == record[part].tobytes(), part


@pytest.mark.long
def test_whole_episodes_of_the_default_market_are_the_aec_environments_over_many_seeds() -> None:
    config = MarketConfig()
    seeds = list(range(40, 46))
    batch = Batch(config, build_others(config, ["ppo_0"]), ["ppo_0"], len(seeds))
    actions = random_actions(config, 5, 6 * 5_000).reshape(5_000, 6, 1, 5)
    actions[::2] = 0  # a learner that moves the market, and leaves it be
    batch.reset(seeds)
    told = [[batch.observations[i, 0].tobytes()] for i in range(6)]
    for action in actions:
        batch.step(action)
        for i in range(6):
            told[i].append(batch.observations[i, 0].tobytes())
    assert batch.finished.all()
    policies = scripted_agents.build(config, {"ppo": DoNothing()})
    for i, seed in enumerate(seeds):
        expected, record = aec_episode(config, "ppo_0", policies, seed, actions[:, i, 0], DEFAULT_REWARD)
        assert told[i] == [seen for seen, _, _ in expected]
        for part in SAME_IN_BOTH:
            assert batch.records[part][i].tobytes() == record[part].tobytes(), part


@pytest.mark.parametrize("case", ["default", "large", "rare", "fees, latency, halts"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_market_does_not_depend_on_how_many_run_beside_it_or_on_how_many_cores(threads: int, case: str) -> None:
    config, learner, _ = CASES[case]
    actions = random_actions(config, 1, 50).reshape(50, 1, 1, 5)
    ends = []
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(min(threads, before))
        for markets in (1, 7, FEW + 9):  # beyond a few, memory is asked for ahead
            batch = Batch(config, build_others(config, [learner]), [learner], markets)
            batch.reset([8, *range(100, 99 + markets)])
            for action in actions:
                batch.step(np.repeat(action, markets, axis=0))
            ends.append(tuple(batch.records[part][0].tobytes() for part in SAME_IN_BOTH))
            assert len({batch.records["traded_lots"][i] for i in range(markets)}) > markets // 2
    finally:
        numba.set_num_threads(before)
    assert ends[0] == ends[1] == ends[2]


@pytest.mark.parametrize("capacity", [*state.PRESETS, state.with_tape(state.PRESETS[0], 5_000, 3_000)])
def test_a_record_and_its_accounts_are_whole_cache_lines(capacity: state.Capacity) -> None:
    kind = state.market_dtype(capacity)
    assert kind.fields is not None
    assert kind.itemsize % state.LINE == kind.fields["agents"][1] % state.LINE == state.AGENT.itemsize % state.LINE == 0
    for whole in (kind, state.AGENT, state.CLOCK, state.ORDER, state.OWNED, state.ARRIVAL):
        assert whole.fields is not None
        held = [field.base.itemsize * int(np.prod(field.shape)) for field, *_ in whole.fields.values()]
        assert sum(held) == whole.itemsize, "no padding between the fields"


def test_records_begin_with_a_cache_line_after_pickling_too() -> None:
    config = MarketConfig(timesteps=9)
    batch = Batch(config, build_others(config, ["ppo_0"]), ["ppo_0"], 3)
    for each in (batch, pickle.loads(pickle.dumps(batch)), copy.deepcopy(batch)):
        assert each.records.ctypes.data % state.LINE == 0


def test_markets_that_were_never_begun_are_not_looked_into() -> None:
    config = MarketConfig(timesteps=30)
    batch = Batch(config, build_others(config, ["ppo_0"]), ["ppo_0"], FEW + 9)
    chosen = np.arange(FEW + 9) % 3 == 0
    batch.reset([5] * int(chosen.sum()), chosen)
    saved = batch.save()
    wild = saved["records"][~chosen]
    wild["heap"]["clock"], wild["heap"]["agent"], wild["free"], wild["acting"] = 2**30, 2**30, 2**30, state.NONE
    saved["records"][~chosen] = wild
    batch.restore(saved)
    nothing = np.zeros((FEW + 9, 1, 5), np.int64)
    for _ in range(20):
        batch.step(nothing, chosen)
    assert len({batch.records["agents"][i].tobytes() for i in np.flatnonzero(chosen)}) == 1
    assert batch.records["turns"][0] > 20


@pytest.mark.parametrize("rules", [False, True])
def test_several_learners_in_the_batch_are_the_parallel_environment_to_the_bit(rules: bool) -> None:
    names = ["ppo_0", "ppo_1", "ppo_2"]
    config = MarketConfig(timesteps=60, agents=roster(ppo=3))
    config = ruled(config) if rules else config
    batch = Batch(config, build_others(config, names), names, 2)
    batch.reset([4, 5])
    actions = random_actions(config, 2, 60 * 6).reshape(60, 2, 3, 5)
    seen = [batch.observations.copy()]
    outcomes = [batch.outcomes.copy()]
    for action in actions:
        batch.step(action)
        seen.append(batch.observations.copy())
        outcomes.append(batch.outcomes.copy())
    assert batch.finished.all()
    for market, seed in enumerate([4, 5]):
        env = scripted_agents.parallel_env(config, names)
        observations, _ = env.reset(seed=seed)
        for step, action in enumerate(actions):
            assert np.array_equal(np.stack(list(observations.values())), seen[step][market])
            observations, rewards, *_ = env.step(dict(zip(names, action[market], strict=True)))
            assert list(rewards.values()) == DEFAULT_REWARD(outcomes[step + 1][market]).tolist()
        assert np.array_equal(np.stack(list(observations.values())), seen[-1][market])


def test_chosen_markets_alone_move_and_policies_can_be_dealt_and_changed() -> None:
    config = MarketConfig(timesteps=40, agents=(*roster(noise=4, maker=1), AgentConfig("guest_0", "guest")))
    others = build_others(config, ["ppo_0"], {"guest": DoNothing()})
    dealt = {**others, "guest_0": [DoNothing().build(config), Dither(4).build(config)]}
    batch = Batch(config, dealt, ["ppo_0"], 4)
    batch.reset([1, 2, 3, 4])
    nothing = np.zeros((4, 1, 5), np.int64)
    for _ in range(10):
        batch.step(nothing, np.array([True, True, False, False]))
    assert batch.records["timestep"].tolist() == [10, 10, 0, 0]
    batch.reset([9], np.array([False, False, False, True]))
    assert batch.records["timestep"].tolist() == [10, 10, 0, 0]
    guests = batch.records["agents"]["open_orders"][:, -1 - (32 - len(config.agents))]
    assert guests[0] == 0 < guests[1]
    batch.recast({**others, "guest_0": Dither(4).build(config)})
    batch.step(nothing)
    batch.step(nothing)
    assert (batch.records["agents"]["open_orders"][:, len(config.agents) - 1] > 0).all()


def test_nothing_recompiles_after_the_first_batch() -> None:
    def run(markets: int, noise: int, learners: list[str], policies: dict[str, Any]) -> None:
        config = MarketConfig(timesteps=20, agents=roster(ppo=len(learners), noise=noise))
        batch = Batch(config, build_others(config, learners, policies), learners, markets)
        batch.reset(range(markets))
        actions = np.zeros((markets, len(learners), 5), np.int64)
        batch.step(actions)
        batch.step(actions.astype(np.int32), np.ones(markets, np.bool_))
        batch.step(np.asfortranarray(actions))
        batch.reset([1], np.arange(markets) == 0)
        mask = np.zeros(2 * markets, np.bool_)[::2]  # of another layout
        batch.step(actions, mask)

    run(2, 5, ["ppo_0"], {})
    compiled = (begin_markets, step_markets, bad_decision, bad_market)
    before = [len(entry.signatures) for entry in compiled]
    run(1, 9, ["ppo_0"], {"noise": Dither(3)})
    run(5, 20, ["ppo_0", "ppo_1"], {})
    assert [len(entry.signatures) for entry in compiled] == before


def test_a_default_market_takes_less_than_256_kib_and_as_much_as_is_said() -> None:
    config = MarketConfig()
    batch = Batch(config, build_others(config, ["ppo_0"]), ["ppo_0"], 10)
    held = sum(value.nbytes for value in vars(batch).values() if isinstance(value, np.ndarray) and len(value) == 10)
    assert held + batch._arrays.codes.nbytes + batch._arrays.cast.nbytes == pytest.approx(
        10 * market_bytes(config), rel=0.01
    )
    assert market_bytes(config) < 256 * 1024


def test_bad_input_is_one_clear_error_and_changes_nothing() -> None:
    config = MarketConfig(timesteps=20)
    others = build_others(config, ["ppo_0"])
    for learners, markets, message in (
        (["ppo_0"], 0, "markets: expected an integer of at least 1, got 0"),
        (["ppo_0"], 10**9, r"markets: 1,000,000,000 would take .* GiB, this machine has .* GiB"),
        ([], 1, "learners: expected one or more of"),
        (["ppo_7"], 1, "got 'ppo_7'"),
        (["ppo_0", "noise_1"], 1, "arrivals of noise_1: learners that act at once"),
        (["noise_0"], 1, r"policies: expected one for every agent but the learners, none for \['ppo_0'\]"),
    ):
        with pytest.raises(ConfigError, match=message):
            Batch(config, others, learners, markets)

    class Python:
        def reset(self, stream: Any, memory: Any) -> None: ...

        def act(self, observation: Any) -> Any: ...

    with pytest.raises(ConfigError, match="policy of noise_2: expected a compiled policy, got Python"):
        Batch(config, {**others, "noise_2": Python()}, ["ppo_0"], 1)
    batch = Batch(config, others, ["ppo_0"], 2)
    for seeds, message in (([1], "seeds: expected 2"), ([1, -1], "got -1"), ([1, True], "got True")):
        with pytest.raises(ValueError, match=message):
            batch.reset(seeds)
    batch.reset([1, 2])
    before = batch.records.tobytes()
    good = np.zeros((2, 1, 5), np.int64)
    bad = good.copy()
    bad[1, 0, 2] = 99
    for actions, error, message in (
        (bad, ValueError, "market 1: action of ppo_0: bid_lots must be an integer from 0 to 13, got 99"),
        (good[:1], ValueError, r"actions of ppo_0: expected an array of shape \(2, 1, 5\), .* got shape \(1, 1, 5\)"),
    ):
        with pytest.raises(error, match=message):
            batch.step(actions)
    assert batch.records.tobytes() == before


def test_a_mask_of_another_kind_or_shape_is_refused_and_a_market_must_be_begun() -> None:
    config = MarketConfig(timesteps=20)
    batch = Batch(config, build_others(config, ["ppo_0"]), ["ppo_0"], 4)
    nothing = np.zeros((4, 1, 5), np.int64)
    with pytest.raises(RuntimeError, match="no episode"):
        batch.step(nothing)
    batch.reset([1], np.array([True, False, False, False]))
    with pytest.raises(RuntimeError, match="no episode"):
        batch.step(nothing)
    batch.step(nothing, np.array([True, False, False, False]))
    before = batch.records.tobytes()
    for mask in (np.array([True]), np.array([1, 0, 0, 0]), [True, False, False, False]):
        with pytest.raises(ValueError, match="chosen: expected an array of bool"):
            batch.step(nothing, mask)
        with pytest.raises(ValueError, match="chosen: expected an array of bool"):
            batch.reset([1], mask)
    assert batch.records.tobytes() == before


PLAY_PICKLED = """
import pickle, sys
import numpy as np
batch = pickle.load(open(sys.argv[1], "rb"))
for _ in range(10):
    batch.step(np.zeros((2, 1, 5), np.int64))
sys.stdout.buffer.write(batch.records["agents"].tobytes())
"""


def test_a_pickled_batch_goes_on_in_another_process(tmp_path: Path) -> None:
    config = MarketConfig(timesteps=20)
    batch = Batch(config, build_others(config, ["ppo_0"]), ["ppo_0"], 2)
    batch.reset([1, 2])
    (tmp_path / "batch").write_bytes(pickle.dumps(batch))
    copied = copy.deepcopy(batch)
    for each in (batch, copied):
        for _ in range(10):
            each.step(np.zeros((2, 1, 5), np.int64))
    wanted = batch.records["agents"].tobytes()
    assert copied.records["agents"].tobytes() == wanted
    done = subprocess.run(
        [sys.executable, "-c", PLAY_PICKLED, str(tmp_path / "batch")], capture_output=True, check=True
    )
    assert done.stdout == wanted


def test_policies_made_for_other_grids_are_refused() -> None:
    config, other = MarketConfig(timesteps=20), MarketConfig(timesteps=20, lots=(0, 1, 7))
    others = build_others(config, ["ppo_0"])
    with pytest.raises(ConfigError, match="policy of momentum_0: made for other offsets or lots"):
        Batch(config, {**others, "momentum_0": DoNothing().build(other)}, ["ppo_0"], 1)
    with pytest.raises(ConfigError, match="policies: made for a market of other offsets or lots"):
        Batch(other, others, ["ppo_0"], 1)
    with pytest.raises(ConfigError, match="policies: expected parameters for maker"):
        build_others(config, ["ppo_0"], {"maker": DoNothing().build(config)})  # type: ignore[dict-item]


@policy_kernel
def wrong(observation, parameters, memory, stream, action):
    """A user's mistake."""
    action[3] = 77


def test_a_policy_that_acts_out_of_range_is_named() -> None:
    config = MarketConfig(timesteps=20)
    others = build_others(config, ["ppo_0"]) | {"momentum_0": CompiledPolicy(wrong, config, [])}
    batch = Batch(config, others, ["ppo_0"], 2)

    def run() -> None:
        batch.reset([1, 2])
        for _ in range(20):
            batch.step(np.zeros((2, 1, 5), np.int64))

    with pytest.raises(ValueError, match=r"market \d: policy of momentum_0: action out of range: \[0, 0, 0, 77, 0\]"):
        run()
    # What began and found no action cannot go on.
    with pytest.raises(RuntimeError, match="no episode"):
        batch.step(np.zeros((2, 1, 5), np.int64))


MIXED = [
    MarketConfig(timesteps=40, agents=roster(noise=3, maker=2, momentum=0)),
    MarketConfig(timesteps=25, first_price=500, agents=(AgentConfig("noise_99", "noise"), *roster(ppo=2, noise=60))),
    MarketConfig(timesteps=40),
]


def test_a_batch_of_several_configs_is_the_batches_of_each() -> None:
    policies = [{}, {"noise": DoNothing(), "ppo_1": RandomActions()}, {"maker": DoNothing()}]
    mixed = Batch(MIXED, build_each(MIXED, ["ppo_0"], policies), ["ppo_0"], 7)
    actions = random_actions(MIXED[0], 3, 30 * 7).reshape(30, 7, 1, 5)
    mixed.reset(range(10, 17))
    saved = mixed.save()
    seen = []
    for step in range(30):
        mixed.step(actions[step])
        seen.append((mixed.observations.copy(), mixed.infos.copy(), mixed.outcomes.copy(), mixed.finished.copy()))
    assert mixed.finished[1::3].all()
    assert not mixed.finished[0::3].any()
    for number, (config, own) in enumerate(zip(MIXED, policies, strict=True)):
        places = range(number, 7, 3)
        alone = Batch(config, build_others(config, ["ppo_0"], own), ["ppo_0"], len(places))
        alone.reset([10 + place for place in places])
        for step in range(30):
            alone.step(actions[step, number::3])
            for one, other in zip(
                (alone.observations, alone.infos, alone.outcomes, alone.finished), seen[step], strict=True
            ):
                assert one.tobytes() == np.ascontiguousarray(other[number::3]).tobytes()
    copied = pickle.loads(pickle.dumps(mixed))
    for batch in (mixed, copied):
        batch.restore(saved)
        batch.step(actions[0])
        assert batch.observations.tobytes() == seen[0][0].tobytes()
    with pytest.raises(ConfigError, match="expected one saved by a batch of the same config"):
        Batch(MIXED[::-1], build_each(MIXED[::-1], ["ppo_0"]), ["ppo_0"], 7).restore(saved)


def test_configs_that_cannot_share_a_batch_are_refused() -> None:
    other = MarketConfig(lots=(0, 1))
    for configs, policies, message in (
        ([], None, "config: expected at least one, got none"),
        ([MarketConfig(), other], None, r"share their action space: expected lots \(0, 1, .*got \(0, 1\)"),
        ([MarketConfig(), "x"], None, "expected a MarketConfig, a population or a list of them, got str"),
        (MIXED, [{}], "policies: expected one mapping, or one for each of 3 configs, got 1"),
        ([MarketConfig(), MarketConfig(agents=roster(ppo=0))], None, "learners: expected one or more of"),
    ):
        with pytest.raises(ConfigError, match=message):
            MarketVectorEnv(3, configs, policies=policies)
