"""The figures of a run, from its events and tables: what the closing table prints and the report quotes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from market_env.config import FEE_UNIT, ConfigError, MarketConfig, checked, parse_json
from market_env.engine import state
from market_env.outside import read_json, shown
from runners.files.derive import Rows, Tables, TradingTurns, wealth_of
from runners.files.schema import OLDEST, known
from scripted_agents.standards import NEAR_BOUND

TAPE_COUNTS = {
    "cut": "lots that its messages were about and agents had traded before",
    "displaced": "lots that agents, first in line, traded in its place",
    "skipped": "of its messages were about orders that were gone",
    "unqueued": "of its executions were of orders not first in line, and came in as cancels",
}
"""What is counted of a recorded day, and what it means."""

OPENING = 50
"""Timesteps at the start that the share of two-sided books leaves out: the book begins empty."""


@checked
class AgentFigures:
    """What one agent did."""

    kind: str
    turns: int
    trades: int
    maker_lots: int
    taker_lots: int
    inventory: int
    """At the end, lots."""
    largest_inventory: int
    """Absolute, at the end of a timestep, lots."""
    inventory_bound: int
    near_bound_share: float | None
    """Share of timesteps that it ended beyond 80 % of its bound."""
    trading_turns_share: float | None
    """Share of turns after which one of its orders traded before its next turn."""
    wealth_change: float
    """After fees, tick-lots."""
    fees: float = 0.0
    """Paid less rebates, tick-lots."""


@checked
class KindFigures:
    """What all agents of a kind did."""

    agents: int
    trades: int
    turns: int
    maker_lots: int
    taker_lots: int
    wealth_change: float
    """After fees, tick-lots."""
    fees: float = 0.0
    """Paid less rebates, tick-lots."""


@checked
class Summary:
    """What ``summary.json`` holds; undefined figures are None."""

    complete: bool
    """Whether the run reached its end."""
    timesteps: int
    """Whole ones that were recorded."""
    events: dict[str, int]
    """By kind, and ``all``."""
    trades: int
    traded_lots: int
    two_sided_share: float | None
    """Of timesteps that end with both sides quoted."""
    two_sided_share_after_opening: float | None
    """The same after the first :data:`OPENING` timesteps."""
    first_price: int
    last_mid: float | None
    lowest_mid: float | None
    highest_mid: float | None
    mean_spread: float | None
    """At the ends of two-sided timesteps, ticks."""
    rejected_lots: dict[str, int]
    """By reason."""
    kinds: dict[str, KindFigures]
    agents: dict[str, AgentFigures]
    learning: bool
    parameters_before: dict[str, str] | None
    parameters_after: dict[str, str] | None
    """None if the run was cut off."""
    parameters_unchanged: bool | None
    sha256: dict[str, str]
    """Of config, parts and tables."""
    tape: dict[str, float | int] | None = None
    """Where on a recorded day the run started, ``start``, timesteps, and what agents' trades did to it, by name
    (:data:`TAPE_COUNTS`); None without one, or where it was cut off."""


def read_summary(path: Path, config: MarketConfig) -> dict[str, Any]:
    """A run's ``summary.json``.

    Raises:
        ConfigError: it cannot be read, or is not what every summary of this market is; names the entry.
    """
    where = f"run {path}: summary.json"
    found = read_json(path / "summary.json", where)
    for name, words in (("events", state.KINDS), ("rejected_lots", state.REJECT_REASONS)):
        if isinstance(found.get(name), dict):  # nothing of what is younger than the run
            found[name] |= {word: 0 for word in words if not known(word, OLDEST) and word not in found[name]}
    for who in ("kinds", "agents"):
        for figures in found[who].values() if isinstance(found.get(who), dict) else ():
            if isinstance(figures, dict):
                figures.setdefault("fees", 0.0)
    try:
        summary = parse_json(Summary, json.dumps(found))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if not 0 <= summary.timesteps <= config.timesteps:
        raise ConfigError(f"{where}: timesteps: expected 0 to {config.timesteps}, found {summary.timesteps}")
    for name, given, wanted in (
        ("kinds", summary.kinds, {agent.kind for agent in config.agents}),
        ("agents", summary.agents, set(config.agent_ids)),
        ("events", summary.events, {"all", *state.KINDS}),
    ):
        if given.keys() != wanted:
            odd = sorted(given.keys() ^ wanted)
            raise ConfigError(f"{where}: {name}: expected those of config.json, {shown(odd)} missing or unknown")
    for agent in config.agents:
        if summary.agents[agent.id].kind != agent.kind:
            raise ConfigError(
                f"{where}: agents.{agent.id}.kind: expected {agent.kind}, found {shown(summary.agents[agent.id].kind)}"
            )
    return found


def _ratio(part: Any, whole: int) -> float | None:
    return float(part / whole) if whole else None


class Figures:
    """A run's figures, taken part by part.

    Args:
        config: the market.
    """

    def __init__(self, config: MarketConfig) -> None:
        count = len(config.agents)
        self._config = config
        self._kinds = list(dict.fromkeys(agent.kind for agent in config.agents))
        self._kind_of = np.array([self._kinds.index(agent.kind) for agent in config.agents])
        self._bounds = np.array([agent.inventory_bound for agent in config.agents])
        self._timesteps = self._two_sided = self._two_sided_later = self._spreads = self._traded_lots = 0
        self._mids: list[float] = []
        """The lowest, the highest and the last so far."""
        self._events = np.zeros(len(state.KINDS), np.int64)
        self._rejected = np.zeros(len(state.REASONS), np.int64)
        self._kind_trades = np.zeros(len(self._kinds), np.int64)
        self._trades = np.zeros(count, np.int64)
        self._near = np.zeros(count, np.int64)
        self._summed = {name: np.zeros(count, np.int64) for name in ("turns", "maker_lots", "taker_lots")}
        self._lots = np.array([agent.inventory for agent in config.agents])
        self._largest = np.abs(self._lots)
        self._fees = np.zeros(count, np.int64)
        self._start = np.array([agent.cash + agent.inventory * config.first_price for agent in config.agents])
        self._wealth = self._start.astype(np.float64)
        self._trading = TradingTurns(count)

    def add(self, events: Rows, tables: Tables) -> None:
        """Take the next events, and the tables of their timesteps."""
        count = len(self._config.agents)
        self._events += np.bincount(events["kind"], minlength=len(state.KINDS))
        rejects = events[events["kind"] == state.KIND_REJECT]
        np.add.at(self._rejected, rejects["reason"], rejects["lots"])
        trades = events[events["kind"] == state.KIND_TRADE]
        self._traded_lots += int(trades["lots"].sum())
        for side in ("agent", "maker"):
            self._trades += np.bincount(trades[side], minlength=count)
            self._kind_trades += np.bincount(self._kind_of[trades[side]], minlength=len(self._kinds))
        taker, maker = self._kind_of[trades["agent"]], self._kind_of[trades["maker"]]
        # A trade between two agents of a kind is one trade.
        self._kind_trades -= np.bincount(taker[taker == maker], minlength=len(self._kinds))
        self._trading.add(events)
        if len(tables.quotes):
            self._add_timesteps(tables)

    def _add_timesteps(self, tables: Tables) -> None:
        quotes, rows = tables.quotes, tables.agents
        both = (quotes["best_bid"] > 0) & (quotes["best_ask"] > 0)
        self._two_sided += int(np.count_nonzero(both))
        self._two_sided_later += int(np.count_nonzero(both[max(0, OPENING - self._timesteps) :]))
        self._spreads += int((quotes["best_ask"] - quotes["best_bid"])[both].sum(dtype=np.int64))
        self._timesteps += len(quotes)
        mids = quotes["reference"]
        lowest, highest, _ = self._mids or (np.inf, -np.inf, None)
        self._mids = [min(lowest, float(mids.min())), max(highest, float(mids.max())), float(mids[-1])]
        inventory, last = np.abs(rows["inventory"]), rows[-1]
        first = self._timesteps == len(quotes)
        largest = inventory.max(axis=0)
        self._largest = largest if first else np.maximum(self._largest, largest)
        self._near += np.count_nonzero(inventory > NEAR_BOUND * self._bounds, axis=0)
        for name, total in self._summed.items():
            total += rows[name].sum(axis=0, dtype=np.int64)
        self._lots, self._fees, self._wealth = last["inventory"], last["fees"], wealth_of(last, mids[-1])

    def result(self) -> dict[str, Any]:
        """Figures of the market, of each kind and of each agent; undefined ones are None."""
        agents = self._agents()
        lowest, highest, last = self._mids or (None, None, None)
        later = max(0, self._timesteps - OPENING)
        return {
            "timesteps": self._timesteps,
            "events": {"all": int(self._events.sum()), **dict(zip(state.KINDS, self._events.tolist(), strict=True))},
            "trades": int(self._events[state.KIND_TRADE]),
            "traded_lots": self._traded_lots,
            "two_sided_share": _ratio(self._two_sided, self._timesteps),
            "two_sided_share_after_opening": _ratio(self._two_sided_later, later),
            "first_price": self._config.first_price,
            "last_mid": last,
            "lowest_mid": lowest,
            "highest_mid": highest,
            "mean_spread": _ratio(self._spreads, self._two_sided),
            "rejected_lots": {
                name: int(self._rejected[code])
                for code, name in enumerate(state.REASONS)
                if name in state.REJECT_REASONS
            },
            "kinds": {
                kind: _of_kind([one for one in agents.values() if one["kind"] == kind], int(trades))
                for kind, trades in zip(self._kinds, self._kind_trades, strict=True)
            },
            "agents": agents,
        }

    def _agents(self) -> dict[str, dict[str, Any]]:
        return {
            agent.id: {
                "kind": agent.kind,
                "turns": int(self._summed["turns"][index]),
                "trades": int(self._trades[index]),
                "maker_lots": int(self._summed["maker_lots"][index]),
                "taker_lots": int(self._summed["taker_lots"][index]),
                "inventory": int(self._lots[index]),
                "largest_inventory": int(self._largest[index]),
                "inventory_bound": agent.inventory_bound,
                "near_bound_share": _ratio(self._near[index], self._timesteps),
                "trading_turns_share": _ratio(self._trading.trading[index], int(self._trading.turns[index])),
                "wealth_change": float(self._wealth[index] - self._start[index]),
                "fees": float(self._fees[index] / FEE_UNIT),
            }
            for index, agent in enumerate(self._config.agents)
        }


def _of_kind(members: list[dict[str, Any]], trades: int) -> dict[str, Any]:
    return {
        "agents": len(members),
        "trades": trades,
        **{
            name: sum(m[name] for m in members)
            for name in ("turns", "maker_lots", "taker_lots", "wealth_change", "fees")
        },
    }


def summarise(config: MarketConfig, events: Rows, tables: Tables) -> dict[str, Any]:
    """The figures of a whole run, see :meth:`Figures.result`."""
    figures = Figures(config)
    figures.add(events, tables)
    return figures.result()


def closing_table(summary: dict[str, Any]) -> str:
    """What happened, as text."""

    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    kinds = summary["kinds"].values()
    charged = any(figures["fees"] for figures in kinds)
    lines = [
        f"{summary['timesteps']:,} timesteps, {summary['events']['turn']:,} turns, {summary['events']['all']:,} events, "
        f"{summary['trades']:,} trades of {summary['traded_lots']:,} lots",
        f"mid {number(summary['lowest_mid'], ',.1f')} to {number(summary['highest_mid'], ',.1f')}, last "
        f"{number(summary['last_mid'], ',.1f')} ticks; mean spread {number(summary['mean_spread'], '.2f')} ticks; two-sided "
        f"in {number(summary['two_sided_share_after_opening'], '.2%')} of timesteps after the first {OPENING}",
        "",
        f"{'kind':<10} {'agents':>6} {'turns':>8} {'trades':>7} {'maker lots':>11} {'taker lots':>11} {'wealth change':>14}"
        + (f" {'fees paid':>12}" if charged else "")
        + "  (tick-lots)",
    ]
    for kind, figures in summary["kinds"].items():
        lines.append(
            f"{kind:<10} {figures['agents']:>6} {figures['turns']:>8,} {figures['trades']:>7,} "
            f"{figures['maker_lots']:>11,} {figures['taker_lots']:>11,} {figures['wealth_change']:>14,.1f}"
            + (f" {figures['fees']:>12,.1f}" if charged else "")
        )
    if charged:
        lines.append(f"wealth is after fees; the exchange has taken in {sum(k['fees'] for k in kinds):,.1f} tick-lots")
    if found := summary.get("tape"):
        lines.append(
            f"the recorded day, from {found['start']:,.1f} timesteps on: "
            + "; ".join(f"{found[name]:,} {what}" for name, what in TAPE_COUNTS.items())
        )
    if halts := summary["events"]["halt"]:
        lines.append(f"trading was halted {halts} time{'s' * (halts > 1)}")
    return "\n".join(lines)
