"""A step of learners: from the moment at which one of them arrives to the next such moment.

All learners look when a step begins, at the book as it stands when the first of them arrives; their actions are
carried out at their own turns. So a learner's look may lie before its turn, and what came of a step is counted
from look to look, apart from the engine's own count from turn to turn. With one learner the two are the same.
"""

from __future__ import annotations

import numpy as np

from market_env.engine import observe, turn
from market_env.engine.kernel import kernel
from market_env.engine.state import NONE


@kernel
def begin_looks(market, learners, seen):
    """An episode has begun and nobody acted: all ``learners`` (agent indices) look for the first time."""
    for number in range(len(learners)):
        turn.first_look(market, market.agents[learners[number]], seen[number])


@kernel
def look(market, learners, seen, observations, infos, outcomes):
    """A step begins, or the episode is over: settle the last step, observe and describe for all learners.

    Args:
        market: a record.
        learners: int64, their agent indices, shape (learners,).
        seen: SEEN, shape (learners,).
        observations: float32, shape (learners, SIZE), overwritten.
        infos: INFO, shape (learners,), overwritten.
        outcomes: OUTCOME, shape (learners,), overwritten.
    """
    for number in range(len(learners)):
        agent = learners[number]
        turn.write_outcome(market, market.agents[agent], seen[number], outcomes[number])
        observe.observe(market, agent, outcomes[number], observations[number], observe.ALL)
        observe.describe(market, agent, outcomes[number], infos[number])


@kernel
def open_turn(market, seats, seen):
    """If the turn that has begun is a learner's, note its number."""
    if not market.finished and seats[market.acting] != NONE:
        seen[seats[market.acting]].turn = market.turns - 1


def seats_of(learners: list[int], agents: int) -> np.ndarray:
    """The learner's number of each agent, NONE of those that are none: int64 of shape (agents,)."""
    seats = np.full(agents, NONE, np.int64)
    seats[learners] = np.arange(len(learners))
    return seats
