"""The first page, a comparison with other runs, and the appendix."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from market_env.config import FEE_UNIT, LEARNER_KIND, SEATS, Recorded
from runners.exchange import facts
from runners.files.run import Run
from runners.measures import liquidity, timeline, trading
from runners.report.standing import all_standings
from runners.report.story import Story
from runners.report.style import (
    ASK,
    BID,
    GREEN,
    INK,
    MUTED,
    OTHER_COLOURS,
    caption,
    number,
    over_time,
    page,
    rows,
    short,
)

FORMS = {
    "last mid": ",.1f", "lowest mid": ",.1f", "highest mid": ",.1f", "mean spread": ".2f", "two-sided share": ".2%",
    "mean bid lots at the touch": ".1f", "mean ask lots at the touch": ".1f",
}  # fmt: skip
"""How the key figures are printed; the others are whole numbers."""
UNITS = {
    "first price": " ticks", "last mid": " ticks", "lowest mid": " ticks", "highest mid": " ticks",
    "mean spread": " ticks", "traded lots": " lots", "lots bought by aggressors": " lots",
    "lots sold by aggressors": " lots", "mean bid lots at the touch": " lots", "mean ask lots at the touch": " lots",
}  # fmt: skip

RUN_COLOURS = (INK, BID, ASK, GREEN, "#CC79A7", *OTHER_COLOURS[:1])


def summary(story: Story) -> Figure:
    """What was run, what came of it, what held, and what was checked."""
    run = story.run
    figure = Figure()
    heading(figure, story)
    what_was_run(figure, run)
    figures = [
        (name.capitalize(), number(value, FORMS.get(name, ",.0f"), UNITS.get(name, "")))
        for name, value in story.figures.items()
        if name != "timesteps"
    ]
    half = -(-len(figures) // 2)
    rows(figure, (0.50, 0.635, 0.24, 0.21), "Key figures", ["figure", "value"], figures[:half], (0.52, 0.48), 8)
    rows(figure, (0.75, 0.635, 0.22, 0.21), " ", ["figure", "value"], figures[half:], (0.68, 0.32), 8)
    top = marked(
        figure, kinds_of_agents(figure, run), "Findings", {True: ("seen", GREEN), False: ("not seen", ASK), None: ("open", MUTED)},
        [(finding.held, finding.text) for finding in story.findings],
    )  # fmt: skip
    marked(
        figure, top - 0.012, "Checks", {True: ("passed", GREEN), False: ("FAILED", ASK), None: ("open", MUTED)},
        [(check.good, f"{check.name}: {check.text}") for check in story.checks],
    )  # fmt: skip
    added = [kind for kind in run.kinds if kind not in SEATS]
    caption(
        figure,
        "Prices in ticks, quantities in lots, money in tick-lots, time in timesteps. Wealth is after fees and counts inventory at the mid. "
        "Two-sided share: after the first 50 timesteps. "
        + all_standings(run)
        + (f" In addition to the four kinds ({', '.join(SEATS)}): {', '.join(added)}." if added else ""),
    )
    return figure


def heading(figure: Figure, story: Story) -> None:
    """Title, what the run is, and what it lacks."""
    run = story.run
    figure.text(0.04, 0.94, "Market report", fontsize=20, weight="bold", color=INK)
    roster = ", ".join(f"{figures['agents']} {kind}" for kind, figures in run.summary["kinds"].items())
    shifts = max((agent.duty.shifts for agent in run.market.agents if agent.duty), default=1)
    roster += f", in {shifts} shifts" if shifts > 1 else ""
    figure.text(
        0.04, 0.905,
        f"Run {run.path.name}: {run.timesteps:,} timesteps, seed {run.config['seed']}; {roster}; learning disabled",
        fontsize=10.5, color="#444444",
    )  # fmt: skip
    if not run.summary["complete"]:
        figure.text(
            0.04, 0.88, f"Incomplete: the run was cut off after {run.timesteps:,} of {run.market.timesteps:,} timesteps.",
            fontsize=10.5, color=ASK, weight="bold",
        )  # fmt: skip
    if story.missing:
        figure.text(
            0.45 * (not run.summary["complete"]) + 0.04, 0.88, f"Not whole: {'; '.join(story.missing)}. ",
            fontsize=8.5, color=ASK, weight="bold",
        )  # fmt: skip


def what_was_run(figure: Figure, run: Run) -> None:
    """The table of what was run."""
    config = run.config
    before, after = (run.summary.get(f"parameters_{when}") or {} for when in ("before", "after"))
    learner = next((agent for agent in before if agent.startswith(f"{LEARNER_KIND}_")), next(iter(before), None))
    hashes = f"{learner} {before[learner][:10]} / {after.get(learner, 'unknown')[:10]}" if learner else "none"
    models = "; ".join(f"{Path(model).name} {digest[:12]}" for model, digest in config.get("models", {}).items())
    versions = config.get("versions", {})
    rows(
        figure, (0.04, 0.635, 0.42, 0.21), "What was run", ["parameter", "value"],
        [
            ("Tick, lot", f"{run.market.tick_size:g} currency units, {run.market.lot_size:g} units"),
            ("First price, price band", f"{run.market.first_price:,} ticks, ± {run.market.price_band} ticks"),
            ("Protection of market orders", f"{run.market.protection_ticks} ticks"),
            *rules_of(run),
            ("Frozen models (sha256)", models or "none"),
            ("numba, numpy", ", ".join(str(versions.get(name)) for name in ("numba", "numpy"))),
            ("Python, market-env", ", ".join(str(versions.get(name)) for name in ("python", "market-env"))),
            ("Policy, before / after", hashes),
        ],
        (0.42, 0.58),
    )  # fmt: skip


def rules_of(run: Run) -> list[tuple[str, str]]:
    """Lines of the table of what was run: fees, latency, halts and a recorded day, where there are such."""
    market, found = run.market, []
    if market.charges:
        found.append(
            (
                "Maker, taker fee; own of",
                f"{market.fees.maker / FEE_UNIT:g}, {market.fees.taker / FEE_UNIT:g} ticks a lot; {_kinds(run, 'fees')}",
            )
        )
    if any(agent.latency for agent in market.agents):
        found.append(("Latency of", _kinds(run, "latency")))
    if market.halt is not None:
        halts = run.summary["events"]["halt"]
        found.append(
            (
                "Halted after a move",
                f"> {market.halt.move} ticks within {market.halt.within}: {halts} time{'s' * (halts != 1)}",
            )
        )
    if market.tape is not None:
        start = (run.summary.get("tape") or {}).get("start")
        found.append(
            (
                "Recorded day, from",
                f"{Path(market.tape.file).name[:24]}, {'unknown' if start is None else f'{start:,.1f}'}",
            )
        )
    return found


def _kinds(run: Run, field: str) -> str:
    """Kinds with a seat that has such a field of its own."""
    return (
        ", ".join(dict.fromkeys(agent.kind for agent in run.market.agents if getattr(agent, field) is not None))
        or "none"
    )


def kinds_of_agents(figure: Figure, run: Run) -> float:
    """The table of the kinds of agents; where the page goes on below it."""
    worst = {
        kind: max(
            (a["largest_inventory"], a["inventory_bound"]) for a in run.summary["agents"].values() if a["kind"] == kind
        )
        for kind in run.summary["kinds"]
    }
    unbound = {agent.kind for agent in run.market.agents if isinstance(agent.arrivals, Recorded)}
    cells = [
        (
            short(kind), f"{f['agents']}", f"{f['turns']:,}", f"{f['trades']:,}", f"{f['maker_lots']:,}", f"{f['taker_lots']:,}",
            f"{f['wealth_change']:,.1f}", f"{worst[kind][0]:,}, no bound" if kind in unbound else "{:,} / {:,}".format(*worst[kind]),
        )
        for kind, f in run.summary["kinds"].items()
    ]  # fmt: skip
    height = 0.023 * (len(cells) + 1)
    rows(
        figure, (0.04, 0.59 - height, 0.93, height), "The agents",
        ["kind", "agents", "turns", "trades", "maker lots", "taker lots", "wealth change, tick-lots", "largest inventory / bound"],
        cells, (0.12, 0.08, 0.1, 0.1, 0.11, 0.11, 0.18, 0.20),
    )  # fmt: skip
    return 0.55 - height


def marked(
    figure: Figure,
    top: float,
    title: str,
    marks: Mapping[bool | None, tuple[str, str]],
    sentences: Iterable[tuple[bool | None, str]],
) -> float:
    """Sentences, each behind the word for whether it holds; where the page goes on below them."""
    figure.text(0.04, top, title, fontsize=9.5, weight="bold", color=INK)
    top -= 0.012
    for held, sentence in sentences:
        word, tint = marks[held]
        text = "\n".join(textwrap.wrap(sentence, 170))
        figure.text(0.04, top, word, va="top", fontsize=8, weight="bold", color=tint)
        figure.text(0.095, top, text, va="top", fontsize=8, color=INK)
        top -= 0.018 * (text.count("\n") + 1) + 0.005
    return top


def comparison(stories: Sequence[Story]) -> Figure:
    """Key figures and paths of several runs side by side."""
    figure = page("Runs compared")
    panels = figure.subplot_mosaic([["table"] * 3, ["mid", "spread", "depth"]], height_ratios=(1.9, 1))
    names = [story.run.path.name for story in stories]
    keys = list(stories[0].figures)
    cells = [
        (key.capitalize(), *(number(story.figures[key], FORMS.get(key, ",.0f"), "") for story in stories))
        for key in keys
    ]
    for kind in dict.fromkeys(kind for story in stories for kind in story.run.kinds):
        cells.append(
            (
                f"Wealth change of {kind}, tick-lots",
                *(number(story.run.summary["kinds"].get(kind, {}).get("wealth_change"), ",.0f") for story in stories),
            )
        )
    for label, value in (
        ("Walls", lambda story: len(story.walls.walls)),
        ("Episodes of thin liquidity", lambda story: len(story.thinning.episodes)),
        ("Turns before thinning, p", lambda story: story.thinning.p_value),
    ):
        cells.append((label, *(number(value(story), ".3f" if label.endswith("p") else ",d") for story in stories)))
    width = 0.7 / max(len(stories), 1)
    panels["table"].axis("off")
    rows(figure, (0.03, 0.425, 0.94, 0.505), "", ["figure", *names], cells, (0.3, *[width] * len(stories)), 7)
    mid, spread, depth = (panels[name] for name in ("mid", "spread", "depth"))
    for story, tint, name in zip(stories, RUN_COLOURS * 9, names, strict=False):
        if not story.run.timesteps:
            continue
        over_time(mid, story.series("mid") - story.run.market.first_price, tint, name, band=False)
        for axes, values in ((spread, story.series("spread")), (depth, story.line.near_depth.sum(axis=1))):
            known = values[~np.isnan(values)]
            if len(known):
                axes.ecdf(known, color=tint, label=name)
    mid.set(title="Mid less first price", xlabel="time (timesteps)", ylabel="ticks")
    spread.set(title="Spread", xlabel="ticks", ylabel="share of timesteps at or below")
    depth.set(title="Depth near the mid", xlabel="lots", ylabel="share of timesteps")
    mid.legend(loc="best")
    caption(
        figure,
        f"{len(stories)} runs: {', '.join(names)}. Lines over time show means where a run has more than 700 timesteps.",
    )
    return figure


DEFINITIONS = (
    ("Mid", "The reference price: (best bid + best ask) / 2; with one side empty it moves only as the other side pushes it."),
    ("Wealth", "Cash - fees + inventory x mid. Never the last print."),
    ("Wall", f"A price level with at least {liquidity.WALL_SIZE:g} times the typical lots (median over occupied levels within reach of the mid, and time) at the ends of {liquidity.WALL_TIMESTEPS} timesteps in a row, that begins within reach: {liquidity.WALL_REACH} times what is near."),
    ("Cause of a move", "The event whose processing changed the mid between two two-sided books: a trade, a cancel, or an order that came to rest (new quote)."),
    ("Jump", "A trade that did not print at the best price then resting on the side that it hit, or a change of a best price that is neither from the price of the event's own trade or cancel nor to the limit price of its own order. Every event of the log is looked at."),
    ("Depth near the mid", f"Resting lots within {timeline.NEAR_SPREADS} median spreads of the mid at the end of a timestep: up to one spread behind the touch, whatever the market."),
    ("Pressure", f"Aggressors' lots bought less sold over {liquidity.PRESSURE_TIMESTEPS} timesteps: stretches of net selling and of net buying in halves each (heavy above the median), and those of neither; t intervals from a circular block bootstrap (Politis and Romano 1992), blocks of {liquidity.PRESSURE_BLOCK} timesteps, 1,000 draws; none below {liquidity.FEWEST_BLOCKS} blocks."),
    ("Large order, recovery", f"The largest {liquidity.LARGE_SHARE:.0%} of aggressors' orders by lots traded; sum over orders of the depth on the side hit, over the sum just before them, beside what depth does around smaller orders (Degryse, de Jong, van Ravenswaaij, Wuyts 2005; Large 2007)."),
    ("Half-spreads, impact", f"Effective and realised: signed distance of a trade's price from the mid just before the aggressor's order, and from the mid at the end of timestep {trading.HORIZON} after; impact (adverse selection) is their difference; lots weighted (Huang and Stoll 1996). Intervals: bootstrap over blocks of 20 trades."),
    ("Liquidation", "Wealth at the end with the inventory closed through the others' resting orders, the rest at the worst level reached."),
    ("Fill rate", "Share of the lots that came to rest which were traded."),
    ("Selectivity", "Share of an agent's turns after which an order of it traded before its next turn."),
    ("Edge against a kind", "Lots times the signed distance of the trade's price from the mid just before the order, over all trades with agents of that kind. The rest of the change in wealth is the gain of the inventory held."),
    ("Thin liquidity", f"Depth near the mid, both sides, below {liquidity.THIN_SHARE:.0%} of its usual level (median over {liquidity.USUAL_TIMESTEPS} timesteps around), or, where it is so in more than {liquidity.THIN_OFTEN:.0%} of the time, below the share that it is below in {liquidity.THIN_QUANTILE:.0%} of it; an episode ends when {liquidity.BACK:.0%} of the way back is made. None is counted in the first 50 timesteps, while the book fills."),
    ("Arrivals around thinning", f"Turns a timestep in the {liquidity.BEFORE} timesteps up to an episode's start against the same after all starts were moved round the run by one random offset, 1,000 times: p is the share of these with as many arrivals. Clear: p < {liquidity.CLEAR}; weak: p < {liquidity.WEAK}; nothing is said of fewer than {liquidity.FEWEST_EPISODES} episodes."),
    ("Facts", f"runners/exchange/market_facts.json has each definition. {facts.REAL['limits'][0].upper()}{facts.REAL['limits'][1:]}."),
)  # fmt: skip
"""Every measure with its definition and source."""


MOST_PAGES = 3
"""Pages of parameters: a market of a thousand different agents has twenty, which nobody reads."""


def appendix(story: Story) -> list[Figure]:
    """Definitions, then the parameters in full."""
    figure = page("Appendix: definitions", panels=False)
    top = 0.92
    for name, text in DEFINITIONS:
        lines = textwrap.wrap(text, 135)
        figure.text(0.03, top, name, va="top", fontsize=8, weight="bold", color=INK)
        figure.text(0.24, top, "\n".join(lines), va="top", fontsize=8, color=INK)
        top -= 0.0195 * len(lines) + 0.014
    caption(figure, "Constants stand in runners/measures; every one of them is quoted here as the code has it.")
    return [figure, *parameters(story)]


def parameters(story: Story) -> list[Figure]:
    """The run's ``config.json`` in columns; like agents are said once, what is null not at all."""
    config = dict(story.run.config)
    market = dict(config.pop("market"))
    seats = market.pop("agents")
    policies = config.pop("policies", {})
    config = market | config
    config.pop("parameters", None)
    config = {name: value for name, value in config.items() if value is not None}
    alike: dict[str, list[str]] = {}
    for seat in seats:
        described = {name: value for name, value in seat.items() if name != "id" and value is not None}
        described["policy"] = policies.get(seat["id"])
        alike.setdefault(json.dumps(described, sort_keys=True), []).append(seat["id"])
    lines: list[str] = []
    for name, value in config.items():
        text = json.dumps(value, ensure_ascii=False)
        lines += textwrap.wrap(f"{name}: {text}", 62, subsequent_indent="    ")
    for settings, ids in alike.items():
        lines += ["", *textwrap.wrap(", ".join(ids), 62)]
        for name, value in json.loads(settings).items():
            lines += textwrap.wrap(f"  {name}: {json.dumps(value)}", 62, subsequent_indent="      ")
    per_column, columns = 62, 3
    most = MOST_PAGES * per_column * columns
    if len(lines) > most:
        lines[most - 1 :] = [f"... and {len(lines) - most + 1:,} more lines: config.json"]
    pages = []
    for start in range(0, len(lines), per_column * columns):
        figure = page("Appendix: parameters", panels=False)
        for column in range(columns):
            part = lines[start + column * per_column : start + (column + 1) * per_column]
            figure.text(
                0.03 + column * 0.32, 0.93, "\n".join(part), va="top", fontsize=6.2, family="monospace", color=INK
            )
        caption(figure, f"config.json of {story.run.path.name}, agents with the same settings together.")
        pages.append(figure)
    return pages
