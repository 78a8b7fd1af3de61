"""The registry of claims: what is said of this market, what would refute it, and the arms and measures that decide it.

A claim is some parts, each a test over seeds: a mean against a figure, a paired difference between two arms, the slope along
arms that a number makes, or a count that must be 0. Holm's correction is over the parts of a claim. It is supported where all
parts hold, refuted where one is shown to be otherwise, and undecided else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from market_env.config import ConfigError
from runners.experiment import ablations
from runners.experiment.arms import Arm, Base, make_arm, near
from runners.experiment.measures import FLOW_LAGS
from scripted_agents.populations import Population, population
from scripted_agents.standards import MOST_NEAR_BOUND, STANDARDS

BASE = "as it is"

Made = Mapping[str, Any] | Callable[[Population], Population]
"""An arm: changes by path, or a function of the population."""

DAY6_PAGE = "the Day-6 page (what the measurement run is to show)"

ARMS: dict[str, dict[str, Made]] = {
    "default": {
        BASE: {},
        "makers doubled": {"maker": 16},
        "half the makers": {"maker": 4},
        "no makers": {"maker": 0},
        "makers' sizes halved": {"policies.maker.lots": "*0.5"},
        "makers' sizes doubled": {"policies.maker.lots": "*2"},
        "noise traders doubled": {"noise": 24},
        "half the noise traders": {"noise": 6},
        "arrivals not clustered": ablations.unclustered,
        "no trend follower": {"momentum": 0},
        "eight trend followers": {"momentum": 8},
        "noise traders herd": {"policies.noise.herding": 0.6},
        "no informed traders": {"informed": 0},
        "no value": ablations.without_value_at_all,
        "news wake nobody": ablations.unwoken,
    },
    "day6": {
        BASE: {},
        "makers doubled": {"maker": 8},
        "half the makers": {"maker": 2},
        "no makers": {"maker": 0},
        "makers' sizes halved": {"policies.maker.lots": "*0.5"},
        "makers' sizes doubled": {"policies.maker.lots": "*2"},
        "noise traders doubled": {"noise": 40},
        "half the noise traders": {"noise": 10},
        "arrivals not clustered": ablations.unclustered,
        "no trend follower": {"momentum": 0},
        "eight trend followers": {"momentum": 8},
        "noise traders herd": {"policies.noise.herding": 0.9},
    },
}
"""By population the arms that claims name."""


def arms_of(name: str, timesteps: int) -> dict[str, Arm]:
    """The arms of a population, by name.

    Raises:
        ConfigError: the population has none.
    """
    if name not in ARMS:
        raise ConfigError(f"--populations: expected some of {', '.join(ARMS)}, got {name!r}")
    base = Base.of(name, timesteps)
    found = {}
    for arm, made in ARMS[name].items():
        if callable(made):
            of = made(population(name, timesteps=timesteps))
            found[arm] = Arm(arm, of.market, dict(of.policies))
        else:
            found[arm] = make_arm(base, made, arm)
    return found


@dataclass(frozen=True)
class Part:
    """One test of a claim."""

    says: str
    """What holds if it does."""
    measure: str
    way: Literal["above", "below", "apart", "never"]
    """The figure lies above 0 or below it, or away from 0 either way; or it is 0 in every seed."""
    arm: str = BASE
    against: str | None = None
    """Another arm: then the figure is the paired difference to it."""
    along: tuple[tuple[str, float], ...] = ()
    """Arms and their numbers: then the figure is the slope of the measure along them, seed by seed."""
    less: float = 0.0
    """What is taken off the measure before."""
    more: float = 0.0
    """Of a difference: by so large a part of the other arm's value it may be higher."""
    least: float = 0.0
    """What counts at least: a figure that is shown to be less far from 0 that way is shown to be none."""
    weight: str | None = None
    """Measure by which seeds count."""


@dataclass(frozen=True)
class Curve:
    """Measures that differ by a lag, drawn as a line."""

    prefix: str
    lags: tuple[int, ...]
    title: str


@dataclass(frozen=True)
class Claim:
    """A sentence that an experiment decides."""

    name: str
    says: str
    source: str
    refuted: str
    """What would refute it."""
    parts: tuple[Part, ...]
    panels: tuple[tuple[str, tuple[str, ...]], ...]
    """What is drawn: a measure and the arms."""
    told: tuple[tuple[str, str], ...] = ()
    """What else is told of the base: a measure and what it is called."""
    curves: tuple[Curve, ...] = ()
    populations: tuple[str, ...] = ("default", "day6")


MAKERS = ("no makers", "half the makers", BASE, "makers doubled")
SIZES = ("makers' sizes halved", BASE, "makers' sizes doubled")
BY_SIZES = tuple(zip(SIZES, (0.5, 1.0, 2.0), strict=True))
NOISE = ("half the noise traders", BASE, "noise traders doubled")
BY_NOISE = tuple(zip(NOISE, (0.5, 1.0, 2.0), strict=True))
NO_MORE = 0.1
"""By how much of it a figure may rise and still count as not raised."""

CLAIMS = (
    Claim(
        "walls",
        "Liquidity concentrates around the makers' quotes.",
        DAY6_PAGE,
        "others own most of the walls or of the depth near the mid, or depth does not fall as makers leave",
        (
            Part("makers own more than half of the lots near the mid", "near_share_makers", "above", less=0.5),
            Part("makers own more than half of the walls' lots", "wall_share_makers", "above", less=0.5),
            Part("with half the makers depth falls", "depth", "below", "half the makers", BASE),
            Part("without makers depth falls", "depth", "below", "no makers", BASE),
            Part("without makers the largest level of the book is smaller", "largest_level", "below", "no makers", BASE),
        ),
        (("depth", MAKERS), ("largest_level", MAKERS), ("near_share_makers", MAKERS[1:])),
        (("near_share_makers", "makers' part of the depth near the mid"), ("wall_share_makers", "their part of the walls' lots"), ("wall_time", "timesteps with a wall")),
    ),
    Claim(
        "teleport",
        "The price moves through resting orders and never jumps without touching them.",
        DAY6_PAGE,
        "a single event in any seed that prints away from the best price, or moves a best price to where no order is",
        (Part("no move of the price in any seed leaves out a resting order", "jumps", "never"),),
        (("moves_trades", MAKERS), ("moves_cancels", MAKERS), ("moves_placements", MAKERS)),
        (
            ("moves", "moves of the mid looked at, a seed"), ("moves_trades", "of them by trades"), ("moves_cancels", "by cancels"),
            ("moves_placements", "by new quotes"), ("move_ticks_trades", "size of a move by a trade, ticks"),
            ("move_ticks_cancels", "by a cancel"), ("move_ticks_placements", "by a new quote"),
        ),
    ),
    Claim(
        "selective",
        "The PPO policy trades selectively and avoids extreme inventory.",
        DAY6_PAGE,
        f"it trades on fewer than {100 * STANDARDS.least_trading:g} % or more than {100 * STANDARDS.most_trading:g} % of its turns, or spends {100 * MOST_NEAR_BOUND:g} % of the time beyond 80 % of its bound",
        (
            Part(f"it trades on more than {100 * STANDARDS.least_trading:g} % of its turns", "policy_trading", "above", less=STANDARDS.least_trading),
            Part(f"it trades on fewer than {100 * STANDARDS.most_trading:g} % of its turns", "policy_trading", "below", less=STANDARDS.most_trading),
            Part(f"it is beyond 80 % of its bound less than {100 * MOST_NEAR_BOUND:g} % of the time", "policy_near_bound", "below", less=MOST_NEAR_BOUND),
        ),
        (("policy_trading", MAKERS[1:]), ("policy_near_bound", MAKERS[1:]), ("policy_largest", MAKERS[1:])),
        (("policy_largest", "its largest inventory, of its bound"), ("policy_liquidation", "its gain, inventory closed, tick-lots")),
    ),
    Claim(
        "noise",
        "Noise traders bring flow without destabilising the market.",
        DAY6_PAGE,
        f"flow does not grow with their number, or with twice as many volatility, tails or thin times grow by more than {100 * NO_MORE:g} %",
        (
            Part("lots traded grow with their number", "traded_lots", "above", along=BY_NOISE),
            Part("with twice as many volatility is not a tenth higher", "volatility", "below", "noise traders doubled", BASE, more=NO_MORE),
            Part("with twice as many the excess kurtosis of returns is not a tenth higher", "kurtosis", "below", "noise traders doubled", BASE, more=NO_MORE),
            Part("with twice as many liquidity is not thin a tenth longer", "thin_time", "below", "noise traders doubled", BASE, more=NO_MORE),
        ),
        (("traded_lots", NOISE), ("volatility", NOISE), ("kurtosis", NOISE), ("thin_time", NOISE)),
        (("trades_noise", "trades with a noise trader, a seed"),),
    ),
    Claim(
        "asymmetry",
        "Depth on the bid and on the ask side parts under pressure.",
        DAY6_PAGE,
        "the difference between the sides after heavy buying and after heavy selling is shown to be within 1 % of the depth near the mid",
        (Part("the sides differ", "pressure_share", "apart", least=0.01),),
        (("pressure", MAKERS[1:]), ("pressure_share", MAKERS[1:])),
        (
            ("pressure", "bid less ask lots near the mid, heavy buying against heavy selling (above 0: the side that is taken from thins)"),
            ("pressure_share", "the same as a part of the depth near the mid"), ("flow_depth_5", "correlation of signed flow with ask less bid depth five timesteps later (below 0: the side that was taken from is thinner)"), ("flow_depth_20", "twenty timesteps later"), ("flow_depth_60", "sixty timesteps later"),
        ),
        (Curve("flow_depth_", FLOW_LAGS, "ask less bid depth, signed flow"),),
    ),
    Claim(
        "thinning",
        "Liquidity thins while arrivals cluster.",
        DAY6_PAGE,
        "turns are not more frequent as episodes of thin liquidity begin, or no more than where arrivals are as many and do not cluster",
        (
            Part("turns are more frequent as thin episodes begin (each seed counts by its episodes)", "thin_arrivals", "above", weight="thin_episodes"),
            Part("they are more frequent then than in the same market with arrivals that do not cluster", "thin_arrivals", "above", against="arrivals not clustered"),
        ),
        (("thin_arrivals", (BASE, "arrivals not clustered")), ("turns", (BASE, "arrivals not clustered"))),
        (
            ("thin_episodes", "episodes a seed"), ("thin_left_makers", "makers' part of what leaves near the mid as episodes begin, less their part of what stands there"), ("thin_left_noise", "the same of noise traders"), ("thin_left_informed", "of informed traders"), ("thin_left_policy", "of the policy"),
            ("turns_depth", "correlation of a timestep's turns with the change of depth"),
        ),
    ),
    Claim(
        "clustering",
        "Clustered arrivals make liquidity thin more often, not only at other moments.",
        "the converse of the claim before",
        "depth varies as much where arrivals are as many and do not cluster, within two points of its median",
        (
            Part("the low tenth of the depth lies nearer its median where arrivals do not cluster, by two points at least", "depth_10th", "above", "arrivals not clustered", BASE, least=0.02),
        ),
        (("depth_10th", (BASE, "arrivals not clustered")), ("thin_time", (BASE, "arrivals not clustered")), ("spread", (BASE, "arrivals not clustered"))),
        (("depth_10th", "tenth percentile of the depth near the mid, of its median"),),
    ),
    Claim(
        "interaction",
        "Order flow interacts with liquidity.",
        "Cont, Kukanov and Stoikov (2014); the Day-6 page",
        "spread or depth is shown to answer signed flow the other way",
        (
            Part("the spread is wider in a timestep with much signed flow", "flow_spread_0", "above"),
            Part("five timesteps after much signed flow the spread is still wider", "flow_spread_5", "above"),
            Part("the side that is taken from is the thinner as the timestep ends", "flow_depth_0", "below"),
            Part("five timesteps later it is still the thinner", "flow_depth_5", "below"),
        ),
        (("cancel_trade", (BASE, "arrivals not clustered")), ("recovery", MAKERS[1:])),
        (("cancel_trade", "correlation of lots traded with lots cancelled in a timestep"), ("recovery", "depth left just after a large order, of that before")),
        (Curve("flow_spread_", FLOW_LAGS, "spread, absolute flow"), Curve("flow_depth_", FLOW_LAGS, "ask less bid depth, signed flow")),
    ),
    Claim(
        "provision",
        "Liquidity provision lowers volatility.",
        "the Day-6 page; Hendershott, Jones and Menkveld (2011)",
        "volatility does not fall, or rises, as makers become more or their quotes larger",
        (
                        Part("without makers volatility is higher", "volatility", "above", "no makers", BASE),
            Part("with half the makers it is higher", "volatility", "above", "half the makers", BASE),
            Part("with twice the makers it is lower", "volatility", "below", "makers doubled", BASE),
            Part("it falls with the size of the makers' quotes", "volatility", "below", along=BY_SIZES),
        ),
        (("volatility", MAKERS), ("volatility", SIZES), ("volatility_60s", MAKERS)),
        (("volatility_60s", "volatility of a minute, bp"),),
    ),
    Claim(
        "feedback",
        "Agents' behaviour makes feedback loops: trend followers and herding feed on moves.",
        "Lux and Marchesi (1999); LeBaron (2006)",
        "large moves are followed by no more volume, or with eight trend followers, or noise traders who herd, moves do not go on for longer or tails are not heavier",
        (
            Part("after large moves more is traded than otherwise", "volume_after_moves", "above", less=1.0),
            Part("with eight trend followers moves go on for longer than with none", "variance_ratio", "above", "eight trend followers", "no trend follower"),
            Part("with eight trend followers returns have heavier tails than with none", "kurtosis", "above", "eight trend followers", "no trend follower"),
            Part("where noise traders herd moves go on for longer", "variance_ratio", "above", "noise traders herd", BASE),
        ),
        (
            ("variance_ratio", ("no trend follower", BASE, "eight trend followers", "noise traders herd")), ("kurtosis", ("no trend follower", BASE, "eight trend followers", "noise traders herd")),
            ("volume_after_moves", ("no trend follower", BASE, "eight trend followers", "noise traders herd")),
        ),
    ),
    Claim(
        "informed",
        "News and informed traders are what makes the default market's statistics those of real ones.",
        "docs/realism.md; the default was calibrated to these facts, on other seeds",
        "without them as many facts lie within the range of real half hours",
        (
            Part("without informed traders fewer facts lie within the real range", "facts_inside", "below", "no informed traders", BASE),
            Part("without a value fewer do", "facts_inside", "below", "no value", BASE),
            Part("if news wake nobody fewer do", "facts_inside", "below", "news wake nobody", BASE),
        ),
        (
            ("facts_inside", (BASE, "no informed traders", "no value", "news wake nobody")),
            ("volatility", (BASE, "no informed traders", "no value", "news wake nobody")),
            ("spread", (BASE, "no informed traders", "no value", "news wake nobody")),
        ),
        (("facts_inside", "facts within the real range, of 18"), ("value_gap", "mean distance of the mid from the value, ticks")),
        populations=("default",),
    ),
)  # fmt: skip
"""All of them, in the order of the page."""


def wanted(claims: tuple[Claim, ...], name: str) -> dict[str, list[str]]:
    """By arm of a population the measures that some claims read, each once."""
    found: dict[str, dict[str, None]] = {}
    for claim in claims:
        if name not in claim.populations:
            continue
        for part in claim.parts:
            arms = [arm for arm, _ in part.along] or [part.arm, *([part.against] if part.against else [])]
            for arm in arms:
                found.setdefault(arm, {}).update(dict.fromkeys([part.measure, *([part.weight] if part.weight else [])]))
        for measure, arms_drawn in claim.panels:
            for arm in arms_drawn:
                found.setdefault(arm, {})[measure] = None
        own = found.setdefault(BASE, {})
        own.update(dict.fromkeys(measure for measure, _ in claim.told))
        own.update(dict.fromkeys(f"{curve.prefix}{lag}" for curve in claim.curves for lag in curve.lags))
    return {arm: list(measures) for arm, measures in found.items()}


def claims_named(names: tuple[str, ...]) -> tuple[Claim, ...]:
    """Claims by number or name; all of them for none.

    Raises:
        ConfigError: one is unknown; says the nearest.
    """
    known = {claim.name: claim for claim in CLAIMS} | {str(number): claim for number, claim in enumerate(CLAIMS, 1)}
    for name in names:
        if name not in known:
            raise ConfigError(
                f"claim: unknown {name[:80]!r}; {near(name, [claim.name for claim in CLAIMS])}; or its number, 1 to {len(CLAIMS)}"
            )
    return tuple(claim for claim in CLAIMS if not names or claim in [known[name] for name in names])
