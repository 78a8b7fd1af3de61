"""What a market is made of, as frozen dataclasses that are checked when they are built.

Every field says its unit, its default and, in its type, its range. A bad value raises :class:`ConfigError`,
one line that names the field, what was expected and what was given. Nothing here knows a policy: an agent is
a seat (id, kind as a label, cash, bounds, arrivals).
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)  # fmt: skip

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from market_env import actions
from market_env.engine.state import HISTORY, MAX_PARTS
from market_env.outside import ConfigError, shown

__all__ = [
    "AgentConfig", "ConfigError", "Every", "Fees", "Halt", "Hawkes", "Latency", "MarketConfig", "Poisson", "Value", "amend",
    "check_agents", "check_together", "checked", "parse_json", "roster", "to_json",
]  # fmt: skip

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$")]
AgentId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*_[0-9]+$")]
Positive = Annotated[float, Field(gt=0)]
Int32 = Annotated[int, Field(gt=0, lt=2**31)]
MAX_CASH = 2**53
"""Largest cash or bound: exact as float64, and far from overflow in int64."""

MOST_MISTAKES = 4
"""Mistakes that one error names; the others are counted."""

Made = TypeVar("Made")


def explain(error: ValidationError, kind: Any = None, names: Sequence[str] = ()) -> str:
    """What is wrong with a value for ``kind``: of each mistake which field, what was expected, what was given.

    Args:
        error: pydantic's.
        kind: the type that was to be built; its known fields are named where one is unknown.
        names: of the fields that positional arguments stand for.
    """
    details = error.errors(include_url=False)
    places = [detail["loc"] for detail in details]
    lines = []
    for detail in details:
        place = detail["loc"]
        if detail["type"] == "too_short" and any(len(p) > len(place) and p[: len(place)] == place for p in places):
            continue  # what is wrong in an entry leaves it out, and then there are too few
        path = ""
        for depth, part in enumerate(place):
            if isinstance(part, int) and depth == 0 and part < len(names):
                part = names[part]  # a positional argument
            path += f"[{part}]" if isinstance(part, int) else f".{shown(part)[1:-1]}"
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "unexpected_keyword_argument" and (known := _fields_at(kind, place[:-1])):
            message = f"unknown, expected some of {', '.join(known)}"
        if detail["type"].startswith("union_tag"):
            tag = str(detail["ctx"]["discriminator"]).strip("'")
            tags = detail["ctx"].get("expected_tags") or ", ".join(map(repr, _tags_at(kind, place, tag)))
            message = f"expected {tag} to be one of {tags}"
        given = "" if detail["type"] in {"value_error", "missing"} else f", got {shown(detail['input'])}"
        lines.append(f"{path.lstrip('.')}: {message}{given}" if path else message)
    more = [f"and {len(lines) - MOST_MISTAKES} more"] if len(lines) > MOST_MISTAKES else []
    return "; ".join([*lines[:MOST_MISTAKES], *more])


def _tags_at(kind: Any, place: Sequence[int | str], tag: str) -> list[str]:
    """Values of the field that tells the members of a union apart; none if it cannot be found."""
    for part in place:
        kind = _within(kind, part)
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return [str(f.default) for option in get_args(kind) for f in fields(option) if f.name == tag]


def _fields_at(kind: Any, place: Sequence[int | str]) -> list[str]:
    """Fields of the dataclass that stands at a place within ``kind``; none if it cannot be told."""
    for part in place:
        kind = _within(kind, part)
    return list(getattr(kind, "__dataclass_fields__", {}))


def _within(kind: Any, part: int | str) -> Any:
    if get_origin(kind) is Annotated:
        return _within(get_args(kind)[0], part)
    if get_origin(kind) in (Union, UnionType):
        options = [option for option in get_args(kind) if hasattr(option, "__dataclass_fields__")]
        # A union that is told apart by a tag has the tag in the place.
        return next((o for o in options if any(part == f.default for f in fields(o))), None)
    if hasattr(kind, "__dataclass_fields__"):
        return get_type_hints(kind, include_extras=True).get(str(part))
    arguments = get_args(kind)
    return arguments[-1 if get_origin(kind) is dict else 0] if arguments else None


@dataclass_transform(frozen_default=True)
def checked(kind: type[Made]) -> type[Made]:
    """Make a frozen dataclass that checks its fields, and raises :class:`ConfigError` where pydantic has errors."""
    made: Any = pydantic_dataclass(frozen=True, config=STRICT)(kind)
    plain = made.__init__

    @functools.wraps(plain)
    def construct(self: Any, *values: Any, **fields: Any) -> None:
        try:
            plain(self, *values, **fields)
        except ValidationError as error:
            raise ConfigError(explain(error, made, list(made.__dataclass_fields__))) from None

    made.__init__ = construct
    return cast("type[Made]", made)


def parse_json(kind: type[Made], text: str | bytes) -> Made:
    """Build a config dataclass from JSON.

    Raises:
        ConfigError: the text is no JSON, has an unknown key or a bad value.
    """
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        raise ConfigError(explain(error, kind)) from None


def to_json(config: Any) -> Any:
    """A config dataclass as plain JSON data (dicts, lists, numbers, strings)."""
    return TypeAdapter(type(config)).dump_python(config, mode="json")


@checked
class Every:
    """Arrive once every ``period`` timesteps."""

    period: Annotated[float, Field(ge=1e-6, le=1e12)] = 1.0
    """Timesteps between two arrivals."""
    phase: Annotated[float, Field(ge=0)] | None = None
    """Time of the first arrival, in [0, period); drawn once if None."""
    process: Literal["every"] = "every"

    def __post_init__(self) -> None:
        if self.phase is not None and self.phase >= self.period:
            raise ValueError(f"phase must be below the period ({self.period}), got {self.phase}")


@checked
class Poisson:
    """Arrive at the points of a Poisson process."""

    rate: Annotated[float, Field(gt=0, le=1e6)]
    """Arrivals a timestep."""
    process: Literal["poisson"] = "poisson"


MOST_SET_OFF = 10_000
"""Most arrivals that a piece of news may set off in a group, on average."""

Ratio = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(gt=0, le=1e6)]


MOST_BURN_IN = 1e7
"""Most arrivals, on average, of a process before time 0, where it becomes stationary."""


def _check_burn_in(what: str, rate: float, relaxation: float) -> None:
    before = 30.0 * rate / relaxation if relaxation > 0.0 else math.inf
    if before > MOST_BURN_IN:
        raise ValueError(
            f"{what} takes {before:.3g} arrivals to become stationary, at most {MOST_BURN_IN:.0e} expected: "
            "choose a larger decay, a smaller branching ratio or a smaller rate"
        )


@checked
class Hawkes:
    """Share the clock of a group whose arrivals cluster: a Hawkes process.

    The group's intensity is ``m (1 - n) rate + sum over past arrivals of n decay exp(-decay age)`` for ``m``
    members and branching ratio ``n`` (Hawkes, 1971); each arrival belongs to a member drawn uniformly. With ``further``
    parts the kernel is a sum of exponentials: bursts within milliseconds and memory over minutes at once. All members
    of a group carry the same parameters.
    """

    rate: Annotated[float, Field(gt=0, le=1e6)] = 0.18
    """Mean arrivals a timestep of each member, in the stationary state and without news."""
    branching_ratio: Ratio = 0.88
    """Mean number of arrivals that one arrival sets off directly; below 1, all parts together."""
    decay: Decay = 2.0
    """How fast an arrival's influence fades, per timestep."""
    group: Name = "crowd"
    """Name of the group."""
    further: Annotated[tuple[tuple[Ratio, Decay], ...], Field(max_length=MAX_PARTS - 1)] = ()
    """Further parts of the kernel: branching ratio and decay of each."""
    news: Annotated[float, Field(ge=0, le=MOST_SET_OFF)] = 0.0
    """Mean number of arrivals of the whole group that a piece of news about the value sets off directly, over the kernel's
    parts as an arrival's own influence."""
    size: Annotated[int, Field(gt=0, le=1_000_000)] | None = None
    """Members that the group's clock runs for; None: those that there are. Members come first in the roster's order, and
    arrivals of absent ones pass without a turn, so that taking the last ones out shifts nobody else's arrivals."""
    process: Literal["hawkes"] = "hawkes"

    def __post_init__(self) -> None:
        if math.fsum(ratio for ratio, _ in self.parts) >= 1:
            raise ValueError(
                f"branching_ratio of the group {self.group!r} must be below 1, all parts of the kernel together, "
                f"got {' + '.join(str(ratio) for ratio, _ in self.parts)}"
            )
        quiet = 1.0 - math.fsum(ratio for ratio, _ in self.parts)
        _check_burn_in(f"the group {self.group!r}", self.rate, min(decay for _, decay in self.parts) * quiet)

    @property
    def parts(self) -> tuple[tuple[float, float], ...]:
        """Branching ratio and decay of every part of the kernel."""
        return ((self.branching_ratio, self.decay), *self.further)

    def share(self, part: int) -> float:
        """How much of what it sets off falls to a part of the kernel; all to the first where nothing sets off anything."""
        total = sum(ratio for ratio, _ in self.parts)
        return self.parts[part][0] / total if total else float(part == 0)


@checked
class Recorded:
    """Never: what this seat does is on the market's tape.

    There are two such seats: the first holds the orders that rest, the second those that traded with them.
    """

    process: Literal["tape"] = "tape"


Arrivals = Annotated[Every | Poisson | Hawkes | Recorded, Field(discriminator="process")]


@checked
class Duty:
    """Work in shifts: while another shift is on duty, arrivals pass without a turn.

    The exception is the first arrival at which an agent off duty still has open orders: whatever it does then withdraws them;
    until then they can trade. So a market of hundreds of agents can be as busy as one of dozens. Learners have none.
    """

    shift: Annotated[int, Field(ge=0)]
    """This agent's, from 0."""
    shifts: Annotated[int, Field(gt=0, le=1_000_000)]
    """How many take turns."""
    length: Annotated[float, Field(ge=0.001, le=1e9)] = 100.0
    """Timesteps that one is on duty."""
    phase: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of that by which changes of shift come earlier, so that not all agents change at once."""

    def __post_init__(self) -> None:
        if self.shift >= self.shifts:
            raise ValueError(f"shift must be below shifts, the number of them, {self.shifts}, got {self.shift}")

    def works(self, time: float) -> bool:
        """Whether its shift is on duty at a time, timesteps."""
        return math.floor(time / self.length + self.phase) % self.shifts == self.shift


FEE_UNIT = 1_000
"""Fees are whole thousandths of a tick-lot: this many make one."""

MOST_FEE = 1_000_000
"""Largest fee or rebate, thousandths of a tick a lot or of a tick-lot a message."""

MAX_CASH_WITH_FEES = 2**42
"""Largest cash or floor where there are fees: in thousandths, all agents' together fit an int64."""

MOST_LOTS_WITH_FEES = 1_000_000
"""Largest order where there are fees, for the same reason."""

UNBOUND = 2**31 - 1
"""The largest inventory bound: what a recorded day's seats have."""

Fee = Annotated[int, Field(ge=-MOST_FEE, le=MOST_FEE)]


@checked
class Fees:
    """What the exchange charges, in whole thousandths of a tick-lot, so that nothing is ever rounded.

    An order is accepted only as far as free cash covers what its fill would cost, fee included. A message counts when it does
    something: an order that is accepted or refused, a cancel that takes at least one order out. What an agent cannot pay for
    one is waived, so that fees leave no cash below its floor.
    """

    maker: Fee = 0
    """For each lot that trades against a resting order of its own, thousandths of a tick; negative: a rebate."""
    taker: Fee = 0
    """For each lot that an incoming order trades; negative: a rebate."""
    message: Annotated[int, Field(ge=0, le=MOST_FEE)] = 0
    """For each message beyond those that are free, thousandths of a tick-lot."""
    free_messages: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Messages that are free in each timestep."""


@checked
class Latency:
    """How long what an agent decides travels to the exchange.

    It sees the market as it stands when it decides, so the one number is its whole round trip. Messages of one turn travel
    together, those of an agent arrive in the order in which they were sent.
    """

    fixed: Annotated[float, Field(ge=0, le=1e6)] = 0.01
    """Timesteps that every message takes."""
    random: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Mean of what comes on top, exponentially distributed, drawn each turn from a stream of its own, timesteps."""
    under_way: Annotated[int, Field(gt=0, le=256)] = 8
    """Turns whose messages can be under way at one time; what is sent beyond that is refused before it leaves."""


@checked
class Halt:
    """A volatility halt: matching stops after a large move, and the agents can do nothing but cancel.

    It begins at the end of the turn that has moved the reference price by more than ``move`` ticks from where it stood at the
    end of one of the last ``within`` timesteps (at the start: from the first price). Timesteps that end before trading goes on
    do not count afterwards.
    """

    move: Annotated[int, Field(gt=0, lt=2**30)]
    """Ticks."""
    within: Annotated[int, Field(gt=0, lt=HISTORY)] = 10
    """Timesteps."""
    pause: Annotated[float, Field(gt=0, le=1e9)] = 30.0
    """Timesteps until trading goes on."""


@checked
class AgentConfig:
    """One seat in the market."""

    id: AgentId
    """``<word>_<n>``, unique in the market."""
    kind: Name
    """Label that groups agents in figures and picks a policy."""
    cash: Annotated[int, Field(ge=-MAX_CASH, le=MAX_CASH)] = 2_000_000
    """Cash at the start, tick-lots."""
    inventory: Annotated[int, Field(ge=-(2**31), lt=2**31)] = 0
    """Lots held at the start, signed."""
    inventory_bound: Int32 = 100
    """Largest absolute inventory, lots, even if all open orders of a side filled."""
    cash_floor: Annotated[int, Field(ge=-MAX_CASH, le=MAX_CASH)] = 0
    """Cash that buying may not go below, tick-lots."""
    max_open_orders: Annotated[int, Field(gt=0, le=256)] = 16
    """Resting orders at one time."""
    post_only: bool = False
    """Reject this agent's limit orders that would trade on arrival."""
    best_only: bool = False
    """Reject what this agent's orders would take beyond the lots that others show at the best price."""
    signal: Annotated[float, Field(ge=0, le=1e6)] | None = None
    """Standard deviation of its error, ticks, when it sees the market's value; None: it does not see it."""
    arrivals: Arrivals = Every()
    """When this agent's turns come."""
    duty: Duty | None = None
    """The shift in which it works; None: always on duty."""
    fees: Fees | None = None
    """What it pays; None: what the market charges."""
    latency: Latency | None = None
    """How long its messages travel; None: no time at all."""

    def __post_init__(self) -> None:
        if abs(self.inventory) > self.inventory_bound:
            raise ValueError(
                f"inventory of {self.id} must lie within its bound ±{self.inventory_bound}, got {self.inventory}"
            )
        if self.cash < self.cash_floor:
            raise ValueError(f"cash of {self.id} must be at least its cash_floor ({self.cash_floor}), got {self.cash}")


@checked
class Value:
    """What the asset is worth: a latent level, in ticks, that begins at the first price and jumps with the news.

    News come as a Hawkes process, jumps have a power-law tail; see :mod:`market_env.engine.value`. It is exogenous: the
    same in every run of a seed, whatever the agents do.
    """

    rate: Annotated[float, Field(gt=0, le=1e3)] = 0.22
    """Mean news a timestep, in the stationary state."""
    branching_ratio: Ratio = 0.75
    """Mean number of news that a piece of news sets off; below 1."""
    decay: Annotated[float, Field(gt=0, le=1e3)] = 0.08
    """How fast its influence on further news fades, per timestep."""
    jump: Annotated[float, Field(gt=0, le=1e6)] = 6.0
    """Mean absolute jump, ticks."""
    tail: Annotated[float, Field(gt=2, le=100)] = 6.0
    """Exponent of the power law that large jumps follow; above 2, so that they have a variance."""
    reversion: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """How fast the level is drawn back to the first price, per timestep."""

    def __post_init__(self) -> None:
        _check_burn_in("the value's news", self.rate, self.decay * (1.0 - self.branching_ratio))


@checked
class Tape:
    """A recorded day that plays in the market (:mod:`market_env.tape` reads it, ``runners.lobster tape`` makes one)."""

    file: Annotated[str, Field(min_length=1, max_length=4096)]
    """Where its rows lie."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the file."""
    tick_size: Positive
    """Currency units of a tick in it."""
    lot_size: Positive
    """Units of the asset in a lot."""
    rows: Annotated[int, Field(gt=0)]
    """How many there are."""
    length: Positive
    """Time of the last, timesteps."""
    orders: Annotated[int, Field(gt=0)]
    """Most orders of it that rest at one time."""
    lowest: Int32
    """Lowest price in it, ticks."""
    highest: Int32
    """Highest."""
    first: Annotated[float, Field(ge=0)] = 0.0
    """Earliest start of an episode, timesteps into the tape; the seed draws one from here to ``last``."""
    last: Annotated[float, Field(ge=0)] = 0.0
    """Latest start of an episode."""

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(
                f"last start of an episode on the tape must not be before the first ({self.first}), got {self.last}"
            )
        if self.highest < self.lowest:
            raise ValueError(
                f"highest price of the tape must not be below the lowest ({self.lowest}), got {self.highest}"
            )


LEARNER_KIND, LEARNER = "ppo", "ppo_0"
"""The kind that learns or is frozen, and the seat that learns unless another is named."""

SEATS: dict[str, AgentConfig] = {
    "ppo": AgentConfig("ppo_0", "ppo", cash=2_000_000, inventory_bound=100, arrivals=Every(1.0, 0.0)),
    "noise": AgentConfig("noise_0", "noise", cash=1_000_000, inventory_bound=60, arrivals=Hawkes(), max_open_orders=12),
    "maker": AgentConfig("maker_0", "maker", cash=6_000_000, inventory_bound=300, post_only=True, max_open_orders=24),
    "momentum": AgentConfig("momentum_0", "momentum", cash=2_000_000, inventory_bound=80, arrivals=Every(4.0)),
}
"""The seats of a bare market, by kind; :func:`roster` numbers copies of them."""


def roster(ppo: int = 1, noise: int = 20, maker: int = 4, momentum: int = 1) -> tuple[AgentConfig, ...]:
    """Agents of the four known kinds, in the default seats.

    Raises:
        ConfigError: a count is negative.
    """
    counts = {"ppo": ppo, "noise": noise, "maker": maker, "momentum": momentum}
    return seated(SEATS, counts)


def seated(seats: Mapping[str, AgentConfig], counts: Mapping[str, int]) -> tuple[AgentConfig, ...]:
    """So many agents of each kind, in copies of the kind's seat with ids of their own.

    Raises:
        ConfigError: a count is negative.
    """
    for kind, count in counts.items():
        if count < 0:
            raise ConfigError(f"number of {kind} agents: must be 0 or more, got {count}")
    return tuple(
        replace(seats[kind], id=f"{kind}_{number}") for kind, count in counts.items() for number in range(count)
    )


def _unique(name: str, values: Iterable[Any]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise ConfigError(f"{name} must be unique, got {value!r} twice")
        seen.add(value)


@checked
class MarketConfig:
    """The rules of one market and who sits in it."""

    timesteps: Annotated[int, Field(gt=0, lt=2**31)] = 5_000
    """Length of an episode; the clock runs over [0, timesteps)."""
    tick_size: Positive = 0.01
    """Currency units of one tick; prices in the engine and in files are whole ticks."""
    lot_size: Positive = 1.0
    """Units of the asset in one lot; quantities in the engine and in files are whole lots."""
    first_price: Annotated[int, Field(gt=0, lt=2**30)] = 10_000
    """Reference price at the start, ticks."""
    price_band: Annotated[int, Field(gt=0, lt=512)] = 200
    """An order is accepted within this many ticks of the reference price."""
    protection_ticks: Annotated[int, Field(gt=0, lt=512)] = 50
    """A market order trades at most this many ticks through the reference price."""
    offsets: Annotated[tuple[int, ...], Field(min_length=1, max_length=actions.MAX_GRID - 1)] = (
        -8, -4, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32,
    )  # fmt: skip
    """Grid of order offsets: ticks from the reference price, ascending; one code more means a market order."""
    lots: Annotated[tuple[int, ...], Field(min_length=2, max_length=actions.MAX_GRID)] = (
        0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 30, 50,
    )  # fmt: skip
    """Grid of order quantities: lots, ascending from 0 = no order."""
    agents: Annotated[tuple[AgentConfig, ...], Field(min_length=1)] = roster()
    """Who trades."""
    value: Value | None = None
    """What the asset is worth; None: nothing but what is paid for it."""
    fees: Fees = Fees()
    """What the exchange charges whoever has no fees of its own."""
    subsidised: bool = False
    """Whether the exchange may pay out more for a trade than it takes in."""
    halt: Halt | None = None
    """When trading stops; None: never."""
    tape: Tape | None = None
    """A recorded day in the background; None: none."""

    def __post_init__(self) -> None:
        _unique("agents: ids", (agent.id for agent in self.agents))
        if self.protection_ticks > self.price_band:
            raise ValueError(
                f"protection_ticks must not exceed price_band ({self.price_band}), got {self.protection_ticks}"
            )
        if list(self.offsets) != sorted(set(self.offsets)):
            raise ValueError(f"offsets must be ascending, got {self.offsets}")
        if max(abs(offset) for offset in self.offsets) > self.price_band:
            raise ValueError(f"offsets must lie within the price band ±{self.price_band}, got {self.offsets}")
        if self.lots[0] != 0 or list(self.lots) != sorted(set(self.lots)) or self.lots[-1] >= 2**31:
            raise ValueError(f"lots must ascend from 0 to below 2**31, got {self.lots}")
        groups: dict[str, Hawkes] = {}
        members: Counter[str] = Counter()
        for agent in self.agents:
            if agent.signal is not None and self.value is None and self.tape is None:
                raise ValueError(
                    f"signal of {agent.id}: this market has no value to see; set market.value, or no signal"
                )
            if isinstance(agent.arrivals, Hawkes):
                if agent.arrivals.news and self.value is None:
                    raise ValueError(
                        f"arrivals of {agent.id}: news set them off, and this market has no value that news are about; "
                        "set market.value, or news to 0"
                    )
                members[agent.arrivals.group] += 1
                first = groups.setdefault(agent.arrivals.group, agent.arrivals)
                if first != agent.arrivals:
                    raise ValueError(
                        f"agents of the Hawkes group {first.group!r} must share one set of parameters, "
                        f"got {agent.arrivals} for {agent.id} beside {first}"
                    )
        for name, group in groups.items():
            if group.size is not None and group.size < members[name]:
                raise ValueError(
                    f"size of the Hawkes group {name!r} must be at least its {members[name]} members, got {group.size}"
                )

        self._check_fees()
        self._check_tape()

    def _check_tape(self) -> None:
        seats = [agent.id for agent in self.agents if isinstance(agent.arrivals, Recorded)]
        if self.tape is None:
            if seats:
                raise ValueError(f"arrivals of {seats[0]}: this market has no tape to take them from; set market.tape")
            return
        if len(seats) != 2:
            raise ValueError(f"agents: a market with a tape has two seats for it, of arrivals 'tape', got {seats}")
        for agent in self.agents:
            if isinstance(agent.arrivals, Recorded):
                bare = replace(agent, latency=None, duty=None, signal=None)
                if bare != agent or agent.inventory_bound != UNBOUND or agent.cash_floor != -MAX_CASH_WITH_FEES:
                    raise ValueError(
                        f"agents: {agent.id} is a seat of the tape's: expected no latency, duty or signal, an inventory_bound of "
                        f"{UNBOUND} and a cash_floor of {-MAX_CASH_WITH_FEES}, got {agent}"
                    )
            if agent.inventory:
                raise ValueError(
                    f"inventory of {agent.id}: beside a tape, whose first price the seed decides, all begin with none, "
                    f"got {agent.inventory}"
                )
        for name, given in (("value", self.value), ("halt", self.halt)):
            if given is not None:
                raise ValueError(f"{name}: a recorded day has its own, expected None beside a tape, got {given}")
        for name in ("tick_size", "lot_size"):
            if getattr(self, name) != getattr(self.tape, name):
                raise ValueError(f"{name}: expected the tape's, {getattr(self.tape, name)}, got {getattr(self, name)}")
        if self.tape.last + self.timesteps > self.tape.length:
            raise ValueError(
                f"tape: it ends {self.tape.length:,.2f} timesteps after its start, before an episode of {self.timesteps:,} that "
                f"starts at {self.tape.last:,.2f} does"
            )
        if not self.tape.lowest <= self.first_price <= self.tape.highest:
            raise ValueError(
                f"first_price must lie within the tape's prices, {self.tape.lowest} to {self.tape.highest} ticks, "
                f"got {self.first_price}"
            )

    def _check_fees(self) -> None:
        charged = [self.fees_of(agent) for agent in self.agents]
        makers, takers = min(fees.maker for fees in charged), min(fees.taker for fees in charged)
        if makers + takers < 0 and not self.subsidised:
            raise ValueError(
                f"fees: a rebate above the fee, of {-min(makers, takers)} and {max(makers, takers)} thousandths of a tick a lot: "
                "the exchange would pay for trades; set market.subsidised to let it"
            )
        if self.charges:
            if self.lots[-1] > MOST_LOTS_WITH_FEES:
                raise ValueError(f"lots: at most {MOST_LOTS_WITH_FEES} in a market with fees, got {self.lots[-1]}")
            for agent in self.agents:
                if max(abs(agent.cash), abs(agent.cash_floor)) > MAX_CASH_WITH_FEES:
                    raise ValueError(
                        f"cash and cash_floor of {agent.id}: at most {MAX_CASH_WITH_FEES} in a market with fees, "
                        f"got {agent.cash} and {agent.cash_floor}"
                    )

    def fees_of(self, agent: AgentConfig) -> Fees:
        """What an agent of this market pays."""
        return self.fees if agent.fees is None else agent.fees

    @property
    def charges(self) -> bool:
        """Whether anybody pays or gets anything."""
        return any(
            self.fees_of(agent) != Fees(free_messages=self.fees_of(agent).free_messages) for agent in self.agents
        )

    @property
    def agent_ids(self) -> list[str]:
        """Ids of all agents, in the roster's order, which is the order of the engine's agent indices."""
        return [agent.id for agent in self.agents]


def amend(config: Made, /, **changes: Any) -> Made:
    """A copy of a config dataclass with some fields replaced, checked anew.

    Raises:
        ConfigError: a field is unknown or a value is bad.
    """
    unknown = changes.keys() - config.__dataclass_fields__.keys()  # type: ignore[attr-defined]
    if unknown:
        raise ConfigError(f"{type(config).__name__}: unknown field {min(unknown)!r}")
    return replace(config, **changes)  # type: ignore[type-var]


def check_agents(name: str, config: MarketConfig, agents: Sequence[str]) -> None:
    """Raise a :class:`ConfigError` unless ``agents`` names one agent of the market or several, each once."""
    wanted = f"{name}: expected one or more of {config.agent_ids}"
    if isinstance(agents, str) or not agents:
        raise ConfigError(f"{wanted}, got {agents!r}")
    for agent in agents:
        if agent not in config.agent_ids:
            raise ConfigError(f"{wanted}, got {agent!r}")
    _unique(f"{name}: ids", agents)


def check_learners(name: str, config: MarketConfig, learners: Sequence[str]) -> None:
    """Raise a :class:`ConfigError` unless ``learners`` names one agent of the market or several, each once and always on duty."""
    check_agents(name, config, learners)
    for agent in config.agents:
        if agent.id in learners and isinstance(agent.arrivals, Recorded):
            raise ConfigError(f"{name}: {agent.id} is a seat of the recorded day's, which nobody plays")
        if agent.id in learners and agent.duty is not None:
            raise ConfigError(f"duty of {agent.id}: a learner is always on duty, expected None, got {agent.duty}")


def check_together(config: MarketConfig, learners: Sequence[str]) -> None:
    """Raise a :class:`ConfigError` unless all ``learners`` arrive every timestep at its start, and so act at once."""
    for agent in config.agents:
        if agent.id in learners and agent.arrivals != Every(1.0, 0.0):
            raise ConfigError(
                f"arrivals of {agent.id}: learners that act at once must arrive Every(period=1.0, phase=0.0), "
                f"got {agent.arrivals}"
            )
