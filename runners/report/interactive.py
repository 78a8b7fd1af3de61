"""``report.html``: the same run to zoom, pan and hover over, in one file that needs no network.

Plotly's script is inside (about 5 MB); the data are binned as in the report, so the page stays below 15 MB.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.io import to_html
from plotly.subplots import make_subplots

from market_env.config import ConfigError
from market_env.engine.tables import DEPTH_LEVELS
from runners.report import book
from runners.report.opening import FORMS, UNITS
from runners.report.story import Story
from runners.report.style import ASK, BID, BUYER, GREEN, INK, SELLER, binned, colour, number

MOST_TRADES = 10_000
"""Trades that are drawn; of more, the largest."""
LADDER = 5
"""Levels of each side that hovering shows."""
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
.columns {{ display: flex; gap: 3em; flex-wrap: wrap; }} .columns > div {{ flex: 1 1 420px; }}
td {{ border-bottom: 1px solid #ddd; padding: 1px 1.5em 1px 0; }} .cut {{ color: {ASK}; font-weight: bold; }}
</style></head><body>
<h1>Market report</h1>
<p>Run {html.escape(run.path.name)}: {run.timesteps:,} timesteps, seed {html.escape(str(run.config["seed"]))}; {html.escape(roster)}; learning disabled.
Drag to zoom, shift-drag to pan, double-click to reset, click a legend's entry to switch it, double-click it to see it alone.</p>{cut}
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


def order_book(story: Story) -> go.Figure:
    """Heatmap with quotes and trades; hovering over the mid tells the book and the trades of that moment."""
    run, line = story.run, story.line
    figure = go.Figure()
    found = book.grid(story, 0, run.timesteps)
    if found is not None:
        lots, (start, end, low, high) = found
        # Bytes and 16 bits are enough for colours and lots, and keep the page small; 0 is no lot at all.
        levels = np.where(lots > 0, 20 + 40 * np.log10(np.clip(lots, 1, 10**5)), 0).astype(np.uint8)
        width, height = (end - start) / lots.shape[1], (high - low) / lots.shape[0]
        top = int(np.log10(max(1.0, float(lots.max()))))
        ticks = list(range(top + 1))
        figure.add_heatmap(
            z=levels, x0=start + width / 2, dx=width, y0=low + height / 2, dy=height, colorscale=[[0, "white"], [0.01, "#dddddd"], [1, "black"]], zmin=0, name="resting lots",
            customdata=np.minimum(lots, 65_535).astype(np.uint16), hovertemplate="timestep %{x:.0f}, price %{y:.0f}: %{customdata} lots<extra></extra>",
            colorbar={"title": "resting lots", "tickvals": [20 + 40 * tick for tick in ticks], "ticktext": [str(10**tick) for tick in ticks]},
        )  # fmt: skip
    time = np.arange(run.timesteps) + 1
    keep = np.unique(np.linspace(0, run.timesteps - 1, min(run.timesteps, 8_000)).round().astype(np.int64))
    for name, tint, label in (("best_bid", BID, "best bid"), ("best_ask", ASK, "best ask")):
        figure.add_scatter(
            x=time[keep],
            y=story.series(name)[keep],
            mode="lines",
            line={"color": tint, "width": 1, "shape": "vh"},
            name=label,
            hoverinfo="skip",
        )
    trades = line.events[line.trades]
    order = np.sort(np.argsort(-trades["lots"], kind="stable")[:MOST_TRADES])
    trades, bought = trades[order], line.trade_signs[order] > 0
    ids = np.array(run.market.agent_ids)
    for which, tint, label in ((bought, BUYER, "buyer took"), (~bought, SELLER, "seller took")):
        rows = trades[which]
        text = [
            f"{lots} lots at {price}: {taker} took from {maker}"
            for lots, price, taker, maker in zip(
                rows["lots"].tolist(), rows["price"].tolist(), ids[rows["agent"]], ids[rows["maker"]], strict=True
            )
        ]
        figure.add_scatter(
            x=rows["time"], y=rows["price"], mode="markers", name=f"trade, {label}", text=text, hovertemplate="%{x:.2f}: %{text}<extra></extra>",
            marker={"color": tint, "size": 3 + np.sqrt(np.clip(rows["lots"], 1, 60)), "opacity": 0.7},
        )  # fmt: skip
    steps = np.unique(np.linspace(0, run.timesteps - 1, min(run.timesteps, book.COLUMNS)).round().astype(np.int64))
    figure.add_scatter(
        x=time[steps], y=line.mid[steps], mode="lines+markers", name="mid (hover: the book)", line={"color": INK, "width": 1},
        marker={"size": 7, "opacity": 0}, text=ladders(story, steps), hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    shown = "" if len(line.trades) <= MOST_TRADES else f"; the {MOST_TRADES:,} largest of {len(line.trades):,} trades"
    figure.update_layout(
        title=f"Order book{shown}", height=700, xaxis_title="time (timesteps)", yaxis_title="price (ticks)", hovermode="closest",
        yaxis_tickformat="d", template="plotly_white", dragmode="zoom", legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"},
    )  # fmt: skip
    return figure


def ladders(story: Story, steps: NDArray[np.int64]) -> list[str]:
    """The best levels and the trades of timesteps, as hover texts."""
    depth = story.run.depth[steps.tolist()]
    trades = story.line.events[story.line.trades]
    first = np.searchsorted(trades["timestep"], steps)
    last = np.searchsorted(trades["timestep"], steps + 1)
    ids = story.run.market.agent_ids
    sides = {}
    for side in ("ask", "bid"):
        columns = [
            f"{side}_{what}_{level}" for level in range(1, min(LADDER, DEPTH_LEVELS) + 1) for what in ("price", "lots")
        ]
        sides[side] = depth.select(columns).rows()
    texts = []
    for step, asks, bids, mid, within in zip(
        steps.tolist(),
        sides["ask"],
        sides["bid"],
        story.line.mid[steps].tolist(),
        zip(first, last, strict=True),
        strict=True,
    ):
        rows = [
            f"{price}: {lots} offered"
            for price, lots in reversed(list(zip(asks[::2], asks[1::2], strict=True)))
            if price
        ]
        rows += [f"— mid {mid:g} —"]
        rows += [f"{price}: {lots} bid" for price, lots in zip(bids[::2], bids[1::2], strict=True) if price]
        printed = trades[slice(*within)]
        rows += [
            f"trade: {t['lots']} at {t['price']}, {ids[t['agent']]} took from {ids[t['maker']]}"
            for t in printed[:LADDER]
        ]
        rows += [f"and {len(printed) - LADDER} more"] if len(printed) > LADDER else []
        texts.append(f"<b>end of timestep {step}</b>, {len(printed)} trades<br>" + "<br>".join(rows))
    return texts


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
