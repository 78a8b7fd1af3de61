"""Stable-Baselines3's PPO, computed faster: the same algorithm with the same settings, its two costly parts written out.

While it collects, the policy's forward pass, and in the update the gradient of PPO's loss and Adam's step are computed by
matrix products of PyTorch and compiled loops (:mod:`runners.learn.kernels`) instead of by autograd. All else is
Stable-Baselines3's own: the loop that collects, the buffer, schedules, logger, callbacks, files.

Promise: from the same weights, moments, rollout and state of numpy's generator an update ends with the weights that
:class:`stable_baselines3.PPO` ends with, but for float32 rounding. Actions have the same distribution and are drawn from
PyTorch's generator, by other draws. Nothing is kept between two updates but what PyTorch's policy and optimizer hold, so a
model saved is an ordinary one: ``PPO.load`` reads it and goes on. Every sum has a fixed order: the two halves of a minibatch
are computed on two threads, and added as if there were one. What it does not know is refused. Cost: about a third of PPO's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from runners.learn import kernels

Floats = NDArray[np.float32]
ALIGNED = 16
"""Floats between two places where a layer may begin: as many as a register of 64 bytes holds."""


def linears(layers: nn.Sequential) -> list[nn.Linear]:
    """The linear layers of a network of them, each with its activation behind it."""
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def towers_of(policy: ActorCriticPolicy) -> tuple[list[nn.Linear], list[nn.Linear]]:
    """The linear layers of the policy and of the value, from the input to the head."""
    extractor, head, value_head = policy.mlp_extractor, policy.action_net, policy.value_net
    assert isinstance(head, nn.Linear)
    assert isinstance(value_head, nn.Linear)
    return [*linears(extractor.policy_net), head], [*linears(extractor.value_net), value_head]


def check_known(model: PPO) -> None:
    """Raise a ValueError that names the first thing about a model that this module does not compute."""
    policy, optimizer = model.policy, model.policy.optimizer
    expected = {
        "device cpu": model.device.type == "cpu",
        "observations of a flat float32 Box": isinstance(model.observation_space, spaces.Box)
        and len(model.observation_space.shape) == 1
        and model.observation_space.dtype == np.float32,
        "a flat MultiDiscrete action space": isinstance(model.action_space, spaces.MultiDiscrete)
        and model.action_space.nvec.ndim == 1,
        "an MlpPolicy": type(policy) is ActorCriticPolicy and type(policy.features_extractor) is FlattenExtractor,
        "use_sde False": not model.use_sde,
        "clip_range_vf None": model.clip_range_vf is None,
        "a plain RolloutBuffer": type(model.rollout_buffer) is RolloutBuffer,
        "Adam with one group of weights": type(optimizer) is torch.optim.Adam and len(optimizer.param_groups) == 1,
    }
    if missing := next((name for name, met in expected.items() if not met), None):
        raise ValueError(f"FastPPO: expected {missing}; stable_baselines3.PPO takes others")
    (group,) = optimizer.param_groups
    if group["weight_decay"] or group["amsgrad"] or group["maximize"] or not isinstance(group["lr"], float):
        raise ValueError(
            "FastPPO: expected Adam without weight decay, amsgrad and maximize; stable_baselines3.PPO takes others"
        )
    kinds = set()
    for net in (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net):
        layers = [type(layer) for layer in net]
        kinds |= set(layers[1::2])
        if not layers or set(layers[::2]) != {nn.Linear} or len(layers) % 2:
            raise ValueError(
                "FastPPO: expected hidden layers of policy and value apart; stable_baselines3.PPO takes others"
            )
    if kinds not in ({nn.Tanh}, {nn.ReLU}):
        raise ValueError("FastPPO: expected tanh or ReLU behind each layer; stable_baselines3.PPO takes others")


class Flat:
    """A vector with a block for each layer of both networks: its weights, and its bias as one more column."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        shapes = [(layer.out_features, layer.in_features + 1) for layer in layers]
        ends = np.cumsum([-(-rows * columns // ALIGNED) * ALIGNED for rows, columns in shapes]).tolist()
        self.vector = torch.zeros(ends[-1])
        self.array: Floats = self.vector.numpy()
        self.blocks = [
            self.vector[begin : begin + rows * columns].view(rows, columns)
            for begin, (rows, columns) in zip([0, *ends], shapes, strict=False)
        ]

    def parts(self) -> list[Tensor]:
        """Weights and bias of each layer in turn, as views."""
        return [part for block in self.blocks for part in (block[:, :-1], block[:, -1])]

    def read(self, parts: Sequence[Tensor]) -> None:
        """Take over weights and bias of each layer."""
        with torch.no_grad():
            for ours, theirs in zip(self.parts(), parts, strict=True):
                ours.copy_(theirs)


class Tower:
    """Policy or value network over some number of samples, which are columns.

    Args:
        weights: of each layer.
        rectifies: whether the hidden layers are ReLU, not tanh.
        samples: how many.
    """

    def __init__(self, weights: Sequence[Tensor], rectifies: bool, samples: int) -> None:
        self._weights, self._rectifies = weights, rectifies
        widths = [len(weight) for weight in weights]
        # The last row of what a layer reads is ones: its bias is one more column of its weights.
        self._hidden = [torch.ones(width + 1, samples) for width in widths[:-1]]
        self._units = [hidden[:-1] for hidden in self._hidden]
        self._unit_arrays: list[Floats] = [units.numpy() for units in self._units]
        self._transposed = [weight[:, :-1].t() for weight in weights]
        self._slopes = [torch.empty(width, samples) for width in widths[:-1]]
        self._slope_arrays: list[Floats] = [slopes.numpy() for slopes in self._slopes]
        self._output = torch.empty(widths[-1], samples)
        self.output: Floats = self._output.numpy()

    def forward(self, inputs: Tensor) -> None:
        """Compute the outputs for inputs whose last column is ones."""
        below = inputs.t()
        for weight, hidden, units, array in zip(
            self._weights[:-1], self._hidden, self._units, self._unit_arrays, strict=True
        ):
            torch.mm(weight, below, out=units)
            if self._rectifies:
                np.maximum(array, np.float32(0.0), out=array)
            else:
                np.tanh(array, out=array)
            below = hidden
        torch.mm(self._weights[-1], below, out=self._output)

    def backward(self, inputs: Tensor, slopes: Tensor, gradient: Sequence[Tensor]) -> None:
        """Write the gradient of each layer, from the loss's slopes in the outputs that forward gave for these inputs."""
        through = kernels.through_relu if self._rectifies else kernels.through_tanh
        for layer in range(len(self._hidden), 0, -1):
            torch.mm(slopes, self._hidden[layer - 1].t(), out=gradient[layer])
            torch.mm(self._transposed[layer], slopes, out=self._slopes[layer - 1])
            slopes = self._slopes[layer - 1]
            through(self._slope_arrays[layer - 1], self._unit_arrays[layer - 1])
        torch.mm(slopes, inputs, out=gradient[0])


class Network:
    """Layers of a policy and its value as this module computes them.

    Args:
        policy: one that :func:`check_known` accepts.
    """

    def __init__(self, policy: ActorCriticPolicy) -> None:
        ours, theirs = towers_of(policy)
        self.layers = [*ours, *theirs]
        self.parameters: list[Tensor] = [each for layer in self.layers for each in (layer.weight, layer.bias)]
        """The policy's own."""
        self.actor, self.critic = slice(len(ours)), slice(len(ours), None)
        self.rectifies = policy.activation_fn is nn.ReLU
        assert isinstance(policy.action_space, spaces.MultiDiscrete)
        self.starts = np.concatenate([[0], np.cumsum(policy.action_space.nvec)]).astype(np.int64)
        """Where the logits of each component of an action begin, and the end."""
        self.weights = Flat(self.layers)
        self.read()

    def read(self) -> None:
        """Take over the policy's weights."""
        self.weights.read(self.parameters)


class Heads:
    """Both networks over some number of samples: the values, and the distributions that the policy's logits mean."""

    def __init__(self, network: Network, samples: int) -> None:
        blocks = network.weights.blocks
        self._network = network
        self._policy = Tower(blocks[network.actor], network.rectifies, samples)
        self._value = Tower(blocks[network.critic], network.rectifies, samples)
        self.values: Floats = self._value.output[0]
        self.logits = self._policy.output
        """Of each choice, less the largest of its component."""
        self.slopes = torch.empty(len(self.logits), samples)
        self.odds: Floats = self.slopes.numpy()
        """Exponentials of the logits; in a gradient the loss's slopes in the logits thereafter."""
        self.value_slopes = torch.empty(1, samples)
        components = len(network.starts) - 1
        self.totals: Floats = np.empty((components, samples), np.float32)
        """Sum of a component's odds."""
        self.weighted: Floats = np.empty((components, samples), np.float32)
        """Sum of a component's odds times logits."""
        self.logs: Floats = np.empty((components, samples), np.float32)
        """Logarithms of the totals."""
        self.log_probs: Floats = np.empty(samples, np.float32)
        """Of the actions that were judged last."""
        self._largest: Floats = np.empty(samples, np.float32)

    def forward(self, inputs: Tensor) -> None:
        """Compute values and distributions for inputs whose last column is ones."""
        starts = self._network.starts
        self._value.forward(inputs)
        self._policy.forward(inputs)
        kernels.below_largest(self.logits, starts, self._largest)
        np.exp(self.logits, out=self.odds)
        kernels.sum_odds(self.logits, self.odds, starts, self.totals, self.weighted)
        np.log(self.totals, out=self.logs)

    def judge(self, actions: NDArray[np.int64]) -> None:
        """Compute the log probabilities of actions, a row a sample."""
        kernels.log_probabilities(self.logits, self.logs, self._network.starts, actions, self.log_probs)

    def backward(self, inputs: Tensor, gradient: Flat) -> None:
        """Write the gradient from the loss's slopes in logits and values."""
        self._policy.backward(inputs, self.slopes, gradient.blocks[self._network.actor])
        self._value.backward(inputs, self.value_slopes, gradient.blocks[self._network.critic])


@dataclass(frozen=True)
class Samples:
    """Turns to learn from, a row each."""

    inputs: Tensor
    """Observations, and a column of ones."""
    actions: NDArray[np.int64]
    log_probs: Floats
    """Of the actions, when they were drawn."""
    advantages: Floats
    returns: Floats

    def part(self, rows: slice) -> Samples:
        """Some of them, as views."""
        return Samples(
            self.inputs[rows], self.actions[rows], self.log_probs[rows], self.advantages[rows], self.returns[rows]
        )

    def permuted(self, order: NDArray[np.int64]) -> Samples:
        """All of them in another order."""
        return Samples(
            self.inputs.index_select(0, torch.from_numpy(order)), self.actions[order], self.log_probs[order],
            self.advantages[order], self.returns[order],
        )  # fmt: skip

    def normalised(self) -> Samples:
        """With advantages of mean 0 and standard deviation 1; a single one stays as it is."""
        if len(self.advantages) == 1:
            return self
        mean, deviation = self.advantages.mean(dtype=np.float64), self.advantages.std(ddof=1, dtype=np.float64)
        return replace(self, advantages=((self.advantages - mean) / (deviation + 1e-8)).astype(np.float32))


def samples_of(buffer: RolloutBuffer) -> Samples:
    """A full buffer's turns in the order in which its ``get`` numbers them, environment by environment."""
    if not buffer.generator_ready:  # and leave it as that does
        for name in ("observations", "actions", "values", "log_probs", "advantages", "returns"):
            setattr(buffer, name, buffer.swap_and_flatten(getattr(buffer, name)))
        buffer.generator_ready = True
    seen = torch.from_numpy(buffer.observations)
    return Samples(
        torch.cat((seen, torch.ones(len(seen), 1)), 1), buffer.actions, buffer.log_probs.reshape(-1),
        buffer.advantages.reshape(-1), buffer.returns.reshape(-1),
    )  # fmt: skip


@dataclass(frozen=True)
class Terms:
    """What weighs and bounds the terms of PPO's loss."""

    clip_range: float
    ent_coef: float
    vf_coef: float

    def loss(self, means: NDArray[np.float64]) -> float:
        """The loss, from the means of :data:`kernels.SUMS`."""
        return float(
            means[kernels.POLICY_LOSS]
            - self.ent_coef * means[kernels.ENTROPY]
            + self.vf_coef * means[kernels.VALUE_LOSS]
        )


class Part:
    """The gradient of PPO's loss over some of a minibatch's samples."""

    def __init__(self, network: Network, samples: int) -> None:
        self._network = network
        self._heads = Heads(network, samples)
        self._value_slopes: Floats = self._heads.value_slopes.numpy()[0]
        self._ratios: Floats = np.empty(samples, np.float32)
        self._changes: Floats = np.empty(samples, np.float32)
        self._pulls: Floats = np.empty(samples, np.float32)
        self.gradient = Flat(network.layers)
        self.sums = np.zeros(len(kernels.SUMS))
        """Of :data:`kernels.SUMS`."""

    def differentiate(self, samples: Samples, terms: Terms, minibatch: int) -> None:
        """Compute gradient and sums; the loss is a mean over ``minibatch`` samples."""
        heads, share = self._heads, 1.0 / minibatch
        heads.forward(samples.inputs)
        heads.judge(samples.actions)
        np.subtract(heads.log_probs, samples.log_probs, out=self._changes)
        np.exp(self._changes, out=self._ratios)
        kernels.surrogate(
            self._ratios, self._changes, samples.advantages, np.float32(1.0 - terms.clip_range),
            np.float32(1.0 + terms.clip_range), np.float32(terms.clip_range), np.float32(share), self._pulls, self.sums,
        )  # fmt: skip
        kernels.value_error(
            heads.values, samples.returns, np.float32(2.0 * terms.vf_coef * share), self._value_slopes, self.sums
        )
        kernels.logit_slopes(
            heads.logits, heads.odds, self._network.starts, heads.totals, heads.weighted, heads.logs, samples.actions,
            self._pulls, np.float32(terms.ent_coef * share), self.sums,
        )  # fmt: skip
        heads.backward(samples.inputs, self.gradient)


class Learner:
    """A model's weights and Adam's moments while an update lasts, and what computes it.

    Args:
        policy: one that :func:`check_known` accepts.
        pool: where the second half of each minibatch is computed.
    """

    def __init__(self, policy: ActorCriticPolicy, pool: ThreadPoolExecutor) -> None:
        self._network, self._optimizer, self._pool = Network(policy), policy.optimizer, pool
        self._moments = {name: Flat(self._network.layers) for name in ("exp_avg", "exp_avg_sq")}
        self._steps = 0
        self._halves: dict[int, tuple[Part, Part]] = {}
        if state := self._optimizer.state:
            kept = [state[parameter] for parameter in self._network.parameters]
            self._steps = int(kept[0]["step"])
            for name, moments in self._moments.items():
                moments.read([each[name] for each in kept])

    def differentiate(self, samples: Samples, terms: Terms) -> tuple[Flat, NDArray[np.float64]]:
        """The gradient of PPO's loss over a minibatch, and the means of :data:`kernels.SUMS`."""
        count = len(samples.actions)
        half = count // 2
        if count not in self._halves:
            self._halves[count] = Part(self._network, half), Part(self._network, count - half)
        one, other = self._halves[count]
        begun = self._pool.submit(other.differentiate, samples.part(slice(half, None)), terms, count)
        one.differentiate(samples.part(slice(half)), terms, count)
        begun.result()
        one.gradient.vector += other.gradient.vector
        return one.gradient, (one.sums + other.sums) / count

    def step(self, gradient: Flat, largest: float) -> None:
        """Adam's step along a gradient, which is shortened to a largest norm."""
        (group,) = self._optimizer.param_groups
        self._steps += 1
        gradient.vector *= min(largest / (float(torch.linalg.vector_norm(gradient.vector)) + 1e-6), 1.0)
        decay, decay_of_squares = group["betas"]
        kernels.adam(
            self._network.weights.array, gradient.array, self._moments["exp_avg"].array, self._moments["exp_avg_sq"].array,
            np.float32(1.0 - decay), np.float32(decay_of_squares), np.float32(1.0 - decay_of_squares),
            np.float32(group["lr"] / (1.0 - decay**self._steps)),
            np.float32(math.sqrt(1.0 - decay_of_squares**self._steps)), np.float32(group["eps"]),
        )  # fmt: skip

    def check(self) -> None:
        """Raise a ValueError if what was learned is no network any more, as PyTorch's distributions do."""
        if not torch.isfinite(self._network.weights.vector).all():
            raise ValueError(
                "FastPPO: the weights are no longer finite numbers: rewards or the learning rate are too large"
            )

    def hand_back(self) -> None:
        """Let policy and optimizer have what was learned."""
        state, parameters = self._optimizer.state, self._network.parameters
        with torch.no_grad():
            for theirs, ours in zip(parameters, self._network.weights.parts(), strict=True):
                theirs.copy_(ours)
        moments = {name: flat.parts() for name, flat in self._moments.items()}
        for number, parameter in enumerate(parameters):
            state[parameter] = {
                "step": torch.tensor(float(self._steps)),
                **{name: parts[number].clone(memory_format=torch.contiguous_format) for name, parts in moments.items()},
            }


def actor(policy: ActorCriticPolicy, samples: int) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """The policy's ``forward`` for so many observations at once: actions, values, log probabilities; else its own."""
    network = Network(policy)
    heads = Heads(network, samples)
    inputs = torch.ones(samples, network.layers[0].in_features + 1)

    def forward(observations: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        if deterministic or len(observations) != samples:
            return type(policy).forward(policy, observations, deterministic)
        network.read()  # each time, since callbacks may change weights
        inputs[:, :-1] = observations
        heads.forward(inputs)
        if not np.isfinite(heads.totals).all():
            raise ValueError(
                "FastPPO: the policy's logits are no finite numbers: its weights or an observation are none"
            )
        drawn = torch.rand(samples, len(heads.totals), dtype=torch.float64)
        actions = torch.empty(drawn.shape, dtype=torch.int64)
        kernels.draw(heads.odds, heads.totals, network.starts, drawn.numpy(), actions.numpy())
        heads.judge(actions.numpy())
        return actions, torch.from_numpy(heads.values.copy()).unsqueeze(1), torch.from_numpy(heads.log_probs.copy())

    return forward


@contextmanager
def one_thread() -> Iterator[None]:
    """Within, PyTorch computes each product on the thread that asks for it: they are too small to be shared out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def acting(policy: ActorCriticPolicy, samples: int) -> Iterator[None]:
    """Within, the policy's ``forward`` is :func:`actor`'s."""
    policy.forward = actor(policy, samples)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del policy.forward


class FastPPO(PPO):
    """:class:`stable_baselines3.PPO`, computed faster.

    It takes the same arguments, for an ``MlpPolicy`` of tanh or ReLU layers, policy and value apart, on the CPU, over a flat
    float32 ``Box`` and a ``MultiDiscrete``, with Adam, and without ``clip_range_vf`` and ``use_sde``.

    Raises:
        ValueError: it is asked for anything else.
    """

    def _setup_model(self) -> None:
        super()._setup_model()
        check_known(self)

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Stable-Baselines3's own, with a faster forward pass."""
        with one_thread(), acting(self.policy, env.num_envs):
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def train(self) -> None:
        """Update the weights from the rollout, as :meth:`stable_baselines3.PPO.train` does, and log the same."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        assert callable(self.clip_range)
        terms = Terms(self.clip_range(self._current_progress_remaining), self.ent_coef, self.vf_coef)
        samples = samples_of(self.rollout_buffer)
        means: list[NDArray[np.float64]] = []
        # A thread of ours does not know PyTorch's number of threads until it is told.
        with one_thread(), ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            learner = Learner(self.policy, pool)
            for epoch in range(self.n_epochs):
                before = len(means)
                far = self._pass_over(samples, learner, terms, means)
                self._n_updates += 1
                if far:
                    if self.verbose >= 1:
                        print(
                            f"Early stopping at step {epoch} due to reaching max kl: {means[-1][kernels.DIVERGENCE]:.2f}"
                        )
                    break
            learner.check()
            learner.hand_back()
        self._log(np.array(means), before, terms)

    def _pass_over(self, samples: Samples, learner: Learner, terms: Terms, means: list[NDArray[np.float64]]) -> bool:
        """Learn from all samples once, a minibatch at a time; whether that went too far and was left."""
        # Drawn from numpy's global generator, as RolloutBuffer.get does.
        shuffled = samples.permuted(np.random.permutation(len(samples.actions)))  # noqa: NPY002
        for begin in range(0, len(samples.actions), self.batch_size):
            minibatch = shuffled.part(slice(begin, begin + self.batch_size))
            gradient, found = learner.differentiate(
                minibatch.normalised() if self.normalize_advantage else minibatch, terms
            )
            means.append(found)
            if self.target_kl is not None and found[kernels.DIVERGENCE] > 1.5 * self.target_kl:
                return True
            learner.step(gradient, self.max_grad_norm)
        return False

    def _log(self, means: NDArray[np.float64], last_epoch: int, terms: Terms) -> None:
        """Log what :meth:`stable_baselines3.PPO.train` does; ``last_epoch`` is the number of its first minibatch."""
        buffer, over_all = self.rollout_buffer, means.mean(axis=0)
        figures = {
            "entropy_loss": -over_all[kernels.ENTROPY],
            "policy_gradient_loss": over_all[kernels.POLICY_LOSS],
            "value_loss": over_all[kernels.VALUE_LOSS],
            "approx_kl": means[last_epoch:, kernels.DIVERGENCE].mean(),
            "clip_fraction": over_all[kernels.CLIPPED],
            "loss": terms.loss(means[-1]),
            "explained_variance": explained_variance(buffer.values.flatten(), buffer.returns.flatten()),
            "clip_range": terms.clip_range,
        }
        for name, figure in figures.items():
            self.logger.record(f"train/{name}", figure)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
