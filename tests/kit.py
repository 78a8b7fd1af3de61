"""The shared kit: random markets, actions and runs, invariants, the engine beside its twin, and mutations of a record."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from numpy.typing import NDArray

from market_env.actions import CANCELS
from market_env.config import (
    FEE_UNIT,
    AgentConfig,
    Duty,
    Every,
    Fees,
    Halt,
    Hawkes,
    Latency,
    MarketConfig,
    Poisson,
    Value,
    amend,
)
from market_env.engine import state
from market_env.market import Market
from market_env.twin import Entry, Line
from runners.audit.rebuild import twin_of
from runners.audit.streams import delays
from runners.files.schema import arrow_schema


@st.composite
def market_configs(draw: st.DrawFn, timesteps: int = 200) -> MarketConfig:
    """Markets that bring every rule into play: tight bounds, little cash, narrow bands, few open orders, fees, latency, halts."""
    value = draw(st.sampled_from([None, Value(jump=3.0), Value(rate=1.0, jump=40.0, tail=2.5, reversion=0.05)]))
    bursts = Hawkes(0.5, 0.4, 9.0, "crowd", ((0.3, 0.2),), 5.0 if value else 0.0, 9)
    arrivals = st.sampled_from([Every(1.0), Every(0.5, 0.0), Every(3.0), Poisson(0.8), bursts])
    count = draw(st.integers(2, 6))
    first_price = draw(st.sampled_from([3, 40, 1_000, 10_000]))
    band = draw(st.sampled_from([5, 60, 500]))
    none = st.none()
    fees = st.sampled_from([Fees(), Fees(-200, 300), Fees(1_500, 700, 40_000, 1), Fees(300, -300, 900_000)])
    latency = st.sampled_from([Latency(0.0), Latency(0.4), Latency(0.05, 2.0), Latency(3.0, 1.0, 2)])
    delayed = draw(st.booleans())
    agents = []
    for number in range(count):
        bound = draw(st.sampled_from([1, 7, 60]))
        inventory = draw(st.integers(-bound, bound))
        cash = draw(st.sampled_from([0, 20 * first_price, 10_000 * first_price]))
        agents.append(
            AgentConfig(
                f"agent_{number}",
                "any",
                cash=cash,
                inventory=inventory,
                inventory_bound=bound,
                cash_floor=draw(st.sampled_from([0, -5 * first_price])),
                max_open_orders=draw(st.sampled_from([1, 3, 16])),
                post_only=draw(st.booleans()),
                best_only=draw(st.booleans()),
                signal=draw(st.sampled_from([None, 0.0, 6.0])) if value else None,
                arrivals=draw(arrivals),
                duty=draw(st.sampled_from([None, None, None, Duty(0, 2, 7.0), Duty(1, 3, 4.5, 0.3)])),
                fees=draw(st.one_of(none, none, fees)),
                latency=draw(st.one_of(none, latency)) if delayed else None,
            )
        )
    offsets = tuple(offset for offset in (-60, -3, -1, 0, 1, 2, 5, 40, 60) if abs(offset) <= band)
    return MarketConfig(
        timesteps=timesteps,
        first_price=first_price,
        price_band=band,
        protection_ticks=draw(st.sampled_from([1, min(band, 30)])),
        offsets=offsets,
        lots=(0, 1, 2, 5, 9, 50),
        agents=tuple(agents),
        value=value,
        fees=draw(fees),
        subsidised=True,
        halt=draw(st.sampled_from([None, None, None, Halt(1, 1, 2.5), Halt(4, 12, 9.0)])),
    )


def ruled(config: MarketConfig) -> MarketConfig:
    """The market with fees for all, halts, and a latency in two of three seats, the first among them."""
    agents = tuple(
        replace(agent, latency=(Latency(0.3), Latency(0.02, 0.8), None)[number % 3])
        for number, agent in enumerate(config.agents)
    )
    return amend(config, agents=agents, fees=Fees(-200, 300, 40, 2), halt=Halt(6, 10, 4.5))


def random_actions(config: MarketConfig, seed: int, count: int) -> NDArray[np.int64]:
    """Valid actions, uniform over codes but for cancels, which are mostly kept so that books fill."""
    rng = np.random.default_rng(seed)
    sizes = [len(CANCELS), len(config.offsets) + 1, len(config.lots), len(config.offsets) + 1, len(config.lots)]
    actions = rng.integers(0, sizes, size=(count, 5))
    actions[rng.random(count) < 0.7, 0] = 0
    return actions


def decoded(
    config: MarketConfig, action: NDArray[np.int64], reference: float, agent: int, time: float
) -> tuple[str, dict[str, tuple[int, int, bool]]]:
    """An action in words, by the rules of the action space: cancel, and by side limit price, lots and immediacy."""
    duty = config.agents[agent].duty
    if duty is not None and not duty.works(time):
        return "all", {}
    cancel, bid_offset, bid_lots, ask_offset, ask_lots = action.tolist()
    orders = {}
    if config.lots[bid_lots]:
        taking = bid_offset == len(config.offsets)
        price = reference + config.protection_ticks if taking else reference - config.offsets[bid_offset]
        orders["buy"] = (int(price // 1), config.lots[bid_lots], taking)
    if config.lots[ask_lots]:
        taking = ask_offset == len(config.offsets)
        price = reference - config.protection_ticks if taking else reference + config.offsets[ask_offset]
        whole = int(-(-price // 1))
        orders["sell"] = (max(1, whole) if taking else whole, config.lots[ask_lots], taking)
    return CANCELS[cancel], orders


def as_lines(events: NDArray[np.void], ids: list[str]) -> list[Line]:
    """Engine events in the twin's words."""
    lines = []
    for event in events:
        no_order = event["side"] < 0
        lines.append(
            Line(
                state.KINDS[event["kind"]],
                ids[event["agent"]],
                int(event["order_id"]),
                None if no_order else state.SIDES[event["side"]],
                None if no_order else int(event["price"]),
                int(event["lots"]),
                int(event["maker_order_id"]),
                None if event["maker"] < 0 else ids[event["maker"]],
                None if event["reason"] < 0 else state.REASONS[event["reason"]],
            )
        )
    return lines


def as_entries(events: NDArray[np.void], ids: list[str]) -> list[Entry]:
    """Engine events but turns in the twin's words, each with its time and the turn that it comes of."""
    events = events[events["kind"] != state.KIND_TURN]
    lines = as_lines(events, ids)
    return [Entry(float(e["time"]), int(e["turn"]), line) for e, line in zip(events, lines, strict=True)]


def first_sides(entries: list[Entry]) -> dict[int, str]:
    """By turn the side that goes first of what it sent: a draw that the twin cannot know."""
    firsts: dict[int, str] = {}
    for entry in entries:
        if entry.line.kind in {"accept", "reject"}:
            firsts.setdefault(entry.turn, str(entry.line.side))
    return firsts


class Records:
    """Records as lists by field, read when first asked for: thousands of looks at single numbers, which numpy would box each time."""

    def __init__(self, records: np.ndarray[Any, Any]) -> None:
        self._records = records
        self._lists: dict[str, list[int]] = {}

    def __getitem__(self, name: str) -> list[int]:
        if name not in self._lists:
            self._lists[name] = self._records[name].tolist()
        return self._lists[name]


def resting(market: Market) -> dict[str, dict[int, list[tuple[int, str, int]]]]:
    """The book as the record holds it: by side and price the queue of (order id, owner, lots), walked by links."""
    record = market.records[0]
    orders, heads = record["orders"], record["levels"]["head"]
    book: dict[str, dict[int, list[tuple[int, str, int]]]] = {"buy": {}, "sell": {}}
    for first in heads[heads != state.NONE].tolist():
        slot, queue = first, []
        while slot != state.NONE:
            number, agent, _, _, lots, following, _ = orders[slot].item()
            queue.append((number, market.agent_ids[agent], lots))
            slot = following
        side, price = state.SIDES[orders["side"][first]], int(orders["price"][first])
        book[side][price] = queue
    return book


def check_structure(market: Market) -> None:
    """The record's own rules: links, counters, totals, pool."""
    record = market.records[0]
    orders, owned, levels = Records(record["orders"]), Records(record["owned"]), record["levels"]
    agents = record["agents"][: len(market.agent_ids)]
    ids, prices, lots, following = orders["id"], orders["price"], orders["lots"], orders["next"]
    open_slots = np.flatnonzero(record["orders"]["id"] >= 0).tolist()
    free_slots, slot = [], int(record["free"])
    for _ in range(int(record["free_orders"])):
        free_slots.append(slot)
        slot = following[slot]
    assert slot == state.NONE
    assert state.NONE not in free_slots
    assert len(open_slots) + len(free_slots) == len({*free_slots, *open_slots}) == len(ids)
    in_queues: list[int] = []
    occupied = {state.BUY: 0, state.SELL: 0}
    empty = levels["head"] == state.NONE
    assert (levels["tail"][empty] == state.NONE).all()
    assert (levels["lots"][empty] == 0).all()
    for number in np.flatnonzero(~empty).tolist():
        shown, head, tail = levels[number].item()
        slot, previous, total = head, state.NONE, 0
        while slot != state.NONE:
            assert orders["prev"][slot] == previous
            assert prices[slot] % len(levels) == number
            assert lots[slot] > 0
            in_queues.append(slot)
            total += lots[slot]
            previous, slot = slot, following[slot]
        assert tail == previous
        assert shown == total
        occupied[orders["side"][head]] += 1
    assert sorted(in_queues) == open_slots
    assert (record["bid_levels"], record["ask_levels"]) == (occupied[state.BUY], occupied[state.SELL])
    book = resting(market)
    assert record["best_bid"] == max(book["buy"], default=0)
    assert record["best_ask"] == min(book["sell"], default=0)
    if book["buy"] and book["sell"]:
        assert record["best_bid"] < record["best_ask"], "crossed or locked"
    own: dict[int, list[int]] = defaultdict(list)
    for index, account in enumerate(agents):
        slot, previous = int(account["oldest"]), state.NONE
        while slot != state.NONE:
            assert (owned["own_prev"][slot], orders["agent"][slot]) == (previous, index)
            assert (owned["price"][slot], owned["side"][slot]) == (prices[slot], orders["side"][slot])
            own[index].append(slot)
            previous, slot = slot, owned["own_next"][slot]
        assert int(account["newest"]) == previous
        assert int(account["open_orders"]) == len(own[index]) <= int(account["max_open_orders"])
        numbers = [ids[slot] for slot in own[index]]
        assert numbers == sorted(numbers)
        bids = [(prices[slot], lots[slot]) for slot in own[index] if orders["side"][slot] == state.BUY]
        asks = [(prices[slot], lots[slot]) for slot in own[index] if orders["side"][slot] == state.SELL]
        assert int(account["own_best_bid"]) in (max((price for price, _ in bids), default=0), state.STALE)
        assert int(account["own_best_ask"]) in (min((price for price, _ in asks), default=0), state.STALE)
        assert int(account["open_bid_lots"]) == sum(count for _, count in bids)
        assert int(account["open_ask_lots"]) == sum(count for _, count in asks)
        assert int(account["reserved"]) == sum(count * price for price, count in bids)
        fee = max(0, int(account["maker_fee"]))
        beyond = sum(count * fee for _, count in bids)
        beyond += sum(count * max(0, fee - FEE_UNIT * price) for price, count in asks)
        assert int(account["reserved_fees"]) == beyond
    assert sorted(slot for slots in own.values() for slot in slots) == open_slots


def check_accounts(market: Market) -> None:
    """Conservation and bounds."""
    agents = market.records[0]["agents"][: len(market.agent_ids)]
    assert agents["inventory"].sum() == agents["start_inventory"].sum()
    assert agents["cash"].sum() == agents["start_cash"].sum()
    assert (agents["inventory"] + agents["open_bid_lots"] <= agents["inventory_bound"]).all()
    assert (agents["inventory"] - agents["open_ask_lots"] >= -agents["inventory_bound"]).all()
    assert agents["fees"].sum() == market.records[0]["collected"]
    free = FEE_UNIT * (agents["cash"] - agents["reserved"] - agents["cash_floor"])
    assert (free - agents["fees"] - agents["reserved_fees"] >= 0).all()


def beside_twin(config: MarketConfig, seed: int, turns: int, played: Counter[str]) -> Market:
    """Random actions through the engine and its twin, every line, book and account compared; return the market.

    Args:
        config: the market.
        seed: of the run and the actions.
        turns: most of them.
        played: counts what came up.
    """
    market = Market(config, log=True)
    twin = twin_of(config, seed)
    actions = random_actions(config, seed, turns)
    travel = {agent.id: delays(agent.latency, agent.id, seed) for agent in config.agents}
    going = market.reset(seed)
    opening = market.drain()
    expected = [*twin.lay_out(), *twin.advance(float(market.records[0]["time"]), {}, end=not going)]
    assert as_entries(opening, market.agent_ids) == expected
    seq = len(opening)
    for number in range(turns):
        if not going:
            break
        name, time = market.agent_ids[market.acting], float(market.records[0]["time"])
        cancel, orders = decoded(config, actions[number], market.reference, market.acting, time)
        duty = config.agents[market.acting].duty
        assert duty is None or duty.works(time) or twin.accounts[name].orders
        going = market.act(actions[number])
        events = market.drain()
        assert events["seq"].tolist() == list(range(seq, seq + len(events)))
        seq += len(events)
        entries = as_entries(events, market.agent_ids)
        # Which side goes first is a draw that the twin cannot know: it is told.
        firsts = first_sides(entries)
        expected = list(twin.turn(name, cancel, firsts.get(number, "buy"), orders, time, next(travel[name])))
        expected += twin.advance(float(market.records[0]["time"]), firsts, end=not going)
        assert entries == expected
        assert market.reference == twin.reference
        assert resting(market) == {
            side: {
                price: [(order.order_id, order.agent, order.lots) for order in queue] for price, queue in levels.items()
            }
            for side, levels in twin.book.sides.items()
        }
        check_accounts(market)
        check_structure(market)
        lines = [entry.line for entry in entries]
        played["turns"] += 1
        for kind in ("trade", "halt", "resume"):
            played[kind] += sum(line.kind == kind for line in lines)
        played["arrived"] += len({entry.turn for entry in entries if entry.turn != number})
        for reason in ("halt", "under_way", "cash"):
            played[f"refused: {reason}"] += sum(line.reason == reason for line in lines)
    assert twin.counted == {name: int(market.records[f"tape_{name}"][0]) for name in twin.counted}
    for agent, account in zip(config.agents, market.records[0]["agents"], strict=False):
        mirror = twin.accounts[agent.id]
        found = tuple(int(account[column]) for column in ("cash", "inventory", "fees"))
        assert found == (mirror.cash, mirror.inventory, mirror.paid)
        played["paid for messages"] += config.fees_of(agent).message > 0 and mirror.paid > 0
    return market


def same(a: Any, b: Any) -> bool:
    """Equality to the bit, through containers; NaN equals nothing."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(type(a) is type(b) and a == b)


def random_run(seed: int, timesteps: int) -> dict[str, Any]:
    """A configuration of its own for every seed: population, arrivals, bounds, cash, price, band."""
    rng = np.random.default_rng(seed)
    arrivals = (
        {"process": "every", "period": 2.0},
        {"process": "poisson", "rate": 0.6},
        {"process": "hawkes", "rate": 0.3, "branching_ratio": 0.8, "decay": 1.0, "group": "herd"},
    )
    first_price = int(rng.choice([60, 1_000, 10_000]))
    agents = []
    for kind, most in (("noise", 12), ("maker", 4), ("momentum", 3)):
        for number in range(int(rng.integers(0 if kind == "momentum" else 1, most + 1))):
            bound = int(rng.choice([3, 20, 200]))
            agents.append(
                {
                    "id": f"{kind}_{number}",
                    "kind": kind,
                    "cash": int(rng.choice([0, 10, 1_000])) * first_price,
                    "inventory": int(rng.integers(-bound, bound + 1)),
                    "inventory_bound": bound,
                    "max_open_orders": int(rng.choice([1, 4, 16])),
                    "post_only": bool(rng.integers(2)),
                    "arrivals": arrivals[int(rng.integers(3))],
                }
            )
    band = int(rng.choice([40, 200, 500]))
    worth: dict[str, Any] = {}
    if seed % 2 == 0:
        worth = {"value": {"rate": 0.5, "jump": 8.0, "reversion": 0.01}}
        for number, agent in enumerate(agents):
            agent["best_only"] = number % 2 == 0
            agent["duty"] = {"shift": number % 2, "shifts": 2, "length": 9.0} if number > 2 else None
            agent["signal"] = float(number) if number % 3 else None
            if agent["arrivals"]["process"] == "hawkes":
                agent["arrivals"] = agent["arrivals"] | {"news": 4.0, "size": 30, "further": [[0.1, 30.0]]}
    if seed % 4 == 0:
        worth["fees"] = {"maker": -200, "taker": 300, "message": 50, "free_messages": 2}
        worth["halt"] = {"move": 6, "within": 5, "pause": 7.5}
        for number, agent in enumerate(agents):
            agent["latency"] = {"fixed": 0.1 * number, "random": 0.3 * (number % 2)} if number % 3 else None
    return {
        "seed": seed,
        "market": {
            "timesteps": timesteps,
            "first_price": first_price,
            "price_band": band,
            "protection_ticks": int(rng.integers(1, 41)),
            "agents": agents,
            **worth,
        },
        "policies": {"momentum": {"policy": "random"}} if seed % 3 == 0 else {},
    }


SMALL_RUN: dict[str, Any] = {
    "seed": 2,
    "market": {"timesteps": 510, "value": {"rate": 0.1}, "agents": [
        {"id": "noise_0", "kind": "noise", "cash": 200_000, "inventory_bound": 20, "arrivals": {"process": "poisson", "rate": 0.4}},
        {"id": "noise_1", "kind": "noise", "cash": 200_000, "inventory_bound": 20, "arrivals": {"process": "poisson", "rate": 0.4}},
        {"id": "maker_0", "kind": "maker", "cash": 900_000, "inventory_bound": 60, "post_only": True, "arrivals": {"process": "every", "period": 9.0}},
        {"id": "momentum_0", "kind": "momentum", "cash": 90_000, "inventory_bound": 9, "max_open_orders": 3, "arrivals": {"process": "every", "period": 3.0}},
    ]},
    "policies": {"momentum": {"policy": "random"}},
}  # fmt: skip
"""A short run with every kind of event, in two parts."""


RULED_RUN: dict[str, Any] = SMALL_RUN | {
    "market": SMALL_RUN["market"] | {
        "fees": {"maker": -200, "taker": 300, "message": 1_000, "free_messages": 1},
        "halt": {"move": 6, "within": 5, "pause": 12.5},
        "agents": [
            agent | {"latency": {"fixed": 0.3, "random": 1.5} if agent["id"] in {"noise_1", "maker_0"} else None}
            for agent in SMALL_RUN["market"]["agents"]
        ],
    },
}  # fmt: skip
"""The same with fees, latency and halts."""


def changed(values: list[Any], row: int) -> list[Any]:
    """The column with one value changed to another that its type can hold."""
    old = values[row]
    others = [value for value in values if value is not None and value != old]
    if isinstance(old, float):
        new: Any = float(np.nextafter(old, np.inf))
    elif isinstance(old, int):
        new = old + 1
    elif others:
        new = others[0]
    else:
        new = 1 if old is None else "other"  # None: a level that no side ever reached
    return [*values[:row], new, *values[row + 1 :]]


def rewrite(file: Path, table: str, columns: dict[str, list[Any]]) -> None:
    schema = arrow_schema(table)
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), file)


Mutation = Callable[[dict[str, list[Any]]], dict[str, list[Any]]]


def mutations(columns: dict[str, list[Any]], rng: np.random.Generator) -> list[tuple[str, Mutation]]:
    rows = len(next(iter(columns.values())))
    row, other = sorted(rng.choice(rows, 2, replace=False).tolist())
    found: list[tuple[str, Mutation]] = [
        (f"one value of {name}", lambda c, name=name: c | {name: changed(c[name], row)}) for name in columns
    ]
    found.append(("a row dropped", lambda c: {name: values[:row] + values[row + 1 :] for name, values in c.items()}))

    def swapped(c: dict[str, list[Any]]) -> dict[str, list[Any]]:
        order = list(range(rows))
        order[row], order[other] = other, row
        return {name: [values[i] for i in order] for name, values in c.items()}

    found.append(("two rows swapped", swapped))
    return found


def turns_with_trades(events: NDArray[np.void], agent: int) -> NDArray[np.bool_]:
    """For each turn of an agent but its first: whether one of its orders traded since the turn before it."""
    own_turns = events["seq"][(events["kind"] == state.KIND_TURN) & (events["agent"] == agent)]
    is_own = (events["kind"] == state.KIND_TRADE) & ((events["agent"] == agent) | (events["maker"] == agent))
    trades = np.searchsorted(events["seq"][is_own], own_turns)
    traded: NDArray[np.bool_] = np.diff(trades) > 0
    return traded
