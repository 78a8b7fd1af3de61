"""A trained PPO policy, frozen: deterministic, inference only, compiled.

It reads the ``.zip`` that Stable-Baselines3 writes and never unpickles anything in it: the plain JSON part says
what the policy was trained for, the weights load with ``weights_only=True``, and both are checked before use.
The network then runs as a compiled policy like any scripted one (some µs a decision, against some hundred for
``predict``), the same in the AEC loop and in the rollout. Ties between equal logits go to the lower code, as in
PyTorch's argmax; arithmetic is float64, so near-ties of the float32 original may fall the other way.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from market_env import actions, observations
from market_env.config import ConfigError, MarketConfig, checked, to_json
from market_env.engine.kernel import policy_kernel
from market_env.rewards import DEFAULT_REWARD, WealthReward
from scripted_agents.policy import OWN, CompiledPolicy

DEFAULT_MODEL = "models/ppo_day5.zip"
MARKET_KEY = "market"
"""Attribute of the saved algorithm that says, as plain JSON, what the policy was trained for."""
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
LARGEST_ENTRY = 256 * 2**20
"""Largest entry of a model file that is read, bytes."""


class ModelError(ConfigError):
    """A model file that cannot be used: one line with what was expected and what was found."""


def purpose(config: MarketConfig) -> dict[str, Any]:
    """What a policy for this market is trained for: the plain JSON that travels inside its file."""
    return {
        "algorithm": "PPO",
        "activation": "tanh",
        "features": list(observations.NAMES),
        "offsets": list(config.offsets),
        "lots": list(config.lots),
    }


def freeze(model: Any, config: MarketConfig, path: Path | str, reward: WealthReward = DEFAULT_REWARD) -> None:
    """Save a Stable-Baselines3 PPO model for this market as :class:`FrozenPPO` reads it, whole or not at all.

    Args:
        model: trained in a :class:`market_env.LearnerEnv` of this market, its policy an ``MlpPolicy`` with tanh.
        config: the market that it was trained for.
        path: the ``.zip`` file to write.
        reward: what it was trained on; it travels in the file for its reader, and nothing checks it.
    """
    path = Path(path)
    setattr(model, MARKET_KEY, {**purpose(config), "reward": to_json(reward)})
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


@policy_kernel
def frozen_network(observation, parameters, memory, stream, action):
    """A tanh network with one linear output a component; each component takes its largest logit.

    Own parameters: number of layers, size of each layer from input to output, then for each layer its weights
    (input by output, so that the inner loop runs over outputs) and biases; the outputs' split is the action space.
    """
    layers = int(parameters[OWN])
    at = OWN + 2 + layers
    width = 0
    for layer in range(layers + 1):
        width = max(width, int(parameters[OWN + 1 + layer]))
    values = np.empty(width)
    sums = np.empty(width)
    inputs = int(parameters[OWN + 1])
    for i in range(inputs):
        values[i] = observation[i]
    for layer in range(layers):
        outputs = int(parameters[OWN + 2 + layer])
        biases = at + inputs * outputs
        for j in range(outputs):
            sums[j] = parameters[biases + j]
        for i in range(inputs):
            value = values[i]
            for j in range(outputs):
                sums[j] += value * parameters[at + i * outputs + j]
        at = biases + outputs
        last = layer == layers - 1
        for j in range(outputs):
            values[j] = sums[j] if last else np.tanh(sums[j])
        inputs = outputs
    start = 0
    for component in range(5):
        count = int(parameters[at + component])
        best = start
        for j in range(start + 1, start + count):
            if values[j] > values[best]:
                best = j
        action[component] = best - start
        start += count


def locate(model: str) -> Path:
    """The file that a model's name means: as it stands, else beside the packages, else where a wheel puts it."""
    homes = (Path(), Path(__file__).resolve().parents[1], Path(sys.prefix) / "share" / "market_env")
    return next((home / model for home in homes if (home / model).exists()), Path(model))


def sha256(path: Path) -> str:
    """Hash of a file's bytes, hexadecimal.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"model {path}: cannot be read: {error.strerror}") from None


def _entry(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        info = archive.getinfo(name)
        if info.file_size > LARGEST_ENTRY:
            raise ModelError(
                f"model {path}: {name} would take {info.file_size} bytes, at most {LARGEST_ENTRY} expected"
            )
        return archive.read(name)
    except KeyError:
        raise ModelError(
            f"model {path}: expected an archive of Stable-Baselines3 with {name!r}, found {sorted(archive.namelist())}"
        ) from None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"model {path}: {name} is damaged: {error}") from None


def _expect(path: Path, what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise ModelError(f"model {path}: expected {what} {expected}, found {found}")


def _check_purpose(path: Path, data: dict[str, Any], config: MarketConfig) -> None:
    if "clip_range" not in data or "n_epochs" not in data:
        raise ModelError(
            f"model {path}: expected algorithm PPO, found an archive without its settings (clip_range, n_epochs)"
        )
    declared = data.get(MARKET_KEY)
    if not isinstance(declared, dict):
        raise ModelError(
            f"model {path}: expected attribute {MARKET_KEY!r} as scripted_agents.freeze writes it, found {declared!r}"
        )
    for name, kind in (("observation_space", "Box"), ("action_space", "MultiDiscrete")):
        saved = data.get(name)
        found = saved.get(":type:") if isinstance(saved, dict) else saved
        if not (isinstance(found, str) and f".{kind}'" in found):
            raise ModelError(f"model {path}: expected {name} of type {kind}, found {found}")
    for name, expected in purpose(config).items():
        found = declared.get(name)
        if name == "features" and isinstance(found, list) and found != expected:
            gone, new = [f for f in expected if f not in found], [f for f in found if f not in expected]
            raise ModelError(
                f"model {path}: expected features {len(expected)} as observations.FEATURES lists them, found {len(found)} "
                f"(missing {gone}, unknown {new}, or in another order)"
            )
        _expect(path, name, expected, found)


def network_parameters(
    weights: Mapping[str, NDArray[np.float64]], config: MarketConfig, path: Path
) -> NDArray[np.float64]:
    """Own parameters of :func:`frozen_network` from the weights of a Stable-Baselines3 policy; checks their shapes.

    Raises:
        ModelError: a weight is missing, of another shape or not finite; names ``path``.
    """
    names: list[str] = []
    while f"mlp_extractor.policy_net.{2 * len(names)}.weight" in weights:
        names.append(f"mlp_extractor.policy_net.{2 * len(names)}")
    names.append("action_net")
    layers = []
    inputs = observations.SIZE
    for name in names:
        if f"{name}.weight" not in weights or f"{name}.bias" not in weights:
            raise ModelError(f"model {path}: expected weights {name}.weight and {name}.bias, found {sorted(weights)}")
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        outputs = int(actions.sizes(config.offsets, config.lots).sum())
        if name != "action_net":
            outputs = weight.shape[0] if weight.ndim else 0
        _expect(path, f"{name}.weight of shape", (outputs, inputs), weight.shape)
        _expect(path, f"{name}.bias of shape", (outputs,), bias.shape)
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ModelError(f"model {path}: expected finite weights in {name}, found NaN or infinity")
        layers.append((weight, bias))
        inputs = outputs
    blocks = [np.array([len(layers), observations.SIZE, *(len(bias) for _, bias in layers)], np.float64)]
    for weight, bias in layers:
        blocks += [weight.T.ravel(), bias]
    blocks.append(actions.sizes(config.offsets, config.lots).astype(np.float64))
    return np.concatenate(blocks)


def load_parameters(path: Path, config: MarketConfig) -> NDArray[np.float64]:
    """Own parameters of :func:`frozen_network` from a Stable-Baselines3 file.

    Raises:
        ModelError: the file is missing, damaged, or of another algorithm, feature list, grid or shape.
    """
    import torch  # takes seconds to import; only a frozen PPO needs it

    if not path.is_file():
        raise ModelError(
            f"model {path}: expected a Stable-Baselines3 .zip file, found {'a folder' if path.is_dir() else 'nothing'}"
        )
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, UnicodeDecodeError) as error:
        raise ModelError(
            f"model {path}: expected a Stable-Baselines3 .zip file, found a damaged one: {error}"
        ) from None
    with archive:
        text = _entry(archive, "data", path)
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"model {path}: data is damaged: {error}") from None
        if not isinstance(data, dict):
            raise ModelError(f"model {path}: expected a JSON object in data, found {type(data).__name__}")
        _check_purpose(path, data, config)
        raw = _entry(archive, "policy.pth", path)
    try:
        state = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        weights = {name: tensor.double().numpy() for name, tensor in state.items()}
    except Exception as error:  # torch raises many kinds for a damaged or a forbidden file
        raise ModelError(
            f"model {path}: policy.pth is damaged: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from None
    return network_parameters(weights, config, path)


@checked
class FrozenPPO:
    """Parameters of a frozen PPO policy."""

    model: str = DEFAULT_MODEL
    """Path of the Stable-Baselines3 ``.zip`` file, from the current folder or from the project's."""
    policy: Literal["ppo"] = "ppo"

    def build(self, config: MarketConfig) -> CompiledPolicy:
        """The policy for a seat in this market.

        Raises:
            ModelError: the file cannot be used in this market.
        """
        return CompiledPolicy(frozen_network, config, load_parameters(locate(self.model), config))
