"""Compiled loops of :mod:`runners.learn.fast`: all that PPO's update does to numbers one by one.

Samples are columns. The inner loop of each kernel runs over them and adds up nothing across them, so that the compiler takes
several at once without changing an order of sums; what is summed over samples is summed in float64. Logits of all components
of an action stand below each other, ``starts`` says where each component's begin, and the end.
"""

from __future__ import annotations

import math

import numpy as np

from market_env.engine.kernel import kernel

SUMS = ("policy loss", "value loss", "entropy", "clipped", "divergence")
"""What is summed over samples for the log: PPO's loss without and with its value, entropies, ratios that were clipped, the
approximate divergence."""
POLICY_LOSS, VALUE_LOSS, ENTROPY, CLIPPED, DIVERGENCE = range(len(SUMS))


@kernel
def below_largest(logits, starts, largest):
    """Take from each logit its component's largest; ``largest`` is work space, one number a sample."""
    samples = logits.shape[1]
    for component in range(len(starts) - 1):
        begin, end = starts[component], starts[component + 1]
        for j in range(samples):
            largest[j] = logits[begin, j]
        for k in range(begin + 1, end):
            for j in range(samples):
                largest[j] = logits[k, j] if logits[k, j] > largest[j] else largest[j]
        for k in range(begin, end):
            for j in range(samples):
                logits[k, j] -= largest[j]


@kernel
def sum_odds(logits, odds, starts, totals, weighted):
    """Sum the odds of each component, and the odds times logits."""
    samples = logits.shape[1]
    for component in range(len(starts) - 1):
        for j in range(samples):
            totals[component, j] = 0.0
            weighted[component, j] = 0.0
        for k in range(starts[component], starts[component + 1]):
            for j in range(samples):
                totals[component, j] += odds[k, j]
                weighted[component, j] += odds[k, j] * logits[k, j]


@kernel
def draw(odds, totals, starts, uniform, actions):
    """Draw actions, a row a sample, from numbers in [0, 1) of the same shape."""
    for j in range(odds.shape[1]):
        for component in range(len(starts) - 1):
            target = uniform[j, component] * totals[component, j]
            begin = starts[component]
            chosen = begin
            reached = np.float32(0.0)
            for k in range(begin, starts[component + 1]):
                if odds[k, j] > 0.0:
                    chosen = k
                    reached += odds[k, j]
                    if reached > target:
                        break
            actions[j, component] = chosen - begin


@kernel
def log_probabilities(logits, logs, starts, actions, log_probs):
    """Log probabilities of actions, a row a sample."""
    for j in range(logits.shape[1]):
        log_prob = np.float32(0.0)
        for component in range(len(starts) - 1):
            log_prob += logits[starts[component] + actions[j, component], j] - logs[component, j]
        log_probs[j] = log_prob


@kernel
def surrogate(ratios, changes, advantages, lowest, highest, clip_range, share, pulls, sums):
    """Slopes of PPO's clipped loss in the log probabilities; each sample counts ``share``.

    Where the clipped term is the smaller one, it is flat. Within the range both are the same.
    """
    sums[POLICY_LOSS] = 0.0
    sums[CLIPPED] = 0.0
    sums[DIVERGENCE] = 0.0
    for j in range(len(ratios)):
        ratio = ratios[j]
        free = advantages[j] * ratio
        clipped = advantages[j] * min(max(ratio, lowest), highest)
        pulls[j] = -share * free if free <= clipped else np.float32(0.0)
        sums[POLICY_LOSS] -= min(free, clipped)
        sums[CLIPPED] += abs(ratio - np.float32(1.0)) > clip_range
        sums[DIVERGENCE] += (ratio - np.float32(1.0)) - changes[j]


@kernel
def value_error(values, returns, share, slopes, sums):
    """Slopes of the squared error in the values; twice a sample's error counts ``share / 2``."""
    sums[VALUE_LOSS] = 0.0
    for j in range(len(values)):
        error = values[j] - returns[j]
        slopes[j] = share * error
        sums[VALUE_LOSS] += error * error


@kernel
def logit_slopes(logits, odds, starts, totals, weighted, logs, actions, pulls, bonus, sums):
    """Turn odds into the loss's slopes in the logits: those of the actions' log probabilities, less ``bonus`` entropies.

    With p a choice's probability, l its logit and m the mean logit of its component, its log probability has the slope 1 - p
    in its own logit and -p in another choice's, and the entropy has -p (l - m).
    """
    samples = logits.shape[1]
    sums[ENTROPY] = 0.0
    for component in range(len(starts) - 1):
        for j in range(samples):
            totals[component, j] = np.float32(1.0) / totals[component, j]
            weighted[component, j] *= totals[component, j]  # the mean logit
            sums[ENTROPY] += logs[component, j] - weighted[component, j]
            weighted[component, j] = -pulls[j] - bonus * weighted[component, j]
        for k in range(starts[component], starts[component + 1]):
            for j in range(samples):
                odds[k, j] *= totals[component, j] * (weighted[component, j] + bonus * logits[k, j])
        for j in range(samples):
            odds[starts[component] + actions[j, component], j] += pulls[j]


@kernel
def through_tanh(slopes, units):
    """Slopes before tanh from those behind it."""
    for i in range(units.shape[0]):
        for j in range(units.shape[1]):
            slopes[i, j] *= np.float32(1.0) - units[i, j] * units[i, j]


@kernel
def through_relu(slopes, units):
    """Slopes before a rectifier from those behind it."""
    for i in range(units.shape[0]):
        for j in range(units.shape[1]):
            slopes[i, j] = slopes[i, j] if units[i, j] > 0.0 else np.float32(0.0)


@kernel
def adam(weights, gradient, first, second, gain, decay, gain_of_squares, step, correction, epsilon):
    """Adam's step, in PyTorch's order of operations.

    Args:
        weights: changed, as are both moments.
        gradient: of the loss.
        first: moving mean of the gradient.
        second: and of its square.
        gain: what the gradient's share in its mean is.
        decay: what is kept of the mean square.
        gain_of_squares: what the square's share in its mean is.
        step: learning rate over what has been gained of the first moment.
        correction: square root of what has been gained of the second.
        epsilon: added to the denominator.
    """
    for i in range(len(weights)):
        first[i] += gain * (gradient[i] - first[i])
        second[i] = second[i] * decay + gain_of_squares * gradient[i] * gradient[i]
        weights[i] -= step * first[i] / (math.sqrt(second[i]) / correction + epsilon)
