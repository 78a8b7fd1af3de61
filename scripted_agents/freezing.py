"""Freezing: a trained Stable-Baselines3 PPO model written as :class:`scripted_agents.FrozenPPO` reads it, if that is the same policy.

Promise: what is written acts as the model's own deterministic ``predict`` does. A model whose environment normalises or
stacks observations is refused, so is one whose policy is more than a network of tanh or ReLU layers over the market's own
observations; and the frozen network's actions are held against the model's on observations of a real market. What a model
that was loaded without its environment cannot tell is whether that environment normalised. Cost: about 0.1 s.
"""

from __future__ import annotations

import os
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from market_env import actions, observations
from market_env.config import MarketConfig, to_json
from market_env.market import Market
from market_env.rewards import DEFAULT_REWARD, Reward
from scripted_agents.baselines import RandomActions
from scripted_agents.frozen_ppo import MARKET_KEY, frozen_network, network_parameters, trained_for
from scripted_agents.model_file import ModelError
from scripted_agents.policy import CompiledPolicy
from scripted_agents.populations import Rules, alone

NOT_SAVED = (
    "env",
    "logger",
    "ep_info_buffer",
    "ep_success_buffer",
    "_last_obs",
    "_last_episode_starts",
    "tensorboard_log",
)
"""What a frozen policy has no use for."""
ALGORITHMS = ("PPO", "FastPPO")
"""What a model may be: Stable-Baselines3's PPO, or the training's own way to compute it."""
COMPARED = 4_096
"""Observations on which a frozen network must act as its model."""
NEAR = 1e-4
"""Two logits this close may be told apart by one arithmetic and not by the other."""


def freeze(model: Any, config: Rules, path: Path | str, reward: Reward = DEFAULT_REWARD) -> None:
    """Save a Stable-Baselines3 PPO model for this market as :class:`FrozenPPO` reads it, whole or not at all.

    Args:
        model: trained in an environment of this market, its policy an ``MlpPolicy`` with tanh or ReLU.
        config: the market or the population that it was trained for.
        path: the ``.zip`` file to write.
        reward: what it was trained on; where it has parameters they travel in the file for its reader, and nothing checks them.

    Raises:
        ModelError: the frozen network would be another policy; says why. Nothing is written then.
    """
    path = Path(path)
    config, _ = alone(config, None)
    activation = check(model, config)
    setattr(
        model,
        MARKET_KEY,
        {**trained_for(config, activation), "reward": to_json(reward) if is_dataclass(reward) else None},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial.zip")
    try:
        with partial.open("wb") as file:
            model.save(file, exclude=NOT_SAVED)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check(model: Any, config: MarketConfig) -> str:
    """The activation of a model whose frozen network is the same policy.

    Raises:
        ModelError: it would be another policy; says why.
    """
    activation = network_of(model, config)
    frozen = CompiledPolicy(frozen_network, config, frozen_parameters(model, config, activation))
    seen = real_observations(config)
    mine = np.stack([frozen.act(observation) for observation in seen])
    theirs, _ = model.predict(seen, deterministic=True)
    differ = np.flatnonzero((mine != theirs).any(axis=1))
    if len(differ):
        logits = [part.logits.detach().cpu().numpy() for part in _distribution(model, seen[differ])]
        apart = sum(
            any(abs(part[row, mine[at, c]] - part[row, theirs[at, c]]) > NEAR for c, part in enumerate(logits))
            for row, at in enumerate(differ.tolist())
        )
        if apart:
            raise ModelError(
                f"freeze: the frozen network acts as the model's own predict on {len(seen) - apart:,} of {len(seen):,} "
                "observations only: its policy is more than its layers, or looks at something else"
            )
    return activation


def network_of(model: Any, config: MarketConfig) -> str:
    """The activation of a model's network; raises as :func:`check`."""
    kind = type(model).__name__
    if kind not in ALGORITHMS:
        raise ModelError(f"freeze: expected a PPO model of Stable-Baselines3, got {kind}; seat it as a guest instead")
    normalised = model.get_vec_normalize_env() if model.env is not None else None
    scaled = normalised is not None and getattr(getattr(normalised, "obs_rms", None), "count", 0.0) > 1.0
    if scaled or (normalised is not None and normalised.norm_obs):
        raise ModelError(
            "freeze: it was trained on observations that VecNormalize scales, which a frozen policy does not see; "
            "train with norm_obs=False (the market's observations are bounded as they are)"
        )
    _check_wrappers(model.env)
    shape = getattr(model.observation_space, "shape", None)
    if shape != (observations.SIZE,):
        raise ModelError(
            f"freeze: expected a model that sees the market's own observation, shape ({observations.SIZE},), got {shape}: "
            "a wrapper stacks, adds or drops features"
        )
    sizes = actions.sizes(config.offsets, config.lots).tolist()
    if (given := getattr(getattr(model.action_space, "nvec", None), "tolist", lambda: None)()) != sizes:
        raise ModelError(f"freeze: expected a model with the market's own action space, {sizes}, got {given}")
    policy = model.policy
    if type(policy).__name__ != "ActorCriticPolicy":
        raise ModelError(f"freeze: expected an MlpPolicy, got {type(policy).__name__}")
    if type(policy.features_extractor).__name__ != "FlattenExtractor":
        raise ModelError(
            f"freeze: expected a policy that reads the observation as it is, got the features extractor "
            f"{type(policy.features_extractor).__name__}"
        )
    layers = [type(layer).__name__ for layer in policy.mlp_extractor.policy_net]
    used = set(layers[1::2])
    if set(layers[::2]) - {"Linear"} or len(used) > 1 or not used <= {"Tanh", "ReLU"} or len(layers) % 2:
        raise ModelError(f"freeze: expected layers with tanh or ReLU behind each, got {', '.join(layers)}")
    return used.pop().lower() if used else "tanh"


PLAIN = frozenset({"VecMonitor", "VecCheckNan", "VecNormalize", "VecVideoRecorder", "SB3VecEnvWrapper"})
"""Vector wrappers that hand observations and actions on as they are; VecNormalize is looked at by itself."""


def _check_wrappers(env: Any) -> None:
    """Raise a ModelError where a wrapper changes, or may change, what the model saw or did."""
    layer = env
    while (below := getattr(layer, "venv", None)) is not None:
        if type(layer).__name__ not in PLAIN:
            raise ModelError(
                f"freeze: it was trained behind {type(layer).__name__}, a frozen policy sees one observation, as it is"
            )
        layer = below
    for single in getattr(layer, "envs", ()):
        while isinstance(single, gymnasium.Wrapper):
            if isinstance(single, (gymnasium.ObservationWrapper, gymnasium.ActionWrapper)):
                raise ModelError(
                    f"freeze: it was trained behind {type(single).__name__}, which changes what it sees or does; a frozen "
                    "policy has the market's own observation and actions"
                )
            single = single.env


def frozen_parameters(model: Any, config: MarketConfig, activation: str = "tanh") -> NDArray[np.float64]:
    """A live model's policy as :func:`scripted_agents.frozen_ppo.frozen_network` reads it."""
    weights = {name: tensor.detach().cpu().numpy() for name, tensor in model.policy.state_dict().items()}
    return network_parameters(weights, config, "freeze", activation=activation)


def _distribution(model: Any, seen: NDArray[np.float32]) -> Any:
    tensor, _ = model.policy.obs_to_tensor(seen)
    return model.policy.get_distribution(tensor).distribution


def real_observations(config: MarketConfig) -> NDArray[np.float32]:
    """What agents of this market see as they trade at random: float32 of shape (COMPARED, SIZE)."""
    market = Market(config)
    policy = RandomActions().build(config)
    seen = np.zeros((COMPARED, observations.SIZE), np.float32)
    seed, going = 0, False
    for row in range(COMPARED):
        while not going:
            seed += 1
            going = market.reset(seed)
        policy.reset(market.policy_stream(market.acting), market.policy_memory(market.acting))
        seen[row] = market.observation
        going = market.act(policy.act(market.observation))
    return seen
