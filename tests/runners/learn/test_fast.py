"""The fast PPO: Stable-Baselines3's gradients, updates, distributions, figures and files, and what it refuses."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv
from torch.nn import functional

from market_env.config import MarketConfig
from runners.learn.fast import FastPPO, Learner, Samples, Terms, acting, samples_of
from runners.learn.vec_env import MarketVecEnv
from scripted_agents.freezing import freeze
from scripted_agents.frozen_ppo import FrozenPPO

CONFIG = MarketConfig(timesteps=30)
TERMS = Terms(clip_range=0.2, ent_coef=0.01, vf_coef=0.5)


def model_of(kind: type[PPO] = FastPPO, env: VecEnv | None = None, **settings: Any) -> PPO:
    """A small model with a logger that writes nothing; its networks are unlike in depth and width."""
    policy_kwargs = {"activation_fn": torch.nn.Tanh, "net_arch": {"pi": [32, 24], "vf": [40]}}
    model = kind(
        "MlpPolicy", env or MarketVecEnv(6, CONFIG), seed=3, device="cpu",
        **{"n_steps": 16, "batch_size": 32, "n_epochs": 3, "ent_coef": 0.01, "policy_kwargs": policy_kwargs, **settings},
    )  # fmt: skip
    model.set_logger(Logger(None, []))
    return model


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def filled(model: PPO, moved: float = 0.1) -> PPO:
    """The model with a rollout that it has not learned from, whose weights have moved on since, and whose advantages vary."""
    _, callback = model._setup_learn(10**6, None)
    assert model.env is not None
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    generator = np.random.default_rng(1)
    buffer = model.rollout_buffer
    buffer.advantages += generator.standard_normal(buffer.advantages.shape, np.float32)
    buffer.returns = buffer.advantages + buffer.values
    with torch.no_grad():
        for weight in model.policy.parameters():
            weight += moved * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    return model


def gradient_by_autograd(model: PPO, samples: Samples) -> list[torch.Tensor]:
    """PPO's own loss on these samples, and its gradient in float64, layer by layer, each tower down to its head."""
    policy = copy.deepcopy(model.policy).double()
    policy.extract_features = lambda observations, *_: observations  # type: ignore[method-assign]  # its own makes them float32
    observations = samples.inputs[:, :-1].double()
    values, log_prob, entropy = policy.evaluate_actions(observations, torch.from_numpy(samples.actions))
    old, advantages, returns = (
        torch.from_numpy(array).double() for array in (samples.log_probs, samples.advantages, samples.returns)
    )
    ratio = torch.exp(log_prob - old)
    clipped = torch.clamp(ratio, 1 - TERMS.clip_range, 1 + TERMS.clip_range)
    assert 0.05 < (ratio != clipped).double().mean() < 0.95  # both branches count
    assert entropy is not None
    loss = (
        -torch.min(advantages * ratio, advantages * clipped).mean()
        - TERMS.ent_coef * entropy.mean()
        + TERMS.vf_coef * functional.mse_loss(returns, values.flatten())
    )
    loss.backward()
    extractor = policy.mlp_extractor
    layers = [*extractor.policy_net[::2], policy.action_net, *extractor.value_net[::2], policy.value_net]
    found = []
    for layer in layers:
        assert isinstance(layer, torch.nn.Linear)
        assert layer.weight.grad is not None
        assert layer.bias.grad is not None
        found += [layer.weight.grad, layer.bias.grad]
    return found


@pytest.mark.parametrize("activation", [torch.nn.Tanh, torch.nn.ReLU])
@pytest.mark.parametrize("count", [2, 33, 96])
def test_the_gradient_is_autograds(activation: type[torch.nn.Module], count: int, pool: ThreadPoolExecutor) -> None:
    settings = {"activation_fn": activation, "net_arch": {"pi": [32, 24], "vf": [40]}}
    model = filled(model_of(policy_kwargs=settings))
    samples = samples_of(model.rollout_buffer)
    order = np.random.default_rng(2).permutation(len(samples.actions))
    minibatch = samples.permuted(order).part(slice(count)).normalised()
    if count == 2:  # too few for the middle of the range, so put one of them there
        minibatch = replace(minibatch, log_probs=minibatch.log_probs + np.array([0.0, 3.0], np.float32))
        with torch.no_grad():
            now = model.policy.evaluate_actions(minibatch.inputs[:, :-1], torch.from_numpy(minibatch.actions))[1]
        minibatch.log_probs[0] = now[0]
    gradient, _ = Learner(model.policy, pool).differentiate(minibatch, TERMS)
    wanted = gradient_by_autograd(model, minibatch)
    largest = max(float(part.abs().max()) for part in wanted)
    for ours, theirs in zip(gradient.parts(), wanted, strict=True):
        assert float((ours - theirs).abs().max()) < 1e-5 * min(largest, 10 * float(theirs.abs().max()))


def twin(model: PPO) -> PPO:
    """A plain PPO with the same weights, moments, rollout and settings."""
    buffer = io.BytesIO()
    model.save(buffer)
    buffer.seek(0)
    plain = PPO.load(buffer, device="cpu")
    plain.set_logger(Logger(None, []))
    plain.rollout_buffer = copy.deepcopy(model.rollout_buffer)
    return plain


def weights_of(model: PPO) -> NDArray[np.float32]:
    return torch.cat([weight.detach().flatten() for weight in model.policy.parameters()]).numpy()


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 33},  # the last minibatch is a smaller one
        {"batch_size": 95},  # or a single sample
        {"normalize_advantage": False, "max_grad_norm": 1e9},
        {"learning_rate": lambda left: 1e-3 * left, "clip_range": lambda left: 0.3 * left},
    ],
)
def test_updates_are_stable_baselines3s(settings: dict[str, Any]) -> None:
    model = filled(model_of(**settings))
    for _ in range(2):  # from no moments and from some
        check_update(model)


def test_an_update_ends_where_stable_baselines3s_does_if_the_policy_went_too_far() -> None:
    model = filled(model_of(learning_rate=3e-3, target_kl=0.01, n_epochs=20), moved=0.0)
    check_update(model)
    assert 1 < steps_of(model) < 60


def steps_of(model: PPO) -> float:
    (steps,) = {float(state["step"]) for state in model.policy.optimizer.state.values()}
    return steps


def check_update(model: PPO) -> None:
    """One update leaves weights, moments and figures as Stable-Baselines3's does."""
    plain, before = twin(model), weights_of(model)
    for each in (model, plain):
        each._current_progress_remaining = 0.7
        np.random.seed(5)  # noqa: NPY002
        each.train()
    assert model._n_updates == plain._n_updates
    assert np.abs(weights_of(plain) - before).max() > 1e-3
    assert np.abs(weights_of(model) - weights_of(plain)).max() < 1e-4
    for ours, theirs in zip(model.policy.parameters(), plain.policy.parameters(), strict=True):
        mine, wanted = model.policy.optimizer.state[ours], plain.policy.optimizer.state[theirs]
        assert mine.keys() == wanted.keys()
        assert mine["step"] == wanted["step"]
        for name in ("exp_avg", "exp_avg_sq"):
            assert (mine[name].shape, mine[name].stride()) == (wanted[name].shape, wanted[name].stride())
            assert float((mine[name] - wanted[name]).abs().max()) < 1e-3 * float(wanted[name].abs().max())
    logged, expected = model.logger.name_to_value, plain.logger.name_to_value
    assert logged.keys() == expected.keys()
    assert model.logger.name_to_excluded == plain.logger.name_to_excluded
    for name, value in expected.items():
        assert logged[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    assert model.rollout_buffer.generator_ready


def test_a_rollout_holds_what_the_policy_says_of_its_actions() -> None:
    model = model_of()
    _, callback = model._setup_learn(10**6, None)
    assert model.env is not None
    assert model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    samples = samples_of(model.rollout_buffer)
    values, log_probs, _ = model.policy.evaluate_actions(samples.inputs[:, :-1], torch.from_numpy(samples.actions))
    np.testing.assert_allclose(samples.log_probs, log_probs.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(model.rollout_buffer.values, values.detach().numpy(), atol=1e-5)
    assert "forward" not in vars(model.policy)


def test_actions_are_drawn_with_the_policys_probabilities() -> None:
    model = filled(model_of())
    count = 20_000
    observation = torch.from_numpy(model._last_obs[:1])  # type: ignore[index]
    with torch.no_grad():
        wanted = [each.probs[0].numpy() for each in model.policy.get_distribution(observation).distribution]
        torch.manual_seed(1)
        with acting(model.policy, count):
            actions, _, _ = model.policy(observation.expand(count, -1))
        torch.manual_seed(1)
        with acting(model.policy, count):
            again, _, _ = model.policy(observation.expand(count, -1))
    assert torch.equal(actions, again)
    for component, probabilities in enumerate(wanted):
        found = np.bincount(actions[:, component].numpy(), minlength=len(probabilities))
        expected = count * probabilities
        chi_squared = float(((found - expected) ** 2 / expected).sum())
        degrees = len(probabilities) - 1
        assert abs(chi_squared - degrees) < 5 * np.sqrt(2 * degrees)


def test_the_same_seed_gives_the_same_weights_and_a_saved_model_is_an_ordinary_one(tmp_path: Path) -> None:
    models = [model_of().learn(200) for _ in range(2)]
    assert np.array_equal(weights_of(models[0]), weights_of(models[1]))
    models[0].save(tmp_path / "model.zip")
    for kind in (PPO, FastPPO):
        loaded = kind.load(tmp_path / "model.zip", MarketVecEnv(6, CONFIG), device="cpu")
        assert type(loaded) is kind
        assert np.array_equal(weights_of(loaded), weights_of(models[0]))
        assert loaded.policy.optimizer.state_dict()["state"].keys() == set(range(len(list(loaded.policy.parameters()))))
        loaded.learn(100, reset_num_timesteps=False)
        assert not np.array_equal(weights_of(loaded), weights_of(models[0]))
    freeze(models[0], CONFIG, tmp_path / "frozen.zip")
    assert FrozenPPO(str(tmp_path / "frozen.zip")).build(CONFIG)


class Meddling(BaseCallback):
    """Changes the weights within a rollout, asks the policy something else, and ends the training in its middle."""

    def _on_step(self) -> bool:
        with torch.no_grad():
            if self.n_calls == 2:
                self.model.policy.value_net.bias += 1.0
                assert len(self.model.policy(self.locals["obs_tensor"][:2])[0]) == 2
                once, again = (self.model.policy(self.locals["obs_tensor"], deterministic=True)[0] for _ in range(2))
                assert torch.equal(once, again)
            if self.n_calls == 3:
                wanted = self.model.policy.predict_values(self.locals["obs_tensor"])
                assert torch.allclose(self.locals["values"], wanted, atol=1e-5)
        return self.n_calls < 5


def test_callbacks_meet_the_policy_as_it_is() -> None:
    model = model_of()
    threads = torch.get_num_threads()
    before = weights_of(model)
    model.learn(1_000, callback=Meddling())
    assert "forward" not in vars(model.policy)
    assert torch.get_num_threads() == threads
    assert np.abs(weights_of(model) - before).sum() == pytest.approx(1.0)  # nothing but what the callback did


class Flags(MarketVecEnv):
    """With other spaces."""

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        super().__init__(2, CONFIG)
        self.observation_space, self.action_space = observations, actions


BOX = spaces.Box(-1.0, 1.0, (51,), np.float32)
CHOICES = spaces.MultiDiscrete([5, 3])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"clip_range_vf": 0.2}, "clip_range_vf None"),
        ({"policy_kwargs": {"net_arch": []}}, "hidden layers of policy and value apart"),
        ({"policy_kwargs": {"activation_fn": torch.nn.ELU}}, "tanh or ReLU"),
        ({"policy_kwargs": {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}}}, "Adam"),
        ({"policy_kwargs": {"optimizer_kwargs": {"weight_decay": 0.1}}}, "weight decay"),
        ({"env": Flags(spaces.Box(-1.0, 1.0, (51,), np.float64), CHOICES)}, "float32 Box"),
        ({"env": Flags(BOX, spaces.Discrete(4))}, "MultiDiscrete"),
        ({"env": Flags(BOX, spaces.Box(-1.0, 1.0, (2,), np.float32)), "use_sde": True}, "MultiDiscrete"),
    ],
)
def test_it_refuses_what_it_does_not_know(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=f"FastPPO: expected .*{expected}"):
        model_of(**settings)


def test_what_is_no_number_is_an_error_and_leaves_the_policy_as_it_was() -> None:
    model = filled(model_of())
    before = weights_of(model)
    model.rollout_buffer.returns[3, 2] = np.nan
    with pytest.raises(ValueError, match="FastPPO: the weights are no longer finite numbers"):
        model.train()
    assert weights_of(model).tobytes() == before.tobytes()
    with torch.no_grad():
        next(iter(model.policy.parameters()))[0] = torch.nan
    with pytest.raises(ValueError, match="FastPPO: the policy's logits are no finite numbers"):
        model.learn(96)
