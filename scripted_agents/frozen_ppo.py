"""A trained PPO policy, frozen: deterministic, inference only, compiled.

It reads the ``.zip`` that :func:`scripted_agents.freeze` writes through Stable-Baselines3, without PyTorch, and executes nothing in it
(:mod:`scripted_agents.model_file`): the plain JSON part says what the policy was trained for, features by name and scale
among it, and is checked before the weights are; a policy that was trained on a feature in smaller units gets it in those,
up to where it ended then, and so acts as it did. The network then runs as a compiled policy like any scripted one (a µs
a decision, against some hundred for ``predict``), the same in the AEC loop and in the rollout. Ties between equal logits go
to the lower code, as in PyTorch's argmax. Arithmetic is float32 as in the original, in another order of sums: logits differ by some
1e-6, so that near-ties may fall the other way. A decision costs about 1 µs, Python's call included 2.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from market_env import actions, observations
from market_env.actions import WIDTH
from market_env.config import SEATS, ConfigError, MarketConfig, checked
from market_env.engine.kernel import kernel, policy_kernel
from market_env.outside import load_json, read_bytes, shown
from scripted_agents.kind import BLUISH_GREEN, Kind
from scripted_agents.model_file import LARGEST_DATA, LARGEST_MODEL, ModelError, load_weights, read_archive
from scripted_agents.policy import OWN, CompiledPolicy

DEFAULT_MODEL = "models/ppo_day5.zip"
"""Trained in the default population."""
DAY6_MODEL = "models/ppo_day6.zip"
"""Trained in the population of the four kinds alone, whose grids a bare market has."""
MARKET_KEY = "market"
"""Attribute of the saved algorithm that says, as plain JSON, what the policy was trained for."""
ACTIVATIONS = ("tanh", "relu")
"""Of the hidden layers, by the number that the kernel knows them by."""
UNSTATED_SCALES = {
    "ticks": 32.0,
    "move_ticks": 32.0,
    "log_lots": 7.0,
    "turns": 8.0,
    "age": 60.0,
    "horizon": 500.0,
    "share": 1.0,
}
"""Scales by unit, when files did not state them yet."""
OBSERVED = {feature.name: feature.scale for feature in observations.FEATURES}
"""What an observation has, and its scale."""


def trained_for(config: MarketConfig, activation: str = "tanh") -> dict[str, Any]:
    """What a policy for this market is trained for: the plain JSON that travels inside its file."""
    return {
        "algorithm": "PPO",
        "activation": activation,
        "features": list(observations.NAMES),
        "scales": dict(OBSERVED),
        "offsets": list(config.offsets),
        "lots": list(config.lots),
    }


LANES = 8
"""Outputs of a layer are filled up to a multiple of so many, so that the processor takes that many at a time to the end."""
FARTHEST = 9.0
"""Beyond it the hyperbolic tangent is 1 in float32."""


@intrinsic
def single(typing_context, pointer, index):
    """The float32 numbers that lie from ``pointer[index]`` on, as a pointer."""
    signature = types.CPointer(types.float32)(pointer, types.int64)

    def generate(context, builder, signature, arguments):
        place = builder.gep(arguments[0], [arguments[1]])
        return builder.bitcast(place, ir.FloatType().as_pointer())

    return signature, generate


@kernel
def padded(outputs):
    """Outputs of a layer with those that fill it up."""
    return (outputs + LANES - 1) // LANES * LANES


@kernel
def tanh(x):
    """The hyperbolic tangent in float32, to 4e-7, of multiplications and divisions alone, so that eight are made at a time.

    Lambert's continued fraction to its seventh term at a quarter of the argument, then tanh 2y = 2 tanh y / (1 + tanh² y) twice.
    """
    y = np.float32(0.25) * min(max(x, np.float32(-FARTHEST)), np.float32(FARTHEST))
    square = y * y
    over = y * (np.float32(135135) + square * (np.float32(17325) + square * (np.float32(378) + square)))
    under = np.float32(135135) + square * (np.float32(62370) + square * (np.float32(3150) + np.float32(28) * square))
    quarter = over / under
    half = (quarter + quarter) / (np.float32(1) + quarter * quarter)
    return (half + half) / (np.float32(1) + half * half)


@policy_kernel
def frozen_network(observation, parameters, memory, stream, action):
    """A tanh or ReLU network with one linear output a component; each component takes its largest logit.

    Own parameters: activation, number of layers, size of each layer from input to output, the features that are its
    inputs by their place in the observation, how many of the units that it was trained on one of today's is, the outputs' split,
    which is the action space, then packed as float32 for each layer its biases and its weights (input by output, so that the
    inner loop runs over outputs), outputs filled up to a multiple of :data:`LANES`.
    """
    rectifies = parameters[OWN] == 1.0
    layers = int(parameters[OWN + 1])
    sizes = OWN + 2
    inputs = int(parameters[sizes])
    places = sizes + layers + 1
    split = places + 2 * inputs
    width = 0
    for layer in range(layers + 1):
        width = max(width, padded(int(parameters[sizes + layer])))
    values, sums = np.empty((2, width), np.float32)
    for i in range(inputs):
        # In its own units, and no further than it has ever seen; every feature is bounded by 1 either way.
        seen = observation[int(parameters[places + i])] * parameters[places + inputs + i]
        values[i] = np.float32(min(max(seen, -1.0), 1.0))
    at = split + WIDTH
    for layer in range(layers):
        outputs = padded(int(parameters[sizes + 1 + layer]))
        biases = single(parameters, at)
        for j in range(outputs):
            sums[j] = biases[j]
        weights = single(parameters, at + outputs // 2)
        fours = inputs - inputs % 4
        for i in range(0, fours, 4):  # four at a time, so that a sum is loaded and kept once for all of them
            first, second, third, fourth = values[i], values[i + 1], values[i + 2], values[i + 3]
            row = i * outputs
            for j in range(outputs):
                pair = first * weights[row + j] + second * weights[row + outputs + j]
                other = third * weights[row + 2 * outputs + j] + fourth * weights[row + 3 * outputs + j]
                sums[j] += pair + other
        for i in range(fours, inputs):
            for j in range(outputs):
                sums[j] += values[i] * weights[i * outputs + j]
        at += (outputs + inputs * outputs) // 2
        inputs = int(parameters[sizes + 1 + layer])
        if layer == layers - 1:
            for j in range(outputs):
                values[j] = sums[j]
        elif rectifies:
            for j in range(outputs):
                values[j] = max(sums[j], np.float32(0))
        else:
            for j in range(outputs):
                values[j] = tanh(sums[j])
    start = 0
    for component in range(WIDTH):
        count = int(parameters[split + component])
        best = start
        for j in range(start + 1, start + count):
            if values[j] > values[best]:
                best = j
        action[component] = best - start
        start += count


def locate(model: str) -> Path:
    """The file that a model's name means: as it stands, else beside the packages, else where a wheel puts it."""
    homes = (Path(), Path(__file__).resolve().parents[1], Path(sys.prefix) / "share" / "market_env")
    # os.path says no where Path raises, as for a name that is too long.
    return next((home / model for home in homes if os.path.exists(home / model)), Path(model))  # noqa: PTH110


def sha256(path: Path) -> str:
    """Hash of a model file's bytes, hexadecimal.

    Raises:
        ModelError: it cannot be read, is no regular file or too large for a model.
    """
    try:
        return hashlib.sha256(read_bytes(path, f"model {shown(str(path))[1:-1]}", LARGEST_MODEL)).hexdigest()
    except ConfigError as error:
        raise ModelError(str(error)) from None


def _expect(where: str, what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise ModelError(f"{where}: expected {what} {shown(expected)}, found {shown(found)}")


def read_contract(data: Any, config: MarketConfig, where: str) -> tuple[dict[str, float], str]:
    """The features that a file's policy reads, in its order, with the scale of each, and its activation.

    Args:
        data: the file's JSON part.
        config: the market that it is to trade in.
        where: what the file is called in an error.

    Raises:
        ModelError: it is of another algorithm or grid, or of a feature that is missing here or ends sooner.
    """
    if not isinstance(data, dict):
        raise ModelError(f"{where}: expected a JSON object in data, found {type(data).__name__}")
    if "clip_range" not in data or "n_epochs" not in data:
        raise ModelError(
            f"{where}: expected algorithm PPO, found an archive without its settings (clip_range, n_epochs)"
        )
    declared = data.get(MARKET_KEY)
    if not isinstance(declared, dict):
        raise ModelError(
            f"{where}: expected attribute {MARKET_KEY!r} as scripted_agents.freeze writes it, found {shown(declared)}"
        )
    for name, kind in (("observation_space", "Box"), ("action_space", "MultiDiscrete")):
        saved = data.get(name)
        found = saved.get(":type:") if isinstance(saved, dict) else saved
        if not (isinstance(found, str) and f".{kind}'" in found):
            raise ModelError(f"{where}: expected {name} of type {kind}, found {shown(found)}")
    for name in ("algorithm", "offsets", "lots"):
        _expect(where, name, trained_for(config)[name], declared.get(name))
    activation = declared.get("activation")
    if activation not in ACTIVATIONS:
        raise ModelError(f"{where}: expected activation tanh or relu, found {shown(activation)}")
    features = declared.get("features")
    if not isinstance(features, list) or not features or not all(isinstance(name, str) for name in features):
        raise ModelError(f"{where}: expected features by name, found {shown(features)}")
    if len(set(features)) < len(features):
        raise ModelError(f"{where}: expected each feature once, found one twice")
    scales = declared.get("scales", {})
    if not isinstance(scales, dict):
        raise ModelError(f"{where}: expected a scale for each feature, found {shown(scales)}")
    found_scales = {}
    for name in features:
        if name not in observations.INDEX:
            raise ModelError(f"{where}: it reads feature {shown(name)}, which this market's observations do not have")
        feature = observations.FEATURES[observations.INDEX[name]]
        scale = scales.get(name, UNSTATED_SCALES.get(feature.unit))
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0.0 < scale <= feature.scale:
            raise ModelError(
                f"{where}: it was trained on {name} in units of {shown(scale)}, observations have it in {feature.scale:g} "
                "and say nothing beyond"
            )
        found_scales[name] = float(scale)
    return found_scales, activation


def network_parameters(
    weights: Mapping[str, NDArray[Any]],
    config: MarketConfig,
    where: str,
    features: Mapping[str, float] = OBSERVED,
    activation: str = "tanh",
) -> NDArray[np.float64]:
    """Own parameters of :func:`frozen_network` from the weights of a Stable-Baselines3 policy; checks them.

    Args:
        weights: arrays by name.
        config: the market that it is to trade in.
        where: what they are called in an error.
        features: names of its inputs, in its order, with the scale that it was trained on.
        activation: of its hidden layers.

    Raises:
        ModelError: a weight is missing, of another shape or kind, or not finite.
    """
    names: list[str] = []
    while f"mlp_extractor.policy_net.{2 * len(names)}.weight" in weights:
        names.append(f"mlp_extractor.policy_net.{2 * len(names)}")
    names.append("action_net")
    split = actions.sizes(config.offsets, config.lots)
    layers = []
    inputs = len(features)
    for name in names:
        if f"{name}.weight" not in weights or f"{name}.bias" not in weights:
            raise ModelError(
                f"{where}: expected weights {name}.weight and {name}.bias, found {shown(sorted(map(str, weights)))}"
            )
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        outputs = int(split.sum()) if name == "action_net" else weight.shape[0] if len(weight.shape) else 0
        if weight.dtype.kind != "f" or bias.dtype.kind != "f":
            raise ModelError(f"{where}: expected real weights in {name}, found {weight.dtype} and {bias.dtype}")
        # Before anything is made of them: an odd shape may stand for more than fits.
        _expect(where, f"{name}.weight of shape", (outputs, inputs), tuple(weight.shape))
        _expect(where, f"{name}.bias of shape", (outputs,), tuple(bias.shape))
        if not outputs:
            raise ModelError(f"{where}: expected layers of at least one unit, found {name} without any")
        weight, bias = weight.astype(np.float32), bias.astype(np.float32)
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ModelError(f"{where}: expected finite weights in {name}, found NaN or infinity")
        layers.append((weight, bias))
        inputs = outputs
    places = [observations.INDEX[name] for name in features]
    sizes = [len(features), *(len(bias) for _, bias in layers)]
    ratios = [
        observations.FEATURES[place].scale / scale for place, scale in zip(places, features.values(), strict=True)
    ]
    header = [ACTIVATIONS.index(activation), len(layers), *sizes, *places, *ratios, *split]
    blocks = [np.array(header, np.float64)]
    for weight, bias in layers:
        more = -len(bias) % LANES
        packed = np.concatenate([np.pad(bias, (0, more)), np.pad(weight.T, ((0, 0), (0, more))).ravel()])
        blocks.append(packed.astype(np.float32).view(np.float64))
    return np.concatenate(blocks)


def load_parameters(path: Path, config: MarketConfig) -> NDArray[np.float64]:
    """Own parameters of :func:`frozen_network` from a Stable-Baselines3 file.

    Raises:
        ModelError: the file is missing, damaged, too large, or of another algorithm, feature, grid or shape.
    """
    where = f"model {shown(str(path))[1:-1]}"
    entries = read_archive(path, {"data": LARGEST_DATA, "policy.pth": LARGEST_MODEL})
    try:
        data = load_json(entries["data"], f"{where}: data")
    except ConfigError as error:
        raise ModelError(str(error)) from None
    features, activation = read_contract(data, config, where)
    weights = load_weights(entries["policy.pth"], f"{where}: policy.pth")
    return network_parameters(weights, config, where, features, activation)


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


KIND = Kind("ppo", "frozen PPO agents", SEATS["ppo"], (FrozenPPO,), lambda seat: FrozenPPO(DAY6_MODEL), BLUISH_GREEN)
