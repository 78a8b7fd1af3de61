"""A run to look at in the terminal while it goes on: ladder, mid, trades and inventories, with pause and step.

Promise: nothing that is recorded changes by watching, which only reads. Cost: as slow as is asked for, 20 timesteps a second at
first; a picture takes some ms.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from market_env.config import ConfigError
from market_env.engine.state import BUY, KIND_TRADE
from market_env.market import Market
from scripted_agents.kind import BLUE, BLUISH_GREEN, ORANGE, REDDISH_PURPLE
from scripted_agents.registry import KINDS

LEVELS, TRADES = 10, 12
"""Levels of each side, and trades, that are shown."""
RATES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, np.inf)
"""Timesteps a second that can be asked for."""
TWO, ALL = 84, 144
"""Columns of a terminal from which two and all three panels are shown."""
REDRAWN = 0.05
"""Seconds between two pictures at least."""
KEYS = "space: pause   s: step   + -: faster, slower   q: go on without watching   Ctrl-C: end the run"


@contextlib.contextmanager
def watching(market: Market, stop: Callable[[], bool]) -> Iterator[Watch]:
    """A watcher that shows a market on the terminal's own screen, which is as it was afterwards.

    Args:
        market: what is shown.
        stop: whether the run was asked to end.

    Raises:
        ConfigError: there is no terminal.
    """
    check_terminal()
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)  # keys at once and unseen; Ctrl-C stays what it is
        with Live(console=Console(), screen=True, auto_refresh=False, transient=True) as live:
            yield Watch(market, live, keyboard, stop)
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def check_terminal() -> None:
    """Refuse to watch where there is nothing to look at.

    Raises:
        ConfigError: there is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError("--watch: expected a terminal to show the market in, found none")


class Watch:
    """Shows a market as its turns go by, and makes it wait.

    Args:
        market: what is shown.
        live: where.
        keyboard: file descriptor that keys come from.
        stop: whether the run was asked to end, which ends every wait.
    """

    def __init__(self, market: Market, live: Live, keyboard: int, stop: Callable[[], bool]) -> None:
        self._market = market
        self._live = live
        self._keyboard = keyboard
        self._stop = stop
        self._ids = market.config.agent_ids
        self._start = [agent.cash + agent.inventory * market.config.first_price for agent in market.config.agents]
        self._trades: deque[np.void] = deque(maxlen=TRADES)
        self._mids: deque[float] = deque(maxlen=60)
        self._seen = -1
        """The last event that was looked at."""
        self._timestep = 0
        self._rate = RATES.index(20.0)
        self._paused = self._left = False
        self._due = self._drawn = 0.0
        """When the next timestep may begin, and when the last picture was made; seconds."""

    def turn(self, agent: str, reward: float, info: dict[str, Any], action: NDArray[np.int64]) -> None:
        """A turn began; a picture and a wait where it is the first of a timestep."""
        if self._left or info["timestep"] == self._timestep:
            return
        self._timestep = info["timestep"]
        self._look()
        self._wait()

    def end(self, agent: str, reward: float, info: dict[str, Any]) -> None:
        """The episode is over for an agent."""

    def _look(self) -> None:
        """Take the trades since the last look, before they are drained."""
        events = self._market.events[: int(self._market.records["logged"][0])]
        new = events[events["seq"] > self._seen]
        if len(new):
            self._seen = int(new["seq"][-1])
        self._trades.extend(new[new["kind"] == KIND_TRADE].copy())
        self._mids.append(self._market.reference)

    def _wait(self) -> None:
        """Until the timestep is due and nobody has paused; keys are answered meanwhile."""
        now = time.monotonic()
        self._due = max(self._due, now - 0.5) + 1.0 / RATES[self._rate]
        step = False
        while not (self._stop() or self._left or step):
            now = time.monotonic()
            if now - self._drawn >= REDRAWN:
                self._live.update(self._picture(), refresh=True)
                self._drawn = now
            rest = 0.2 if self._paused else max(0.0, min(0.2, self._due - now))
            if select.select([self._keyboard], [], [], rest)[0]:
                keys = os.read(self._keyboard, 64).decode(errors="replace")
                for key in keys or "q":  # a keyboard that is gone watches no longer
                    step |= self._key(key)
                self._drawn = 0.0
            elif not self._paused and time.monotonic() >= self._due:
                return

    def _key(self, key: str) -> bool:
        """Do what a key asks for; return whether it is to go on by a timestep."""
        match key:
            case " ":
                self._paused = not self._paused
            case "s" | "n":
                self._paused = True
                return True
            case "+" | "=":
                self._rate = min(self._rate + 1, len(RATES) - 1)
            case "-":
                self._rate = max(self._rate - 1, 0)
            case "q":
                self._left = True
                self._live.stop()
                print("going on without a picture ...", file=sys.stderr)
        return False

    # --- what is shown ----------------------------------------------------------------------------------------

    def _picture(self) -> Layout:
        rate = RATES[self._rate]
        pace = "paused" if self._paused else "as fast as it goes" if np.isinf(rate) else f"{rate:g} timesteps a second"
        config = self._market.config
        head = Text.assemble(
            ("  timestep ", "dim"), (f"{self._timestep:,}", "bold"), (f" of {config.timesteps:,}    ", "dim"),
            ("mid ", "dim"), (f"{self._market.reference:,.1f}", "bold"), ("    ", ""), (sparkline(self._mids), "cyan"),
            (f"    {pace}", "bold yellow" if self._paused else "dim"),
        )  # fmt: skip
        whole = Layout()
        whole.split_column(Layout(head, size=1), Layout(name="body"), Layout(Text("  " + KEYS, style="dim"), size=1))
        panels = [
            Layout(Panel(self._ladder(), title="order book"), size=38),
            Layout(Panel(self._accounts(), title="agents"), size=46),
            Layout(Panel(self._tape(), title="trades")),
        ]
        # As many as there is room for, whole.
        whole["body"].split_row(
            *panels[: 3 if self._live.console.width >= ALL else 2 if self._live.console.width >= TWO else 1]
        )
        return whole

    def _ladder(self) -> Table:
        bids, bid_lots, asks, ask_lots = self._market.depth(LEVELS)
        most = max(1, int(bid_lots.max()), int(ask_lots.max()))
        table = Table.grid(padding=(0, 1))
        for justify in ("right", "right", "left"):
            table.add_column(justify=justify)
        for price, lots in reversed([*zip(asks.tolist(), ask_lots.tolist(), strict=True)]):
            if lots:
                table.add_row(f"{price:,}", f"{lots:,}", bar(lots, most, ORANGE))
        spread = f"spread {int(asks[0] - bids[0])}" if bid_lots[0] and ask_lots[0] else "one-sided"
        table.add_row("", "", Text(spread, style="dim"))
        for price, lots in zip(bids.tolist(), bid_lots.tolist(), strict=True):
            if lots:
                table.add_row(f"{price:,}", f"{lots:,}", bar(lots, most, BLUE))
        return table

    def _tape(self) -> Group | Table:
        if not self._trades:
            return Group(Text("none yet", style="dim"))
        table = Table.grid(padding=(0, 1))
        for trade in reversed(self._trades):
            bought = trade["side"] == BUY
            table.add_row(
                Text(f"{trade['time']:,.1f}", style="dim"), f"{trade['lots']}", f"at {trade['price']:,}",
                Text(self._ids[trade["agent"]], style=self._style(trade["agent"])),
                Text("bought from" if bought else "sold to", style=BLUISH_GREEN if bought else REDDISH_PURPLE),
                Text(self._ids[trade["maker"]], style=self._style(trade["maker"])),
            )  # fmt: skip
        return table

    def _accounts(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for justify in ("left", "right", "left", "right"):
            table.add_column(justify=justify)
        table.add_row(*(Text(name, style="dim") for name in ("", "lots", "of its bound", "wealth")))
        room = max(1, self._live.console.height - 7)
        for index in range(min(len(self._ids), room)):
            agent, info = self._market.config.agents[index], self._market.info(index)
            held = info["inventory"]
            table.add_row(
                Text(agent.id, style=self._style(index)), f"{held:+,}", two_ways(held / agent.inventory_bound),
                f"{round(info['wealth'] - self._start[index]):+,}",
            )  # fmt: skip
        if len(self._ids) > room:
            table.add_row(Text(f"and {len(self._ids) - room} more", style="dim"))
        return table

    def _style(self, index: int) -> str:
        kind = KINDS.get(self._market.config.agents[index].kind)
        return kind.colour if kind else ""


def bar(lots: int, most: int, colour: str, width: int = 16) -> Text:
    """A bar of lots; one lot is told from none."""
    return Text("█" * max(1, round(width * lots / most)), style=colour)


def two_ways(share: float, half: int = 6) -> Text:
    """A share from -1 to 1 as a bar to the left or the right of its middle."""
    size = min(half, round(half * abs(share)))
    left, right = ("█" * size, "") if share < 0 else ("", "█" * size)
    return Text(f"{left:>{half}}│{right:<{half}}", style="cyan" if abs(share) < 0.8 else "bold red")


def sparkline(values: deque[float]) -> str:
    """A line of blocks from the lowest to the highest value."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    blocks = "▁▂▃▄▅▆▇█"
    return "".join(blocks[round(7 * (value - low) / (high - low))] if high > low else blocks[0] for value in values)
