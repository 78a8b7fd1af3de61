"""``report.html``: the same run to zoom, pan and hover over, in one file that needs no network.

The order book is drawn by ``viewer.js`` from the stretches that orders rested, exact at every zoom; the other charts by plotly, whose script
is inside (about 5 MB). ``python -m benchmarks run`` says how large the page is.
"""

from __future__ import annotations

import base64
import html
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.io import to_html
from plotly.subplots import make_subplots

from market_env.config import ConfigError
from market_env.engine.state import BUY
from runners.report import book
from runners.report.opening import FORMS, UNITS
from runners.report.story import Story
from runners.report.style import ASK, BID, GREEN, INK, binned, colour, number

VIEWER = Path(__file__).with_name("viewer.js")
MOST_ORDERS = 500_000
"""Stretches of resting orders in the page at most, some 5 MB. A longer run shows its first timesteps."""
CONFIG = {"scrollZoom": True, "displaylogo": False, "responsive": True}


def page(story: Story, pictures: Sequence[Path] = ()) -> str:
    """The whole page as text.

    Args:
        story: the run.
        pictures: the report's pages as PNG files, put below what can be zoomed.
    """
    run = story.run
    parts: list[str] = []
    for make in (order_book, agents, flow) if run.timesteps else ():
        try:
            figure = make(story)
            if isinstance(figure, str):
                parts.append(figure)
                continue
        except ConfigError as error:
            if not story.missing:
                raise
            parts.append(f"<p class='cut'>{html.escape(str(error).split(';')[0])}</p>")
            continue
        first = not any("plotly-graph-div" in part for part in parts)
        parts.append(to_html(figure, config=CONFIG, include_plotlyjs="inline" if first else False, full_html=False))
    words = {True: "seen", False: "not seen", None: "open"}
    findings = "".join(f"<li><b>{words[f.held]}</b> {html.escape(f.text)}</li>" for f in story.findings)
    words = {True: "passed", False: "FAILED", None: "open"}
    checks = "".join(f"<li><b>{words[c.good]}</b> {html.escape(f'{c.name}: {c.text}')}</li>" for c in story.checks)
    figures_text = "".join(
        f"<tr><td>{html.escape(name.capitalize())}</td><td>{html.escape(number(value, FORMS.get(name, ',.0f'), UNITS.get(name, '')))}</td></tr>"
        for name, value in story.figures.items()
    )
    cut = (
        ""
        if run.summary["complete"]
        else f"<p class='cut'>Incomplete: cut off after {run.timesteps:,} of {run.market.timesteps:,} timesteps.</p>"
    )
    roster = ", ".join(f"{figures['agents']} {kind}" for kind, figures in run.summary["kinds"].items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Market report: {html.escape(run.path.name)}</title>
<style>
body {{ font: 14px/1.45 sans-serif; color: {INK}; margin: 1.2em auto; max-width: 1500px; padding: 0 1em; }}
h1 {{ margin-bottom: 0; }} h2 {{ margin: 1.2em 0 0.2em; font-size: 1.1em; }} li {{ margin: 0.2em 0; }}
.viewer {{ display: flex; gap: 1em; }} .map {{ flex: 1; position: relative; min-width: 0; }} .viewer canvas {{ width: 100%; height: 560px; cursor: crosshair; outline: none; }}
.viewer input {{ width: calc(100% - 62px); margin-left: 62px; }} .side {{ width: 330px; height: 640px; overflow: auto; background: {book.ON_DARK.ground}; color: #ddd; }}
.side table {{ width: 100%; border-collapse: collapse; font: 12px/1.35 monospace; }} .side th {{ text-align: left; padding: 3px 6px; color: #999; }}
.side td {{ border: 0; padding: 1px 6px; vertical-align: top; }} .side td:nth-child(-n+2) {{ text-align: right; white-space: nowrap; }} .side .mid td {{ color: #999; padding: 4px 6px; }}
.key {{ background: {book.ON_DARK.ground}; padding: 1px 6px; }} .side .chosen td {{ background: #333; }} .side tr[data-price] {{ cursor: pointer; }} .tip {{ position: absolute; background: #111c; color: #eee; padding: 3px 7px; font-size: 12px;
max-width: 260px; pointer-events: none; border-radius: 3px; }} .said, .help {{ color: #555; margin: 0.2em 0; font-size: 13px; }}
.columns {{ display: flex; gap: 3em; flex-wrap: wrap; }} .columns > div {{ flex: 1 1 420px; }}
td {{ border-bottom: 1px solid #ddd; padding: 1px 1.5em 1px 0; }} .cut {{ color: {ASK}; font-weight: bold; }}
</style></head><body>
<h1>Market report</h1>
<p>Run {html.escape(run.path.name)}: {run.timesteps:,} timesteps, seed {html.escape(str(run.config["seed"]))}; {html.escape(roster)}; learning disabled.
In the charts below the order book: drag to zoom, shift-drag to pan, double-click to reset; a legend's entry switches its line.</p>{cut}
<div class="columns"><div><h2>Findings</h2><ul>{findings}</ul><h2>Checks</h2><ul>{checks}</ul></div>
<div><h2>Key figures</h2><table>{figures_text}</table></div></div>
{"".join(parts) or "<p>No whole timestep was recorded.</p>"}
{"".join(embedded(picture) for picture in pictures)}
</body></html>
"""


def embedded(picture: Path) -> str:
    """A picture inside the page."""
    data = base64.b64encode(picture.read_bytes()).decode()
    name = html.escape(picture.stem.replace("_", " "))
    return f"<h2>{name.capitalize()}</h2><img alt='{name}' style='max-width: 100%' src='data:image/png;base64,{data}'>"


def order_book(story: Story) -> str:
    """The viewer of the order book (``viewer.js``) with all that it shows: resting orders by owner, quotes and trades."""
    run, line = story.run, story.line
    timesteps, rows = shown_timesteps(line.stretches, run.timesteps)
    trades = line.events[line.trades]
    trades = trades[trades["timestep"] < timesteps]
    ends = line.ends[:timesteps]
    arrays: list[NDArray[Any]] = [
        *(rows[name].astype(np.uint32) for name in ("first", "last", "lots", "price")),
        rows["agent"].astype(np.uint16),
        rows["side"].astype(np.uint8),
        *(np.maximum(ends[name], 0).astype(np.uint32) for name in ("best_bid", "best_ask")),
        trades["time"].astype(np.float64),
        *(trades[name].astype(np.uint32) for name in ("price", "lots")),
        *(trades[name].astype(np.uint16) for name in ("agent", "maker")),
        (trades["side"] == BUY).astype(np.uint8),
    ]
    packed = b"".join(array.tobytes() + bytes(-array.nbytes % 8) for array in arrays)
    shades = (255 * mpl.colormaps["cividis"](np.linspace(0, 1, 256))[:, :3]).round().astype(int)
    found = book.grid(story, 0, run.timesteps)
    norm = book.scale(found[0] if found else np.ones(1))
    data = {
        "data": base64.b64encode(zlib.compress(packed, 9)).decode(),
        "orders": len(rows),
        "trades": len(trades),
        "timesteps": timesteps,
        "agents": run.market.agent_ids,
        "tints": [colour(run, agent.kind) for agent in run.market.agents],
        "first": run.market.first_price,
        "shades": shades.tolist(),
        "dim": norm.vmin,
        "bright": norm.vmax,
        "look": book.ON_DARK._asdict(),
    }
    # No text in it can end the script that it stands in.
    text = json.dumps(data).replace("<", "\\u003c")
    less = "" if timesteps == run.timesteps else f" The first {timesteps:,} of {run.timesteps:,} timesteps."
    look = book.ON_DARK
    keys = " ".join(
        f"<span class='key' style='color: {tint}'>{html.escape(sign)}</span>"
        for sign, tint in (("— best bid", look.bid), ("— best ask", look.ask), ("● buyer took", look.buyer), ("● seller took", look.seller))
    )  # fmt: skip
    script = VIEWER.read_text(encoding="utf-8")
    return f"""<h2>Order book</h2>
<p class="help">Wheel: zoom in time, with shift in price. Drag: pan. Double-click: all. Click, slider or arrow keys: the book at a moment,
beside it, with its agents' orders. The address leads back to what you see.{less} {keys}</p>
<div class="viewer"><div class="map"><canvas tabindex="0" aria-label="order book over time"></canvas><div class="tip" hidden></div>
<input type="range" min="0" step="1" aria-label="timestep"><p class="said"></p></div>
<div class="side"><table><thead><tr><th>price</th><th>lots</th><th>orders</th></tr></thead><tbody class="ladder"></tbody></table></div></div>
<script>{script}
bookViewer(document.currentScript.previousElementSibling, {text});</script>"""


def shown_timesteps(stretches: NDArray[np.void], timesteps: int) -> tuple[int, NDArray[np.void]]:
    """How many timesteps the viewer holds, and the stretches that stand at their ends, by their beginning."""
    rows = stretches[stretches["first"] < stretches["last"]]
    rows = rows[np.argsort(rows["first"], kind="stable")]
    if len(rows) > MOST_ORDERS:
        timesteps = max(1, int(rows["first"][MOST_ORDERS]))
        rows = rows[rows["first"] < timesteps]
    return timesteps, rows


def agents(story: Story) -> go.Figure:
    """Inventory and change in wealth of every agent."""
    run = story.run
    figure = make_subplots(
        2,
        1,
        shared_xaxes=True,
        vertical_spacing=0.06,
        subplot_titles=("Inventory, lots", "Change in wealth, tick-lots"),
    )
    inventory, wealth = run.account("inventory").astype(np.float64), run.account("wealth")
    for index, agent in enumerate(run.market.agents):
        start = agent.cash + agent.inventory * run.market.first_price
        common: dict[str, Any] = {
            "legendgroup": agent.id,
            "name": agent.id,
            "line": {"color": colour(run, agent.kind), "width": 1},
        }
        for row, values in ((1, inventory[:, index]), (2, wealth[:, index] - start)):
            place, mean, low, high = binned(values, 1_200)
            extreme = np.where(np.abs(low) > np.abs(high), low, high) if row == 1 else mean
            figure.add_scatter(
                x=place.round(1), y=extreme.round(1), mode="lines", showlegend=row == 1, **common, row=row, col=1
            )
    figure.update_xaxes(title="time (timesteps)", row=2, col=1)
    shown = [agent.kind for agent in run.market.agents for _ in range(2)]
    buttons = [
        {
            "label": label,
            "method": "restyle",
            "args": ["visible", [kind in (None, own) or "legendonly" for own in shown]],
        }
        for label, kind in (("all", None), *((kind, kind) for kind in run.kinds))
    ]
    figure.update_layout(
        updatemenus=[
            {"type": "buttons", "direction": "right", "x": 1, "xanchor": "right", "y": 1.16, "buttons": buttons}
        ]
    )
    figure.update_layout(title="Agents", height=640, template="plotly_white", legend={"groupclick": "togglegroup"})
    return figure


def flow(story: Story) -> go.Figure:
    """Spread, depth near the mid, and signed flow."""
    line = story.line
    figure = make_subplots(
        3, 1, shared_xaxes=True, vertical_spacing=0.06,
        subplot_titles=("Spread, ticks", f"Lots within {line.near_ticks} ticks of the mid", "Aggressors' net lots, running sum"),
    )  # fmt: skip
    for row, values, tint, label in (
        (1, story.series("spread"), GREEN, "spread"),
        (2, line.near_depth[:, 0].astype(np.float64), BID, "bid depth"),
        (2, line.near_depth[:, 1].astype(np.float64), ASK, "ask depth"),
        (3, np.cumsum(line.signed_flow), INK, "net lots"),
    ):
        place, mean, *_ = binned(values, 1_600)
        figure.add_scatter(
            x=place.round(1),
            y=mean.round(2),
            mode="lines",
            name=label,
            line={"color": tint, "width": 1},
            row=row,
            col=1,
        )
    figure.update_xaxes(title="time (timesteps)", row=3, col=1)
    figure.update_layout(title="Liquidity and flow", height=620, template="plotly_white")
    return figure
