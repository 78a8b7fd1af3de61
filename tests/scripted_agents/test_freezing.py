"""A frozen policy is the trained one, or it is not written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import FrameStackObservation, TransformObservation
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper, VecFrameStack, VecNormalize

import scripted_agents
from market_env import observations
from market_env.config import MarketConfig, roster
from runners.vec_env import MarketVecEnv
from scripted_agents.freezing import COMPARED, check, real_observations
from scripted_agents.frozen_ppo import FrozenPPO
from scripted_agents.model_file import ModelError

CONFIG = MarketConfig(timesteps=40, agents=roster(ppo=1, noise=6, maker=1, momentum=1))


def trained(env: Any = None, kind: type = PPO, policy: Any = "MlpPolicy", **policy_kwargs: Any) -> Any:
    """A model after some steps of training, its weights made larger so that its actions differ from state to state."""
    env = MarketVecEnv(2, CONFIG) if env is None else env
    model = kind(policy, env, n_steps=64, seed=1, device="cpu", policy_kwargs=policy_kwargs or None)
    model.learn(128)
    with torch.no_grad():
        for name, weights in model.policy.named_parameters():
            if "net" in name:
                weights *= 4.0
    return model


NETWORKS: dict[str, dict[str, Any]] = {
    "tanh": {"activation_fn": torch.nn.Tanh},
    "relu": {"activation_fn": torch.nn.ReLU},
    "one layer": {"activation_fn": torch.nn.ReLU, "net_arch": [32]},
    "three layers": {"net_arch": {"pi": [48, 24, 40], "vf": [8]}},
    "no layer": {"net_arch": []},
}


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_of_tanh_or_relu_layers_is_frozen_and_acts_as_its_predict(network: str, tmp_path: Path) -> None:
    model = trained(**NETWORKS[network])
    scripted_agents.freeze(model, CONFIG, tmp_path / "model.zip")
    policy = FrozenPPO(str(tmp_path / "model.zip")).build(CONFIG)
    seen = real_observations(CONFIG)[:500]
    mine = np.stack([policy.act(observation) for observation in seen])
    theirs, _ = model.predict(seen, deterministic=True)
    assert (mine == theirs).all(axis=1).mean() > 0.99  # the others are near-ties, see the check itself
    assert len(np.unique(mine, axis=0)) > 5
    again = PPO.load(tmp_path / "model.zip", device="cpu")  # Stable-Baselines3 reads its own file still
    assert np.array_equal(again.predict(seen, deterministic=True)[0], theirs)


class Halved(BaseFeaturesExtractor):
    """A features extractor of one's own."""

    def __init__(self, space: gymnasium.Space) -> None:
        super().__init__(space, observations.SIZE)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return 0.5 * seen


class Shy(ActorCriticPolicy):
    """A policy that decides otherwise than its network says."""


class Turned(PPO):
    """A model of one's own."""


def shyly(model: Any) -> Any:
    """A model whose prediction is not what its layers say."""
    inner = model.policy.mlp_extractor.forward_actor
    model.policy.mlp_extractor.forward_actor = lambda features: -inner(features)
    return model


def learner() -> gymnasium.Env:
    return scripted_agents.learner_env(CONFIG)


class Other(gymnasium.ActionWrapper):
    """Actions of one's own."""

    def action(self, action: Any) -> Any:
        return action


class Scaling(VecEnvWrapper):
    """A vector wrapper of one's own."""

    def reset(self) -> Any:
        return 0.5 * self.venv.reset()

    def step_wait(self) -> Any:
        seen, *rest = self.venv.step_wait()
        return 0.5 * seen, *rest


def once_normalised() -> Any:
    """A model whose environment scaled its observations, and no longer says so."""
    model = trained(VecNormalize(MarketVecEnv(2, CONFIG)))
    model.get_vec_normalize_env().norm_obs = False
    return model


def scaled() -> gymnasium.Env:
    """An environment whose wrapper leaves the shape as it is."""
    env = learner()
    return TransformObservation(env, lambda seen: seen, env.observation_space)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "normalised": (
        lambda: trained(VecNormalize(MarketVecEnv(2, CONFIG))),
        "observations that VecNormalize scales, which a frozen policy does not see; train with norm_obs=False",
    ),
    "stacked by the vector": (
        lambda: trained(VecFrameStack(MarketVecEnv(2, CONFIG), 3)),
        "trained behind VecFrameStack, a frozen policy sees one observation, as it is",
    ),
    "normalised before": (once_normalised, "observations that VecNormalize scales"),
    "normalised by Gymnasium": (
        lambda: trained(DummyVecEnv([lambda: gymnasium.wrappers.NormalizeObservation(learner())])),
        "trained behind NormalizeObservation, which changes what it sees or does",
    ),
    "seen through a wrapper": (lambda: trained(DummyVecEnv([scaled])), "trained behind TransformObservation"),
    "acting through a wrapper": (lambda: trained(DummyVecEnv([lambda: Other(learner())])), "trained behind Other"),
    "a vector wrapper of one's own": (lambda: trained(Scaling(MarketVecEnv(2, CONFIG))), "trained behind Scaling"),
    "stacked by a wrapper": (
        lambda: trained(DummyVecEnv([lambda: FrameStackObservation(learner(), 3)])),
        r"expected a model that sees the market's own observation, shape \(51,\), got \(3, 51\)",
    ),
    "a features extractor": (
        lambda: trained(features_extractor_class=Halved),
        "expected a policy that reads the observation as it is, got the features extractor Halved",
    ),
    "another activation": (lambda: trained(activation_fn=torch.nn.ELU), "layers with tanh or ReLU behind each, got Linear, ELU"),
    "another policy class": (lambda: trained(policy=Shy), "expected an MlpPolicy, got Shy"),
    "another algorithm": (
        lambda: A2C("MlpPolicy", learner(), n_steps=8, device="cpu"),
        "expected a PPO model of Stable-Baselines3, got A2C; seat it as a guest instead",
    ),
    "a model of one's own": (lambda: Turned("MlpPolicy", learner(), device="cpu"), "got Turned"),
    "another kind of model": (
        lambda: DQN("MlpPolicy", gymnasium.make("CartPole-v1"), buffer_size=100, device="cpu"),
        "got DQN",
    ),
    "another environment": (
        lambda: PPO("MlpPolicy", gymnasium.make("CartPole-v1"), device="cpu"),
        r"shape \(51,\), got \(4,\)",
    ),
    "other grids": (
        lambda: PPO("MlpPolicy", scripted_agents.learner_env(MarketConfig(lots=(0, 1))), device="cpu"),
        r"expected a model with the market's own action space, \[5, 21, 14, 21, 14\], got \[5, 21, 2, 21, 2\]",
    ),
    "a policy that is more than its layers": (
        lambda: shyly(trained()),
        rf"acts as the model's own predict on \d[\d,]* of {COMPARED:,} observations only",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_would_be_frozen_as_another_policy_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    make, message = REFUSED[case]
    path = tmp_path / "model.zip"
    path.write_bytes(b"before")
    with pytest.raises(ModelError, match=message) as caught:
        scripted_agents.freeze(make(), CONFIG, path)
    assert str(caught.value).startswith("freeze: ")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.zip"]


def test_rewards_may_be_normalised() -> None:
    assert check(trained(VecNormalize(MarketVecEnv(2, CONFIG), norm_obs=False)), CONFIG) == "tanh"


def test_the_observations_that_it_is_compared_on_are_of_a_real_market() -> None:
    seen = real_observations(CONFIG)
    assert seen.shape == (COMPARED, observations.SIZE)
    assert (seen >= observations.LOW).all()
    assert (seen <= observations.HIGH).all()
    assert len(np.unique(seen, axis=0)) > 0.9 * COMPARED
    assert np.array_equal(seen, real_observations(CONFIG))


def test_a_model_reads_features_by_name_so_that_others_may_be_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained()
    path = str(tmp_path / "model.zip")
    scripted_agents.freeze(model, CONFIG, path)
    seen = real_observations(CONFIG)[:50]
    before = [FrozenPPO(path).build(CONFIG).act(observation).tolist() for observation in seen]
    # One more feature, in front of all others.
    features = (observations.Feature("mood", -1, 1, "new"), *observations.FEATURES)
    monkeypatch.setattr(observations, "FEATURES", features)
    monkeypatch.setattr(observations, "SIZE", len(features))
    monkeypatch.setattr(observations, "INDEX", {feature.name: place for place, feature in enumerate(features)})
    policy = FrozenPPO(path).build(CONFIG)
    wider = np.concatenate([np.full((50, 1), 0.7, np.float32), seen], axis=1)
    assert [policy.act(observation).tolist() for observation in wider] == before
    # A feature that is gone, or means something else.
    monkeypatch.setattr(observations, "INDEX", {n: i for n, i in observations.INDEX.items() if n != "spread"})
    with pytest.raises(ModelError, match="it reads feature 'spread', which this market's observations do not have"):
        FrozenPPO(path).build(CONFIG)
    monkeypatch.undo()
    monkeypatch.setitem(observations.SCALES, "ticks", 16.0)
    with pytest.raises(ModelError, match=r"trained on bid_distance_1 in units of 32\.0, observations have it in 16"):
        FrozenPPO(path).build(CONFIG)


def test_a_model_of_smaller_units_acts_as_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "model.zip")
    scripted_agents.freeze(trained(), CONFIG, path)
    seen = real_observations(CONFIG)[:200]
    before = [FrozenPPO(path).build(CONFIG).act(observation).tolist() for observation in seen]
    monkeypatch.setitem(observations.SCALES, "ticks", 128.0)
    policy = FrozenPPO(path).build(CONFIG)
    wider = seen.copy()
    for place, feature in enumerate(observations.FEATURES):
        if feature.unit == "ticks":
            # What was cut off at its end may be any further now.
            ended = np.abs(seen[:, place]) == 1.0
            wider[:, place] = np.where(ended, np.sign(seen[:, place]) * 0.7, seen[:, place] / 4)
    assert [policy.act(observation).tolist() for observation in wider] == before
    assert (wider != seen).mean() > 0.2
