"""By what policies are judged: seeds, limits, and what counts as near an inventory bound. Each figure stands here alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NEAR_BOUND = 0.8
"""Share of the inventory bound beyond which a seat counts as near it."""
MOST_NEAR_BOUND = 0.01
"""Share of the time near its bound from which an inventory counts as extreme."""


@dataclass(frozen=True)
class Standards:
    """What training, tuning and publishing hold a policy to."""

    tuning_seeds: range = range(1, 65)
    """Seeds that the populations were tuned on; nothing is judged by them."""
    validation_seeds: range = range(2_000_000, 2_000_064)
    """Seeds for choosing between checkpoints, and for tuning rivals. Gains vary over seeds by several times what tells two
    checkpoints apart: sixteen choose the wrong one."""
    test_seeds: range = range(1_000_000, 1_000_064)
    """Seeds that no training, no tuning and no choice of checkpoint has seen."""
    least_trading: float = 0.01
    """Share of its turns on which a candidate must trade at least."""
    most_trading: float = 0.6
    """The same, at most."""
    most_near_bound: float = MOST_NEAR_BOUND
    """Share of the time that a candidate may spend near its bound, exclusive."""
    most_lean: float = 0.25
    """Mean inventory as a share of its bound, either way, up to which a policy is published."""

    def within(self, point: dict[str, Any]) -> bool:
        """Whether a policy is a candidate: one that sits at its bound or hardly trades is none, whatever it earned.

        Args:
            point: its figures, ``trading_turns`` and ``near_bound`` among them.
        """
        trades = self.least_trading <= point["trading_turns"] <= self.most_trading
        return bool(trades and point["near_bound"] < self.most_near_bound)

    def limits(self) -> str:
        """What :meth:`within` asks for, in words."""
        return (
            f"trade on {100 * self.least_trading:g} to {100 * self.most_trading:g} % of their turns and spend under "
            f"{100 * self.most_near_bound:g} % of the time beyond {100 * NEAR_BOUND:g} % of their inventory bound"
        )


STANDARDS = Standards()
"""What is used unless other ones are given."""
