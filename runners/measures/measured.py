"""A history and every measure of it, each taken once, when first asked for."""

from __future__ import annotations

from market_env.config import LEARNER_KIND
from runners.files.once import once
from runners.files.run import History
from runners.measures import discovery, liquidity, timeline
from runners.measures import trading as terms
from runners.measures import worth as values


class Measured:
    """The measures of a run, recorded or just played.

    Args:
        run: its history.
    """

    def __init__(self, run: History) -> None:
        self.run = run

    @once
    def line(self) -> timeline.Timeline:
        """The market at every event."""
        return timeline.timeline(self.run)

    @once
    def walls(self) -> liquidity.Walls:
        """Liquidity walls."""
        return liquidity.walls(self.line)

    @once
    def pressure(self) -> liquidity.Pressure | None:
        """Depth under pressure."""
        return liquidity.pressure(self.line)

    @once
    def recovery(self) -> liquidity.Recovery | None:
        """Depth after large orders."""
        return liquidity.recovery(self.line)

    @once
    def thinning(self) -> liquidity.Thinning:
        """Episodes of thin liquidity."""
        return liquidity.thinning(self.line)

    @once
    def moves(self) -> discovery.Moves:
        """How the price moved."""
        return discovery.moves(self.line)

    @once
    def worth(self) -> values.Worth | None:
        """The price beside the value; None in a market without one."""
        return values.worth(self.line)

    @once
    def trading(self) -> terms.Trading:
        """Terms and counterparties."""
        return terms.trading(self.line)

    @once
    def seats(self) -> list[terms.Seat]:
        """The turns of each learner that had any."""
        ids = [agent.id for agent in self.run.market.agents if agent.kind == LEARNER_KIND]
        return [seat for agent in ids if (seat := terms.seat(self.line, agent))]
