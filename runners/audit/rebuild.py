"""A market rebuilt from its log, with its invariants checked on the way.

Nothing but the events is used, and nothing of the engine: the plain-Python book of :mod:`market_env.twin`. An invariant
that does not hold is a :class:`Difference` with its place in the log. What has been rebuilt is taken piece by piece and not
kept: memory is that of the market, and of turns whose messages latency may still delay, however long the log. Cost: about 15 µs
an event.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple

from market_env.config import FEE_UNIT, AgentConfig, Fees, MarketConfig, Recorded
from market_env.engine.state import KINDS, REJECT_REASONS
from market_env.engine.tables import DEPTH_LEVELS
from market_env.market import capacity_of
from market_env.rewards import DEFAULT_REWARD, EXCESS, WealthReward
from market_env.tape import tape_of
from market_env.twin import Entry, Line, Recording, Resting, TwinAccount, TwinBook, TwinMarket, next_reference
from runners.audit.news import news
from runners.audit.streams import tape_share
from runners.files.schema import VERSION, columns_of, tables_of

BID_COLUMNS, ASK_COLUMNS = (
    [(f"{side}_price_{level + 1}", f"{side}_lots_{level + 1}") for level in range(DEPTH_LEVELS)]
    for side in ("bid", "ask")
)
"""Columns of the depth's levels."""
EMPTY: tuple[Any, Any] = (None, 0)
"""Price and lots of a level that is not there."""
KEPT = 100
"""Differences that are kept in full; the others are counted."""


class Difference(NamedTuple):
    """Something that is not as it must be."""

    check: str
    timestep: int | None
    seq: int | None
    column: str
    recorded: Any
    rebuilt: Any

    def __str__(self) -> str:
        where = ", ".join(
            f"{name} {value}" for name, value in (("timestep", self.timestep), ("seq", self.seq)) if value is not None
        )
        return (
            f"{self.check}: {where or 'whole run'}, {self.column}: recorded {self.recorded!r}, rebuilt {self.rebuilt!r}"
        )


@dataclass(slots=True)
class Account:
    """One agent as the log says, beside the limits of its seat."""

    seat: AgentConfig
    cash: int
    inventory: int
    bids: int = 0
    """Lots in open bids."""
    asks: int = 0
    """Lots in open asks."""
    fees: Fees = field(default_factory=Fees)
    """What it pays."""
    paid: int = 0
    """Fees less rebates, thousandths of a tick-lot."""
    reserved: int = 0
    """What open orders could cost, fees included, thousandths of a tick-lot."""
    bid_orders: int = 0
    ask_orders: int = 0
    seen_wealth: float = 0.0
    """Wealth at its last turn, tick-lots."""
    seen_time: float = 0.0
    """Market time of that turn, timesteps."""
    seen_inventory: int = 0
    """Inventory at that turn, lots."""
    seen_reference: float = 0.0
    """Reference price at that turn, ticks."""
    refused: int = 0
    """Lots since its last turn."""
    last_turn: int | None = None
    traded: bool = False
    """Whether one of its orders has traded since its last turn."""
    trades: int = 0
    """So far, each once."""
    settled_turns: int = 0
    """Turns so far that another of its own has followed."""
    trading_turns: int = 0
    """Those of them after which one of its orders traded before the next."""
    turns: int = 0
    """Within the timestep, as the next three."""
    maker_lots: int = 0
    taker_lots: int = 0
    messages: int = 0
    """Carried out."""

    @property
    def free(self) -> int:
        """Cash above the floor that neither fees nor open orders have taken, thousandths of a tick-lot."""
        return FEE_UNIT * (self.cash - self.seat.cash_floor) - self.paid - self.reserved

    def wealth(self, reference: float) -> float:
        """Cash less fees, and the inventory at the reference price, tick-lots."""
        return self.cash - self.paid / FEE_UNIT + self.inventory * reference

    def fill_cost(self, side: str, price: int, fee: int) -> int:
        """What a lot of an order could cost, thousandths of a tick-lot: of a sale no more than its fee exceeds the price."""
        return FEE_UNIT * price + max(0, fee) if side == "buy" else max(0, fee - FEE_UNIT * price)


class Event(NamedTuple):
    """One line of the log."""

    seq: int
    time: float
    timestep: int
    turn: int
    kind: str
    agent: str
    order_id: int
    side: str | None
    price: int | None
    lots: int
    maker_order_id: int
    maker: str | None
    reason: str | None


def window_of(config: MarketConfig) -> int:
    """Price levels that the exchange keeps around the reference price."""
    return capacity_of(config).levels


def twin_of(config: MarketConfig, seed: int = 0) -> TwinMarket:
    """The plain-Python market of a configuration, at its start; of a market with a recorded day, before its book is laid out.

    Raises:
        ConfigError: the recorded day cannot be read.
    """
    recording = None
    if config.tape is not None:
        maker, taker = recorded_seats(config)
        first, last = config.tape.first, config.tape.last
        start = first + tape_share(seed) * (last - first) if last > first else first
        rows = tape_of(config)
        assert rows is not None
        recording = Recording(rows.tolist(), start, maker, taker)
    accounts = {
        agent.id: TwinAccount(
            agent,
            agent.cash,
            agent.inventory,
            config.fees_of(agent),
            None if agent.latency is None else agent.latency.under_way,
        )
        for agent in config.agents
    }
    return TwinMarket(accounts, config.first_price, config.price_band, window_of(config), config.halt, recording)


def recorded_seats(config: MarketConfig) -> list[str]:
    """Agents whose messages are a recorded day's: of its resting orders, and of those that traded with them; none without one."""
    return [agent.id for agent in config.agents if isinstance(agent.arrivals, Recorded)]


class Incoming:
    """An accepted order while it matches."""

    def __init__(self, event: Event) -> None:
        assert event.side is not None
        assert event.price is not None
        self.order_id = event.order_id
        self.agent = event.agent
        self.side = event.side
        self.price = event.price
        self.left = event.lots


class Turn:
    """What an agent did in one turn, as the log says.

    Args:
        agent: who.
        time: when, timesteps.
        reference: the reference price that it saw, ticks.
        own: its open orders then, oldest first: order id and side.
        works: whether the agent was on duty.
    """

    # A piece has some thousands of them: what is empty is shared.
    __slots__ = ("agent", "cancelled", "charged", "entries", "ordered", "own", "reference", "time", "works")

    def __init__(
        self, agent: str, time: float, reference: float, own: tuple[tuple[int, str], ...], works: bool
    ) -> None:
        self.agent = agent
        self.time = time
        self.reference = reference
        self.own = own
        self.works = works
        self.cancelled: tuple[int, ...] = ()
        self.ordered: tuple[tuple[str, int, int], ...] = ()
        """Side, price and lots, those that passed risk and those that were refused together; a side once."""
        self.charged: tuple[str, ...] = ()
        """Its messages that were carried out: its cancel, its order of a side."""
        self.entries: tuple[Entry, ...] = ()
        """What the log says between it and the next turn."""

    def order_of(self, side: str) -> tuple[int, int] | None:
        """Price and lots of what was ordered of a side."""
        return next(((price, lots) for which, price, lots in self.ordered if which == side), None)

    def order(self, side: str, price: int, lots: int) -> None:
        """Lots that passed risk or were refused: together what was ordered."""
        before = self.order_of(side)
        others = tuple(order for order in self.ordered if order[0] != side)
        self.ordered = (*others, (side, price, lots + (before[1] if before else 0)))

    def carried_out(self, action: dict[str, Any]) -> dict[str, Any]:
        """What the market does with a recorded action: off duty, any withdraws all that is open."""
        return action if self.works else {**action, "cancel": "all", "bid_lots": 0, "ask_lots": 0}

    def cancels(self, which: str) -> list[int]:
        """Orders that an action's ``cancel`` takes out."""
        match which:
            case "oldest":
                return [order_id for order_id, _ in self.own[:1]]
            case "bids":
                return [order_id for order_id, side in self.own if side == "buy"]
            case "asks":
                return [order_id for order_id, side in self.own if side == "sell"]
            case "all":
                return [order_id for order_id, _ in self.own]
        return []


class Piece(NamedTuple):
    """What has been rebuilt since the last piece was taken."""

    tables: dict[str, dict[str, list[Any]]]
    """Rows by table and column; of turns those that are over, actions and rewards left out."""
    turns: list[Turn]
    """The same turns."""
    until: float
    """When the next turn begins, or the log ends, timesteps."""
    last: bool
    """Whether the log ends here."""
    rewards: list[tuple[int, float]]
    """Rewards that were settled, by number of turn: of turns of this piece or of an earlier one."""


class Replay:
    """A market rebuilt from its log, one event after another, with its invariants checked on the way.

    Args:
        config: the market.
        reward: the run's reward.
        seed: the run's.
        version: of the schema of its tables.
    """

    def __init__(
        self, config: MarketConfig, reward: WealthReward = DEFAULT_REWARD, seed: int = 0, version: int = VERSION
    ) -> None:
        self.config = config
        self.reward = reward
        self.seed = seed
        self.version = version
        self._rewards: list[tuple[int, float]] = []
        """Of turns that have been settled and not taken."""
        self._turns: list[Turn] = []
        """The one that goes on, and before it those that are over and not taken."""
        self._begun = 0
        """Turns so far."""
        self._live: dict[int, Turn] = {}
        """By number, turns whose messages may still be carried out."""
        self._under_way: dict[str, deque[int]] = {agent.id: deque() for agent in config.agents if agent.latency}
        """By agent those of them that latency may have delayed."""
        self.opening: tuple[Entry, ...] = ()
        """What the log says before the first turn."""
        self._said: list[Entry] = []
        """What it has said since the last turn."""
        self.tape: dict[str, float | int] | None = None
        """Where on a recorded day the run started and what agents' trades did to it, as the twin has it; None until it has."""
        self.lost = False
        """Whether actions and rewards are: a run that was cut off never wrote them."""
        self.unchecked: list[str] = []
        """What could not be held against the log, and why."""
        self._window = window_of(config)
        self._recorded = recorded_seats(config)
        self._on_tape = False
        """Whether what is carried out is a recorded day's."""
        self.book = TwinBook()
        self._resting: dict[str, dict[int, tuple[int, str]]] = {agent: {} for agent in config.agent_ids}
        """Each agent's orders in the book, oldest first: order id and side."""
        self.reference = float(config.first_price)
        self.accounts = {
            agent.id: Account(agent, agent.cash, agent.inventory, fees=config.fees_of(agent)) for agent in config.agents
        }
        self.collected = 0
        """Fees that the exchange has taken in less rebates, thousandths of a tick-lot."""
        self.totals = (
            sum(agent.inventory for agent in config.agents),
            FEE_UNIT * sum(agent.cash for agent in config.agents),
        )
        """Lots, and cash with what the exchange has collected, thousandths of a tick-lot."""
        self.checked: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.differences: list[Difference] = []
        self.tables = self._empty()
        """What has not been taken."""
        self._news = news(config, seed, math.inf) if "news" in self.tables else iter(())
        self._next_news = next(self._news, None)
        self._mids = deque([(-1, float(config.first_price))], config.halt.within + 1 if config.halt else 1)
        """Timesteps whose end a halt looks at, with the mid there."""
        self.kinds: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.accepted = 0
        self.timestep = 0
        self._incoming: Incoming | None = None
        self._sender: str | None = None
        """Whose messages are carried out."""
        self._answering = -1
        """The turn that sent them; -1 for none."""
        self._arrived: dict[str, int] = {}
        """By agent the last turn whose messages have come out of latency."""
        self._stage = 0
        self._referenced = True
        self._halt_end: float | None = None
        """While trading is halted when it goes on, timesteps."""
        self._halted_by: str | None = None
        self._halt_since = -1
        """First timestep whose end counts for a halt."""
        self._last: Event | None = None
        self._finished = False

    # --- checks -----------------------------------------------------------------------------------------------

    def expect(self, check: str, event: Event | None, column: str, recorded: Any, rebuilt: Any) -> bool:
        """Count a check; remember the difference if the two are not equal."""
        self.checked[check] += 1
        if recorded == rebuilt:
            return True
        self.differ(check, event.timestep if event else None, event.seq if event else None, column, recorded, rebuilt)
        return False

    def expect_all(self, check: str, event: Event, *pairs: tuple[str, Any, Any]) -> None:
        """The same for several columns of an event: each with what is recorded and what is rebuilt."""
        self.checked[check] += len(pairs)
        for column, recorded, rebuilt in pairs:
            if recorded != rebuilt:
                self.differ(check, event.timestep, event.seq, column, recorded, rebuilt)

    def differ(
        self, check: str, timestep: int | None, seq: int | None, column: str, recorded: Any, rebuilt: Any
    ) -> None:
        """Remember a difference."""
        self.failed[check] += 1
        if len(self.differences) < KEPT:
            self.differences.append(Difference(check, timestep, seq, column, recorded, rebuilt))

    # --- events -----------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Take the next line of the log."""
        goes_on = event.kind == "trade" or (event.kind == "cancel" and event.reason in {"self_trade", "ioc"})
        if self._incoming and not goes_on:
            self._come_to_rest(event)
        self._follow(event)
        self.kinds[event.kind] += 1
        if event.kind != "turn":
            self._said.append(Entry(event.time, event.turn, Line(event.kind, event.agent, *event[6:])))
        match event.kind:
            case "turn":
                self._turn(event)
            case "accept":
                self._accept(event)
            case "trade":
                self._trade(event)
            case "cancel":
                self._cancel(event)
            case "reject":
                self._stage = 1
                self.rejected[str(event.reason)] += event.lots
                self.accounts[event.agent].refused += event.lots
                if event.reason == "under_way":  # it never reached the exchange
                    self.expect("latency", event, "reason", self.accounts[event.agent].seat.latency is not None, True)
                else:
                    self._order(event)
                    self.expect("halt", event, "reason", event.reason == "halt", self._refuses_for_halt(event))
                self.expect("log", event, "reason", event.reason in REJECT_REASONS, True)
                self.expect("log", event, "lots", event.lots > 0, True)
            case "halt":
                self._halt(event)
            case "resume":
                self._resume(event)
            case _:
                self.differ("log", event.timestep, event.seq, "kind", event.kind, f"one of {', '.join(KINDS)}")
        self._last = event

    def _follow(self, event: Event) -> None:
        last = self._last
        self.expect_all(
            "log", event,
            ("seq", event.seq, last.seq + 1 if last else 0),
            ("timestep", event.timestep, math.floor(event.time)),
        )  # fmt: skip
        own = event.kind in {"turn", "resume"}  # which fall due by themselves
        wanted = self._begun - (event.kind != "turn")
        if event.turn == -1 and self._recorded and not own:
            if not self._on_tape or (last and event.time != last.time):
                self._end_turn(event)
                self._close_until(event.timestep)
                self._on_tape, self._referenced, self._answering = True, False, -1
            if event.kind != "cancel":
                self.expect("tape", event, "agent", event.agent in self._recorded, True)
                self._sender = event.agent
            own, wanted = True, -1
        elif not own and event.reason != "under_way":
            if event.turn != self._answering and event.turn in self._live:
                self._arrive(event)
                own = True
            wanted = self._answering
        pairs: list[tuple[str, Any, Any]] = [("turn", event.turn, wanted)]
        if last and not own:
            pairs.append(("time", event.time, last.time))
        elif last:
            pairs.append(("time", event.time >= last.time, True))
        pairs.append(("timestep", 0 <= event.timestep < self.config.timesteps, True))
        if event.kind not in {"turn", "cancel", "resume"}:
            pairs.append(("agent", event.agent, self._sender))
        if event.kind in {"turn", "halt", "resume"}:
            absent = (event.order_id, event.side, event.price, event.lots)
            pairs.append(("order_id, side, price, lots", absent, (-1, None, None, 0)))
        if event.kind != "trade":
            pairs.append(("maker_order_id, maker", (event.maker_order_id, event.maker), (-1, None)))
        if event.kind == "reject":
            pairs.append(("order_id", event.order_id, -1))
        if event.kind not in {"cancel", "reject"}:
            pairs.append(("reason", event.reason, None))
        self.expect_all("log", event, *pairs)

    def _arrive(self, event: Event) -> None:
        """The messages of an earlier turn reach the exchange: the first line of what comes of them."""
        self._end_turn(event)
        self._close_until(event.timestep)
        turn = self._live[event.turn]
        latency = self.accounts[turn.agent].seat.latency
        self.expect("latency", event, "turn", latency is not None, True)
        if latency is not None:
            self.expect("latency", event, "time", event.time >= turn.time + latency.fixed, True)
        self.expect("latency", event, "turn", event.turn > self._arrived.get(turn.agent, -1), True)
        self._arrived[turn.agent] = self._answering = event.turn
        under_way = self._under_way.get(turn.agent)
        while under_way and under_way[0] < event.turn:
            del self._live[under_way.popleft()]
        self._on_tape = False
        self._sender = turn.agent
        self._stage = 0
        self._referenced = False
        turn.own = self._own_orders(turn.agent)

    def _halt(self, event: Event) -> None:
        self._end_turn(event)
        halt = self.config.halt
        first = max(event.timestep - halt.within, self._halt_since) if halt else 0
        moved = halt is not None and any(abs(self.reference - mid) > halt.move for at, mid in self._mids if at >= first)
        self.expect("halt", event, "kind", moved and self._halt_end is None, True)
        self._halt_end = event.time + (halt.pause if halt else 0.0)
        self._halted_by = event.agent

    def _resume(self, event: Event) -> None:
        self._end_turn(event)
        self._close_until(event.timestep)
        self.expect("halt", event, "time", event.time, self._halt_end)
        self.expect("halt", event, "agent", event.agent, self._halted_by)
        self._halt_end = None
        self._on_tape = False
        self._halt_since = event.timestep
        self._answering = -1

    def _refuses_for_halt(self, event: Event) -> bool:
        """Whether an order is refused since trading is halted; a refusal before that keeps its reason."""
        return self._halt_end is not None and event.reason != "self_cross"

    def _turn(self, event: Event) -> None:
        self._end_turn(event)
        self._close_until(event.timestep)
        rows = self.tables["turns"]
        if rows["last_seq"]:
            rows["last_seq"][-1] = event.seq - 1
        rows["turn"].append(self._begun)
        rows["time"].append(event.time)
        rows["timestep"].append(event.timestep)
        rows["agent"].append(event.agent)
        rows["first_seq"].append(event.seq)
        rows["last_seq"].append(event.seq)
        account = self.accounts[event.agent]
        self._on_tape = False
        self._sender = event.agent
        self._answering = event.turn if account.seat.latency is None else -1  # what it sends is answered later
        self._stage = 0
        self._referenced = False
        works = account.seat.duty is None or account.seat.duty.works(event.time)
        if not works:
            self.expect("duty", event, "turn", account.bid_orders + account.ask_orders > 0, True)
        self._settle(account, event.time)
        if account.last_turn is not None:
            account.settled_turns += 1
            account.trading_turns += account.traded
        account.traded = False
        account.last_turn = self._begun
        account.turns += 1
        self._keep_said()
        own = self._own_orders(event.agent)
        if self._turns and self._turns[-1].agent not in self._under_way:
            self._live.pop(self._begun - 1, None)
        turn = Turn(event.agent, event.time, self.reference, own, works)
        self._turns.append(turn)
        self._live[self._begun] = turn
        if event.agent in self._under_way:
            self._under_way[event.agent].append(self._begun)
        self._begun += 1

    def _keep_said(self) -> None:
        said, self._said = tuple(self._said), []
        if self._turns:
            self._turns[-1].entries = said
        else:
            self.opening = said

    def _settle(self, account: Account, time: float) -> None:
        wealth = account.wealth(self.reference)
        if account.last_turn is not None:
            reward, held, elapsed = self.reward, account.inventory, time - account.seen_time
            excess = max(abs(held) - EXCESS * account.seat.inventory_bound, 0.0)
            gained = wealth - account.seen_wealth - reward.inventory_penalty * held * held * elapsed
            gained -= reward.damping * (account.seen_inventory * (self.reference - account.seen_reference))
            gained -= reward.excess_penalty * excess * excess * elapsed
            settled = (gained - reward.refusal_penalty * account.refused) / reward.scale
            self._rewards.append((account.last_turn, settled))
        account.seen_wealth = wealth
        account.seen_time = time
        account.seen_inventory = account.inventory
        account.seen_reference = self.reference
        account.refused = 0

    def _own_orders(self, agent: str) -> tuple[tuple[int, str], ...]:
        account = self.accounts[agent]
        if not account.bid_orders + account.ask_orders:
            return ()
        return tuple(self._resting[agent].values())

    def _end_turn(self, event: Event | None) -> None:
        if self._referenced:
            return
        bid, ask = self.book.best("buy"), self.book.best("sell")
        self.expect("book not crossed", event, "best_bid < best_ask", bid is None or ask is None or bid < ask, True)
        self.reference = float(next_reference(self.reference, bid, ask))
        self._referenced = True

    def _within_window(self, price: int) -> bool:
        lowest = math.ceil(self.reference) - self._window // 2
        return lowest <= price < lowest + self._window

    def _answered(self, event: Event) -> Turn:
        """The turn that an event says it comes of; where no such turn can be, the last one."""
        return self._live.get(event.turn) or self._turns[-1]

    def _order(self, event: Event) -> None:
        side, price = str(event.side), event.price or 0
        turn = self._answered(event)
        self.expect("duty", event, "kind", turn.works, True)
        known = turn.order_of(side)
        if known:
            self.expect("log", event, "price", price, known[0])
        turn.order(side, price, event.lots)
        self._charge(turn, side)

    def _charge(self, turn: Turn, message: str) -> None:
        """A message of a turn is carried out: its sender pays for it, once."""
        if message in turn.charged:
            return
        turn.charged += (message,)
        account = self.accounts[turn.agent]
        account.messages += 1
        if account.fees.message and account.messages > account.fees.free_messages:
            self._pay(account, min(account.fees.message, max(0, account.free)))

    def _pay(self, account: Account, thousandths: int) -> None:
        account.paid += thousandths
        self.collected += thousandths

    def _accept(self, event: Event) -> None:
        self._stage = 1
        self.expect("log", event, "order_id", event.order_id, self.accepted)
        self.accepted += 1
        incoming = Incoming(event)
        account = self.accounts[event.agent]
        self.expect("log", event, "lots", event.lots > 0, True)
        if self._on_tape:  # a recorded day passes no risk checks
            self._incoming = incoming
            return
        self._order(event)
        self.expect(
            "price band", event, "price", event.price is not None and event.price >= 1
            and abs(event.price - self.reference) <= self.config.price_band, True,
        )  # fmt: skip
        self.expect("halt", event, "kind", self._halt_end is None, True)
        fee = max(account.fees.maker, account.fees.taker)
        left = account.free - account.fill_cost(incoming.side, incoming.price, fee) * event.lots
        self.expect("cash floor", event, "lots", left >= 0, True)
        if incoming.side == "buy":
            worst = account.inventory + account.bids + event.lots
        else:
            worst = account.asks + event.lots - account.inventory
        self.expect("inventory bound", event, "lots", worst <= account.seat.inventory_bound, True)
        if account.seat.best_only and self.book.reaches(incoming.side, incoming.price):
            self.expect("best only", event, "lots", event.lots <= self._shown(event.agent, incoming.side), True)
        self._incoming = incoming

    def _shown(self, agent: str, side: str) -> int:
        other = "sell" if side == "buy" else "buy"
        best = self.book.best(other)
        assert best is not None
        return sum(order.lots for order in self.book.sides[other][best] if order.agent != agent)

    def _trade(self, event: Event) -> None:
        incoming = self._incoming
        if incoming is None:
            self.differ("log", event.timestep, event.seq, "kind", "trade", "no order is matching")
            return
        other = "sell" if incoming.side == "buy" else "buy"
        best = self.book.best(other)
        if not self.expect("best price first", event, "price", event.price, best) or best is None:
            return
        reaches = best <= incoming.price if incoming.side == "buy" else best >= incoming.price
        self.expect("best price first", event, "price", reaches, True)
        maker = self.book.sides[other][best][0]
        self.expect("oldest first", event, "maker_order_id", event.maker_order_id, maker.order_id)
        self.expect("oldest first", event, "maker", event.maker, maker.agent)
        self.expect("no self-trade", event, "maker", event.maker != event.agent, True)
        self.expect("log", event, "order_id, side", (event.order_id, event.side), (incoming.order_id, incoming.side))
        lots = min(maker.lots, incoming.left)
        self.expect("full fills", event, "lots", event.lots, lots)
        incoming.left -= lots
        self._take(maker, lots)
        buyer, seller = (event.agent, maker.agent) if incoming.side == "buy" else (maker.agent, event.agent)
        for who, sign in ((buyer, 1), (seller, -1)):
            self.accounts[who].inventory += sign * lots
            self.accounts[who].cash -= sign * lots * maker.price
            self.accounts[who].traded = True
        for who in {buyer, seller}:
            self.accounts[who].trades += 1
        self._pay(self.accounts[event.agent], lots * self.accounts[event.agent].fees.taker)
        self._pay(self.accounts[maker.agent], lots * self.accounts[maker.agent].fees.maker)
        self.accounts[event.agent].taker_lots += lots
        self.accounts[maker.agent].maker_lots += lots
        for name, value in (
            ("seq", event.seq),
            ("time", event.time),
            ("timestep", event.timestep),
            ("price", maker.price),
            ("lots", lots),
            ("buyer", buyer),
            ("seller", seller),
            ("aggressor", event.agent),
            ("maker_order_id", maker.order_id),
            ("taker_order_id", incoming.order_id),
        ):
            self.tables["trades"][name].append(value)

    def _take(self, order: Resting, lots: int) -> None:
        account = self.accounts[order.agent]
        account.reserved -= account.fill_cost(order.side, order.price, account.fees.maker) * lots
        if order.side == "buy":
            account.bids -= lots
        else:
            account.asks -= lots
        if lots >= order.lots:
            self.book.cancel(order.order_id)
            del self._resting[order.agent][order.order_id]
            if order.side == "buy":
                account.bid_orders -= 1
            else:
                account.ask_orders -= 1
        else:
            self.book.reduce(order.order_id, lots)

    def _cancel(self, event: Event) -> None:
        incoming = self._incoming
        if event.reason == "ioc":
            if incoming is None:
                self.differ("log", event.timestep, event.seq, "reason", "ioc", "no order is matching")
                return
            self.expect(
                "log", event, "order_id, lots", (event.order_id, event.lots), (incoming.order_id, incoming.left)
            )
            self.expect("log", event, "side, price", (event.side, event.price), (incoming.side, incoming.price))
            left = self.book.reaches(incoming.side, incoming.price)
            self.expect("IOC takes all within its limit", event, "reason", left, False)
            self._incoming = None
            return
        order = self.book.orders.get(event.order_id)
        if order is None:
            self.differ("log", event.timestep, event.seq, "order_id", event.order_id, "no such order rests")
            return
        self.expect("log", event, "agent", event.agent, order.agent)
        self.expect("log", event, "side, price", (event.side, event.price), (order.side, order.price))
        self.expect("log", event, "lots", 0 < event.lots <= order.lots, True)
        match event.reason:
            case "agent":
                if self._on_tape:
                    self.expect("tape", event, "agent", event.agent, self._recorded[0])
                    self._take(order, min(event.lots, order.lots))
                    return
                self.expect("log", event, "agent", event.agent, self._sender)
                self.expect("log", event, "kind", self._stage, 0)
                turn = self._answered(event)
                self._charge(turn, "cancel")
                turn.cancelled += (event.order_id,)
            case "self_trade":
                self.expect("log", event, "agent", event.agent, incoming.agent if incoming else None)
                best = self.book.best(order.side)
                self.expect(
                    "oldest first",
                    event,
                    "order_id",
                    best is not None and self.book.sides[order.side][best][0] is order,
                    True,
                )
            case "price_band":
                self._end_turn(event)
                self.expect("price window", event, "price", self._within_window(order.price), False)
            case _:
                self.differ(
                    "log", event.timestep, event.seq, "reason", event.reason, "agent, self_trade, ioc or price_band"
                )
        self._take(order, min(event.lots, order.lots))

    def _come_to_rest(self, event: Event | None) -> None:
        incoming, self._incoming = self._incoming, None
        assert incoming is not None
        if not incoming.left:
            return
        crosses = self.book.reaches(incoming.side, incoming.price)
        self.expect("book not crossed", event, "price", crosses, False)
        account = self.accounts[incoming.agent]
        self.book.rest(incoming.order_id, incoming.agent, incoming.side, incoming.price, incoming.left)
        self._resting[incoming.agent][incoming.order_id] = (incoming.order_id, incoming.side)
        if incoming.side == "buy":
            account.bid_orders += 1
        else:
            account.ask_orders += 1
        open_orders = account.bid_orders + account.ask_orders
        if incoming.agent not in self._recorded:
            self.expect("open orders", event, "agent", open_orders <= account.seat.max_open_orders, True)
        account.reserved += account.fill_cost(incoming.side, incoming.price, account.fees.maker) * incoming.left
        if incoming.side == "buy":
            account.bids += incoming.left
        else:
            account.asks += incoming.left

    # --- timesteps --------------------------------------------------------------------------------------------

    def finish(self, timesteps: int) -> None:
        """Close the log after ``timesteps`` whole timesteps."""
        if self._incoming:
            self._come_to_rest(None)
        self._end_turn(None)
        self._keep_said()
        if self._last and self.tables["turns"]["last_seq"]:
            self.tables["turns"]["last_seq"][-1] = self._last.seq
        self._close_until(timesteps)
        if timesteps == self.config.timesteps:
            for account in self.accounts.values():
                self._settle(account, float(timesteps))
        self._finished = True

    def take(self) -> Piece:
        """What has been rebuilt since the last time: rows of timesteps that are closed, and of turns that are over."""
        while self._next_news is not None and self._next_news.time < self.timestep:
            for name, number in self._next_news._asdict().items():
                self.tables["news"][name].append(number)
            self._next_news = next(self._news, None)
        tables, turns, rewards = self.tables, self._turns, self._rewards
        self.tables, self._turns, self._rewards = self._empty(), [], []
        until = float(self.timestep)
        if turns and not self._finished:
            self._turns.append(turns.pop())
            until = self._turns[0].time
            for name, values in tables["turns"].items():
                self.tables["turns"][name] += values[-1:]
                del values[-1:]
        return Piece(tables, turns, until, self._finished, rewards)

    @property
    def held(self) -> int:
        """Rows that are there to be taken."""
        tables = self.tables  # of a timestep the accounts are most rows
        return max(
            len(tables["turns"]["timestep"]), len(tables["trades"]["timestep"]), len(tables["agents"]["timestep"])
        )

    def _empty(self) -> dict[str, dict[str, list[Any]]]:
        tables = tables_of(self.version)
        return {name: {column.name: [] for column in columns_of(name, self.version)} for name in tables}

    def _close_until(self, timestep: int) -> None:
        while self.timestep < timestep:
            self._close()
            self.timestep += 1

    def _close(self) -> None:
        bids, asks = self.book.levels("buy", DEPTH_LEVELS), self.book.levels("sell", DEPTH_LEVELS)
        for price in [side.peekitem(end)[0] for side in self.book.sides.values() if side for end in (0, -1)]:
            self.checked["price window"] += 1
            if not self._within_window(price):
                where = f"price {price} at the end of timestep {self.timestep}"
                self.differ("price window", None, None, where, recorded=False, rebuilt=True)
        self._close_quotes(bids[0] if bids else None, asks[0] if asks else None)
        self._mids.append((self.timestep, self.reference))
        depth = self.tables["depth"]
        depth["timestep"].append(self.timestep)
        for columns, levels in ((BID_COLUMNS, bids), (ASK_COLUMNS, asks)):
            for (price_column, lots_column), (price, lots) in zip_longest(columns, levels, fillvalue=EMPTY):
                depth[price_column].append(price)
                depth[lots_column].append(lots)
        self._close_accounts()
        held = (
            sum(a.inventory for a in self.accounts.values()),
            FEE_UNIT * sum(a.cash for a in self.accounts.values())
            - sum(a.paid for a in self.accounts.values())
            + self.collected,
        )
        self.expect(
            "lots and cash conserved", None, f"totals at the end of timestep {self.timestep}", held, self.totals
        )

    def _close_accounts(self) -> None:
        rows, accounts = self.tables["agents"], list(self.accounts.values())
        columns: tuple[tuple[str, list[Any]], ...] = (
            ("timestep", [self.timestep] * len(accounts)),
            ("agent", list(self.accounts)),
            ("inventory", [a.inventory for a in accounts]),
            ("cash", [a.cash for a in accounts]),
            *([("fees", [a.paid for a in accounts])] if "fees" in rows else []),
            ("wealth", [a.wealth(self.reference) for a in accounts]),
            ("open_bid_lots", [a.bids for a in accounts]),
            ("open_ask_lots", [a.asks for a in accounts]),
            ("turns", [a.turns for a in accounts]),
            ("maker_lots", [a.maker_lots for a in accounts]),
            ("taker_lots", [a.taker_lots for a in accounts]),
        )
        for name, values in columns:
            rows[name] += values
        for check, broken in (
            ("inventory bound", [a for a in accounts if abs(a.inventory) > a.seat.inventory_bound]),
            ("cash floor", [a for a in accounts if a.free < 0]),
        ):
            self.checked[check] += len(accounts)
            for account in broken:
                where = f"{account.seat.id} at the end of timestep {self.timestep}"
                self.differ(check, None, None, where, recorded=False, rebuilt=True)
        for account in accounts:
            account.turns = account.maker_lots = account.taker_lots = account.messages = 0

    def _close_quotes(self, bid: tuple[int, int] | None, ask: tuple[int, int] | None) -> None:
        spread = microprice = imbalance = None
        if bid and ask:
            total = float(bid[1] + ask[1])
            spread = ask[0] - bid[0]
            microprice = (bid[0] * float(ask[1]) + ask[0] * float(bid[1])) / total
            imbalance = (float(bid[1]) - float(ask[1])) / total
        for name, value in (
            ("timestep", self.timestep),
            ("best_bid", bid[0] if bid else None),
            ("bid_lots", bid[1] if bid else 0),
            ("best_ask", ask[0] if ask else None),
            ("ask_lots", ask[1] if ask else 0),
            ("spread", spread),
            ("microprice", microprice),
            ("imbalance", imbalance),
            ("mid", float(self.reference)),
        ):
            self.tables["quotes"][name].append(value)
