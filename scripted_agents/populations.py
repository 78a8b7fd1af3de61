"""Markets and who sits in them, by name.

:func:`population` gives the rules, the roster and a policy for every seat. Whatever needs agents takes it; a bare
:class:`market_env.config.MarketConfig` seats the four kinds of ``day6``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from market_env.config import (
    LEARNER_KIND,
    SEATS,
    AgentConfig,
    ConfigError,
    Duty,
    Hawkes,
    MarketConfig,
    Poisson,
    Value,
    amend,
)
from market_env.engine.state import PRESETS
from market_env.outside import shown
from market_env.rewards import DEFAULT_REWARD, WealthReward
from scripted_agents import informed, splitter
from scripted_agents.frozen_ppo import FrozenPPO
from scripted_agents.informed import InformedTrader
from scripted_agents.maker import MarketMaker
from scripted_agents.momentum import MomentumTrader
from scripted_agents.patient import PatientTrader
from scripted_agents.policy import PolicyConfig
from scripted_agents.quoter import Quoter
from scripted_agents.registry import KINDS
from scripted_agents.splitter import Splitter
from scripted_agents.zero_intelligence import ZeroIntelligence

MOST_AGENTS = PRESETS[-1].agents


class Place(NamedTuple):
    """A seat and who takes it."""

    seat: AgentConfig
    policy: PolicyConfig


Parameters = Mapping[str, PolicyConfig]
"""Parameters of policies, by agent id or kind."""


@dataclass(frozen=True)
class Population:
    """A market and who sits in it."""

    name: str
    market: MarketConfig
    """Rules and roster."""
    policies: dict[str, PolicyConfig]
    """Of every seat, by agent id."""
    reward: WealthReward = DEFAULT_REWARD
    """At the scale at which random actions in the learner's seat have a standard deviation of about 1."""

    def over(self, policies: Parameters) -> dict[str, PolicyConfig]:
        """Its policies with others, by agent id or kind, in place of some."""
        kinds = {agent.id: agent.kind for agent in self.market.agents}
        kept = {agent: own for agent, own in self.policies.items() if not {agent, kinds[agent]} & policies.keys()}
        return {**kept, **policies}


@dataclass(frozen=True)
class Recipe:
    """How a population of any size is made."""

    meaning: str
    """What it is for, one sentence."""
    rules: MarketConfig
    """The market; its roster does not count."""
    counts: Mapping[str, int]
    """Agents of each kind, unless others are asked for."""
    place: Callable[[str, int, Mapping[str, int]], Place]
    """Seat and policy of a kind's agent, by its number and by how many of each kind the clocks run for."""
    reward: WealthReward = DEFAULT_REWARD
    """See :class:`Population`."""

    def build(
        self, name: str, counts: Mapping[str, int] | None = None, timesteps: int | None = None, shifts: int = 1
    ) -> Population:
        """The population, with so many agents of some kinds in place of its own, in so many shifts.

        Raises:
            ConfigError: a kind is unknown, a count is negative, there is no shift, or nobody is left.
        """
        if isinstance(shifts, bool) or not isinstance(shifts, int) or not shifts > 0:
            raise ConfigError(f"shifts: expected an integer above 0, got {shown(shifts)}")
        for kind, count in (counts or {}).items():
            if kind not in KINDS:
                raise ConfigError(f"kind: expected one of {', '.join(KINDS)}, got {shown(kind)}")
            if isinstance(count, bool) or not isinstance(count, int):
                raise ConfigError(f"number of {kind} agents: expected an integer, got {shown(count)}")
            if count < 0:
                raise ConfigError(f"number of {kind} agents: must be 0 or more, got {count}")
        wanted = {kind: self.counts.get(kind, 0) for kind in KINDS} | dict(counts or {})
        total = sum(count * (1 if kind == LEARNER_KIND else shifts) for kind, count in wanted.items())
        if total > MOST_AGENTS:
            raise ConfigError(f"agents: a market holds at most {MOST_AGENTS:,}, got {total:,}")
        # Clocks run for as many as there usually are, so that fewer of a kind shift nobody else's arrivals.
        sizes = {kind: max(count, self.counts.get(kind, 0)) for kind, count in wanted.items()}
        agents: list[AgentConfig] = []
        policies: dict[str, PolicyConfig] = {}
        for kind, count in wanted.items():
            first = len(agents)
            taken = [self.place(kind, number, sizes) for number in range(count)]
            for place in taken if kind == LEARNER_KIND else in_shifts(kind, taken, shifts):
                agents.append(replace(place.seat, id=f"{kind}_{len(agents) - first}"))
                policies[agents[-1].id] = place.policy
        if not agents:
            raise ConfigError("agents: expected at least one, got none")
        length = self.rules.timesteps if timesteps is None else timesteps
        market = amend(self.rules, agents=tuple(agents), timesteps=length)
        return Population(name, market, policies, self.reward)


def in_shifts(kind: str, places: Sequence[Place], shifts: int) -> list[Place]:
    """The same places for each of several shifts, every shift with clocks of its own and one of them on duty."""
    if shifts == 1:
        return list(places)
    phase = list(KINDS).index(kind) / len(KINDS)
    found = []
    for number in range(shifts):
        for seat, policy in places:
            arrivals = seat.arrivals
            if isinstance(arrivals, Hawkes) and number:
                arrivals = replace(arrivals, group=f"{arrivals.group}{number}")
            duty = Duty(number, shifts, phase=phase)
            found.append(Place(replace(seat, arrivals=arrivals, duty=duty), policy))
    return found


def santa_fe_place(kind: str, number: int, sizes: Mapping[str, int]) -> Place:
    """Noise traders of zero intelligence, each with a Poisson clock of its own; the other kinds as in ``day6``."""
    if kind == "noise":
        seat = replace(SEATS["noise"], cash=40_000_000, inventory_bound=1_000, arrivals=Poisson(0.3))
        return Place(seat, ZeroIntelligence())
    return day6_place(kind, number, sizes)


def day6_place(kind: str, number: int, sizes: Mapping[str, int]) -> Place:
    """The kind's own seat and policy."""
    seat = replace(KINDS[kind].seat, id=f"{kind}_{number}")
    return Place(seat, KINDS[kind].policy(seat))


PATIENT = MarketMaker(
    half_spread=25.0, volatility_weight=0.3, skew=5.5, lots=37.0, layers=3, layer_gap=4.0, tolerance=17.0, patience=30.0,
    shown=0.37, belief=1.0,
)  # fmt: skip
"""The maker whose quotes stand, far from the price: the walls."""

SPLITTER = Splitter(start=0.03, tail=1.25, aversion=1.0, lots=2.5)
"""Each works a metaorder in about a tenth of its turns, so that two seldom work at once."""

QUICK = Quoter(
    half_spread=22.0, volatility_weight=0.68, skew=5.0, edge=3.6, patience=1.2, flicker=0.36, join=0.38, better=0.55,
    at_place=0.38, depth=6.7, lots=4.4, log_spread=1.4,
)  # fmt: skip
"""The maker near the price."""

FURTHER = (0.0, 2.0, 6.0)
"""Ticks by which the half spreads of quick makers differ, in turn."""

PATIENT_EVERY = 4
"""Every so manieth maker is a patient one."""


def calibrated_place(kind: str, number: int, sizes: Mapping[str, int]) -> Place:
    """Seat and policy of the calibrated market.

    Every kind has a clock of its own that runs for as many members as there usually are, so that taking some out shifts
    nobody else's arrivals. News wake makers and informed traders alike; who of them comes first is chance.
    """
    if kind == "ppo":
        return Place(replace(SEATS["ppo"], cash=8_000_000), FrozenPPO())
    if kind == "noise":
        arrivals = Hawkes(0.024, 0.5, 9.0, group="noise", further=((0.14, 0.05),), size=sizes[kind])
        seat = replace(
            SEATS["noise"], cash=40_000_000, inventory_bound=400, max_open_orders=12, best_only=True, arrivals=arrivals
        )
        return Place(seat, NOISE)
    if kind == "maker":
        seat = replace(SEATS["maker"], cash=80_000_000, inventory_bound=600, max_open_orders=24, signal=3.5)
        patient = sum(other % PATIENT_EVERY == PATIENT_EVERY - 1 for other in range(sizes[kind]))
        if number % PATIENT_EVERY == PATIENT_EVERY - 1:
            arrivals = Hawkes(1.0, 0.0, 10.0, group="patient", news=4.9 * patient, size=patient)
            return Place(replace(seat, arrivals=arrivals), PATIENT)
        quick = sizes[kind] - patient
        arrivals = Hawkes(0.067, 0.41, 10.5, group="makers", news=2.5 * quick, size=quick)
        further = FURTHER[number % PATIENT_EVERY]
        return Place(replace(seat, arrivals=arrivals), replace(QUICK, half_spread=QUICK.half_spread + further))
    if kind == "informed":
        arrivals = Hawkes(0.0126, 0.3, 9.0, group="informed", news=1.55 * sizes[kind], size=sizes[kind])
        return Place(replace(informed.SEAT, signal=3.4, arrivals=arrivals), InformedTrader(threshold=1.05, lots=7.9))
    if kind == "splitter":
        return Place(splitter.SEAT, SPLITTER)
    if kind == "momentum":
        return Place(replace(SEATS["momentum"], cash=8_000_000), MomentumTrader())
    return day6_place(kind, number, sizes)


def splitting_place(kind: str, number: int, sizes: Mapping[str, int]) -> Place:
    """The calibrated market, in which splitters send the market orders that noise traders send there.

    Signs are remembered for as long as metaorders last, so few work at a time and in small children; informed traders act on
    larger errors only, else they would trade against every metaorder until its traces were gone.
    """
    seat, policy = calibrated_place(kind, number, sizes)
    if isinstance(policy, PatientTrader):
        policy = replace(policy, market_share=0.0)
    elif isinstance(policy, Quoter):
        policy = replace(policy, flicker=0.42)
    elif isinstance(policy, InformedTrader):
        policy = replace(policy, threshold=1.5)
    return Place(seat, policy)


CALIBRATED = MarketConfig(
    first_price=50_000,
    lot_size=10.0,
    price_band=300,
    offsets=(
        -32, -16, -8, -6, -4, -3, -2, -1, *range(33), 34, 36, 38, 40, 42, 44, 46, 48, 52, 56, 60, 64, 72, 80, 90, 100, 120,
        140,
    ),
    lots=(*range(11), 12, 14, 16, 18, 20, 24, 28, 32, 40, 50, 60, 80, 100),
    agents=(SEATS["ppo"],),
    value=Value(rate=0.166, branching_ratio=0.62, decay=0.062, jump=4.7, tail=18.0),
)  # fmt: skip
"""A stock at 500.00 in lots of ten shares, about a value that news move. Grids are as fine as the agents place orders."""

NOISE = PatientTrader(
    market_share=0.077, cancel_rate=5.6, rests_after=0.72, inside=0.03, at_best=0.36, depth=17.7, tail=3.7, lots=3.8,
    log_spread=1.25,
)  # fmt: skip

WIDE_REWARD = WealthReward(scale=280.0)
"""The default reward at the scale of the calibrated market, where prices move four times as far."""

DEFAULT = "default"

RECIPES = {
    "default": Recipe(
        "calibrated: the four kinds and informed traders, about a value that news move",
        CALIBRATED,
        {"ppo": 1, "noise": 12, "maker": 8, "momentum": 1, "informed": 6},
        calibrated_place,
        WIDE_REWARD,
    ),
    "splitters": Recipe(
        "traders who work large orders in place of noise traders' market orders: signs are remembered for long",
        CALIBRATED,
        {"ppo": 1, "noise": 12, "maker": 8, "momentum": 1, "informed": 6, "splitter": 2},
        splitting_place,
        WIDE_REWARD,
    ),
    "santa_fe": Recipe(
        "zero intelligence alone, the floor: random orders at constant rates",
        MarketConfig(offsets=tuple(range(-16, 47)), lots=(0, 1, 2, 5, 10), lot_size=100.0, agents=(SEATS["ppo"],)),
        {"noise": 20},
        santa_fe_place,
    ),
    "day6": Recipe(
        "the four kinds alone: frozen PPO, noise traders, market makers, momentum",
        MarketConfig(),
        {"ppo": 1, "noise": 20, "maker": 4, "momentum": 1},
        day6_place,
    ),
}
"""The known populations, by name."""


def population(
    name: str = DEFAULT, counts: Mapping[str, int] | None = None, timesteps: int | None = None, shifts: int = 1
) -> Population:
    """A market and who sits in it.

    Args:
        name: one of :data:`RECIPES`.
        counts: agents of some kinds, in place of the population's own numbers.
        timesteps: length of an episode.
        shifts: how often all but the learners are there, one shift of them on duty at a time: 37 make a thousand agents
            of the default, whose market stays what it is.

    Raises:
        ConfigError: the name or a kind is unknown, a count is negative, there is no shift, or nobody is left.
    """
    if not isinstance(name, str) or name not in RECIPES:
        raise ConfigError(f"population: expected one of {', '.join(RECIPES)}, got {shown(name)}")
    return RECIPES[name].build(name, counts, timesteps, shifts)


Rules = MarketConfig | Population
"""What an environment can be told to play: a market whose seats take their kinds' policies, or a whole population."""


def dealt(
    config: Rules | Sequence[Rules] | None, policies: Parameters | Sequence[Parameters] | None
) -> tuple[list[MarketConfig], list[Parameters]]:
    """Markets, and for each the policies that are not its kinds' own.

    Args:
        config: one, several, or None for the default population.
        policies: who plays, by agent id or kind, where it is not the population's or the kind's default; one mapping for
            all markets, or one each.

    Raises:
        ConfigError: there are as many mappings neither as markets nor one, or something is neither market nor population.
    """
    one = isinstance(config, MarketConfig | Population) or not isinstance(config, Iterable)
    given: list[Rules] = [population()] if config is None else [config] if one else list(config)  # type: ignore[arg-type, list-item]
    each = [policies or {}] * len(given) if policies is None or isinstance(policies, Mapping) else list(policies)
    if len(each) != len(given):
        raise ConfigError(f"policies: expected one mapping, or one for each of {len(given)} configs, got {len(each)}")
    markets, seated = [], []
    for rules, own in zip(given, each, strict=True):
        if not isinstance(rules, MarketConfig | Population):
            raise ConfigError(
                f"config: expected a MarketConfig, a population or a list of them, got {type(rules).__name__}"
            )
        markets.append(rules.market if isinstance(rules, Population) else rules)
        seated.append(rules.over(own) if isinstance(rules, Population) else own)
    return markets, seated


def alone(config: Rules | None, policies: Parameters | None) -> tuple[MarketConfig, Parameters]:
    """:func:`dealt` for what takes one market.

    Raises:
        ConfigError: it is neither market nor population.
    """
    if config is not None and not isinstance(config, MarketConfig | Population):
        raise ConfigError(f"config: expected a MarketConfig or a population, got {type(config).__name__}")
    markets, seated = dealt(config, policies)
    return markets[0], seated[0]


def reward_of(config: Rules | Sequence[Rules] | None) -> WealthReward:
    """The reward of an environment that is told none: its population's, of several the first one's."""
    first = population() if config is None else config
    if not isinstance(first, MarketConfig | Population):
        first = next(iter(first), MarketConfig())
    return first.reward if isinstance(first, Population) else DEFAULT_REWARD
