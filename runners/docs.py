"""The docs pages that are made from the code, the figures in the others, and the README's picture: ``python -m runners.docs``.

Figures stand in ``docs/figures``, one JSON file a set with its command, date and machine (``make figures`` measures them), and in the
pages between ``<!-- figures: NAME -->`` and ``<!-- end -->``. A test holds that the pages in the repository are the ones that this
makes.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from market_env import actions, observations
from market_env.config import MarketConfig
from runners.command import command
from runners.files import schema
from runners.simulation import board
from runners.simulation.config import RunConfig
from runners.simulation.run import simulate
from scripted_agents.populations import population

FOLDER = Path("docs")


def observations_page() -> str:
    """Observation and action space as Markdown."""
    lines = [
        "# What an agent sees and does",
        "",
        "Made by `python -m runners.docs` from `market_env/observations.py` and `market_env/actions.py`.",
        "",
        "## Observation",
        "",
        f"`Box`, float32, shape ({observations.SIZE},). Every agent gets this vector and nothing else; entries are clipped",
        "to their bounds. Distances of levels are ticks divided by 32, returns and distances of own orders by 64, powers of two,",
        "so whole and half ticks read back exactly; times are timesteps. A frozen policy of smaller units gets what it was trained on.",
        "",
        "| # | name | low | high | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {i} | `{f.name}` | {f.low:g} | {f.high:g} | {f.meaning} |" for i, f in enumerate(observations.FEATURES)
    ]
    config = MarketConfig()
    offsets = ", ".join(map(str, config.offsets))
    lots = ", ".join(map(str, config.lots))
    lines += [
        "",
        "## Action",
        "",
        f"`MultiDiscrete({actions.sizes(config.offsets, config.lots).tolist()})` in a bare market, the same for every agent; the default population has finer grids:",
        "",
        "| component | codes |",
        "|---|---|",
        f"| `cancel` | {', '.join(f'{i} {name}' for i, name in enumerate(actions.CANCELS))} |",
        f"| `bid_offset` | {offsets} ticks below the reference price (negative: above it); the last code is a market order |",
        f"| `bid_lots` | {lots} lots; 0 = no bid |",
        "| `ask_offset` | the same ticks above the reference price; the last code is a market order |",
        "| `ask_lots` | the same lots |",
        "",
        "A bid's price is rounded down, an ask's up. The grids are fields of `MarketConfig`. A turn carries out the cancels,",
        "then the two orders, the first of them by one draw of the agent's clock stream.",
        "",
        "`action_masks()` of every face says which codes can have an effect, the components one after another in one array of booleans, as sb3-contrib's",
        "`MaskablePPO` reads it: no cancel without an open order, no order without room in the bound, cash or trading, no price beyond the band, none that",
        "would cross for a seat that may only post ([what it promises](../market_env/engine/masks.py)). A masked code may be taken all the same.",
    ]
    return "\n".join(lines) + "\n"


def tensorboard_page() -> str:
    """TensorBoard's tags as Markdown."""
    lines = [
        "# A run on TensorBoard",
        "",
        "Made by `python -m runners.docs` from `runners/simulation/board.py`. Look at runs with `tensorboard --logdir runs`; the step is the",
        "timestep. A timestep is one summary, written when its part of the log is closed; one without a turn has none. Begin with the",
        "CUSTOM SCALARS page: its charts belong together. The HPARAMS page compares runs, by folder's name, on seed, market, population,",
        "policies, reward and metrics (tick the columns on its left). What the infos say is as of the turns, so a value can differ from the",
        "tables, which show the ends of timesteps. A run that was killed has no closing table, metrics and pictures here.",
        "",
        f"A run of more than {board.MOST_POINTS:,} timesteps is thinned out, so that no tag has more points than that: of 100,000 timesteps every",
        "20th is written, and what is said below to be written every timestep, 10 or 100 timesteps is written as many times more seldom. What is",
        "written is of that timestep, not of those between; histograms are of all.",
        "",
        "| tag | page | written | meaning |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{tag.name}` | {tag.plugin} | {_written(tag.when)} | {tag.meaning} |" for tag in board.TAGS]
    lines += [
        "",
        "## A training",
        "",
        "`python -m runners.train` writes into the same tree, `runs/train-<seed>-<n>/tensorboard`; the step is the learner's turns.",
        "",
        "| tag | page | written | meaning |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{tag.name}` | {tag.plugin} | {_written(tag.when)} | {tag.meaning} |" for tag in board.TRAINING_TAGS]
    return "\n".join(lines) + "\n"


def _written(when: str) -> str:
    return f"at the {when}" if when in {"start", "end"} else f"every {when}"


PAGES = {
    "observations.md": observations_page,
    "schema.md": schema.markdown,
    "tensorboard.md": tensorboard_page,
}
"""The pages that are made, by file name."""


def with_figures(text: str) -> str:
    """A page with the figures that are kept, in the places that name them."""

    def block(found: re.Match[str]) -> str:
        kept = json.loads((FOLDER / "figures" / f"{found[1]}.json").read_text(encoding="utf-8"))
        lines = "\n".join(kept["lines"])
        said = f"`{kept['command']}`, {kept['date']}, {kept['machine']}:"
        return f"<!-- figures: {found[1]} -->\n{said}\n\n```text\n{lines}\n```\n<!-- end -->"

    return re.sub(r"<!-- figures: (\w+) -->\n.*?<!-- end -->", block, text, flags=re.DOTALL)


PICTURES = ("heatmap.png", "figures/thinning.png")
"""What the README shows, from a run's folder."""


@dataclass(frozen=True)
class Arguments:
    """Make the docs pages that are made from the code, and the README's pictures, from a run of the default market."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    tyro.cli(Arguments, args=argv, prog="python -m runners.docs")
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
        print(f"wrote {FOLDER / name}")
    for page in sorted(FOLDER.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        page.write_text(with_figures(text), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        of = population()
        simulate(RunConfig(market=of.market, policies=dict(of.policies), reward=of.reward), path, tensorboard=False)
        for picture in PICTURES:
            shutil.copy(path / picture, FOLDER)
            print(f"wrote {FOLDER / Path(picture).name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
