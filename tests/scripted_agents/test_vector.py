"""The batch as a Gymnasium vector environment: the same as Gymnasium's own over single environments, to the bit."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import scripted_agents
from market_env.config import AgentConfig, ConfigError, MarketConfig, Poisson, roster
from scripted_agents.vector import MarketVectorEnv
from tests.kit import random_actions

CONFIG = MarketConfig(timesteps=25)
RARE = MarketConfig(
    timesteps=25, agents=(*roster(ppo=0, noise=6, maker=1), AgentConfig("guest_0", "guest", arrivals=Poisson(0.5)))
)


def told(info: dict[str, Any], number: int) -> dict[str, Any]:
    """What a vector environment's info says of one environment; what is undefined or not said is left out."""
    found = {}
    for name, values in info.items():
        if name.startswith("_"):
            continue
        if isinstance(values, dict):
            found[name] = told(values, number)
        elif info[f"_{name}"][number]:
            found[name] = values[number]
    return {name: value for name, value in found.items() if not (isinstance(value, dict) and not value)}


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    return bool(np.array_equal(a, b))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize(("config", "learner"), [(CONFIG, "ppo_0"), (RARE, "guest_0")], ids=["together", "apart"])
def test_it_is_gymnasiums_own_vector_of_single_environments_to_the_bit(
    mode: AutoresetMode, config: MarketConfig, learner: str
) -> None:
    single = SyncVectorEnv([lambda: scripted_agents.learner_env(config, learner)] * 3, autoreset_mode=mode)
    ours = gymnasium.make_vec("market_env/Learner-v1", num_envs=3, config=config, learner=learner, autoreset_mode=mode)
    assert isinstance(ours, MarketVectorEnv)
    assert ours.metadata["autoreset_mode"] is mode
    single.action_space.seed(1)
    for seed in (3, None, [5, 2**40, 7]):
        results = [env.reset(seed=seed) for env in (single, ours)]
        assert np.array_equal(results[0][0], results[1][0])
        ended = 0
        for _ in range(70):
            actions = single.action_space.sample()
            wanted, got = single.step(actions), ours.step(actions)
            for expected, found in zip(wanted[:4], got[:4], strict=True):
                assert np.array_equal(expected, found)
                assert expected.dtype == found.dtype
            for number in range(3):
                assert equal(told(wanted[4], number), told(got[4], number))
            if "final_obs" in wanted[4]:
                assert wanted[4]["final_obs"].dtype == got[4]["final_obs"].dtype == object
                assert [each is None for each in got[4]["final_obs"]] == (~got[3]).tolist()
            ended += int(got[3].sum())
        assert ended >= 6


def test_the_spaces_are_batches_of_the_single_ones_and_the_observations_lie_in_them() -> None:
    env = gymnasium.make_vec("market_env/Learner-v1", num_envs=2, config=CONFIG)
    observations, infos = env.reset(seed=1)
    assert env.observation_space.contains(observations)
    assert env.observation_space.shape == (2, *env.single_observation_space.shape)
    assert env.action_space.contains(np.tile(env.single_action_space.sample(), (2, 1)))
    assert not any(np.isnan(values).any() for values in infos.values() if isinstance(values, np.ndarray))
    assert env.spec is not None


def test_gymnasium_makes_it_with_its_default_of_resetting_at_the_next_step() -> None:
    env = gymnasium.make_vec("market_env/Learner-v1", num_envs=2)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def test_gymnasiums_wrapper_of_episode_statistics_counts_its_episodes() -> None:
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(
        gymnasium.make_vec("market_env/Learner-v1", num_envs=2, config=CONFIG)
    )
    env.reset(seed=1)
    total = np.zeros(2)
    for _ in range(25):
        _, rewards, _, truncated, infos = env.step(np.zeros((2, 5), np.int64))
        total += rewards
    assert truncated.all()
    assert infos["episode"]["l"].tolist() == [25, 25]
    assert infos["episode"]["r"] == pytest.approx(total)


def test_pictures() -> None:
    env = MarketVectorEnv(2, CONFIG, render_mode="ansi")
    env.reset(seed=1)
    for _ in range(10):
        env.step(np.zeros((2, 5), np.int64))
    assert len({*env.render()}) == 2
    env = MarketVectorEnv(2, CONFIG, render_mode="rgb_array")
    env.reset(seed=1)
    before = env.render()
    for _ in range(10):
        env.step(np.zeros((2, 5), np.int64))
    after = env.render()
    assert [picture.dtype for picture in after] == [np.uint8, np.uint8]
    assert all((one != other).any() for one, other in zip(before, after, strict=True))


def test_a_picture_shows_its_own_market_alone() -> None:
    env = MarketVectorEnv(2, RARE, "guest_0", render_mode="rgb_array", autoreset_mode="SameStep")
    env.reset(seed=1)
    before = [len(history._columns) for history in env._pictures._histories]
    env._begin(np.array([True, False]))
    assert [len(history._columns) for history in env._pictures._histories][1] == before[1]


def test_a_refused_seed_leaves_the_generators_as_they_were() -> None:
    env, other = MarketVectorEnv(2, CONFIG), MarketVectorEnv(2, CONFIG)
    for each in (env, other):
        each.reset(seed=1)
    with pytest.raises(ValueError, match="got -1"):
        env.reset(seed=[7, -1])
    assert np.array_equal(env.reset()[0], other.reset()[0])
    assert env._seeds.save().tobytes() == other._seeds.save().tobytes()


def test_bad_input_is_one_clear_error() -> None:
    for arguments, message in (
        ({"num_envs": 0}, "markets: expected an integer of at least 1, got 0"),
        ({"num_envs": 10**9}, "would take"),
        ({"learner": "ppo_3"}, "learners: expected one or more of"),
        ({"autoreset_mode": "Disabled"}, "autoreset_mode: expected one of"),
        ({"render_mode": "film"}, "render_mode: expected one of"),
        ({"policies": {"ghost": scripted_agents.DoNothing()}}, "policies: expected an agent id or a kind"),
    ):
        with pytest.raises(ValueError, match=message):
            MarketVectorEnv(**{"config": CONFIG, **arguments})
    env = MarketVectorEnv(2, CONFIG)
    actions = np.zeros((2, 5), np.int64)
    with pytest.raises(RuntimeError, match="no episode"):
        env.step(actions)
    for seed in ([1], "1", True, -1, [1, -1]):
        with pytest.raises(ValueError, match="seed"):
            env.reset(seed=seed)
    env.reset(seed=1)
    for bad, error in (
        (actions[:1], ValueError),
        (actions + 99, ValueError),
        (actions.astype(float), TypeError),
        (3, ValueError),
    ):
        with pytest.raises(error, match="action"):
            env.step(bad)
    env = MarketVectorEnv(2, CONFIG, reward=lambda rows: rows["wealth"].sum())
    env.reset(seed=1)
    with pytest.raises(ConfigError, match="reward: expected one number for each"):
        env.step(actions)


def test_a_mask_resets_the_markets_where_it_is_true_as_gymnasiums_own_vector_does() -> None:
    ours = MarketVectorEnv(3, CONFIG)
    singles = [scripted_agents.learner_env(CONFIG) for _ in range(3)]
    first, _ = ours.reset(seed=5)
    for number, single in enumerate(singles):
        assert np.array_equal(single.reset(seed=5 + number)[0], first[number])
    for action in random_actions(CONFIG, 4, 7):
        ours.step(np.repeat(action[None], 3, axis=0))
        seen = [single.step(action)[0] for single in singles]
    mask = np.array([False, True, False])
    observations, infos = ours.reset(seed=[0, 77, 0], options={"reset_mask": mask})
    assert np.array_equal(observations[1], singles[1].reset(seed=77)[0])
    for number in (0, 2):
        assert np.array_equal(observations[number], seen[number])
    assert infos["_spread"].tolist() == mask.tolist()
    for action in random_actions(CONFIG, 6, 7):
        stepped = ours.step(np.repeat(action[None], 3, axis=0))[0]
        for number, single in enumerate(singles):
            assert np.array_equal(stepped[number], single.step(action)[0])
    for bad, error in (
        ([True, False, False], TypeError),
        (np.array([1, 0, 0]), TypeError),
        (np.array([True]), ValueError),
        (np.zeros(3, np.bool_), ValueError),
    ):
        with pytest.raises(error, match="reset_mask must be a numpy array of bool"):
            ours.reset(options={"reset_mask": bad})
    with pytest.raises(ValueError, match="leaves out a market that was never reset"):
        MarketVectorEnv(3, CONFIG).reset(options={"reset_mask": mask})


def test_methods_and_attributes_are_those_of_the_single_environments() -> None:
    env = MarketVectorEnv(2, CONFIG)
    env.reset(seed=3)
    single = scripted_agents.learner_env(CONFIG)
    for number in range(2):
        single.reset(seed=3 + number)
        assert env.get_attr("learner")[number] == single.learner
        assert env.call("info")[number]["mid"] == env.call("market")[number].info(single.market.index["ppo_0"])["mid"]
        assert env.call("liquidation_wealth")[number] == single.market.liquidation_wealth(single.market.index["ppo_0"])
    with pytest.raises(AttributeError):
        env.get_attr("mood")
    with pytest.raises(AttributeError, match="cannot be changed one by one"):
        env.set_attr("learner", "ppo_1")


def test_gymnasiums_time_aware_observation_takes_the_length_from_the_environment() -> None:
    env = gymnasium.wrappers.TimeAwareObservation(
        scripted_agents.learner_env(CONFIG), flatten=False, normalize_time=False
    )
    seen, _ = env.reset(seed=1)
    assert seen["time"].tolist() == [0]
    assert env.step(env.action_space.sample())[0]["time"].tolist() == [1]
    assert gymnasium.make("market_env/Learner-v1", config=CONFIG).spec.max_episode_steps == CONFIG.timesteps
