"""The market once more, in plain Python: the twin that the engine is tested against and replay trusts.

Promise: written from the rules alone, with sorted dicts, deques and Python integers, no numba, no shared code
with the engine but the names of kinds and reasons. Cost: about 10 µs an order; correctness first.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sortedcontainers import SortedDict


@dataclass
class Resting:
    """An order in the book."""

    order_id: int
    agent: str
    side: str
    price: int
    lots: int


class Fill(NamedTuple):
    """What an incoming order did to a resting one: ``trade``, or ``self_trade`` when both have one owner."""

    kind: str
    order: Resting
    lots: int


class TwinBook:
    """Price-time priority book over sorted dicts of deques."""

    def __init__(self) -> None:
        self.sides: dict[str, SortedDict[int, deque[Resting]]] = {"buy": SortedDict(), "sell": SortedDict()}
        self.orders: dict[int, Resting] = {}

    def best(self, side: str) -> int | None:
        """Best price of a side, None if it is empty."""
        levels = self.sides[side]
        if not levels:
            return None
        return int(levels.peekitem(-1 if side == "buy" else 0)[0])

    def levels(self, side: str, count: int | None = None) -> list[tuple[int, int]]:
        """(price, lots) of the best ``count`` levels of a side, best first."""
        prices = reversed(self.sides[side]) if side == "buy" else iter(self.sides[side])
        found: list[tuple[int, int]] = []
        for price in prices:
            if count is not None and len(found) == count:
                break
            found.append((price, sum(order.lots for order in self.sides[side][price])))
        return found

    def reaches(self, side: str, price: int) -> bool:
        """Whether an incoming order of this side and limit would meet the other side."""
        opposite = self.best("sell" if side == "buy" else "buy")
        if opposite is None:
            return False
        return price >= opposite if side == "buy" else price <= opposite

    def match(self, agent: str, side: str, price: int, lots: int) -> tuple[list[Fill], int]:
        """Trade an incoming order; return what happened and the lots left."""
        fills = []
        other = "sell" if side == "buy" else "buy"
        while lots and self.reaches(side, price):
            best = self.best(other)
            assert best is not None
            order = self.sides[other][best][0]
            if order.agent == agent:
                fills.append(Fill("self_trade", order, order.lots))
                self.cancel(order.order_id)
                continue
            traded = min(lots, order.lots)
            fills.append(Fill("trade", order, traded))
            lots -= traded
            if traded == order.lots:
                self.cancel(order.order_id)
            else:
                order.lots -= traded
        return fills, lots

    def rest(self, order_id: int, agent: str, side: str, price: int, lots: int) -> None:
        """Put an order at the end of its queue."""
        order = Resting(order_id, agent, side, price, lots)
        self.orders[order_id] = order
        self.sides[side].setdefault(price, deque()).append(order)

    def reduce(self, order_id: int, lots: int) -> None:
        """Take lots off an order, fewer than it has; it keeps its place."""
        self.orders[order_id].lots -= lots

    def cancel(self, order_id: int) -> Resting:
        """Take an order out of the book."""
        order = self.orders.pop(order_id)
        queue = self.sides[order.side][order.price]
        queue.remove(order)
        if not queue:
            del self.sides[order.side][order.price]
        return order


class Limits(Protocol):
    """What the exchange asks of a seat; :class:`market_env.config.AgentConfig` says what each means."""

    @property
    def inventory_bound(self) -> int:
        """Lots."""

    @property
    def cash_floor(self) -> int:
        """Tick-lots."""

    @property
    def max_open_orders(self) -> int:
        """Resting orders."""

    @property
    def post_only(self) -> bool:
        """Whether its limit orders may not trade on arrival."""

    @property
    def best_only(self) -> bool:
        """Whether it takes no more than the best level shows."""


class Charges(Protocol):
    """What the exchange charges; :class:`market_env.config.Fees` says what each means."""

    @property
    def maker(self) -> int:
        """Thousandths of a tick a lot."""

    @property
    def taker(self) -> int:
        """Thousandths of a tick a lot."""

    @property
    def message(self) -> int:
        """Thousandths of a tick-lot."""

    @property
    def free_messages(self) -> int:
        """A timestep."""


class Halts(Protocol):
    """When trading stops; :class:`market_env.config.Halt` says what each means."""

    @property
    def move(self) -> int:
        """Ticks."""

    @property
    def within(self) -> int:
        """Timesteps."""

    @property
    def pause(self) -> float:
        """Timesteps."""


@dataclass
class TwinAccount:
    """Cash and lots of one agent, beside the limits of its seat."""

    seat: Limits
    cash: int
    inventory: int
    fees: Charges
    under_way: int | None = None
    """Turns whose messages may travel at one time; None: they take no time."""
    orders: list[int] = field(default_factory=list)
    """Own open order ids, oldest first."""
    paid: int = 0
    """Fees less rebates, thousandths of a tick-lot."""
    messages: tuple[int, int] = (-1, 0)
    """The last timestep in which some were carried out, and how many."""
    arrival: float = 0.0
    """Of its last messages at the exchange."""


class Sent(NamedTuple):
    """What a turn sent and when it arrives."""

    time: float
    turn: int
    agent: str
    cancel: str
    orders: dict[str, tuple[int, int, bool]]


class Line(NamedTuple):
    """One line of the log, without sequence number and time."""

    kind: str
    agent: str
    order_id: int
    side: str | None
    price: int | None
    lots: int
    maker_order_id: int
    maker: str | None
    reason: str | None


class Recording(NamedTuple):
    """A recorded day as the twin plays it; :mod:`market_env.engine.history` says what its rows mean."""

    rows: list[tuple[float, float, int, int, int, int, int, int]]
    """Time, mid, row, handle, price, lots, kind and side of each."""
    start: float
    """Where on it the episode starts, timesteps."""
    maker: str
    """Seat of its resting orders."""
    taker: str
    """Seat of those that traded with them."""


ADD, REDUCE, DELETE, EXECUTE = range(4)


class Entry(NamedTuple):
    """A line of the log with its time and the turn that it comes of."""

    time: float
    turn: int
    line: Line


class TwinMarket:
    """The exchange's rules for one turn after another: risk, matching, accounts, fees, halts, reference price, log lines.

    Args:
        accounts: the agents' accounts, by id.
        first_price: reference price at the start, ticks.
        price_band: ticks around the reference within which an order is accepted.
        window: number of price levels the exchange keeps; orders further than half of it are cancelled.
        halts: when trading stops; None: never.
        recording: a recorded day; None: none.
    """

    def __init__(
        self,
        accounts: dict[str, TwinAccount],
        first_price: int,
        price_band: int,
        window: int,
        halts: Halts | None = None,
        recording: Recording | None = None,
    ) -> None:
        self.accounts = accounts
        self.book = TwinBook()
        self.reference: float = first_price
        self.price_band = price_band
        self.window = window
        self.halts = halts
        self.recording = recording
        self.counted = {"cut": 0, "displaced": 0, "skipped": 0, "unqueued": 0}
        """What agents' trades did to the recording; :data:`runners.files.summary.TAPE_COUNTS` says what each means."""
        self._row = 0
        self._left: dict[int, int] = {}
        """Lots that the recording itself has left of each of its orders, by handle."""
        self._handles: dict[int, int] = {}
        """Order ids of the recording's orders by handle."""
        self.accepted = 0
        self.turns = 0
        self.time = 0.0
        self.under_way: list[Sent] = []
        self.ended: deque[float] = deque([first_price], halts.within if halts else 1)
        """Reference prices that a halt looks at: of the start and of the ends of timesteps that count, at most so many."""
        self._counted = 1
        """The start, and timesteps that have ended."""
        self.halted: tuple[float, str] | None = None
        """When trading goes on, and whose message stopped it."""

    def turn(
        self,
        agent: str,
        cancel: str,
        first: str,
        orders: dict[str, tuple[int, int, bool]],
        time: float,
        delay: float = 0.0,
    ) -> Iterator[Entry]:
        """Play one turn; yield its log lines after ``turn`` itself.

        Args:
            agent: whose turn it is.
            cancel: ``keep``, ``oldest``, ``bids``, ``asks`` or ``all``.
            first: the side that goes first, ``buy`` or ``sell``.
            orders: by side: limit price, lots, and whether what does not trade at once is cancelled.
            time: when it is, timesteps; what falls due until then has happened (:meth:`advance`).
            delay: how long its messages travel, where they do.
        """
        number, account = self.turns, self.accounts[agent]
        self.turns += 1
        if account.under_way is None:
            yield from self._carry_out(Sent(time, number, agent, cancel, orders), first)
        elif cancel != "keep" or orders:
            if sum(sent.agent == agent for sent in self.under_way) < account.under_way:
                account.arrival = max(account.arrival, time + delay)
                self.under_way.append(Sent(account.arrival, number, agent, cancel, orders))
                return
            for side in (first, "sell" if first == "buy" else "buy"):
                if side in orders:
                    price, lots, _ = orders[side]
                    line = Line("reject", agent, -1, side, price, lots, -1, None, "under_way")
                    yield Entry(time, number, line)

    def advance(self, until: float, firsts: Mapping[int, str], *, end: bool = False) -> Iterator[Entry]:
        """Let happen what falls due before the next turn: messages arrive, a halt ends; yield its log lines.

        Args:
            until: when that turn is, timesteps.
            firsts: by turn the side that goes first of what it sent, ``buy`` unless known.
            end: whether the episode ends then instead, and what would fall due at that very moment does not happen.
        """
        while True:
            sent = min(self.under_way, default=None, key=lambda sent: (sent.time, sent.turn))
            resumes = self.halted[0] if self.halted else math.inf
            arrives = sent.time if sent else math.inf
            time = min(resumes, arrives, self._recorded())
            if time > until or (end and time == until):
                break
            self._pass(time)
            if self.halted and resumes == time:
                yield Entry(time, self.turns - 1, Line("resume", self.halted[1], -1, None, None, 0, -1, None, None))
                self.halted = None
                self.ended.clear()  # what was before does not count afterwards
            elif sent and arrives == time:
                self.under_way.remove(sent)
                yield from self._carry_out(sent, firsts.get(sent.turn, "buy"))
            else:
                for line in self._play_rows(time):
                    yield Entry(time, -1, line)
        self._pass(until)

    def _recorded(self) -> float:
        """When the recording's next row comes."""
        recording = self.recording
        if recording is None or self._row == len(recording.rows):
            return math.inf
        return recording.rows[self._row][0] - recording.start

    def lay_out(self) -> Iterator[Entry]:
        """The book that the recording starts with; yield its log lines."""
        if self.recording is None:
            return
        standing: dict[int, list[int]] = {}
        rows = self.recording.rows
        while self._row < len(rows) and rows[self._row][0] <= self.recording.start:
            _, _, _, handle, price, lots, kind, side = rows[self._row]
            self._row += 1
            if kind == ADD:
                others = [own[1] for own in standing.values() if own[0] != side]
                crosses = others and (price >= min(others) if side == 0 else price <= max(others))
                if handle in standing or crosses:
                    self.counted["skipped"] += 1
                else:
                    standing[handle] = [side, price, lots]
            elif handle in standing:
                standing[handle][2] -= standing[handle][2] if kind == DELETE else lots
                if standing[handle][2] <= 0:
                    del standing[handle]
            else:
                self.counted["skipped"] += 1
        self._left = {handle: lots for handle, (_, _, lots) in standing.items()}
        for side, word in ((0, "buy"), (1, "sell")):
            own = [(handle, price, lots) for handle, (of, price, lots) in standing.items() if of == side]
            for handle, price, lots in sorted(own, key=lambda entry: entry[1] if side else -entry[1]):
                self._handles[handle] = self.accepted
                self.book.rest(self.accepted, self.recording.maker, word, price, lots)
                self.accounts[self.recording.maker].orders.append(self.accepted)
                line = Line("accept", self.recording.maker, self.accepted, word, price, lots, -1, None, None)
                self.accepted += 1
                yield Entry(0.0, -1, line)
        self.reference = next_reference(self.reference, self.book.best("buy"), self.book.best("sell"))

    def _play_rows(self, time: float) -> Iterator[Line]:
        """Carry out the recording's rows of one time."""
        assert self.recording is not None
        maker = self.recording.maker
        while self._recorded() == time:
            _, _, _, handle, price, lots, kind, code = self.recording.rows[self._row]
            self._row += 1
            side = "sell" if code else "buy"
            resting = self.book.orders.get(self._handles.get(handle, -1))
            if kind == ADD:
                lowest = math.ceil(self.reference) - self.window // 2
                if resting or not lowest <= price < lowest + self.window:
                    self.counted["skipped"] += 1
                    continue
                self._handles[handle], self._left[handle] = self.accepted, lots
                yield from self._admit(maker, side, price, lots, immediate=False)
            elif kind == EXECUTE:
                self._left[handle] = self._left.get(handle, 0) - lots
                yield from self._execute(side, price, lots, resting)
            else:
                if kind == DELETE:
                    lots = max(self._left.get(handle, 0), resting.lots if resting else 0)
                self._left[handle] = self._left.get(handle, 0) - lots
                yield from self._withdraw(resting, lots)
        yield from self._end(maker)

    def _withdraw(self, order: Resting | None, lots: int) -> Iterator[Line]:
        if order is None:
            self.counted["skipped"] += 1
        elif lots >= order.lots:
            self.counted["cut"] += lots - order.lots
            yield self._cancel(order.order_id, "agent")
        elif lots > 0:
            self.book.reduce(order.order_id, lots)
            line = Line("cancel", order.agent, order.order_id, order.side, order.price, lots, -1, None, "agent")
            yield line

    def _execute(self, side: str, price: int, lots: int, order: Resting | None) -> Iterator[Line]:
        """The order that executed one of the recording's comes in."""
        assert self.recording is not None
        own = min(lots, order.lots) if order else 0
        ahead = 0
        for at, _ in self.book.levels(side):
            if at < price if side == "buy" else at > price:
                break
            for other in self.book.sides[side][at]:
                if other is order:
                    break
                if other.agent == self.recording.maker:
                    if order:  # out of turn: it leaves as if cancelled
                        self.counted["unqueued"] += 1
                        yield from self._withdraw(order, lots)
                        return
                    break
                ahead += other.lots
            else:
                continue
            break
        self.counted["cut"] += lots - own
        if not min(lots, ahead + own):
            self.counted["skipped"] += 1
            return
        before = order.lots if order else 0
        opposite = "sell" if side == "buy" else "buy"
        yield from self._admit(self.recording.taker, opposite, price, min(lots, ahead + own), immediate=True)
        if order:
            left = order.lots if order.order_id in self.book.orders else 0
            if own > before - left:
                self.counted["displaced"] += own - (before - left)
                yield from self._withdraw(order, own - (before - left))

    def _pass(self, time: float) -> None:
        ends = math.floor(time) - self._counted + 1
        if ends > 0:
            self.ended.extend([self.reference] * min(ends, self.ended.maxlen or 1))
            self._counted += ends
        self.time = time

    def _carry_out(self, sent: Sent, first: str) -> Iterator[Entry]:
        self._pass(sent.time)
        for line in self._lines(sent, first):
            yield Entry(sent.time, sent.turn, line)

    def _lines(self, sent: Sent, first: str) -> Iterator[Line]:
        _, _, agent, cancel, orders = sent
        account = self.accounts[agent]
        charged = False
        for order_id in list(account.orders):
            side = self.book.orders[order_id].side
            if cancel in {"all", "oldest"} or (cancel, side) in {("bids", "buy"), ("asks", "sell")}:
                if not charged:
                    self._charge(account)
                charged = True
                yield self._cancel(order_id, "agent")
                if cancel == "oldest":
                    break
        meet = len(orders) == 2 and orders["buy"][0] >= orders["sell"][0]
        for number, side in enumerate(("buy", "sell") if first == "buy" else ("sell", "buy")):
            if side in orders:
                price, lots, immediate = orders[side]
                self._charge(account)
                yield from self._order(agent, side, price, lots, immediate, meet and number == 1)
        yield from self._end(agent)

    def _charge(self, account: TwinAccount) -> None:
        timestep = math.floor(self.time)
        last, count = account.messages
        account.messages = (timestep, count + 1 if timestep == last else 1)
        if account.fees.message and account.messages[1] > account.fees.free_messages:
            account.paid += min(account.fees.message, max(0, self._free(account)))

    def _free(self, account: TwinAccount) -> int:
        """Free cash in thousandths of a tick-lot: what no open order could cost, fees included."""
        bound = 0
        for order in map(self.book.orders.__getitem__, account.orders):
            fee = max(0, account.fees.maker)
            cost = 1_000 * order.price + fee if order.side == "buy" else max(0, fee - 1_000 * order.price)
            bound += order.lots * cost
        return 1_000 * (account.cash - account.seat.cash_floor) - account.paid - bound

    def _order(self, agent: str, side: str, price: int, lots: int, immediate: bool, meets_own: bool) -> Iterator[Line]:
        account = self.accounts[agent]

        def refused(reason: str, number: int) -> Line:
            return Line("reject", agent, -1, side, price, number, -1, None, reason)

        whole = None
        if meets_own:
            whole = "self_cross"
        elif self.halted:
            whole = "halt"
        elif price < 1 or abs(price - self.reference) > self.price_band:
            whole = "price_band"
        elif account.seat.post_only and not immediate and self.book.reaches(side, price):
            whole = "post_only"
        elif not immediate and len(account.orders) >= account.seat.max_open_orders:
            whole = "open_orders"
        if whole:
            yield refused(whole, lots)
            return
        if account.seat.best_only and self.book.reaches(side, price):
            other = "sell" if side == "buy" else "buy"
            queue = self.book.sides[other][self.book.best(other)]
            shown = sum(order.lots for order in queue if order.agent != agent)
            if lots > shown:
                yield refused("best_only", lots - shown)
                lots = shown
        own = [order for order in map(self.book.orders.__getitem__, account.orders) if order.side == side]
        position = account.inventory if side == "buy" else -account.inventory
        room = max(0, account.seat.inventory_bound - position - sum(order.lots for order in own))
        if lots > room:
            yield refused("inventory", lots - room)
            lots = room
        fee = max(0, account.fees.maker, account.fees.taker)
        cost = 1_000 * price + fee if side == "buy" else fee - 1_000 * price
        if cost > 0 and lots > (affordable := max(0, self._free(account)) // cost):
            yield refused("cash", lots - affordable)
            lots = affordable
        if lots:
            yield from self._admit(agent, side, price, lots, immediate=immediate)

    def _admit(self, agent: str, side: str, price: int, lots: int, *, immediate: bool) -> Iterator[Line]:
        """An order that has passed: acceptance, matching, resting."""
        account = self.accounts[agent]
        order_id = self.accepted
        self.accepted += 1
        yield Line("accept", agent, order_id, side, price, lots, -1, None, None)
        fills, left = self.book.match(agent, side, price, lots)
        for fill in fills:
            maker = fill.order
            if maker.order_id not in self.book.orders:
                self.accounts[maker.agent].orders.remove(maker.order_id)
            if fill.kind == "self_trade":
                yield Line("cancel", agent, maker.order_id, maker.side, maker.price, fill.lots, -1, None, "self_trade")
                continue
            buyer, seller = (agent, maker.agent) if side == "buy" else (maker.agent, agent)
            self.accounts[buyer].inventory += fill.lots
            self.accounts[seller].inventory -= fill.lots
            self.accounts[buyer].cash -= fill.lots * maker.price
            self.accounts[seller].cash += fill.lots * maker.price
            account.paid += fill.lots * account.fees.taker
            self.accounts[maker.agent].paid += fill.lots * self.accounts[maker.agent].fees.maker
            yield Line("trade", agent, order_id, side, maker.price, fill.lots, maker.order_id, maker.agent, None)
        if left and immediate:
            yield Line("cancel", agent, order_id, side, price, left, -1, None, "ioc")
        elif left:
            self.book.rest(order_id, agent, side, price, left)
            account.orders.append(order_id)

    def _end(self, agent: str) -> Iterator[Line]:
        self.reference = next_reference(self.reference, self.book.best("buy"), self.book.best("sell"))
        lowest = math.ceil(self.reference) - self.window // 2
        for side in ("buy", "sell"):
            levels = self.book.sides[side]
            if not levels or lowest <= levels.peekitem(0)[0] <= levels.peekitem(-1)[0] < lowest + self.window:
                continue
            for price in list(levels):
                if not lowest <= price < lowest + self.window:
                    for order in list(levels[price]):
                        yield self._cancel(order.order_id, "price_band")
        if not self.halts or self.halted:
            return
        if any(abs(self.reference - before) > self.halts.move for before in self.ended):
            self.halted = (self.time + self.halts.pause, agent)
            yield Line("halt", agent, -1, None, None, 0, -1, None, None)

    def _cancel(self, order_id: int, reason: str) -> Line:
        order = self.book.cancel(order_id)
        self.accounts[order.agent].orders.remove(order_id)
        return Line("cancel", order.agent, order_id, order.side, order.price, order.lots, -1, None, reason)


def next_reference(last: float, best_bid: int | None, best_ask: int | None) -> float:
    """The reference price after a turn, from the last one and the best quotes."""
    if best_bid is not None and best_ask is not None:
        return (best_bid + best_ask) / 2
    if best_bid is not None:
        return max(last, best_bid)
    if best_ask is not None:
        return min(last, best_ask)
    return last
