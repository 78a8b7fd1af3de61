"""How a market looks: a ladder in text and a heatmap of recent depth as an image.

The ladder costs a few µs, the image about 1 ms. An environment keeps the heatmap's past only if asked to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from market_env.market import Market

ROWS = 64
"""Ticks that the image shows, around the reference price."""
COLUMNS = 160
"""Timesteps that the image shows, the latest at the right."""
PIXEL = 4
"""Side of one cell, pixels."""
REACH = 60
"""Levels of each side that are read for the image."""

BACKGROUND = np.array([16, 18, 28], np.uint8)
BID_COLOUR = np.array([64, 160, 255], np.float64)
ASK_COLOUR = np.array([255, 150, 40], np.float64)
MID_COLOUR = np.array([245, 245, 245], np.uint8)


def check_mode(mode: str | None, modes: Sequence[str]) -> None:
    """Raise a ValueError unless ``mode`` is one of ``modes`` or None."""
    if mode is not None and mode not in modes:
        raise ValueError(f"render_mode: expected one of {list(modes)} or None, got {mode!r}")


def ladder(market: Market, levels: int = 10) -> str:
    """The best levels of both sides as text, asks above bids, with lots drawn as bars."""
    bid_prices, bid_lots, ask_prices, ask_lots = market.depth(levels)
    longest = max(1, int(bid_lots.max()), int(ask_lots.max()))
    lines = [f"timestep {int(market.records['timestep'][0])}   reference {market.reference:.1f}"]
    lines.append(f"{'price':>8} {'lots':>6}")

    def row(price: int, lots: int, sign: str) -> str:
        return f"{price:>8} {lots:>6} {sign * max(1, round(30 * lots / longest))}"

    asks = [(p, n) for p, n in zip(ask_prices.tolist(), ask_lots.tolist(), strict=True) if p]
    bids = [(p, n) for p, n in zip(bid_prices.tolist(), bid_lots.tolist(), strict=True) if p]
    lines += [row(p, n, "-") for p, n in reversed(asks)] or ["   no asks"]
    lines.append("-" * 46)
    lines += [row(p, n, "+") for p, n in bids] or ["   no bids"]
    return "\n".join(lines)


class DepthHistory:
    """The depth of the last :data:`COLUMNS` timesteps, for the image."""

    def __init__(self) -> None:
        self._columns: list[
            tuple[float, NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]
        ] = []

    def add(self, market: Market) -> None:
        """Remember the book as it stands."""
        self._columns.append((market.reference, *market.depth(REACH)))
        del self._columns[:-COLUMNS]

    def image(self) -> NDArray[np.uint8]:
        """uint8 of shape (ROWS * PIXEL, COLUMNS * PIXEL, 3): resting lots by price and time, mid in white."""
        cells = np.tile(BACKGROUND, (ROWS, COLUMNS, 1))
        if self._columns:
            top = int(self._columns[-1][0]) + ROWS // 2
            for x, (reference, bid_prices, bid_lots, ask_prices, ask_lots) in enumerate(
                self._columns, start=COLUMNS - len(self._columns)
            ):
                for prices, lots, colour in ((bid_prices, bid_lots, BID_COLOUR), (ask_prices, ask_lots, ASK_COLOUR)):
                    y = top - prices
                    seen = (prices > 0) & (y >= 0) & (y < ROWS)
                    light = np.clip(np.log1p(lots[seen]) / np.log(200.0), 0.15, 1.0)
                    cells[y[seen], x] = (light[:, None] * colour).astype(np.uint8)
                mid = top - round(reference)
                if 0 <= mid < ROWS:
                    cells[mid, x] = MID_COLOUR
        return cells.repeat(PIXEL, axis=0).repeat(PIXEL, axis=1)


def picture(mode: str | None, modes: Sequence[str], market: Market, history: DepthHistory) -> str | NDArray[np.uint8]:
    """The ladder as text (``ansi``) or recent depth as an image (``rgb_array``).

    Raises:
        ValueError: the environment was made without a render mode.
    """
    if mode == "ansi":
        return ladder(market)
    if mode == "rgb_array":
        return history.image()
    raise ValueError(f"render(): make the environment with render_mode in {list(modes)}, it has None")
