"""The claims as a page, a picture each, and their standing as data for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runners.experiment.arms import Arm
from runners.experiment.compare import Comparison, text
from runners.experiment.draw import panel, wrapped
from runners.experiment.judge import Judged, Values, Verdict, decides
from runners.experiment.measures import Measure, find
from runners.experiment.registry import BASE, CLAIMS, Claim, Curve
from runners.files.whole import whole_file, write_json, write_text
from runners.measures.over_seeds import difference_of, mean_of
from runners.report.style import MUTED, STYLE
from scripted_agents.kind import BLUE, GREY
from scripted_agents.standards import STANDARDS

HOW = "`docs/experiments.md`"
WORDS = {True: "holds", False: "does not hold", None: "undecided"}


@dataclass(frozen=True)
class Decided:
    """All claims that were decided in one population."""

    population: str
    arms: dict[str, Arm]
    seeds: list[int]
    timesteps: int
    values: Values
    verdicts: list[Verdict]


def number_of(claim: Claim) -> int:
    """Its number on the page."""
    return CLAIMS.index(claim) + 1


def in_words(verdict: Verdict) -> str:
    """What the seeds say of a claim, in one sentence."""
    parts = verdict.parts
    if verdict.standing == "supported":
        return "Supported: all of it holds." if len(parts) > 1 else "Supported."
    if verdict.standing == "refuted":
        against = "; ".join(own.part.says for own in parts if own.holds is False)
        held = sum(own.holds is True for own in parts)
        rest = f" {held} of its {len(parts)} parts hold." if held else ""
        return f"Refuted as it stands. It is not so that {against}.{rest}"
    still = "; ".join(f"{own.part.says} ({decides(own)})" for own in parts if own.holds is None)
    held = sum(own.holds is True for own in parts)
    rest = f" {held} of its {len(parts)} parts hold." if held else ""
    return f"Undecided: {still}.{rest}"


def line(own: Judged) -> str:
    """A part as a line of a list."""
    more = f"; {decides(own)}" if own.holds is None else ""
    unit = find(own.part.measure, []).unit
    p = (
        ""
        if own.found.adjusted is None or own.part.way == "never"
        else f", p {'< .001' if own.found.adjusted < 0.001 else f'= {own.found.adjusted:.3f}'}"
    )
    return f"- **{WORDS[own.holds]}**: {own.part.says}: {own.figures} (`{own.part.measure}`, {unit}{p}){more}"


def told(claim: Claim, decided: Decided) -> list[str]:
    """What else the base shows."""
    lines = []
    for measure, called in claim.told:
        found = mean_of(decided.values[measure][BASE])
        if found.mean is not None:
            interval = (
                f" [{text(found.low)}, {text(found.high)}]" if found.low is not None and found.high is not None else ""
            )
            lines.append(f"- {called}: {text(found.mean)}{interval}")
    return lines


def markdown(all_decided: Sequence[Decided], pictures: Mapping[str, str], command: str) -> str:
    """The page.

    Args:
        all_decided: by population.
        pictures: by claim's name the file, as the page links it.
        command: what made it.
    """
    first = all_decided[0]
    names = [decided.population for decided in all_decided]
    lines = [
        "# What is true of this market",
        "",
        f"Made by `{command}`. One run decides nothing: each claim is decided over {len(first.seeds)} seeds of {first.timesteps:,} timesteps an arm"
        + (", which nothing was tuned on" if set(first.seeds) <= set(STANDARDS.test_seeds) else "")
        + ",",
        f"differences paired by seed. How: {HOW}. In brackets 95 % intervals, Student's t over seeds; p with Holm's correction over a",
        "claim's parts. A claim is *supported* if all its parts hold, *refuted* if one is shown to be otherwise, and else *undecided*, with",
        "the seeds that would decide it. *The Day-6 page* is the list of what the first measurement run of this project was to show.",
        "",
        f"| claim | {' | '.join(f'`{name}`' for name in names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    standing = {(v.claim.name, d.population): v for d in all_decided for v in d.verdicts}
    shown = [claim for claim in CLAIMS if any((claim.name, name) in standing for name in names)]
    for claim in shown:
        cells = [v.standing if (v := standing.get((claim.name, name))) else "" for name in names]
        title = f"{number_of(claim)}. {claim.says}"
        lines.append(f"| [{title}](#{number_of(claim)}-{claim.name}) | {' | '.join(cells)} |")
    for claim in shown:
        lines += [
            "",
            f"## {number_of(claim)}. {claim.name}",
            "",
            f"> {claim.says}",
            "",
            f"Said by: {claim.source}. It would be refuted if {claim.refuted}.",
        ]
        for decided in all_decided:
            verdict = standing.get((claim.name, decided.population))
            if verdict is None:
                continue
            lines += ["", f"**`{decided.population}`: {in_words(verdict)}**", "", *(line(own) for own in verdict.parts)]
            if more := told(claim, decided):
                lines += ["", "Besides:", "", *more]
        lines += ["", f"![{claim.says}]({pictures[claim.name]})"]
    lines += [
        "",
        "## The arms",
        "",
        "All arms of a population play the same seeds; the first is the population as it is.",
        "",
    ]
    for decided in all_decided:
        lines += [f"- `{decided.population}`: {', '.join(decided.arms)}"]
    return "\n".join(lines) + "\n"


def standings(all_decided: Sequence[Decided]) -> dict[str, Any]:
    """What reports quote: by population the key of its place, seeds, and each claim's standing."""
    return {
        decided.population: {
            "place": decided.arms[BASE].place,
            "seeds": len(decided.seeds),
            "timesteps": decided.timesteps,
            "claims": {
                verdict.claim.name: {
                    "number": number_of(verdict.claim),
                    "says": verdict.claim.says,
                    "standing": verdict.standing,
                }
                for verdict in decided.verdicts
            },
        }
        for decided in all_decided
    }


def draw_curve(axes: Axes, curve: Curve, decided: Decided) -> None:
    """A correlation by lag with its intervals."""
    found = [mean_of(decided.values[f"{curve.prefix}{lag}"][BASE]) for lag in curve.lags]
    places = np.arange(len(curve.lags))
    means = np.array([np.nan if own.mean is None else own.mean for own in found])
    low, high = (
        np.array([np.nan if (v := getattr(own, side)) is None else v for own in found]) for side in ("low", "high")
    )
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.fill_between(places, low, high, color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(places, means, "o-", color=BLUE, markersize=4)
    axes.set_xticks(places, [str(lag) for lag in curve.lags])
    axes.set_xlabel("timesteps later", fontsize=8)
    axes.set_title(curve.title, fontsize=8.5)
    axes.set_ylabel("correlation", fontsize=8)
    axes.tick_params(labelsize=7.5)


def comparison(measure: Measure, arms: Sequence[str], values: Values) -> Comparison:
    """A measure over some arms, the population as it is being the base."""
    own = {arm: values[measure.name][arm] for arm in arms}
    return Comparison(
        measure,
        own,
        {arm: mean_of(found) for arm, found in own.items()},
        {arm: difference_of(found, own[BASE]) for arm, found in own.items() if arm != BASE and BASE in own},
    )


def picture(claim: Claim, all_decided: Sequence[Decided]) -> Figure:
    """A row of panels for each population."""
    rows = [decided for decided in all_decided if any(v.claim is claim for v in decided.verdicts)]
    count = len(claim.panels) + len(claim.curves)
    figure = Figure(figsize=(3.3 * count + 0.3, 2.75 * len(rows) + 0.45), layout="constrained")
    grid = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for decided, part in zip(rows, grid, strict=True):
        part.suptitle(
            f"{decided.population}: {next(v.standing for v in decided.verdicts if v.claim is claim)}",
            fontsize=10,
            x=0.01,
            ha="left",
            weight="bold",
        )
        panels = part.subplots(1, count, squeeze=False)[0]
        for axes, (name, arms) in zip(panels, claim.panels, strict=False):
            own = comparison(find(name, [decided.arms[BASE].market]), arms, decided.values)
            places = list(map(float, range(len(arms))))
            panel(axes, own, arms, places)
            axes.set_xticks(places, [wrapped(arm, 10) for arm in arms])
            axes.set_xlim(-0.4, len(arms) - 0.6)
        for axes, curve in zip(panels[len(claim.panels) :], claim.curves, strict=True):
            draw_curve(axes, curve, decided)
    figure.supxlabel(
        "Dots: means over seeds, 95 % intervals; orange: different from the population as it is (p < .05, a panel's arm alone); grey: seeds",
        fontsize=7,
        color=MUTED,
    )
    return figure


def write(all_decided: Sequence[Decided], folder: Path, data: Path, command: str) -> list[Path]:
    """Write ``claims.md`` and its pictures into a folder, and the standings as JSON; return the files.

    Raises:
        RunFolderError: one cannot be written.
    """
    pictures = {}
    written = []
    (folder / "claims").mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(fname=STYLE):
        for claim in CLAIMS:
            if any(v.claim is claim for decided in all_decided for v in decided.verdicts):
                path = folder / "claims" / f"{claim.name}.png"
                with whole_file(path) as partial:
                    picture(claim, all_decided).savefig(partial, format="png", dpi=80)
                pictures[claim.name] = f"claims/{claim.name}.png"
                written.append(path)
    write_text(folder / "claims.md", markdown(all_decided, pictures, command))
    write_json(data, standings(all_decided))
    return [folder / "claims.md", data, *written]
