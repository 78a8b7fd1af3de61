"""The market report: ``report.pdf`` and ``heatmap.png`` from a run's files alone.

``python -m runners.report RUN_DIR``, also at the end of every run. Every number on its pages stands in the run's
files. Cost: about 3 s for 5,000 timesteps (``python -m benchmarks run``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import numpy as np
import polars as pl
import tyro
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from market_env.config import ConfigError
from market_env.engine.tables import DEPTH_LEVELS
from runners.command import command
from runners.load import Run, load_run
from runners.record import whole_file
from runners.replay import complete

PAGE = (11.69, 8.27)
"""A4, landscape, inches."""

BID, ASK, INK, MUTED = "#0072B2", "#D55E00", "#222222", "#888888"
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""
KIND_COLOURS = {"ppo": "#009E73", "noise": "#56B4E9", "maker": "#E69F00", "momentum": "#CC79A7"}
"""The known kinds' colours, the same in every report."""
OTHER_COLOURS = ("#F0E442", "#999999", "#0072B2", "#D55E00")
MAKER_SHADE, TAKER_SHADE = "#4D4D4D", "#B3B3B3"
BUYER, SELLER = "#009E73", "#CC79A7"
"""Trades by aggressor; apart from the colours of the two sides of the book."""

STYLE: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 0.9,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "pdf.fonttype": 42,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

MOST_BARS = 60
"""Agents that the participation page shows one by one."""
HEATMAP_COLUMNS = 1200
"""Columns of the heatmap at most; longer runs average several timesteps into one."""
HEATMAP_REACH = 30
"""Ticks that the heatmap shows beyond the lowest and highest mid."""
HEATMAP_ROWS = 400
"""Prices that the heatmap shows at most; a wider range joins several ticks into one row."""


def colour(run: Run, kind: str) -> str:
    """The kind's colour on every page."""
    others = [other for other in run.kinds if other not in KIND_COLOURS]
    return KIND_COLOURS.get(kind) or OTHER_COLOURS[others.index(kind) % len(OTHER_COLOURS)]


def empty(axes: Axes, why: str) -> None:
    """Say in an empty panel why it is empty."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=MUTED, fontsize=11)


def margins() -> ConstrainedLayoutEngine:
    """The page's layout: its figures keep away from the paper's edge."""
    return ConstrainedLayoutEngine(rect=(0.025, 0.05, 0.95, 0.925))


def caption(figure: Figure, text: str) -> None:
    """One line under a page's figures."""
    figure.text(0.03, 0.022, text, ha="left", fontsize=8, color="#444444")


def summary_page(run: Run) -> Figure:
    """What was run, and what happened."""
    figure = plt.figure(figsize=PAGE)
    figure.text(0.05, 0.93, "Market report", fontsize=20, weight="bold", color=INK)
    roster = ", ".join(f"{figures['agents']} {kind}" for kind, figures in run.summary["kinds"].items())
    figure.text(
        0.05, 0.885,
        f"Run {run.path.name}: {run.timesteps:,} timesteps, seed {run.config['seed']}; {roster}; learning disabled",
        fontsize=10.5, color="#444444",
    )  # fmt: skip
    if not run.summary["complete"]:
        figure.text(
            0.05, 0.855, f"Incomplete: the run was cut off after {run.timesteps:,} of {run.config['timesteps']:,} timesteps.",
            fontsize=10.5, color=ASK, weight="bold",
        )  # fmt: skip
    s = run.summary

    def number(value: float | None, form: str, unit: str = "") -> str:
        return "undefined" if value is None else f"{value:{form}}{unit}"

    left = [
        ("Trades", f"{s['trades']:,} of {s['traded_lots']:,} lots"),
        ("Turns, events", f"{s['events']['turn']:,}, {s['events']['all']:,}"),
        ("Price at start, last mid", f"{s['first_price']:,}, {number(s['last_mid'], ',.1f', ' ticks')}"),
        ("Mid, range", f"{number(s['lowest_mid'], ',.1f')} to {number(s['highest_mid'], ',.1f', ' ticks')}"),
        ("Mean spread", number(s["mean_spread"], ".2f", " ticks")),
        ("Two-sided book after first 50 timesteps", number(s["two_sided_share_after_opening"], ".2%")),
        (
            "Policy parameters unchanged",
            {True: "yes", False: "NO", None: "unknown: cut off"}[s["parameters_unchanged"]],
        ),
    ]
    market = run.config
    right = [
        ("Tick, lot", f"{market['tick_size']:g} currency units, {market['lot_size']:g} units"),
        ("First price", f"{market['first_price']:,} ticks"),
        ("Price band", f"± {market['price_band']} ticks"),
        ("Protection of market orders", f"{market['protection_ticks']} ticks"),
        ("Frozen models", "; ".join(f"{Path(m).name} {h[:12]}" for m, h in market["models"].items()) or "none"),
        ("Numba, NumPy", f"{market['versions']['numba']}, {market['versions']['numpy']}"),
        ("Python", f"{market['versions']['python']}"),
    ]  # fmt: skip
    draw_rows(figure, (0.05, 0.56, 0.43, 0.27), "What happened", ["figure", "value"], left, (0.62, 0.38))
    draw_rows(figure, (0.53, 0.56, 0.42, 0.27), "The market", ["parameter", "value"], right, (0.5, 0.5))
    rows = [
        (
            kind, f"{f['agents']}", f"{f['turns']:,}", f"{f['trades']:,}", f"{f['maker_lots']:,}", f"{f['taker_lots']:,}",
            f"{f['wealth_change']:,.1f}",
            "{:,} / {:,}".format(*max((a["largest_inventory"], a["inventory_bound"]) for a in s["agents"].values() if a["kind"] == kind)),
        )
        for kind, f in s["kinds"].items()
    ]  # fmt: skip
    draw_rows(
        figure, (0.05, 0.50 - 0.035 * (len(rows) + 1), 0.9, 0.035 * (len(rows) + 1)), "The agents",
        ["kind", "agents", "turns", "trades", "maker lots", "taker lots", "wealth change, tick-lots", "largest inventory / bound, lots"],
        rows, (0.12, 0.08, 0.1, 0.1, 0.11, 0.11, 0.17, 0.21),
    )  # fmt: skip
    caption(
        figure,
        "Prices in ticks, quantities in lots, money in tick-lots, time in timesteps. Wealth counts inventory at the mid. "
        "Every figure is from summary.json and config.json of this run.",
    )
    return figure


def draw_rows(
    figure: Figure, box: tuple[float, float, float, float], title: str, header: Sequence[str],
    rows: Sequence[Sequence[str]], widths: Sequence[float],
) -> None:  # fmt: skip
    """A table in a box of the page."""
    axes = figure.add_axes(box)
    axes.axis("off")
    axes.set_title(title, pad=8)
    table = axes.table(
        cellText=[list(row) for row in rows],
        colLabels=list(header),
        colWidths=widths,
        cellLoc="left",
        bbox=Bbox.unit(),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(8.5)
    for (row, _), cell in table.get_celld().items():
        cell.set_edgecolor("#DDDDDD")
        cell.set_linewidth(0.6)
        cell.visible_edges = "B"
        cell.PAD = 0.02
        if row == 0:
            cell.set_text_props(weight="bold", color="#444444", ha="left")


def depth_grid(
    run: Run, lowest: int, highest: int, step: int, columns: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean resting lots by price row and time column: bids and asks apart, each of shape (rows, columns)."""
    depth = run.depth
    rows = (highest - lowest) // step + 1
    column = np.arange(depth.height) * columns // depth.height
    per_column = np.bincount(column, minlength=columns)
    grids = []
    for side in ("bid", "ask"):
        prices = depth.select([f"{side}_price_{k}" for k in range(1, DEPTH_LEVELS + 1)]).fill_null(-1).to_numpy()
        lots = depth.select([f"{side}_lots_{k}" for k in range(1, DEPTH_LEVELS + 1)]).to_numpy()
        inside = (prices >= lowest) & (prices <= highest)
        flat = ((prices - lowest) // step * columns + column[:, None])[inside]
        grids.append(np.bincount(flat, lots[inside], rows * columns).reshape(rows, columns) / per_column)
    return grids[0], grids[1]


def draw_heatmap(run: Run, axes: Axes) -> None:
    """Depth over time with best quotes, mid and trades."""
    quotes, trades = run.quotes, run.trades
    if not run.timesteps:
        empty(axes, "no whole timestep was recorded")
        return
    mid = quotes["mid"].to_numpy()
    lowest, highest = max(1, int(mid.min()) - HEATMAP_REACH), int(mid.max()) + HEATMAP_REACH
    step = 1 + (highest - lowest) // HEATMAP_ROWS
    columns = min(run.timesteps, HEATMAP_COLUMNS)
    bids, asks = depth_grid(run, lowest, highest, step, columns)
    total = bids + asks
    axes.grid(False)
    axes.set(
        xlim=(0, run.timesteps), ylim=(lowest - 0.5, highest + 0.5), xlabel="time (timesteps)", ylabel="price (ticks)"
    )
    if not total.any():
        empty(axes, "no order rested in the book")
        return
    shown = total[total > 0]
    image = axes.imshow(
        np.where(total > 0, total, np.nan),
        origin="lower",
        aspect="auto",
        extent=(0, run.timesteps, lowest - 0.5, lowest - 0.5 + step * total.shape[0]),
        norm=LogNorm(max(0.5, float(np.quantile(shown, 0.02))), max(2.0, float(np.quantile(shown, 0.999)))),
        cmap="Greys",
        interpolation="nearest",
        rasterized=True,
    )
    axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03, label="resting lots (log scale)")
    time = quotes["timestep"].to_numpy() + 1
    axes.plot(time, quotes["best_bid"].cast(pl.Float64).fill_null(np.nan).to_numpy(), color=BID, linewidth=0.5)
    axes.plot(time, quotes["best_ask"].cast(pl.Float64).fill_null(np.nan).to_numpy(), color=ASK, linewidth=0.5)
    axes.plot(time, mid, color=INK, linewidth=0.4)
    handles = [
        Line2D([], [], color=BID, label="best bid"),
        Line2D([], [], color=ASK, label="best ask"),
        Line2D([], [], color=INK, label="mid"),
    ]
    if trades.height:
        bought = (trades["buyer"] == trades["aggressor"]).to_numpy()
        size = 1.5 + 0.8 * np.clip(trades["lots"].to_numpy(), 1, 40)
        for which, colour, label in ((bought, BUYER, "buyer took"), (~bought, SELLER, "seller took")):
            axes.scatter(
                trades["time"].to_numpy()[which], trades["price"].to_numpy()[which], s=size[which], color=colour,
                alpha=0.55, linewidths=0, zorder=4, rasterized=True,
            )  # fmt: skip
            handles.append(
                Line2D([], [], color=colour, marker="o", linestyle="", markersize=4, alpha=0.7, label=f"trade, {label}")
            )
    axes.legend(handles=handles, loc="lower left", ncols=5, bbox_to_anchor=(0, 1.0), borderaxespad=0.2)


def heatmap_page(run: Run) -> Figure:
    """The order book over time."""
    figure, axes = plt.subplots(figsize=PAGE, layout=margins())
    axes.set_title(f"Order-book heatmap: the best {DEPTH_LEVELS} levels of each side over time", pad=22)
    draw_heatmap(run, axes)
    per_column = run.timesteps / max(1, min(run.timesteps, HEATMAP_COLUMNS))
    caption(
        figure,
        f"Resting lots at the end of each timestep, averaged over {per_column:.1f} timesteps a column; {run.summary['trades']:,} "
        f"trades, dot size grows with lots. Mean spread {text_of(run.summary['mean_spread'], '.2f')} ticks.",
    )
    return figure


def text_of(value: float | None, form: str) -> str:
    """A figure as text, or the word for none."""
    return "undefined" if value is None else format(value, form)


def market_page(run: Run) -> Figure:
    """Price, spread, depth and order flow."""
    figure, panels = plt.subplots(4, 1, figsize=PAGE, sharex=True, layout=margins(), height_ratios=(1.4, 1, 1.2, 1.2))
    quotes, depth, trades = run.quotes, run.depth, run.trades
    time = quotes["timestep"].to_numpy() + 1  # a row shows the end of its timestep
    price, spread, liquidity, flow = panels
    price.set(title="Mid price", ylabel="ticks")
    price.plot(time, quotes["mid"], color=INK, marker="." if run.timesteps < 5 else None)
    spread.set(title="Spread", ylabel="ticks")
    if quotes["spread"].is_not_null().any():
        spread.plot(
            time,
            quotes["spread"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
            color="#009E73",
            drawstyle="steps-post",
            linewidth=0.6,
        )
        spread.set_ylim(bottom=0)
    else:
        empty(spread, "the book was never two-sided")
    liquidity.set(title="Depth of the first 10 levels (asks upwards, bids downwards)", ylabel="lots")
    for side, sign, colour in (("ask", 1, ASK), ("bid", -1, BID)):
        lots = depth.select(pl.sum_horizontal([f"{side}_lots_{k}" for k in range(1, 11)])).to_series().to_numpy()
        liquidity.fill_between(time, sign * lots, step="post", color=colour, alpha=0.6, linewidth=0, label=side)
    liquidity.axhline(0, color=INK, linewidth=0.6)
    liquidity.legend(loc="lower right", ncols=2, bbox_to_anchor=(1, 1), borderaxespad=0.2)
    flow.set(
        title="Order flow: lots bought less sold by aggressors", ylabel="lots a timestep", xlabel="time (timesteps)"
    )
    bought = sold = 0
    if trades.height:
        signed = np.where(trades["buyer"] == trades["aggressor"], 1, -1) * trades["lots"].to_numpy()
        by_step = np.bincount(trades["timestep"], signed, run.timesteps)
        bought, sold = int(signed[signed > 0].sum()), int(-signed[signed < 0].sum())
        flow.vlines(
            time, 0, by_step, color=np.where(by_step > 0, BID, ASK), linewidth=0.5, rasterized=run.timesteps > 20_000
        )
        total = flow.twinx()
        total.plot(time, by_step.cumsum(), color=INK)
        total.set_ylabel("running sum, lots (line)")
        total.grid(False)
        total.spines["right"].set_visible(True)
    else:
        empty(flow, "there were no trades")
    flow.set_xlim(0, max(1, run.timesteps))
    caption(
        figure,
        f"Mid from {text_of(run.summary['lowest_mid'], ',.1f')} to {text_of(run.summary['highest_mid'], ',.1f')} ticks; mean spread "
        f"{text_of(run.summary['mean_spread'], '.2f')} ticks; aggressors bought {bought:,} and sold {sold:,} lots.",
    )
    return figure


def inventory_page(run: Run) -> Figure:
    """Inventory over time against bounds, a panel a kind."""
    kinds = run.kinds
    figure, panels = plt.subplots(len(kinds), 1, figsize=PAGE, sharex=True, squeeze=False, layout=margins())
    accounts = run.agents
    for axes, kind in zip(panels[:, 0], kinds, strict=True):
        members = [agent for agent in run.config["agents"] if agent["kind"] == kind]
        for agent in members:
            rows = accounts.filter(pl.col("agent") == agent["id"])
            axes.plot(
                rows["timestep"],
                rows["inventory"],
                color=colour(run, kind),
                alpha=1.0 if len(members) == 1 else 0.55,
                linewidth=0.7,
            )
        bounds = sorted({agent["inventory_bound"] for agent in members})
        for bound in bounds:
            axes.axhline(bound, color=MUTED, linewidth=0.8, linestyle="--")
            axes.axhline(-bound, color=MUTED, linewidth=0.8, linestyle="--")
        largest = max(run.summary["agents"][agent["id"]]["largest_inventory"] for agent in members)
        axes.set_title(
            f"{kind}: {len(members)} agent{'s' * (len(members) > 1)}, largest {largest} of ±{' / '.join(map(str, bounds))} lots (dashed)"
        )
        axes.set_ylabel("lots")
    panels[-1, 0].set(xlabel="time (timesteps)", xlim=(0, max(1, run.timesteps)))
    caption(figure, "Inventory at the end of each timestep, a line an agent; dashed: the bound that risk checks hold.")
    return figure


def participation_page(run: Run) -> Figure:
    """Who traded, how, and what it gained."""
    figure, (lots, wealth) = plt.subplots(1, 2, figsize=PAGE, sharey=True, layout=margins(), width_ratios=(1.5, 1))
    # A bar an agent, or a bar a kind where agents are too many to read.
    agents = run.summary["agents"] if len(run.summary["agents"]) <= MOST_BARS else run.summary["kinds"]
    names = list(agents)
    what = "agent" if agents is run.summary["agents"] else "kind"
    place = np.arange(len(names))
    maker = np.array([agents[name]["maker_lots"] for name in names])
    taker = np.array([agents[name]["taker_lots"] for name in names])
    lots.barh(place, maker, color=MAKER_SHADE, label="as maker (resting)")
    lots.barh(place, taker, left=maker, color=TAKER_SHADE, label="as taker (incoming)")
    lots.set_yticks(place, names)
    lots.invert_yaxis()
    lots.grid(axis="y", visible=False)
    wealth.grid(axis="y", visible=False)
    lots.set(title=f"Lots traded by {what}", xlabel="lots")
    lots.legend(loc="lower right")
    if not (maker.any() or taker.any()):
        empty(lots, "there were no trades")
    change = np.array([agents[name]["wealth_change"] for name in names])
    wealth.barh(place, change, color=[colour(run, agents[name].get("kind", name)) for name in names])
    wealth.axvline(0, color=INK, linewidth=0.7)
    wealth.set(title=f"Change in wealth by {what}", xlabel="tick-lots")
    keys = [Line2D([], [], color=colour(run, kind), linewidth=5, label=kind) for kind in run.kinds]
    wealth.legend(handles=keys, loc="best")
    parts = []
    for kind, figures in run.summary["kinds"].items():
        share = (
            (figures["maker_lots"] + figures["taker_lots"]) / (2 * run.summary["traded_lots"])
            if run.summary["traded_lots"]
            else 0.0
        )
        parts.append(f"{kind} {share:.1%}")
    caption(figure, "Share of all lots traded, both sides counted: " + ", ".join(parts) + ".")
    return figure


PAGES: tuple[Callable[[Run], Figure], ...] = (
    summary_page,
    heatmap_page,
    market_page,
    inventory_page,
    participation_page,
)
"""The report's pages in order; each is a function that returns a figure."""


def write_report(path: Path) -> list[Path]:
    """Write ``report.pdf``, each of its pages as a picture in ``figures/``, and ``heatmap.png``; return the pictures.

    A run that was cut off gets its tables first, from its finished parts (:func:`runners.replay.complete`).

    Raises:
        ConfigError: there is no readable run.
        RunFolderError: a file cannot be written.
    """
    if (path / "config.json").is_file() and not (path / "summary.json").exists():
        complete(path)
    run = load_run(path)
    pictures = []
    try:
        (path / "figures").mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path / 'figures'}: cannot be made: {error.strerror}") from None
    with (
        mpl.rc_context(STYLE),
        whole_file(path / "report.pdf") as partial,
        PdfPages(partial, metadata={"Title": f"Market report: {path.name}", "CreationDate": None}) as pdf,
    ):
        for number, page in enumerate(PAGES, start=1):
            figure = page(run)
            name = page.__name__.removesuffix("_page")
            picture = path / ("heatmap.png" if name == "heatmap" else f"figures/{name}.png")
            with whole_file(picture) as beside:
                figure.savefig(beside, format="png", dpi=130 if name == "heatmap" else 100)
            pictures.append(picture)
            figure.text(0.985, 0.008, f"{number} / {len(PAGES)}", ha="right", fontsize=7.5, color=MUTED)
            pdf.savefig(figure, dpi=200)
            plt.close(figure)
    return pictures


@dataclass(frozen=True)
class Arguments:
    """Write report.pdf and heatmap.png of a run, from its files alone."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """A run's folder."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m runners.report")
    mpl.use("Agg")
    write_report(arguments.run_dir)
    print(f"wrote {arguments.run_dir / 'report.pdf'} and {arguments.run_dir / 'heatmap.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
