"""The frozen policy: the trained network's actions, nothing unpickled, one clear error for any bad file."""

from __future__ import annotations

import base64
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

import scripted_agents
from market_env import actions, observations
from market_env.config import MarketConfig
from market_env.market import Market
from scripted_agents import population
from scripted_agents.frozen_ppo import DAY6_MODEL, FrozenPPO, frozen_network, network_parameters, tanh
from scripted_agents.model_file import ModelError
from scripted_agents.policy import CompiledPolicy
from scripted_agents.tally import tally_episodes

MODEL = Path(__file__).parents[2] / DAY6_MODEL
CONFIG = MarketConfig(timesteps=1_500)


def rewritten(target: Path, change: Callable[[dict[str, bytes]], None]) -> str:
    """A copy of the model file with some entries changed."""
    with zipfile.ZipFile(MODEL) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return str(target)


def with_data(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(entries: dict[str, bytes]) -> None:
        data = json.loads(entries["data"])
        for key, value in changes.items():
            if value is None:
                data.pop(key)
            elif isinstance(value, dict) and isinstance(data.get(key), dict):
                data[key] |= value
            else:
                data[key] = value
        entries["data"] = json.dumps(data).encode()

    return change


def with_weights(change_weights: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[dict[str, bytes]], None]:
    def change(entries: dict[str, bytes]) -> None:
        weights = torch.load(io.BytesIO(entries["policy.pth"]), weights_only=True)
        change_weights(weights)
        stream = io.BytesIO()
        torch.save(weights, stream)
        entries["policy.pth"] = stream.getvalue()

    return change


@pytest.mark.long
def test_it_acts_as_stable_baselines_predict_on_ten_thousand_observations_of_real_runs() -> None:
    model = str(MODEL.with_name("ppo_day5.zip"))
    original = PPO.load(model, device="cpu")
    of = population()
    policy = FrozenPPO(model).build(of.market)
    before = policy.parameter_hash()
    seen, done = [], []
    for seed in (77, 78):
        env = scripted_agents.learner_env(of)
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            action = policy.act(observation)
            seen.append(observation)
            done.append(action)
            observation, _, _, over, _ = env.step(action)
    assert len(seen) == 10_000
    ties = 0
    own = [observations.INDEX[name] for name in original.market["features"]]
    for observation, action in zip((whole[own] for whole in seen), done, strict=True):
        expected, _ = original.predict(observation, deterministic=True)
        if action.tolist() != expected.tolist():
            # Only where two logits are closer than float32 can tell may they differ.
            logits = original.policy.get_distribution(torch.as_tensor(observation)[None]).distribution
            for categorical, mine, theirs in zip(logits, action, expected, strict=True):
                gap = categorical.logits[0, mine] - categorical.logits[0, theirs]
                assert abs(float(gap)) < 1e-4
            ties += 1
    assert ties <= 20
    assert policy.parameter_hash() == before


def test_the_networks_tanh_is_the_hyperbolic_tangent_to_float32() -> None:
    x = np.concatenate([np.linspace(-12, 12, 200_001), np.geomspace(1e-30, 1, 1_000), [0.0, -0.0, 1e30, -1e30]])
    x = x.astype(np.float32)
    found = np.array([tanh(each) for each in x])
    exact = np.tanh(x.astype(np.float64))
    assert np.abs(found - exact).max() < 4e-7
    small = np.abs(x) > 0
    assert (np.abs(found[small] / exact[small] - 1.0)).max() < 1e-6
    assert np.abs(found).max() <= 1.0
    assert (np.sign(found) == np.sign(x)).all()


def test_networks_of_any_shape_act_as_their_weights_say() -> None:
    rng = np.random.default_rng(3)
    split = np.append(0, np.cumsum(actions.sizes(CONFIG.offsets, CONFIG.lots)))
    for hidden, activation in (
        ((64, 64), "tanh"),
        ((1,), "relu"),
        ((7, 33, 5), "tanh"),
        ((), "tanh"),
        ((130,), "relu"),
    ):
        sizes = [observations.SIZE, *hidden, int(split[-1])]
        layers = [(rng.normal(0, 0.4, (out, into)), rng.normal(0, 0.1, out)) for into, out in pairwise(sizes)]
        names = [*(f"mlp_extractor.policy_net.{2 * place}" for place in range(len(hidden))), "action_net"]
        weights = {}
        for name, (weight, bias) in zip(names, layers, strict=True):
            weights |= {f"{name}.weight": weight, f"{name}.bias": bias}
        parameters = network_parameters(weights, CONFIG, "test", activation=activation)
        policy = CompiledPolicy(frozen_network, CONFIG, parameters)
        for _ in range(200):
            seen = rng.uniform(observations.LOW, observations.HIGH).astype(np.float32)
            values = seen.astype(np.float64)
            for place, (weight, bias) in enumerate(layers):
                values = weight @ values + bias
                if place < len(hidden):
                    values = np.tanh(values) if activation == "tanh" else np.maximum(values, 0.0)
            for component, code in enumerate(policy.act(seen)):
                logits = values[split[component] : split[component + 1]]
                assert logits[code] > logits.max() - 1e-4


def test_the_kernel_of_the_batch_is_the_one_of_the_aec_loop() -> None:
    policies = scripted_agents.build(CONFIG, {"ppo": FrozenPPO(str(MODEL))})
    rows = tally_episodes(CONFIG, policies, "ppo_0", [77])
    market = Market(CONFIG)
    market.reset(77)
    for agent, policy in policies.items():
        policy.reset(market.policy_stream(market.index[agent]), market.policy_memory(market.index[agent]))
    while market.acting >= 0:
        market.act(policies[market.agent_ids[market.acting]].act(market.observation))
    info = market.info(0)
    assert rows["wealth"][0] == info["wealth"]
    assert rows["liquidation_wealth"][0] == market.liquidation_wealth(0)


def test_it_is_deterministic_and_draws_nothing() -> None:
    policy = FrozenPPO(str(MODEL)).build(CONFIG)
    market = Market(CONFIG)
    market.reset(1)
    stream = market.policy_stream(0)
    policy.reset(stream, market.policy_memory(0))
    before = stream.copy()
    actions = {tuple(policy.act(market.observation).tolist()) for _ in range(20)}
    assert len(actions) == 1
    assert stream.tolist() == before.tolist()


def test_nothing_in_the_file_is_unpickled(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (trap,))

    bomb = base64.b64encode(pickle.dumps(Trap())).decode()
    path = rewritten(
        tmp_path / "data.zip",
        with_data(
            policy_class={":type:": "x", ":serialized:": bomb}, lr_schedule={":type:": "x", ":serialized:": bomb}
        ),
    )
    FrozenPPO(path).build(CONFIG)
    stream = io.BytesIO()
    torch.save({"action_net.weight": Trap()}, stream)
    path = rewritten(tmp_path / "weights.zip", lambda entries: entries.update({"policy.pth": stream.getvalue()}))
    with pytest.raises(ModelError, match=r"policy\.pth is damaged"):
        FrozenPPO(path).build(CONFIG)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_data(clip_range=None), "expected algorithm PPO"),
        (with_data(market=None), "expected attribute 'market' as scripted_agents.freeze writes it, found None"),
        (with_data(market={"algorithm": "A2C"}), "expected algorithm 'PPO', found 'A2C'"),
        (with_data(market={"features": ["mid"]}), "it reads feature 'mid', which this market's observations do not have"),
        (with_data(market={"offsets": [0, 1]}), r"expected offsets \[-8, .*\], found \[0, 1\]"),
        (with_data(market={"activation": "selu"}), "expected activation tanh or relu, found 'selu'"),
        (with_data(market={"features": ["spread", "spread"]}), "expected each feature once"),
        (with_data(market={"features": []}), "expected features by name"),
        (with_data(market={"scales": {"spread": 64.0}}), "trained on spread in units of 64.0, observations have it in 32 and say nothing beyond"),
        (with_data(market={"scales": {"spread": 0.0}}), "trained on spread in units of 0.0"),
        (with_data(market={"scales": {"spread": True}}), "trained on spread in units of True"),
        (with_data(market={"scales": [1]}), "expected a scale for each feature"),
        (lambda entries: entries.__delitem__("data"), "expected an archive of Stable-Baselines3 with 'data'"),
        (lambda entries: entries.__delitem__("policy.pth"), "with 'policy.pth'"),
        (lambda entries: entries.update(data=b"{"), "data: not JSON"),
        (lambda entries: entries.update(data=b"[1]"), "expected a JSON object in data, found list"),
        (lambda entries: entries.update({"policy.pth": b"not weights"}), r"policy\.pth is damaged"),
        (with_weights(lambda w: w.__delitem__("action_net.bias")), "expected weights action_net.weight and action_net.bias"),
        (
            with_weights(lambda w: w.update({"action_net.bias": torch.zeros(3)})),
            r"expected action_net.bias of shape \(75,\), found \(3,\)",
        ),
        (
            with_weights(lambda w: w.update({"mlp_extractor.policy_net.0.weight": torch.zeros(64, 9)})),
            r"expected mlp_extractor.policy_net.0.weight of shape \(64, \d+\), found \(64, 9\)",
        ),
        (
            with_weights(lambda w: w.update({"action_net.bias": torch.full((75,), float("nan"))})),
            "expected finite weights in action_net, found NaN",
        ),
    ],
)  # fmt: skip
def test_a_file_that_does_not_match_is_one_clear_error(change: Any, message: str, tmp_path: Path) -> None:
    path = rewritten(tmp_path / "model.zip", change)
    with pytest.raises(ModelError, match=message) as raised:
        FrozenPPO(path).build(CONFIG)
    assert path in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_a_damaged_and_a_truncated_file_are_each_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected a Stable-Baselines3 \.zip file, found nothing"):
        FrozenPPO(str(tmp_path / "none.zip")).build(CONFIG)
    with pytest.raises(ModelError, match="found a folder"):
        FrozenPPO(str(tmp_path)).build(CONFIG)
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(ModelError, match="found a damaged one"):
        FrozenPPO(str(tmp_path / "text.zip")).build(CONFIG)
    whole = MODEL.read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"found a damaged one|expected an archive of Stable-Baselines3"):
        FrozenPPO(str(tmp_path / "half.zip")).build(CONFIG)
    flipped = bytearray(whole)
    with zipfile.ZipFile(MODEL) as archive:
        at = archive.getinfo("policy.pth").header_offset + 2_000
    flipped[at : at + 64] = bytes(64)
    (tmp_path / "flipped.zip").write_bytes(flipped)
    with pytest.raises(ModelError, match=r"policy\.pth is damaged"):
        FrozenPPO(str(tmp_path / "flipped.zip")).build(CONFIG)


def test_a_market_with_other_grids_refuses_the_policy() -> None:
    with pytest.raises(ModelError, match=r"expected lots \[0, 1\], found"):
        FrozenPPO(str(MODEL)).build(MarketConfig(lots=(0, 1)))
