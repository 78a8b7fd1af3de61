"""Order sizes by chance: log-normal, on the market's grid of quantities, by one draw.

A policy's parameters carry :func:`chances_below` behind its own, so that its kernel looks a size up where it would have to
make a normal number and take its exponential.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from market_env.engine.kernel import kernel
from scripted_agents.policy import LOTS_GRID


@kernel
def drawn_lots_code(parameters, first, chance):
    """Code of a size at the quantile ``chance``: the largest quantity of at most the size, but above 0.

    ``first``: where the chances of :func:`chances_below` begin among the parameters.
    """
    code = 1
    while parameters[first + code] <= chance:
        code += 1
    return code


@kernel
def lots_of(parameters, code):
    """The quantity that a code stands for, lots."""
    return parameters[LOTS_GRID + 1 + code]


def chances_below(lots: Sequence[int], median: float, log_spread: float) -> list[float]:
    """Chance of a size below the grid's entry after the code, for every code.

    Args:
        lots: the market's grid of quantities.
        median: of the sizes, lots.
        log_spread: standard deviation of their logarithm.
    """
    following = (*lots[1:], math.inf)
    if log_spread == 0.0:  # every size is the median
        return [float(size > median) for size in following]
    deviations = (math.log(size / median) / log_spread for size in following)
    return [0.5 * math.erfc(-deviation / math.sqrt(2.0)) for deviation in deviations]
