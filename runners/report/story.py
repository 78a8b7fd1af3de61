"""What a report tells of a run: every measure, taken once when first asked for, and the sentences written from them."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from market_env.config import FEE_UNIT, LEARNER_KIND, ConfigError
from market_env.engine.state import BUY, KIND_TURN, SELL
from runners.exchange import facts
from runners.exchange.sample import Sample
from runners.files.run import Run
from runners.measures import discovery, liquidity
from runners.measures import trading as terms
from runners.measures.measured import Measured
from runners.report.standing import quoted
from scripted_agents.standards import MOST_NEAR_BOUND, NEAR_BOUND

MOST_OF_FACTS = 50_000
"""Timesteps that the statistics beside real markets are of, the first ones: two days of trading."""


class Finding(NamedTuple):
    """A sentence of the first page."""

    held: bool | None
    """Whether what a reader hopes to see was seen; None if it could not be judged."""
    text: str


class Check(NamedTuple):
    """A check of the first page."""

    name: str
    good: bool | None
    text: str


class Story(Measured):
    """A recorded run's measures, and what is told of them.

    Args:
        run: a recorded run, or its folder.
    """

    run: Run

    def __init__(self, run: Run | Path | str) -> None:
        super().__init__(run if isinstance(run, Run) else Run(run))

    @functools.cached_property
    def seats(self) -> list[terms.Seat]:
        """Each learner's turns."""
        policies = self.run.config.get("policies", {})
        ids = [
            agent.id
            for agent in self.run.market.agents
            if agent.kind == LEARNER_KIND or policies.get(agent.id, {}).get("policy") == LEARNER_KIND
        ]
        return [seat for agent in ids if (seat := terms.seat(self.line, agent))]

    @functools.cached_property
    def facts(self) -> dict[str, Any] | None:
        """Statistics beside real markets' (:func:`runners.exchange.facts.measure`); None if no order ever rested."""
        return self._looked_at[0] if self._looked_at else None

    @property
    def sample(self) -> Sample | None:
        """The first level as the facts look at it; None if no order ever rested."""
        return self._looked_at[1] if self._looked_at else None

    @functools.cached_property
    def _looked_at(self) -> tuple[dict[str, Any], Sample] | None:
        run = self.run
        try:
            timesteps = min(run.timesteps, MOST_OF_FACTS)
            events = self.line.events
            return facts.facts_of_events(
                run.market, events[: np.searchsorted(events["timestep"], timesteps)], timesteps, run.path
            )
        except ConfigError:
            return None

    @functools.cached_property
    def turns(self) -> NDArray[np.float64]:
        """Turns a timestep."""
        return self.line.per_timestep(self.line.events["kind"] == KIND_TURN)

    @functools.cached_property
    def missing(self) -> list[str]:
        """Why tables cannot be read, one line each; empty for a whole run."""
        found = []
        for name in self.run.tables:
            try:
                self.run.check(name)
            except ConfigError as error:
                found.append(str(error).removeprefix(f"run {self.run.path}: ").split(";")[0])
        return found

    def series(self, name: str) -> NDArray[np.float64]:
        """best_bid, best_ask, mid, spread or imbalance at the end of each timestep, from the log; NaN where there is none."""
        line = self.line
        match name:
            case "mid":
                return line.mid
            case "spread":
                return line.spread
            case "imbalance":
                return line.imbalance(line.ends)
        prices = line.ends[name].astype(np.float64)
        return np.where(prices > 0, prices, np.nan)

    @functools.cached_property
    def figures(self) -> dict[str, float | int | None]:
        """The key figures of the first page, by name."""
        run, summary = self.run, self.run.summary
        return {
            "timesteps": run.timesteps,
            "turns": summary["events"]["turn"],
            "events": summary["events"]["all"],
            "trades": summary["trades"],
            "traded lots": summary["traded_lots"],
            "first price": summary["first_price"],
            "last mid": summary["last_mid"],
            "lowest mid": summary["lowest_mid"],
            "highest mid": summary["highest_mid"],
            "mean spread": summary["mean_spread"],
            "two-sided share": summary["two_sided_share_after_opening"],
            "mean bid lots at the touch": self._mean(BUY),
            "mean ask lots at the touch": self._mean(SELL),
            "lots bought by aggressors": self._taken(1.0),
            "lots sold by aggressors": self._taken(-1.0),
        }

    def _mean(self, side: int) -> float | None:
        lots = self.line.ends["lots"][:, side]
        return float(lots.mean()) if len(lots) else None

    def _taken(self, sign: float) -> int:
        lots = self.line.events["lots"][self.line.trades]
        return int(lots[self.line.trade_signs == sign].sum())

    @functools.cached_property
    def audit(self) -> dict[str, Any] | None:
        """What the last audit of this very record found (``audit.json``); None if there was none."""
        file = self.run.path / "audit.json"
        try:
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            summary = (self.run.path / "summary.json").read_bytes()
        except (OSError, ValueError):
            return None
        return found if found.get("summary_sha256") == hashlib.sha256(summary).hexdigest() else None

    @functools.cached_property
    def checks(self) -> list[Check]:
        """What must hold of every run."""
        run, moves = self.run, self.moves
        audit = self.audit
        unchanged = run.summary["parameters_unchanged"]
        return [
            Check(
                "Replay from the log alone",
                None if audit is None else audit["differ"] == 0,
                "not audited: python -m runners.replay"
                if audit is None
                else f"{audit['checked']:,} values rebuilt, {audit['differ']:,} differ",
            ),
            Check(
                "Prices moved through resting orders",
                moves.jumps == 0,
                f"{moves.prints:,} trades, {moves.off_touch} off the best price; {moves.unexplained} unexplained moves",
            ),
            self._bounds(),
            Check(
                "Learning disabled, policies unchanged",
                unchanged,
                {
                    True: "parameter hashes equal before and after",
                    False: "PARAMETERS CHANGED",
                    None: "unknown: cut off",
                }[unchanged],
            ),
        ]

    def _bounds(self) -> Check:
        name = "Inventory bounds and cash floors"
        try:
            far = np.abs(self.run.account("inventory")) > [agent.inventory_bound for agent in self.run.market.agents]
            above = self.run.account("cash") - [agent.cash_floor for agent in self.run.market.agents]
            beyond = int(np.count_nonzero(far | (FEE_UNIT * above < self.run.account("fees"))))
        except ConfigError as error:
            return Check(name, None, str(error).split(";")[0])
        return Check(name, beyond == 0, f"{far.size:,} account rows, {beyond} beyond")

    @functools.cached_property
    def findings(self) -> list[Finding]:
        """Three to six sentences, written from the data, thresholds stated."""
        found = []
        for claim, look in (
            ("walls", self._of_walls),
            ("teleport", self._of_moves),
            ("asymmetry", self._of_pressure),
            ("selective", self._of_learner),
            ("thinning", self._of_thinning),
            ("", self._of_reality),
        ):
            try:
                seen = look()
                said = quoted(self.run, claim) if claim else ""
                found += [own._replace(text=f"{own.text} {said}".rstrip()) for own in seen]
            except ConfigError as error:
                if not self.missing:
                    raise
                found.append(
                    Finding(None, f"Cannot be said: {str(error).removeprefix(f'run {self.run.path}: ').split(';')[0]}.")
                )
        return found

    def _of_reality(self) -> list[Finding]:
        if self.facts is None:
            return []
        inside, judged = facts.tally(self.facts)
        if not judged:  # too short
            return []
        outside = [
            facts.LABELS[name].split(",")[0] for name, verdict in facts.judged_facts(self.facts) if verdict != "inside"
        ]
        of = f" of the first {MOST_OF_FACTS:,} timesteps" if self.run.timesteps > MOST_OF_FACTS else ""
        unlike = f" Unlike them: {', '.join(dict.fromkeys(outside))}." if outside else ""
        return [
            Finding(
                inside == judged,
                f"Like real markets in every statistic: {inside} of {judged}{of} lie within the range of three NASDAQ stocks in 2012.{unlike}",
            )
        ]

    def _of_walls(self) -> list[Finding]:
        found = self.walls
        definition = (
            f"at least {liquidity.WALL_SIZE:g} times the typical {found.typical_lots:g} lots for "
            f"{liquidity.WALL_TIMESTEPS} timesteps or more"
        )
        if not found.typical_lots:
            return [Finding(None, "No order rested in the book: there are no walls to look for.")]
        if not found.walls:
            return [Finding(False, f"No wall of liquidity: no level held {definition}.")]
        longest = found.walls[0]
        owner, share = next(iter(found.kinds.items()))
        side = "a bid" if longest.side == BUY else "an ask"
        traded = sum(wall.traded_lots > 0 for wall in found.walls)
        untraded = f"{traded:,} of {len(found.walls):,} were traded with" if traded else "none was ever traded with"
        return [
            Finding(
                True,
                f"{len(found.walls)} wall{'s' * (len(found.walls) > 1)} of liquidity (levels with {definition}); the longest, {side} at "
                f"{longest.price:,}, stood {longest.end - longest.start:,} timesteps. Agents of kind {owner} own {share:.0%} of the walls' lots; {untraded}.",
            )
        ]

    def _of_moves(self) -> list[Finding]:
        moves = self.moves
        total = sum(moves.count.values())
        if not total:
            return [Finding(None, "The mid never moved between two-sided books.")]
        shares = ", ".join(f"{moves.count[cause] / total:.0%} by a {cause}" for cause in discovery.CAUSES)
        jumps = "never" if moves.jumps == 0 else f"{moves.jumps} times"
        return [
            Finding(
                moves.jumps == 0,
                f"The mid moved {total:,} times: {shares}. The price {jumps} jumped without touching resting orders "
                f"({moves.prints:,} trades, {moves.off_touch} off the best price).",
            )
        ]

    def _of_pressure(self) -> list[Finding]:
        found = self.pressure
        if found is None or found.difference is None:
            return [
                Finding(
                    None,
                    f"Too short or too quiet a run to say how depth answers pressure (at least {liquidity.FEWEST_BLOCKS} blocks of {liquidity.PRESSURE_BLOCK} timesteps).",
                )
            ]
        gap = found.difference
        span = f"{gap.mean:+.0f} lots [{gap.low:+.0f}, {gap.high:+.0f}]"
        what = (
            f"bid less ask depth near the mid after heavy buying against heavy selling "
            f"(halves of {liquidity.PRESSURE_TIMESTEPS} timesteps' net flow each way): {span}"
        )
        if not gap.excludes_zero:
            return [
                Finding(False, f"No asymmetry of the two sides under pressure is shown: {what}, which includes zero.")
            ]
        # Groups of flow from heavy selling to heavy buying: bids and asks in lots after each end.
        after = {
            name: [found.depth[side][end].mean for side in (BUY, SELL)]
            for name, end in (("selling", 0), ("buying", -1))
        }
        sold, bought = ("bid", "ask") if gap.mean > 0 else ("ask", "bid")
        where = "the side that is being hit" if gap.mean > 0 else "the side that the pressure comes from"
        said = "; ".join(
            f"after heavy {name} {bids:.0f} lots bid, {asks:.0f} offered" for name, (bids, asks) in after.items()
        )
        return [
            Finding(
                True,
                f"Under pressure {where} thins: the {sold} side under selling, the {bought} side under buying ({said}). {what[0].upper()}{what[1:]}.",
            )
        ]

    def _of_learner(self) -> list[Finding]:
        if not self.seats:
            return [Finding(None, "No frozen policy had a turn in this run.")]
        seat = self.seats[0]
        low, high = terms.SELECTIVE
        selective = low <= seat.trading <= high
        calm = seat.near_bound < MOST_NEAR_BOUND
        best, gain = max(seat.edge.items(), key=lambda item: item[1])
        return [
            Finding(
                selective and calm,
                f"{seat.agent} trades after {seat.trading:.1%} of its turns ({'' if selective else 'not '}selective: {low:.0%} to {high:.0%}) "
                f"and ends {seat.near_bound:.1%} of timesteps beyond {NEAR_BOUND:.0%} of its bound (extreme: {MOST_NEAR_BOUND:.0%} "
                f"or more). Against doing nothing it gains {seat.wealth_change - seat.idle_change:+,.0f} tick-lots at the mid, "
                f"{seat.liquidation_change - seat.idle_change:+,.0f} if it closes its inventory through the book; trades with {best} agents bring "
                f"{gain:+,.0f} against the mid before them"
                f"{f', fees cost {seat.fees:,.0f}' if self.run.market.charges else ''}.",
            )
        ]

    def _of_thinning(self) -> list[Finding]:
        if self.run.market.tape is not None:
            return [
                Finding(
                    None,
                    "Whether liquidity thins as arrivals cluster is not judged: a recorded day's messages are no arrivals.",
                )
            ]
        found = self.thinning
        verdict = found.verdict
        count = len(found.episodes)
        what = f"depth within {self.line.near_ticks} ticks of the mid below {found.thin:.0%} of its usual level"
        if verdict == "none":
            return [Finding(None, f"Liquidity never thinned: {what} in no timestep after the first 50.")]
        times = f"{count} episode{'s' * (count > 1)} of thin liquidity ({what})"
        if verdict == "few":
            return [
                Finding(None, f"{times}: too few to say anything of arrivals (at least {liquidity.FEWEST_EPISODES}).")
            ]
        rates = (
            f"{found.before:.1f} turns a timestep in the {liquidity.BEFORE} up to their start, {found.elsewhere:.1f} elsewhere "
            f"(p = {found.p_value:.3f}, starts shifted at random)"
        )
        kind, change = min(found.left.items(), key=lambda item: item[1])
        who = (
            f" Lots of kind {kind} near the mid change most, {change:+.0f}; it holds {found.shares[kind]:.0%} there on average."
            if change < 0
            else ""
        )
        said = {"clear": "clear evidence", "weak": "weak evidence", "no": "no evidence"}[verdict]
        held = {"clear": True, "weak": None, "no": False}[verdict]
        return [Finding(held, f"{times}: {rates}: {said} that arrivals cluster as liquidity thins.{who}")]
