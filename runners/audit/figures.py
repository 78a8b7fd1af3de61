"""The figures of ``summary.json`` once more, in plain Python, from rebuilt tables as they come."""

from __future__ import annotations

from typing import Any

from market_env.config import FEE_UNIT, AgentConfig
from market_env.engine.state import KINDS, REJECT_REASONS
from runners.audit.rebuild import Piece, Replay
from runners.files.schema import known
from runners.files.summary import OPENING
from scripted_agents.standards import NEAR_BOUND


class Figures:
    """Sums over the pieces of a rebuilt run.

    Args:
        rebuilt: the market that the pieces are taken from.
    """

    def __init__(self, rebuilt: Replay) -> None:
        self._rebuilt = rebuilt
        self._seats = rebuilt.config.agents
        self._kind = {seat.id: seat.kind for seat in self._seats}
        self._kind_trades = dict.fromkeys(self._kind.values(), 0)
        self._trades = self._traded_lots = 0
        self._timesteps = self._two_sided = self._two_sided_later = self._spreads = 0
        self._last_mid = self._lowest_mid = self._highest_mid = None
        self._summed = {name: [0] * len(self._seats) for name in ("turns", "maker_lots", "taker_lots")}
        self._largest = [0] * len(self._seats)
        self._near = [0] * len(self._seats)
        self._last: dict[str, list[Any]] = {}
        """The last row of every agent, by column."""

    def add(self, piece: Piece) -> None:
        """Take the next piece."""
        trades, quotes, agents = (piece.tables[name] for name in ("trades", "quotes", "agents"))
        self._trades += len(trades["seq"])
        self._traded_lots += sum(trades["lots"])
        for buyer, seller in zip(trades["buyer"], trades["seller"], strict=True):
            for kind in {self._kind[buyer], self._kind[seller]}:
                self._kind_trades[kind] += 1
        if not quotes["mid"]:
            return
        both = [spread is not None for spread in quotes["spread"]]
        self._two_sided += sum(both)
        self._two_sided_later += sum(both[max(0, OPENING - self._timesteps) :])
        self._spreads += sum(spread for spread in quotes["spread"] if spread is not None)
        self._timesteps += len(both)
        self._last_mid = quotes["mid"][-1]
        self._lowest_mid = min([*quotes["mid"], *([] if self._lowest_mid is None else [self._lowest_mid])])
        self._highest_mid = max([*quotes["mid"], *([] if self._highest_mid is None else [self._highest_mid])])
        count = len(self._seats)
        for index, seat in enumerate(self._seats):
            for name, sums in self._summed.items():
                sums[index] += sum(agents[name][index::count])
            sizes = [abs(lots) for lots in agents["inventory"][index::count]]
            self._largest[index] = max(self._largest[index], *sizes)
            self._near[index] += sum(size > NEAR_BOUND * seat.inventory_bound for size in sizes)
        self._last = {name: values[-count:] for name, values in agents.items()}

    def result(self) -> dict[str, Any]:
        """The summary's figures."""
        rebuilt, count = self._rebuilt, self._timesteps
        figures = {seat.id: self._of_agent(index, seat) for index, seat in enumerate(self._seats)}
        kinds: dict[str, dict[str, Any]] = {}
        for agent in figures.values():
            kind = kinds.setdefault(
                agent["kind"],
                {"agents": 0, "turns": 0, "trades": 0, "maker_lots": 0, "taker_lots": 0, "wealth_change": 0},
            )
            kind["agents"] += 1
            for name in kind.keys() - {"agents", "trades", "fees"}:
                kind[name] += agent[name]
            if known("agents.fees", rebuilt.version):
                kind["fees"] = kind.get("fees", 0.0) + agent["fees"]
        for name, trades in self._kind_trades.items():
            kinds[name]["trades"] = trades
        later = count - OPENING
        return {
            "timesteps": count,
            "events": {
                "all": sum(rebuilt.kinds.values()),
                **{k: rebuilt.kinds[k] for k in KINDS if known(k, rebuilt.version)},
            },
            "trades": self._trades,
            "traded_lots": self._traded_lots,
            "two_sided_share": self._two_sided / count if count else None,
            "two_sided_share_after_opening": self._two_sided_later / later if later > 0 else None,
            "first_price": rebuilt.config.first_price,
            "last_mid": self._last_mid,
            "lowest_mid": self._lowest_mid,
            "highest_mid": self._highest_mid,
            "mean_spread": self._spreads / self._two_sided if self._two_sided else None,
            "rejected_lots": {
                reason: rebuilt.rejected[reason] for reason in sorted(REJECT_REASONS) if known(reason, rebuilt.version)
            },
            "kinds": kinds,
            "agents": figures,
        }

    def _of_agent(self, index: int, seat: AgentConfig) -> dict[str, Any]:
        account, count, last = self._rebuilt.accounts[seat.id], self._timesteps, self._last
        start = seat.cash + seat.inventory * self._rebuilt.config.first_price
        figures = {
            "kind": seat.kind,
            "turns": self._summed["turns"][index],
            "trades": account.trades,
            "maker_lots": self._summed["maker_lots"][index],
            "taker_lots": self._summed["taker_lots"][index],
            "inventory": last["inventory"][index] if count else seat.inventory,
            "largest_inventory": self._largest[index] if count else abs(seat.inventory),
            "inventory_bound": seat.inventory_bound,
            "near_bound_share": self._near[index] / count if count else None,
            "trading_turns_share": account.trading_turns / account.settled_turns if account.settled_turns else None,
            "wealth_change": float(last["wealth"][index] - start) if count else 0.0,
        }
        if known("agents.fees", self._rebuilt.version):
            figures["fees"] = (last["fees"][index] if count else 0) / FEE_UNIT
        return figures
