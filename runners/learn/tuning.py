"""The market maker that a learned policy must be compared with: the best that its parameters allow in a seat.

Differential evolution (Storn and Price, 1997) over all of them on the validation seeds; what it finds stands in
:data:`runners.learn.rivals.RIVALS`. Cost: some hundred thousand turns a candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from market_env.config import MarketConfig
from runners.learn import evaluation
from scripted_agents.maker import MarketMaker
from scripted_agents.policy import PolicyConfig
from scripted_agents.standards import STANDARDS, Standards

RANGES: dict[str, tuple[float, float]] = {
    "half_spread": (0.5, 24.0),
    "volatility_weight": (0.0, 2.0),
    "skew": (0.0, 80.0),
    "lots": (1.0, 30.0),
    "layers": (1.0, 6.0),
    "layer_gap": (1.0, 8.0),
    "tolerance": (0.0, 12.0),
    "shown": (0.02, 1.0),
    "memory": (0.0, 1.0),
}
"""Where each parameter of :class:`scripted_agents.MarketMaker` is sought."""


def maker(point: NDArray[np.float64]) -> MarketMaker:
    """The maker at a point of the search, its parameters rounded to three digits."""
    found: dict[str, Any] = {name: float(f"{value:.3g}") for name, value in zip(RANGES, point.tolist(), strict=True)}
    return MarketMaker(**{**found, "layers": round(found["layers"])})


def tune(
    config: MarketConfig,
    agent: str,
    generations: int,
    seed: int,
    progress: Callable[[float], None],
    policies: Mapping[str, PolicyConfig] | None = None,
    standards: Standards = STANDARDS,
) -> tuple[MarketMaker, float]:
    """The best maker for ``agent``'s seat, and its mean liquidation gain on the validation seeds, tick-lots.

    Args:
        config: rules and roster.
        agent: whose seat.
        generations: of the search.
        seed: of the search.
        progress: called with the best gain so far after each generation.
        policies: of the others, by agent id or kind, where it is not the kind's default.
        standards: the validation seeds, and how long a maker may be near its bound.
    """

    def loss(point: NDArray[np.float64]) -> float:
        policy = maker(point).build(config)
        episodes = evaluation.play_seeds(config, agent, policy, standards.validation_seeds, policies=policies)
        near = float(evaluation.column(episodes, "near_bound").mean())
        # Held to the limit that a learned policy is held to; the slope leads the search back.
        return 1e6 * max(near - standards.most_near_bound, 0.0) - float(
            evaluation.column(episodes, "liquidation_gain").mean()
        )

    def report(intermediate_result: Any) -> None:
        progress(-float(intermediate_result.fun))

    found = optimize.differential_evolution(
        loss, list(RANGES.values()), popsize=5, maxiter=generations, rng=seed, polish=False, callback=report
    )
    return maker(found.x), -float(found.fun)
