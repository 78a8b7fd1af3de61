"""A training's state on disk: all that it takes to go on as if nothing had happened.

Promise: a checkpoint replaces the last one whole or not at all, and a training that goes on from one ends with the
same weights as one that was never stopped. A file that is not to the bit what was written is refused, and nothing in
it is unpickled. Cost: of the order of 0.1 s for 128 markets.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO

from market_env.config import ConfigError
from market_env.outside import load_json, read_bytes, shown
from runners.files.whole import whole_file
from runners.learn.vec_env import MarketVecEnv
from scripted_agents.model_file import ModelError, open_tensors

FILE = "checkpoint.pt"
FORMAT = 2


def as_tensor(array: NDArray[Any]) -> torch.Tensor:
    """An array's bytes."""
    return torch.from_numpy(np.ascontiguousarray(array).view(np.uint8).reshape(-1).copy())


def as_array(tensor: torch.Tensor, like: NDArray[Any] | None = None) -> NDArray[Any]:
    """An array from its bytes, of another's dtype and shape."""
    raw: NDArray[Any] = tensor.numpy()
    return raw if like is None else raw.view(like.dtype).reshape(like.shape)


def save(
    folder: Path,
    model: PPO,
    env: MarketVecEnv,
    purpose: Mapping[str, Any],
    progress: Mapping[str, Any],
    extra: list[NDArray[np.float64]],
) -> None:
    """Write ``folder``'s checkpoint.

    Args:
        folder: the training's.
        model: between two updates.
        env: its environment.
        purpose: what the training is, as plain JSON data; a checkpoint of another is refused.
        progress: what its callbacks know, as plain JSON data.
        extra: arrays that go with it.
    """
    generator = np.random.get_state(legacy=False)  # noqa: NPY002 (Stable-Baselines3 draws from numpy's global one)
    state = {
        "format": FORMAT,
        "purpose": json.dumps(purpose),
        "progress": json.dumps(progress),
        "timesteps": model.num_timesteps,
        "updates": model._n_updates,
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "torch": torch.get_rng_state(),
        "numpy": {
            "key": torch.from_numpy(generator["state"]["key"].astype(np.int64)),
            "rest": json.dumps([generator["state"]["pos"], generator["has_gauss"], generator["gauss"]]),
        },
        "episodes": json.dumps(list(model.ep_info_buffer or [])),
        "observations": torch.from_numpy(np.asarray(model._last_obs)),
        "starts": torch.from_numpy(np.asarray(model._last_episode_starts)),
        "env": {name: as_tensor(array) for name, array in env.save().items()},
        "extra": [torch.from_numpy(array) for array in extra],
    }
    content = io.BytesIO()
    torch.save(state, content)
    with whole_file(folder / FILE) as path, path.open("wb") as file:
        file.write(hashlib.sha256(content.getbuffer()).hexdigest().encode() + b"\n")
        file.write(content.getbuffer())


CONTENT: dict[str, type | tuple[type, ...]] = {
    "format": int, "purpose": str, "progress": str, "timesteps": int, "updates": int, "policy": dict, "optimizer": dict,
    "torch": torch.Tensor, "numpy": dict, "episodes": str, "observations": torch.Tensor, "starts": torch.Tensor, "env": dict,
    "extra": list,
}  # fmt: skip
"""What a checkpoint holds, by name."""
LARGEST = 2**32
"""Largest checkpoint that is read, bytes."""


def load_tensors(content: bytes, where: str, most: int = LARGEST) -> Any:
    """What PyTorch saved: tensors, numbers and texts in dicts and lists, nothing else.

    Args:
        content: an archive that ``torch.save`` wrote.
        where: what it is called in an error.
        most: bytes that its tensors may take in all.

    Raises:
        ModelError: it is damaged, holds something else, or stands for more than it holds.
    """
    open_tensors(content, where, most).close()
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or a forbidden file, with pages of advice
        kind = "holds more than tensors and plain values" if "weights_only" in str(error) else "cannot be read"
        raise ModelError(f"{where} is damaged: it {kind}") from None
    for tensor in _tensors(found):
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise ModelError(f"{where}: expected plain dense tensors, found another kind")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ModelError(f"{where}: a tensor of {tensor.numel():,} entries stands for more than it holds")
    return found


def _tensors(value: Any) -> Iterator[Any]:
    left, seen = [value], set()
    while left:
        part = left.pop()
        if isinstance(part, torch.Tensor):
            yield part
        elif isinstance(part, (dict, list, tuple, set)) and id(part) not in seen:  # shared, or in itself
            seen.add(id(part))
            left += part.values() if isinstance(part, dict) else part


def read(path: Path) -> dict[str, Any]:
    """A checkpoint's content.

    Raises:
        ConfigError: there is none, or it is not what was written.
    """
    where = f"checkpoint {path}"
    digest, _, content = read_bytes(path, where, LARGEST).partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise ConfigError(f"{where}: damaged: its content has another SHA-256 than was written with it")
    state = load_tensors(content, where, LARGEST)
    if not isinstance(state, dict):
        raise ConfigError(f"{where}: expected its parts by name, found {type(state).__name__}")
    for name, kind in CONTENT.items():
        if not isinstance(state.get(name), kind):
            raise ConfigError(f"{where}: {name}: expected what save wrote, found {type(state.get(name)).__name__}")
    if state["format"] != FORMAT:
        raise ConfigError(f"{where}: expected format {FORMAT}, found {state['format']}")
    return state


def load(
    folder: Path, model: PPO, env: MarketVecEnv, purpose: Mapping[str, Any]
) -> tuple[dict[str, Any], list[NDArray[np.float64]]]:
    """Bring model and environment to where ``folder``'s checkpoint stands; return progress and extra arrays.

    Raises:
        ConfigError: there is none, it is damaged, holds what no training could have left, or is of another training.
    """
    path = folder / FILE
    state = read(path)
    texts = {name: load_json(state[name], f"checkpoint {path}: {name}") for name in ("purpose", "progress", "episodes")}
    if not isinstance(texts["purpose"], dict):
        raise ConfigError(f"checkpoint {path}: purpose: expected an object, found {type(texts['purpose']).__name__}")
    check_purpose(path, json.loads(json.dumps(purpose)), texts["purpose"])
    try:
        _restore(state, texts, model, env)
    except ConfigError as error:
        raise ConfigError(f"checkpoint {path}: {error}") from None
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        # What carries the right checksum and names may still be no state of this model.
        raise ConfigError(f"checkpoint {path}: holds what no training left: {type(error).__name__}: {error}") from None
    return texts["progress"], [tensor.detach().numpy() for tensor in state["extra"]]


def _restore(state: dict[str, Any], texts: dict[str, Any], model: PPO, env: MarketVecEnv) -> None:
    for name in ("curve", "best", "next", "seconds"):
        if name not in texts["progress"]:
            raise ConfigError(f"progress: expected {name}, found {shown(sorted(texts['progress']))}")
    if any(not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float64 for tensor in state["extra"]):
        raise ConfigError("extra: expected arrays of float64")
    if any(tensor.requires_grad for tensor in (*state["extra"], *state["env"].values(), state["observations"])):
        raise ConfigError("expected plain arrays, found one that wants a gradient")
    ours = env.save()
    if state["env"].keys() != ours.keys():
        raise ConfigError(f"env: expected {shown(sorted(ours))}, found {shown(sorted(map(str, state['env'])))}")
    found = {
        name: as_array(tensor, None if name == "generators" else ours[name]) for name, tensor in state["env"].items()
    }
    shape = (env.num_envs, *(env.observation_space.shape or ()))
    for name, kind, wanted in (("observations", torch.float32, shape), ("starts", torch.bool, (env.num_envs,))):
        if (state[name].dtype, tuple(state[name].shape)) != (kind, wanted):
            raise ConfigError(
                f"{name}: expected {kind} of shape {wanted}, found {state[name].dtype} of {tuple(state[name].shape)}"
            )
    generator = _generator(state["numpy"])
    _check_progress(texts)
    if state["timesteps"] < 0 or state["updates"] < 0:
        raise ConfigError(f"timesteps, updates: expected 0 or more, found {state['timesteps']}, {state['updates']}")
    _check_alike("policy", model.policy.state_dict(), state["policy"])
    _check_optimizer(model.policy.optimizer, state["optimizer"])
    env.restore(found)
    model.policy.load_state_dict(state["policy"])
    model.policy.optimizer.load_state_dict(state["optimizer"])
    model.num_timesteps = state["timesteps"]
    model._n_updates = state["updates"]
    model._last_obs = state["observations"].numpy()
    model._last_episode_starts = state["starts"].numpy()
    model.ep_info_buffer = deque(texts["episodes"], maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)
    np.random.set_state(generator)  # noqa: NPY002
    torch.set_rng_state(state["torch"])


def _generator(saved: dict[str, Any]) -> tuple[str, NDArray[np.uint32], int, int, float]:
    """The state of numpy's global generator, which trusts what it is given."""
    position, has_gauss, gauss = load_json(saved["rest"], "numpy")
    key = saved["key"].numpy()
    if key.shape != (624,) or key.dtype != np.int64 or key.min() < 0 or key.max() >= 2**32:
        raise ConfigError("numpy: expected a key of 624 words of 32 bits")
    if type(position) is not int or not 0 <= position <= 624 or has_gauss not in (0, 1) or not np.isfinite(gauss):
        raise ConfigError(f"numpy: expected a position from 0 to 624, found {shown(saved['rest'])}")
    return "MT19937", key.astype(np.uint32), position, has_gauss, float(gauss)


def _check_progress(texts: dict[str, Any]) -> None:
    """Raise a ConfigError unless progress and episodes are made of what a schedule keeps in them."""
    progress, episodes = texts["progress"], texts["episodes"]
    upcoming = progress["next"]
    if (
        not isinstance(progress["curve"], list)
        or not all(isinstance(point, dict) and type(point.get("timesteps")) is int for point in progress["curve"])
        or not isinstance(progress["best"], (int, float, type(None)))
        or not isinstance(progress["seconds"], (int, float))
        or not isinstance(upcoming, dict)
        or set(upcoming) != {"validate", "checkpoint", "snapshot"}
        or any(type(turns) is not int for turns in upcoming.values())
    ):
        raise ConfigError(
            f"progress: expected a curve, the best, the seconds and what is next, found {shown(progress)}"
        )
    if not isinstance(episodes, list) or not all(
        isinstance(each, dict) and all(isinstance(each.get(name), (int, float)) for name in "rlt") for each in episodes
    ):
        raise ConfigError(f"episodes: expected r, l and t of each, found {shown(episodes)}")


def _check_alike(name: str, ours: Mapping[str, torch.Tensor], found: Mapping[str, Any]) -> None:
    """Raise a ConfigError unless ``found`` has tensors like ours, all of them finite."""
    if found.keys() != ours.keys():
        raise ConfigError(f"{name}: expected {shown(sorted(ours))}, found {shown(sorted(map(str, found)))}")
    for key, tensor in ours.items():
        other = found[key]
        if not isinstance(other, torch.Tensor) or (other.dtype, other.shape) != (tensor.dtype, tensor.shape):
            raise ConfigError(f"{name}: {key}: expected {tensor.dtype} of shape {tuple(tensor.shape)}")
        if not torch.isfinite(other).all():
            raise ConfigError(f"{name}: {key}: expected finite numbers")


def _check_optimizer(optimizer: torch.optim.Optimizer, found: dict[str, Any]) -> None:
    """Raise a ConfigError unless ``found`` is a state of Adam's over these weights: moments of each, or of none yet."""
    (ours,) = optimizer.state_dict()["param_groups"]
    groups = found.get("param_groups")
    if not isinstance(groups, list) or len(groups) != 1 or not isinstance(groups[0], dict):
        raise ConfigError("optimizer: expected one group of weights")
    (group,) = groups
    for name, value in ours.items():
        if type(group.get(name)) is not type(value):
            raise ConfigError(f"optimizer: {name}: expected {shown(value)} or its like, found {shown(group.get(name))}")
    if group["params"] != ours["params"] or not 0.0 < group["lr"] < 1e3:
        raise ConfigError("optimizer: expected the model's weights and a learning rate")
    moments = found.get("state")
    if not isinstance(moments, dict) or (moments and set(moments) != set(ours["params"])):
        raise ConfigError("optimizer: expected moments of each weight")
    weights = [weight.detach() for weight in optimizer.param_groups[0]["params"]]
    for number, kept in moments.items():
        like = {"step": torch.tensor(0.0), "exp_avg": weights[number], "exp_avg_sq": weights[number]}
        _check_alike(f"optimizer: weight {number}", like, kept)


def check_purpose(path: Path, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise a ConfigError that names the first entry in which a checkpoint is of another training."""
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            raise ConfigError(
                f"checkpoint {path}: expected one of a training with {name} {shown(expected.get(name))}, "
                f"found {shown(found.get(name))}"
            )
