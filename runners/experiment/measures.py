"""What an experiment can measure of a run: every figure by name, its unit and meaning beside it, once.

A measure is a function of one run that gives a number, or None where it is undefined; :func:`measure` makes one, a user's own
too. Besides those of this file there are families: ``summary.<path>`` for a figure of ``summary.json``, ``facts.<name>`` for
those of ``python -m runners.facts``. Cost: a measure shares what it reads of a run with the others, and
nothing is computed that no chosen measure reads.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from market_env.config import LEARNER, LEARNER_KIND, ConfigError, MarketConfig
from market_env.engine.state import EVENT, KIND_CANCEL, KIND_TRADE, KIND_TURN, SELL
from market_env.outside import shown
from runners.exchange import facts, pairs, stylized
from runners.exchange.ensemble import parts_of
from runners.exchange.sample import LEVELS, Sample, excess_kurtosis, hill, ratio, sample_of
from runners.experiment.arms import near
from runners.files.derive import derive
from runners.files.once import once
from runners.files.played import Played
from runners.files.summary import OPENING, summarise
from runners.measures.intervals import Floats
from runners.measures.liquidity import BEFORE, FEWEST_EPISODES, THIN_SHARE
from runners.measures.measured import Measured
from runners.measures.trading import Seat


class Seen(Measured):
    """A run that was just played, as measures read it; what several of them need is made once."""

    run: Played

    @once
    def pair(self) -> pairs.Pair:
        """Messages and the first levels, as LOBSTER would show them."""
        return pairs.pair_of_events(self.run.market, self.run.log, LEVELS, self.run.name)

    @property
    def _span(self) -> tuple[float, float, float]:
        start = float(pairs.OPENING)
        return start, start + self.run.timesteps, self.run.market.tick_size * pairs.PRICE_UNITS

    @once
    def sample(self) -> Sample:
        """The run as the facts look at it."""
        return sample_of(self.pair, *self._span)

    @once
    def windows(self) -> list[Sample]:
        """Its half hours."""
        return facts.windows_of(self.pair, *self._span)

    def fact(self, name: str) -> dict[str, float | None]:
        """A fact's parts by name, as ``python -m runners.facts`` has them over seeds."""
        if name in stylized.MEASURES:
            own = stylized.MEASURES[name]
            return dict(
                zip((f"{name}: {part}" if part else name for part in own.parts), own.of(self.sample), strict=True)
            )
        found = facts.measure_one(name, self.sample, self.windows, LEVELS)
        return {part: value for part, value, _, _ in parts_of(found, name)}

    @once
    def policy(self) -> Seat | None:
        """What the learner's seat did."""
        return next((seat for seat in self.seats if seat.agent == LEARNER), None)

    @once
    def side_depth(self) -> Floats:
        """Lots on the first ten levels of each side at the ends of timesteps, shape (timesteps, 2)."""
        ladders = self.run.derived.depth
        return np.column_stack([ladders[f"{side}_lots"][:, :LEVELS].sum(axis=1) for side in ("bid", "ask")]).astype(
            float
        )


Figure = Callable[[Seen], float | None]


@dataclass(frozen=True)
class Measure:
    """A figure of a run."""

    name: str
    unit: str
    meaning: str
    figure: Figure
    group: str = "own"

    def __call__(self, run: Seen) -> float | None:
        """The figure; None if it is undefined."""
        try:
            value = self.figure(run)
            return None if value is None or not np.isfinite(value) else float(value)
        except Exception as error:  # a bug keeps its traceback, and says where it was met
            error.add_note(f"in the measure {self.name} of {run.run.name}")
            raise

    @property
    def version(self) -> str:
        """Hash of a user's own measure: its source, and what it closes over. What it calls is not in it."""
        try:
            text = inspect.getsource(self.figure)
        except (OSError, TypeError):
            text = self.figure.__qualname__
        cells = (
            [repr(cell.cell_contents) for cell in self.figure.__closure__ or ()]
            if hasattr(self.figure, "__closure__")
            else []
        )
        return hashlib.sha256("\0".join([text, *cells]).encode()).hexdigest()[:12]

    @property
    def column(self) -> str:
        """What it is called in a row that is kept: its name, a user's own with its version."""
        return f"{self.name}@{self.version}" if self.group == "own" else self.name


MEASURES: dict[str, Measure] = {}
"""This file's measures, by name."""


def measure(name: str, unit: str, meaning: str) -> Callable[[Figure], Measure]:
    """Make a measure of a function of a run (:class:`Seen`: ``run.line``, ``run.run.trades`` and so on).

    Args:
        name: in tables and files.
        unit: of its values.
        meaning: one sentence.
    """

    def made(figure: Figure) -> Measure:
        return Measure(name, unit, meaning, figure)

    return made


def known(group: str, name: str, unit: str, meaning: str) -> Callable[[Figure], Figure]:
    """Register one of this file's measures."""

    def made(figure: Figure) -> Figure:
        MEASURES[name] = Measure(name, unit, meaning, figure, group)
        return figure

    return made


def mean(values: Any) -> float | None:
    """Mean of what is known; None of nothing."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.mean()) if len(numbers) else None


@known("quotes", "spread", "ticks", "mean spread at the ends of two-sided timesteps")
def _(run: Seen) -> float | None:
    return mean(run.line.spread)


@known("quotes", "two_sided", "share", "timesteps that end with both sides quoted, after the opening")
def _(run: Seen) -> float | None:
    return run.run.summary["two_sided_share_after_opening"]  # type: ignore[no-any-return]


@known("depth", "depth", "lots", "mean lots on the first ten levels of both sides, at the ends of timesteps")
def _(run: Seen) -> float | None:
    return mean(run.side_depth.sum(axis=1))


@known("depth", "depth_best", "lots", "mean lots at the two best prices, at the ends of timesteps")
def _(run: Seen) -> float | None:
    return mean(run.line.ends["lots"].sum(axis=1))


@known("depth", "depth_near", "lots", "mean lots within one and a half of the run's median spreads of the mid")
def _(run: Seen) -> float | None:
    return mean(run.line.near_depth.sum(axis=1))


@known(
    "depth", "near_share_makers", "share", "makers' part of the lots within one and a half median spreads of the mid"
)
def _(run: Seen) -> float | None:
    held = run.line.near.sum(axis=(0, 1)).astype(float)
    return ratio(held[run.line.kinds.index("maker")] if "maker" in run.line.kinds else 0.0, held.sum())


@known(
    "walls",
    "walls",
    "count",
    "walls of liquidity: levels of at least four times the run's own typical lots for 30 timesteps",
)
def _(run: Seen) -> float | None:
    return float(len(run.walls.walls))


@known("walls", "wall_time", "share", "timesteps in which at least one wall stands")
def _(run: Seen) -> float | None:
    covered = np.zeros(run.run.timesteps, bool)
    for wall in run.walls.walls:
        covered[wall.start : wall.end] = True
    return mean(covered)


@known("walls", "wall_lots", "lots", "mean lots that stand in walls, over all timesteps")
def _(run: Seen) -> float | None:
    return sum(wall.mean_lots * (wall.end - wall.start) for wall in run.walls.walls) / run.run.timesteps


@known(
    "walls",
    "largest_level",
    "lots",
    "mean lots of the largest of the first twenty levels of both sides, at the ends of timesteps",
)
def _(run: Seen) -> float | None:
    ladders = run.run.derived.depth
    return mean(np.maximum(ladders["bid_lots"].max(axis=1), ladders["ask_lots"].max(axis=1)))


@known("walls", "wall_share_makers", "share", "makers' part of the walls' lots")
def _(run: Seen) -> float | None:
    return run.walls.kinds.get("maker", 0.0) if run.walls.walls else None


@known("prices", "volatility", "bp", "standard deviation of one-second log mid returns")
def _(run: Seen) -> float | None:
    returns = run.sample.returns()
    return 1e4 * float(returns.std()) if len(returns) >= 10 else None


@known("prices", "volatility_60s", "bp", "standard deviation of one-minute log mid returns")
def _(run: Seen) -> float | None:
    returns = run.sample.returns(60)
    return 1e4 * float(returns.std()) if len(returns) >= 10 else None


@known("prices", "kurtosis", "excess", "excess kurtosis of one-second log mid returns")
def _(run: Seen) -> float | None:
    return excess_kurtosis(run.sample.returns())


@known(
    "prices",
    "tail_index",
    "exponent",
    "Hill's estimate on the largest 5 % of absolute one-second returns; small: heavy tails",
)
def _(run: Seen) -> float | None:
    return hill(run.sample.returns(), 0.05)


@known(
    "prices",
    "variance_ratio",
    "ratio",
    "variance of one-minute returns over 60 times that of one-second returns; 1 for a random walk",
)
def _(run: Seen) -> float | None:
    return facts.variance_ratio(run.sample, 60)


@known(
    "prices",
    "volume_after_moves",
    "ratio",
    "lots traded in the ten seconds after the largest tenth of ten-second moves, over the mean of ten seconds",
)
def _(run: Seen) -> float | None:
    line, window = run.line, 10
    count = run.run.timesteps // window
    lots = line.per_timestep(line.events["kind"] == KIND_TRADE, line.events["lots"][line.trades].astype(float))
    by_window = lots[: count * window].reshape(count, window).sum(axis=1)
    mids = line.mid[window - 1 :: window][:count]
    moves = np.abs(np.diff(mids))
    if len(moves) < 20 or not by_window.mean():
        return None
    large = np.flatnonzero(moves >= np.quantile(moves, 0.9)) + 1  # moves[i] happens in window i + 1
    large = large[large + 1 < count] + 1
    return ratio(by_window[large].mean(), by_window.mean()) if len(large) else None


@known("prices", "moves", "count", "changes of the mid between two-sided books")
def _(run: Seen) -> float | None:
    return float(sum(run.moves.count.values()))


@known(
    "prices",
    "jumps",
    "count",
    "moves of the price that touched no resting order: prints away from the best price, best prices from nowhere",
)
def _(run: Seen) -> float | None:
    return float(run.moves.jumps)


def _moves(cause: str, name: str, what: str) -> None:
    @known("prices", f"moves_{name}", "share", f"part of the mid's moves made by {what}")
    def _(run: Seen) -> float | None:
        return ratio(run.moves.count[cause], sum(run.moves.count.values()))

    @known("prices", f"move_ticks_{name}", "ticks", f"mean size of the mid's moves made by {what}")
    def _(run: Seen) -> float | None:
        return ratio(run.moves.ticks[cause], run.moves.count[cause])


_moves("trade", "trades", "trades")
_moves("cancel", "cancels", "cancels")
_moves("new quote", "placements", "new quotes")


@known("flow", "trades", "count", "trades")
def _(run: Seen) -> float | None:
    return float(len(run.line.trades))


@known("flow", "traded_lots", "lots", "lots traded")
def _(run: Seen) -> float | None:
    return float(run.line.events["lots"][run.line.trades].sum())


@known("flow", "messages", "count", "orders, cancels and executions that the first ten levels show, a timestep")
def _(run: Seen) -> float | None:
    return len(run.sample.messages) / run.run.timesteps


@known("flow", "turns", "count", "turns a timestep")
def _(run: Seen) -> float | None:
    return ratio(run.run.summary["events"]["turn"], run.run.timesteps)


@known("flow", "trades_noise", "count", "trades with a noise trader in them")
def _(run: Seen) -> float | None:
    found = run.run.summary["kinds"].get("noise")
    return None if found is None else float(found["trades"])


@known("flow", "halts", "count", "times that trading is halted")
def _(run: Seen) -> float:
    return float(run.run.summary["events"]["halt"])


@known("flow", "cash_refused", "lots", "lots refused for want of cash")
def _(run: Seen) -> float | None:
    return float(run.run.summary["rejected_lots"]["cash"])


@known(
    "thinning", "thin_episodes", "count",
    "episodes of thin liquidity as reports count them: depth near the mid below 70 % of its usual level, or, where it is so for more "
    "than a fifth of the time, below what it is below for 5 % of it",
)  # fmt: skip
def _(run: Seen) -> float | None:
    return float(len(run.thinning.episodes))


@known(
    "thinning", "thin_time", "share",
    "timesteps after the opening with lots near the mid below 70 % of their usual level, the median over 501 timesteps around",
)  # fmt: skip
def _(run: Seen) -> float | None:
    lots, usual = run.line.near_depth.sum(axis=1)[OPENING:], run.thinning.usual[OPENING:]
    return mean(lots < THIN_SHARE * usual)


@known(
    "thinning", "thin_arrivals", "ratio",
    f"turns in the {BEFORE} timesteps up to the start of an episode over those around starts shifted at random, less 1; 0: no clustering; "
    f"undefined below {FEWEST_EPISODES} episodes",
)  # fmt: skip
def _(run: Seen) -> float | None:
    found = run.thinning
    if len(found.episodes) < FEWEST_EPISODES or found.before is None or not found.elsewhere:
        return None
    return found.before / found.elsewhere - 1.0


def _left(kind: str, name: str) -> None:
    @known(
        "thinning", f"thin_left_{name}", "share",
        f"{name}'s part of the lots that left near the mid as episodes began, less their part of those that stand there at all times; above 0: "
        "they leave more than their share",
    )  # fmt: skip
    def _(run: Seen) -> float | None:
        found = run.thinning
        gone = {own: -change for own, change in found.left.items()}
        total = sum(gone.values())
        return gone[kind] / total - found.shares[kind] if kind in gone and total > 0 else None


for _kind, _name in (("maker", "makers"), ("noise", "noise"), ("informed", "informed"), (LEARNER_KIND, "policy")):
    _left(_kind, _name)


@known("thinning", "turns_depth", "correlation", "of turns in a timestep with the change of lots near the mid over it")
def _(run: Seen) -> float | None:
    turns = run.line.per_timestep(run.line.events["kind"] == KIND_TURN)
    change = np.diff(run.line.near_depth.sum(axis=1))
    return correlation(turns[1:], change)


@known("thinning", "depth_10th", "share", "tenth percentile of lots near the mid, as a part of their median")
def _(run: Seen) -> float | None:
    near_lots = run.line.near_depth.sum(axis=1)
    return ratio(float(np.quantile(near_lots, 0.1)), float(np.median(near_lots)))


def correlation(first: Any, second: Any) -> float | None:
    """Pearson's correlation of what both know; None where one of them is constant."""
    known_both = ~(np.isnan(np.asarray(first, float)) | np.isnan(np.asarray(second, float)))
    a, b = np.asarray(first, float)[known_both], np.asarray(second, float)[known_both]
    if len(a) < 10 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


@known(
    "pressure",
    "pressure",
    "lots",
    "bid less ask lots near the mid after ten timesteps of heavy buying, less the same after heavy selling; above 0: the side that is taken from thins",
)
def _(run: Seen) -> float | None:
    return run.pressure.difference.mean if run.pressure and run.pressure.difference else None


@known("pressure", "pressure_share", "share", "pressure as a part of the mean lots near the mid")
def _(run: Seen) -> float | None:
    found = run.pressure
    if not (found and found.difference):
        return None
    return ratio(found.difference.mean, float(run.line.near_depth.sum(axis=1).mean()))


@known(
    "pressure",
    "recovery",
    "share",
    "lots near the mid on the side that a large order hit, just after it, of those just before",
)
def _(run: Seen) -> float | None:
    return run.recovery.after.mean if run.recovery else None


@known(
    "pressure",
    "half_life",
    "timesteps",
    "ends of timesteps until half of what a large order took is back; undefined beyond 30",
)
def _(run: Seen) -> float | None:
    return None if run.recovery is None or run.recovery.half_life is None else float(run.recovery.half_life)


FLOW_LAGS = (0, 1, 2, 5, 10, 20, 60)
"""Timesteps after signed flow at which depth and spread are looked at."""


def _flow_at(lag: int) -> None:
    @known(
        "response",
        f"flow_depth_{lag}",
        "correlation",
        f"of a timestep's signed flow with (ask - bid lots near the mid) {lag} timesteps on; below 0: the side that was taken from is the thinner",
    )
    def _(run: Seen) -> float | None:
        apart = (run.line.near_depth[:, SELL] - run.line.near_depth[:, 1 - SELL]).astype(float)
        flow = run.line.signed_flow
        return correlation(flow[: len(flow) - lag], apart[lag:])

    @known(
        "response",
        f"flow_spread_{lag}",
        "correlation",
        f"of a timestep's absolute signed flow with the spread {lag} timesteps on",
    )
    def _(run: Seen) -> float | None:
        flow = np.abs(run.line.signed_flow)
        return correlation(flow[: len(flow) - lag], run.line.spread[lag:])


for _lag in FLOW_LAGS:
    _flow_at(_lag)


@known("response", "cancel_trade", "correlation", "of lots traded with lots cancelled in the same timestep")
def _(run: Seen) -> float | None:
    line = run.line
    lots = line.events["lots"].astype(float)
    sums = [
        line.per_timestep(rows, lots[rows])
        for rows in (line.events["kind"] == code for code in (KIND_TRADE, KIND_CANCEL))
    ]
    return correlation(sums[0], sums[1])


@known("terms", "effective_spread", "ticks", "half-spread that makers' resting orders earned as they traded, a lot")
def _(run: Seen) -> float | None:
    found = run.trading.spreads.get("maker")
    return None if found is None else found.effective.mean


@known(
    "terms",
    "realised_spread",
    "ticks",
    "what is left of the half-spread that makers earned against the mid five timesteps later",
)
def _(run: Seen) -> float | None:
    found = run.trading.spreads.get("maker")
    return None if found is None else found.realised.mean


@known(
    "terms", "adverse_selection", "ticks", "how far the mid goes against makers within five timesteps of a trade, a lot"
)
def _(run: Seen) -> float | None:
    found = run.trading.spreads.get("maker")
    return None if found is None else found.impact.mean


def _edge_of(kind: str) -> None:
    @known("terms", f"edge_{kind}", "ticks", f"what trades are worth to {kind} agents by the value, before fees, a lot")
    def _(run: Seen) -> float | None:
        return None if run.worth is None or kind not in run.worth.lots else run.worth.edge_per_lot(kind)


for _kind in ("maker", "informed", "noise", "ppo"):
    _edge_of(_kind)


@known("terms", "fees_makers", "tick-lots", "fees that makers pay less their rebates")
def _(run: Seen) -> float | None:
    found = run.run.summary["kinds"].get("maker")
    return None if found is None else float(found["fees"])


@known("terms", "gain_makers", "tick-lots", "change in the makers' wealth")
def _(run: Seen) -> float | None:
    found = run.run.summary["kinds"].get("maker")
    return None if found is None else float(found["wealth_change"])


@known("value", "value_gap", "ticks", "mean distance of the mid from the value, at the ends of timesteps")
def _(run: Seen) -> float | None:
    return None if run.worth is None else mean(np.abs(run.worth.gap))


def _policy(name: str, unit: str, meaning: str, figure: Callable[[Seen, Seat], float | None]) -> None:
    @known("policy", name, unit, meaning)
    def _(run: Seen) -> float | None:
        return None if run.policy is None else figure(run, run.policy)


_policy(
    "policy_trading",
    "share",
    "of the policy's turns after which an order of it trades before the next",
    lambda run, seat: seat.trading,
)
_policy(
    "policy_near_bound",
    "share",
    "of timesteps that the policy ends beyond 80 % of its inventory bound",
    lambda run, seat: seat.near_bound,
)
_policy("policy_gain", "tick-lots", "change in the policy's wealth", lambda run, seat: seat.wealth_change)
_policy(
    "policy_liquidation",
    "tick-lots",
    "change in the policy's wealth, its inventory closed in the book at the end",
    lambda run, seat: seat.liquidation_change,
)
_policy(
    "policy_fees",
    "tick-lots",
    "fees that the policy pays less its rebates",
    lambda run, seat: float(run.run.summary["agents"][seat.agent]["fees"]),
)
_policy(
    "policy_largest",
    "share",
    "largest absolute inventory of the policy, of its bound",
    lambda run, seat: ratio(
        run.run.summary["agents"][seat.agent]["largest_inventory"],
        run.run.summary["agents"][seat.agent]["inventory_bound"],
    ),
)

DEFAULT = (
    "spread", "depth", "wall_time", "volatility", "kurtosis", "variance_ratio", "traded_lots", "moves", "thin_time",
    "pressure", "gain_makers", "policy_liquidation",
)  # fmt: skip
"""What is measured unless something else is asked for: the usual questions."""


@known("facts", "facts_inside", "count", "facts within the range of real half hours, of the 18 that have one")
def _(run: Seen) -> float | None:
    if not len(run.pair.messages):
        return 0.0
    found = [facts.measure_one(name, run.sample, run.windows, LEVELS) for name in facts.BANDED]
    return float(sum(fact["inside"] == "inside" for fact in found)) if run.windows else None


def _summary_paths(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _summary_paths(value, f"{prefix}{name}.")
        elif not isinstance(value, str):
            yield f"{prefix}{name}"


def summary_names(market: MarketConfig) -> list[str]:
    """Paths of all figures of a market's ``summary.json``."""
    nothing = np.zeros(0, EVENT)
    return list(_summary_paths(summarise(market, nothing, derive(market, nothing, 0))))


def fact_names() -> dict[str, str]:
    """Every fact and stylized fact by part, as measures are called, and its definition."""
    parted = {name: facts.PARTS.get(name, [""]) for name in facts.MEASURES} | {
        name: own.parts for name, own in stylized.MEASURES.items()
    }
    definitions = facts.REAL["facts"] | stylized.REAL["facts"]
    return {
        f"facts.{name}{f': {part}' if part else ''}": definitions[name]["definition"]
        for name, parts in parted.items()
        for part in parts
    }


def _fact(part: str) -> Figure:
    return lambda run: run.fact(part.partition(":")[0])[part] if len(run.pair.messages) else None


def _summary(path: str) -> Figure:
    def figure(run: Seen) -> float | None:
        found: Any = run.run.summary
        for part in path.split("."):
            if not isinstance(found, Mapping) or part not in found:
                return None  # an agent or kind that another arm has
            found = found[part]
        return None if found is None else float(found)

    return figure


def find(name: str, markets: Sequence[MarketConfig]) -> Measure:
    """A measure by name.

    Args:
        name: of this file, or of a family.
        markets: of the arms; one of them has what ``summary.`` names.

    Raises:
        ConfigError: it is none; says the nearest.
    """
    if name in MEASURES:
        return MEASURES[name]
    family, _, rest = name.partition(".")
    if family == "summary":
        paths = {path for market in markets for path in summary_names(market)}
        if rest in paths:
            return Measure(name, "as in summary.json", f"{rest} of summary.json", _summary(rest), family)
        raise ConfigError(f"measure: unknown {shown(name)}; {near(rest, paths)}")
    names = fact_names()
    if name in names:
        return Measure(name, "as the fact", names[name], _fact(rest), family)
    raise ConfigError(f"measure: unknown {shown(name)}; {near(name, [*MEASURES, *names])}; --list shows all")


def listing() -> str:
    """All measures as lines of text."""
    lines, group = [], ""
    for own in MEASURES.values():
        if own.group != group:
            group = own.group
            lines += ["", f"{group}:"]
        lines.append(f"  {own.name:<24}{own.unit:<13}{own.meaning}")
    lines += ["", "facts, see python -m runners.facts:"]
    lines += [f"  {name}" for name in fact_names()]
    lines += ["", "summary.<path>: any number of a run's summary.json, such as summary.kinds.noise.trades"]
    return "\n".join(lines).lstrip("\n")
