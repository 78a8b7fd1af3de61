"""The first page, a comparison with other runs, and the appendix."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
    BAD_INK,
    BID,
    GOOD_INK,
    GREEN,
    INK,
    MUTED,
    OTHER_COLOURS,
    SELLER,
    caption,
    listed,
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

RUN_COLOURS = (INK, BID, ASK, GREEN, SELLER, *OTHER_COLOURS[:1])


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
    rows(figure, (0.50, 0.66, 0.24, 0.19), "Key figures", ["figure", "value"], figures[:half], (0.52, 0.48), 8)
    rows(figure, (0.75, 0.66, 0.22, 0.19), " ", ["figure", "value"], figures[half:], (0.62, 0.38), 8)
    top = marked(
        figure, kinds_of_agents(figure, run), "Findings of this one run, and what many seeds say of them",
        {True: ("seen", GOOD_INK), False: ("not seen", BAD_INK), None: ("open", MUTED)},
        [(finding.held, finding.text) for finding in story.findings],
        "seen, not seen: in this run, by the thresholds said; open: it cannot be judged. A claim holds, or not, over many seeds.",
    )  # fmt: skip
    marked(
        figure, top - 0.022, "Checks", {True: ("passed", GOOD_INK), False: ("FAILED", BAD_INK), None: ("open", MUTED)},
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
            fontsize=10.5, color=BAD_INK, weight="bold",
        )  # fmt: skip
    if story.missing:
        figure.text(
            0.45 * (not run.summary["complete"]) + 0.04, 0.88, f"Not whole: {'; '.join(story.missing)}. ",
            fontsize=8.5, color=BAD_INK, weight="bold",
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
        figure, (0.04, 0.66, 0.42, 0.19), "What was run", ["parameter", "value"],
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
        (0.42, 0.58), 8,
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
    height = 0.021 * (len(cells) + 1)
    rows(
        figure, (0.04, 0.62 - height, 0.93, height), "The agents",
        ["kind", "agents", "turns", "trades", "maker lots", "taker lots", "wealth change, tick-lots", "largest inventory / bound"],
        cells, (0.12, 0.08, 0.1, 0.1, 0.11, 0.11, 0.18, 0.20),
    )  # fmt: skip
    return 0.585 - height


def marked(
    figure: Figure,
    top: float,
    title: str,
    marks: Mapping[bool | None, tuple[str, str]],
    sentences: Iterable[tuple[bool | None, str]],
    explained: str = "",
) -> float:
    """Sentences, each behind the word for whether it holds; where the page goes on below them."""
    figure.text(0.04, top, title, fontsize=9.5, weight="bold", color=INK)
    figure.text(0.97, top, explained, fontsize=7, color=MUTED, ha="right")
    top -= 0.01
    for held, sentence in sentences:
        word, tint = marks[held]
        text = "\n".join(textwrap.wrap(sentence, 182))
        figure.text(0.04, top, word, va="top", fontsize=7.5, weight="bold", color=tint)
        figure.text(0.09, top, text, va="top", fontsize=7.5, color=INK)
        top -= 0.0165 * (text.count("\n") + 1) + 0.003
    return top


def comparison(stories: Sequence[Story]) -> Figure:
    """What differs between several runs' settings, their figures with differences from the first, and their paths."""
    figure = page("Runs compared")
    left_out = len(stories) - MOST_COMPARED
    stories = stories[:MOST_COMPARED]
    panels = figure.subplot_mosaic([["table"] * 3, ["mid", "spread", "depth"]], height_ratios=(2.3, 1))
    names = [shortened(story.run.path.name, 60 // len(stories)) for story in stories]
    header = ["", names[0]]
    for other in range(1, len(stories)):
        header += [names[other], f"less {names[0]}" if len(stories) == 2 else f"{other + 1} less 1"]
    cells = [_compared(*line, stories) for line in _lines(stories)]
    differing, more = _differing(stories)
    cells = [*differing, *cells]
    width = 0.74 / (2 * len(stories) - 1)
    panels["table"].axis("off")
    height = min(0.535, 0.0195 * (len(cells) + 1))
    rows(
        figure, (0.03, 0.93 - height, 0.94, height), "", header, cells, (0.26, *[width] * (2 * len(stories) - 1)),
        7 if len(stories) < 4 else 5.5,
    )  # fmt: skip
    mid, spread, depth = (panels[name] for name in ("mid", "spread", "depth"))
    for story, tint, name in zip(stories, RUN_COLOURS, names, strict=False):
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
        "Figures a timestep where runs may differ in length, totals in brackets; differences are of those rates, and one run of each decides nothing: "
        "python -m runners.experiment compares over seeds"
        + (f", and more runs than fit ({left_out} left out)" if left_out > 0 else "")
        + f". {more}",
    )
    return figure


MOST_COMPARED = len(RUN_COLOURS)
"""Runs on the page that compares them."""
MOST_DIFFERING = 5
"""Settings that differ, listed one by one."""

NOT_SUBTRACTED = ("Turns before thinning, p", "Lowest mid", "Highest mid", "Last mid", "First price")
"""Lines of which a difference says nothing."""

Figured = Callable[[Story], float | int | None]


def _lines(stories: Sequence[Story]) -> list[tuple[str, Figured, str, bool]]:
    """What is compared: its name, how it is taken, how printed, and whether it is a total, to be set a timestep."""

    def figure(name: str) -> Figured:
        return lambda story: story.figures[name]

    def wealth(kind: str) -> Figured:
        return lambda story: story.run.summary["kinds"].get(kind, {}).get("wealth_change")

    return [
        ("Timesteps", lambda story: story.run.timesteps, ",d", False),
        *((f"{name.capitalize()} a timestep", figure(name), ",.2f", True) for name in ("turns", "events", "trades", "traded lots")),
        *((name.capitalize(), figure(name), FORMS.get(name, ",.1f"), False) for name in ("first price", "last mid", "lowest mid", "highest mid", "mean spread")),
        *((name.capitalize(), figure(name), FORMS[name], False) for name in ("two-sided share", "mean bid lots at the touch", "mean ask lots at the touch")),
        *((f"{name.capitalize()} a timestep", figure(name), ",.2f", True) for name in ("lots bought by aggressors", "lots sold by aggressors")),
        *((f"Wealth of {short(kind)} a timestep, tick-lots", wealth(kind), "+,.2f", True) for kind in dict.fromkeys(kind for story in stories for kind in story.run.kinds)),
        ("Walls a timestep", lambda story: len(story.walls.walls), ".4f", True),
        ("Episodes of thin liquidity a timestep", lambda story: len(story.thinning.episodes), ".4f", True),
        ("Turns before thinning, p", lambda story: story.thinning.p_value, ".3f", False),
    ]  # fmt: skip


def _compared(name: str, take: Figured, form: str, total: bool, stories: Sequence[Story]) -> tuple[str, ...]:
    """A line of the comparison: each run's figure, and from the second on its difference from the first's."""
    cells, first = [name], None
    for place, story in enumerate(stories):
        value = take(story)
        rate = value if value is None or not total else value / max(1, story.run.timesteps)
        cells.append(number(rate, form) + (f"  ({number(value, ',.0f')})" if total and value is not None else ""))
        if not place:
            first = rate
        else:
            apart = None if rate is None or first is None else rate - first
            cells.append("" if name in NOT_SUBTRACTED else number(apart, f"+{form.removeprefix('+')}"))
    return tuple(cells)


def _differing(stories: Sequence[Story]) -> tuple[list[tuple[str, ...]], str]:
    """Settings that are not the same in all runs, as lines of the comparison, and a word on those left out."""
    configs = []
    for story in stories:
        config = dict(story.run.config)
        market = dict(config["market"])
        seats = market.pop("agents")
        agents = ", ".join(f"{figures['agents']} {kind}" for kind, figures in story.run.summary["kinds"].items())
        said = {name: config.get(name) or {} for name in ("reward", "models")}
        own = {"agents": agents, "seed": str(config["seed"])} | dict(flat(market | said, whole=True))
        policies = config.get("policies") or {}
        for seat in reversed(seats):  # of each kind its first agent's settings, by name
            settings = {name: value for name, value in seat.items() if name not in ("id", "kind")}
            own |= dict(flat({seat["kind"]: settings | {"policy": policies.get(seat["id"]) or {}}}, whole=True))
        own["settings of all agents"] = hashlib.blake2b(
            json.dumps([seats, policies], sort_keys=True).encode(), digest_size=4
        ).hexdigest()
        configs.append(own)
    names = [
        name for name in dict.fromkeys(n for own in configs for n in own) if len({own.get(name) for own in configs}) > 1
    ]
    room = 150 // (2 * len(stories) - 1)
    lines = []
    for name in names[:MOST_DIFFERING]:
        first, *rest = (shortened(own.get(name, "none"), room) for own in configs)
        lines.append((f"differs: {name}", first, *(text for value in rest for text in (value, ""))))
    left = len(names) - len(lines)
    if not names:
        return [], "Their settings are the same."
    return lines, f"{left} more settings differ: config.json." if left else ""


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


MOST_PAGES, MOST_GROUPS = 3, 9
"""Pages of seats' parameters, and columns of one: a market of a thousand different agents has a hundred, which nobody reads."""


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
    """The run's ``config.json`` as tables: the market's settings, then the seats', like ones in one column; what is null not at all."""
    config = dict(story.run.config)
    market = dict(config.pop("market"))
    seats = market.pop("agents")
    policies = config.pop("policies", {})
    config.pop("parameters", None)
    alike: dict[str, list[str]] = {}
    for seat in seats:
        own = {name: value for name, value in seat.items() if name != "id"} | {"policy": policies.get(seat["id"])}
        alike.setdefault(json.dumps(flat(own)), []).append(seat["id"])
    groups = [(named(ids), dict(json.loads(settings))) for settings, ids in alike.items()]
    pages = [of_the_market(story, flat(market | config))]
    for start in range(0, min(len(groups), MOST_PAGES * MOST_GROUPS), MOST_GROUPS):
        part = groups[start : start + MOST_GROUPS]
        left = len(groups) - start - len(part)
        more = f"; {left:,} more columns: config.json" if left and len(pages) == MOST_PAGES else ""
        pages.append(of_the_seats(story, part, more))
    return pages


def flat(settings: Mapping[str, Any], above: str = "", *, whole: bool = False) -> list[tuple[str, str]]:
    """Settings by dotted name as text, without those that are null; long lists by their ends unless ``whole``."""
    found: list[tuple[str, str]] = []
    for name, value in settings.items():
        where = f"{above}.{name}" if above else name
        if isinstance(value, dict):
            found += flat(value, where, whole=whole)
        elif isinstance(value, list):
            text = ", ".join(str(part) for part in value)
            ends = f"{value[0]}, {value[1]} … {value[-1]} ({len(value)})" if len(value) >= 6 else text
            found.append((where, text if whole else ends))
        elif value is not None:
            found.append((where, {True: "yes", False: "no"}.get(value, "") if isinstance(value, bool) else str(value)))
    return found


def named(ids: Sequence[str]) -> str:
    """Ids of like agents as one name: neighbours by their first and last number."""
    kind, numbers = ids[0].rpartition("_")[0], [agent.rpartition("_")[2] for agent in ids]
    if any(agent.rpartition("_")[0] != kind for agent in ids):
        return f"{ids[0]}, {len(ids) - 1} more"
    if len(ids) > 2 and numbers == [str(n) for n in range(int(numbers[0]), int(numbers[0]) + len(ids))]:
        return f"{kind}_{numbers[0]} … {numbers[-1]}"
    return f"{kind}_{', '.join(numbers)}" if len(ids) < 4 else f"{ids[0]}, {len(ids) - 1} more"


def of_the_market(story: Story, settings: Sequence[tuple[str, str]]) -> Figure:
    """The table of the market's settings and of what was run with them."""
    figure = page("Appendix: parameters of the market", panels=False)
    half = -(-len(settings) // 2)
    for column, part in enumerate((settings[:half], settings[half:])):
        left = 0.03 + 0.48 * column
        listed(
            figure,
            ["parameter", "value"],
            [(name, shortened(value, 46)) for name, value in part],
            [left, left + 0.19],
            7,
        )
    caption(figure, f"config.json of {story.run.path.name}, without its agents.")
    return figure


def of_the_seats(story: Story, groups: Sequence[tuple[str, dict[str, str]]], more: str) -> Figure:
    """The table of the settings of seats, a column for those that are alike."""
    figure = page("Appendix: parameters of the agents", panels=False)
    names = list(dict.fromkeys(name for _, settings in groups for name in settings))
    wide = 0.74 / len(groups)
    size = 7.0 if len(names) < 45 else 6.0
    room = max(8, int(1_150 / size * wide))
    cells = [(name, *(shortened(settings.get(name, ""), room) for _, settings in groups)) for name in names]
    header = ["parameter", *(shortened(name, room) for name, _ in groups)]
    listed(figure, header, cells, [0.03, *(0.22 + wide * number for number in range(len(groups)))], size)
    caption(figure, f"config.json of {story.run.path.name}, agents with the same settings in one column{more}.")
    return figure


def shortened(text: str, room: int) -> str:
    """Text that fits."""
    return text if len(text) <= room else f"{text[: room - 1]}…"
