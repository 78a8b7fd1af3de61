"""Tune the market maker for a learner's seat on the validation seeds: ``python -m runners.tune``.

The rival that a learned policy must be compared with is not the default maker but the best that its parameters
allow in that seat. Differential evolution (Storn and Price, 1997) over all of them; what it finds stands in
:data:`runners.evaluate.RIVALS`. Cost: about 5 minutes on two cores.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from scipy import optimize
from tqdm import tqdm

from market_env.config import ConfigError, MarketConfig, check_agents
from runners import evaluate
from runners.command import command
from scripted_agents.maker import MarketMaker

RANGES: dict[str, tuple[float, float]] = {
    "half_spread": (0.5, 8.0),
    "volatility_weight": (0.0, 2.0),
    "skew": (0.0, 80.0),
    "lots": (1.0, 30.0),
    "layers": (1.0, 6.0),
    "layer_gap": (1.0, 8.0),
    "tolerance": (0.0, 6.0),
    "shown": (0.02, 1.0),
    "memory": (0.0, 1.0),
}
"""Where each parameter of :class:`scripted_agents.MarketMaker` is sought."""


def maker(point: NDArray[np.float64]) -> MarketMaker:
    """The maker at a point of the search, its parameters rounded to three digits."""
    found: dict[str, Any] = {name: float(f"{value:.3g}") for name, value in zip(RANGES, point.tolist(), strict=True)}
    return MarketMaker(**{**found, "layers": round(found["layers"])})


@dataclass(frozen=True)
class Arguments:
    """Tune the market maker in a learner's seat on the validation seeds."""

    agent: str = "ppo_0"
    """The seat."""
    timesteps: int = 5_000
    """Length of an episode."""
    generations: int = 25
    """Generations of the search."""
    seed: int = 1
    """Of the search."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m runners.tune")
    config = MarketConfig(timesteps=arguments.timesteps)
    check_agents("agent", config, [arguments.agent])
    if arguments.generations < 1:
        raise ConfigError(f"generations: expected at least 1, got {arguments.generations}")

    def loss(point: NDArray[np.float64]) -> float:
        policy = maker(point).build(config)
        episodes = evaluate.play_seeds(config, arguments.agent, policy, evaluate.VALIDATION_SEEDS)
        near = float(evaluate.column(episodes, "near_bound").mean())
        # Held to the limit that a learned policy is held to; the slope leads the search back.
        return 1e6 * max(near - evaluate.NEAR_LIMIT, 0.0) - float(evaluate.column(episodes, "liquidation_gain").mean())

    with tqdm(total=arguments.generations, unit=" generations", disable=None) as bar:

        def report(intermediate_result: Any) -> None:
            bar.update()
            bar.set_postfix_str(f"best liquidation gain {-intermediate_result.fun:,.0f}")

        found = optimize.differential_evolution(
            loss, list(RANGES.values()), popsize=5, maxiter=arguments.generations, rng=arguments.seed, polish=False,
            callback=report,
        )  # fmt: skip
    print(f"mean liquidation gain on the validation seeds {-found.fun:,.0f} with {maker(found.x)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
