"""What holds of all six faces alike: one check of actions, one set of infos, copies and saved states that go on."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import market_env
import scripted_agents
from market_env.config import AgentConfig, Every, MarketConfig, Poisson, roster
from market_env.engine import state
from market_env.market import Market
from runners.vec_env import MarketVecEnv
from scripted_agents import MarketMaker, RandomActions
from scripted_agents.registry import build_others
from scripted_agents.vector import MarketVectorEnv
from tests.kit import same

CONFIG = MarketConfig(timesteps=30, agents=roster(ppo=1, noise=4, maker=1, momentum=1))
ZEROS = [0, 0, 0, 0, 0]


class Face(NamedTuple):
    """A face at the learner's turn: how it is stepped with one action, and the records behind it."""

    step: Callable[[Any], Any]
    records: Callable[[], np.ndarray]


def of_many(action: Any) -> Any:
    """An action in the second of two markets, nothing in the first, in the same form."""
    if isinstance(action, np.ndarray):
        return np.stack([np.zeros_like(action), action])
    return type(action)([ZEROS, action]) if isinstance(action, (list, tuple)) else action


def aec() -> Face:
    env = market_env.env(config=CONFIG)
    env.reset(seed=2)
    while env.agent_selection != "ppo_0":
        env.step(ZEROS)
    return Face(env.step, lambda: env.unwrapped.market.records)


def parallel() -> Face:
    env = scripted_agents.parallel_env(CONFIG, ["ppo_0"])
    env.reset(seed=2)
    return Face(lambda action: env.step({"ppo_0": action}), lambda: env.market.records)


def learner() -> Face:
    env = scripted_agents.learner_env(CONFIG)
    env.reset(seed=2)
    return Face(env.step, lambda: env.market.records)


def batch() -> Face:
    one = scripted_agents.Batch(CONFIG, build_others(CONFIG, ["ppo_0"]), ["ppo_0"], 2)
    one.reset([1, 2])

    def step(action: Any) -> None:
        many = of_many(action)
        if isinstance(many, np.ndarray):
            many = many[:, None]
        elif isinstance(many, (list, tuple)):
            many = [[entry] for entry in many]
        one.step(many)

    return Face(step, lambda: one.records)


def vector() -> Face:
    env = MarketVectorEnv(2, CONFIG)
    env.reset(seed=1)
    return Face(lambda action: env.step(of_many(action)), lambda: env.batch.records)


def vec_env() -> Face:
    env = MarketVecEnv(2, CONFIG)
    env.seed(1)
    env.reset()
    return Face(lambda action: env.step(of_many(action)), lambda: env.batch.records)


FACES = {face.__name__: face for face in (aec, parallel, learner, batch, vector, vec_env)}

BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "none": (None, TypeError, "(cancel, bid_offset, bid_lots, ask_offset, ask_lots).*, got None"),
    "too few": ([0, 0, 0, 0], ValueError, "5 integers .*, got shape"),
    "too many": (np.zeros(6, np.int64), ValueError, "5 integers .*, got shape"),
    "one dimension more": (np.zeros((1, 5), np.int64), ValueError, "5 integers .*, got shape"),
    "a float": ([0, 0, 0, 0, 1.5], TypeError, r"action of ppo_0: ask_lots must be an integer, got 1\.5 \(float\)"),
    "not a number": ([0, float("nan"), 0, 0, 0], TypeError, r"bid_offset must be an integer, got nan \(float\)"),
    "a bool": ([0, 0, True, 0, 0], TypeError, r"action of ppo_0: bid_lots must be an integer, got True \(bool\)"),
    "a text": ([0, 0, 0, "1", 0], TypeError, r"ask_offset must be an integer, got '1' \(str\)"),
    "objects": (np.array([0, 0, 2.5, 0, 0], object), TypeError, r"bid_lots must be an integer, got 2\.5 \(float\)"),
    "floats": (np.zeros(5), TypeError, "5 integers .*, got float64"),
    "bools": (np.zeros(5, bool), TypeError, "5 integers .*, got bool"),
    "below": ([0, -1, 0, 0, 0], ValueError, "action of ppo_0: bid_offset must be an integer from 0 to 20, got -1"),
    "above": ([0, 0, 14, 0, 0], ValueError, "action of ppo_0: bid_lots must be an integer from 0 to 13, got 14"),
    "above in 8 bits": (np.array([0, 0, 0, 0, 200], np.uint8), ValueError, "ask_lots .* from 0 to 13, got 200"),
    "above 63 bits": (
        np.array([0, 2**64 - 1, 0, 0, 0], np.uint64),
        ValueError,
        "action of ppo_0: bid_offset must be an integer from 0 to 20, got 18446744073709551615",
    ),
    "above 64 bits": ([10**30, 0, 0, 0, 0], ValueError, "cancel must be an integer from 0 to 4, got 1000"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("face", FACES)
def test_a_bad_action_is_the_same_error_on_every_face_and_changes_nothing(face: str, case: str) -> None:
    action, error, message = BAD[case]
    made = FACES[face]()
    before = made.records().tobytes()
    with pytest.raises(error, match=message) as caught:
        made.step(action)
    assert str(caught.value).startswith(("action of ppo_0: ", "actions of ppo_0: ", "market 1: action of ppo_0: "))
    assert made.records().tobytes() == before


GOOD = {
    "list": list,
    "tuple": tuple,
    "objects": lambda action: np.array(action, object),
    "int64": lambda action: np.array(action, np.int64),
    "int32": lambda action: np.array(action, np.int32),
    "uint8": lambda action: np.array(action, np.uint8),
    "uint64": lambda action: np.array(action, np.uint64),
    "strided": lambda action: np.array([action, action]).T.ravel()[::2],
    "numpy integers": lambda action: [np.int16(code) for code in action],
}


@pytest.mark.parametrize("face", FACES)
def test_integers_pass_in_any_form_and_mean_the_same(face: str) -> None:
    seen = set()
    for form in GOOD.values():
        made = FACES[face]()
        made.step(form([4, 9, 3, 11, 2]))
        seen.add(made.records().tobytes())
    assert len(seen) == 1


# --- infos ------------------------------------------------------------------------------------------------

THIN = MarketConfig(timesteps=12, agents=(AgentConfig("ppo_0", "ppo", arrivals=Every(1.0, 0.0)), *roster(0, 2, 0, 0)))
"""So few agents that the book is empty, one-sided and two-sided by turns."""


def plain(info: dict[str, Any]) -> list[str]:
    for name, value in info.items():
        assert isinstance(value, (bool, int, float)), (name, value)
        assert np.isfinite(value), name
    if not info["two_sided"]:
        assert (info["spread"], info["imbalance"]) == (0, 0.0)
    assert info["rejected_lots"] == sum(info[f"rejected_{reason}"] for reason in state.REJECT_REASONS)
    return list(info)


def infos_of(face: str) -> list[dict[str, Any]]:
    """All infos of an episode, a reset's included."""
    rng = np.random.default_rng(0)
    found = []
    sizes = Market(THIN).codes
    if face == "aec":
        env = market_env.env(config=THIN)
        env.reset(seed=4)
        found += env.unwrapped.infos.values()
        for _ in env.agent_iter():
            _, _, _, truncated, info = env.last()
            found.append(info)
            env.step(None if truncated else rng.integers(0, sizes))
        return found
    if face == "parallel":
        env = scripted_agents.parallel_env(THIN, ["ppo_0"])
        found += env.reset(seed=4)[1].values()
        while env.agents:
            found += env.step({"ppo_0": rng.integers(0, sizes)})[4].values()
        return [*found, *env.reset()[1].values()]
    if face == "learner":
        env = scripted_agents.learner_env(THIN)
        found.append(env.reset(seed=4)[1])
        return [*found, *(env.step(rng.integers(0, sizes))[4] for _ in range(12))]
    if face == "vec_env":
        env = MarketVecEnv(2, THIN)
        env.seed(4)
        env.reset()
        for _ in range(12):
            infos = env.step(rng.integers(0, sizes, (2, 5)))[3]
            # At an episode's end Stable-Baselines3 wants two entries more.
            found += [{n: v for n, v in i.items() if n not in ("terminal_observation", "episode")} for i in infos]
        return found
    env = MarketVectorEnv(2, THIN)
    told = [env.reset(seed=4)[1], *(env.step(rng.integers(0, sizes, (2, 5)))[4] for _ in range(12))]
    for infos in told:
        found += [{n: v[i].item() for n, v in infos.items() if not n.startswith("_")} for i in range(2)]
        assert all(infos[f"_{name}"].all() for name in infos if not name.startswith("_"))
    return found


@pytest.mark.parametrize("face", [face for face in FACES if face != "batch"])
def test_an_info_has_the_same_keys_on_every_turn_and_plain_numbers_only(face: str) -> None:
    found = infos_of(face)
    assert len({tuple(plain(info)) for info in found}) == 1
    assert {info["two_sided"] for info in found} == {0, 1}


def test_the_infos_of_all_faces_have_the_same_figures() -> None:
    names = {face: set(infos_of(face)[-1]) for face in FACES if face != "batch"}
    marked = {"parallel", "vec_env"}  # where a trainer must be told that the clock ended the episode
    assert len({frozenset(found - {"TimeLimit.truncated"}) for found in names.values()}) == 1
    assert {face for face, found in names.items() if "TimeLimit.truncated" in found} == marked


# --- copies and saved states ------------------------------------------------------------------------------

RANDOM = AgentConfig("guest_0", "guest", arrivals=Poisson(0.9))
COPIED = MarketConfig(timesteps=40, agents=(*roster(1, 4, 1, 1), RANDOM))
OTHERS = {"guest": RandomActions(), "ppo": MarketMaker()}


def made(face: str) -> Any:
    match face:
        case "aec":
            return market_env.env(config=COPIED, log=True)
        case "parallel":
            return scripted_agents.parallel_env(COPIED, ["ppo_0"], OTHERS)
        case "learner":
            return scripted_agents.learner_env(COPIED, "guest_0", OTHERS)
        case "vector":
            return MarketVectorEnv(3, COPIED, "guest_0", OTHERS)
        case "vec_env":
            return MarketVecEnv(3, COPIED, ["guest_0"], OTHERS)
    raise AssertionError(face)


def begin(env: Any, face: str) -> None:
    if face == "vec_env":
        env.seed(5)
        env.reset()
    else:
        env.reset(seed=5)


def play(env: Any, face: str, steps: int, seed: int) -> list[Any]:
    """What comes of random actions, over the ends of episodes too."""
    rng = np.random.default_rng(seed)
    sizes = Market(COPIED).codes
    told: list[Any] = []
    for _ in range(steps):
        match face:
            case "aec":
                if not env.agents:
                    env.reset()
                observation, reward, _, truncated, info = env.last()
                told.append([env.agent_selection, observation, reward, truncated, info])
                env.step(None if truncated else rng.integers(0, sizes))
                told.append(env.unwrapped.drain().tobytes())
            case "parallel":
                told.append(
                    list(env.step({a: rng.integers(0, sizes) for a in env.agents}) if env.agents else env.reset())
                )
            case "learner":
                told.append(list(env.step(rng.integers(0, sizes)) if env._running else env.reset()))
            case _:
                told.append(list(env.step(rng.integers(0, sizes, (3, 5)))))
    return told


def alike(a: Any, b: Any) -> bool:
    """Equal to the bit, but for the wall clock that Stable-Baselines3 wants to know of an episode."""
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[name], b[name]) for name in a if name != "t")
    return same(a, b)


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
@pytest.mark.parametrize("face", ["aec", "parallel", "learner", "vector", "vec_env"])
def test_a_copy_of_a_running_environment_goes_on_as_it_does_and_apart_from_it(face: str, how: str) -> None:
    env = made(face)
    begin(env, face)
    play(env, face, 15, 1)
    twin = copy.deepcopy(env) if how == "deepcopy" else pickle.loads(pickle.dumps(env))
    other = copy.deepcopy(env)
    play(other, face, 60, 9)  # what one does touches no other
    first = play(env, face, 300, 2)
    assert alike(play(twin, face, 300, 2), first)
    assert not alike(play(other, face, 300, 2), first)


@pytest.mark.parametrize("face", ["aec", "parallel", "learner", "vec_env"])
def test_a_saved_state_is_gone_back_to_in_a_fresh_environment_that_was_never_reset(face: str) -> None:
    env = made(face)
    begin(env, face)
    play(env, face, 15, 1)
    saved = pickle.loads(pickle.dumps(env.save()))
    first = play(env, face, 200, 2)
    fresh = made(face)
    fresh.restore(saved)
    assert alike(play(fresh, face, 200, 2), first)
    env.restore(saved)
    assert alike(play(env, face, 200, 2), first)


def test_the_end_of_an_episode_is_restored_in_a_fresh_environment() -> None:
    env = market_env.env(config=COPIED)
    env.reset(seed=1)
    while env.agents:
        env.step(None if env.truncations[env.agent_selection] else ZEROS)
    fresh = market_env.env(config=COPIED)
    fresh.restore(env.save())
    assert fresh.agents == []
    assert fresh.unwrapped.market.records.tobytes() == env.unwrapped.market.records.tobytes()


@pytest.mark.parametrize("face", ["aec", "parallel", "learner"])
def test_copies_of_an_environment_that_was_never_reset_draw_seeds_of_their_own(face: str) -> None:
    env = made(face)
    copies = [pickle.loads(pickle.dumps(env)) for _ in range(3)]
    for each in copies:
        each.reset()
    assert len({each.unwrapped.market.records.tobytes() for each in copies}) == 3


def test_events_that_wait_to_be_drained_go_with_a_copy() -> None:
    env = market_env.env(config=COPIED, log=True)
    env.reset(seed=1)
    for _ in range(20):
        env.step(ZEROS)
    twin = copy.deepcopy(env)
    assert twin.unwrapped.drain().tobytes() == env.unwrapped.drain().tobytes() != b""


def test_a_state_of_another_environment_is_refused() -> None:
    env = scripted_agents.learner_env(COPIED, "guest_0", OTHERS)
    env.reset(seed=1)
    with pytest.raises(ValueError, match="state: expected one of the learner ppo_0, got one of guest_0"):
        scripted_agents.learner_env(COPIED, "ppo_0", OTHERS).restore(env.save())
    with pytest.raises(ValueError, match="same config"):
        scripted_agents.learner_env(MarketConfig(agents=COPIED.agents), "guest_0", OTHERS).restore(env.save())
    two = MarketConfig(
        timesteps=40, agents=tuple(AgentConfig(f"ppo_{n}", "ppo", arrivals=Every(1.0, 0.0)) for n in range(2))
    )
    pair = scripted_agents.parallel_env(two, ["ppo_0", "ppo_1"])
    pair.reset(seed=1)
    with pytest.raises(ValueError, match=r"state: expected one of the learners \['ppo_0'\]"):
        scripted_agents.parallel_env(two, ["ppo_0"]).restore(pair.save())


@pytest.mark.parametrize("name", ["config", "reward", "policies"])
def test_a_reset_that_asks_for_another_environment_is_refused_and_other_options_are_ignored(name: str) -> None:
    for face in ("aec", "parallel", "learner", "vector"):
        env = made(face)
        with pytest.raises(ValueError, match=f"options: {name} is fixed when an environment is made"):
            env.reset(seed=1, options={name: None})
        env.reset(seed=1, options={"anything": 1})
