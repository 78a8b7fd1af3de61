"""Write a run's report: ``python -m runners.report RUN_DIR``, also done at the end of every run (:mod:`runners.report`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from market_env.config import ConfigError
from runners.audit.complete import complete
from runners.audit.second import Second, Task
from runners.command import command
from runners.files.run import Run
from runners.report import write_html, write_report
from runners.report.story import Story


@dataclass(frozen=True)
class Arguments:
    """Write report.pdf, its pages as pictures and heatmap.png of a run, from its files alone."""

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """A run's folder."""
    compare: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN_DIR ...", help_behavior_hint="")] = ()
    """Folders of runs to set beside it."""
    html: bool = False
    """Also write report.html: the run to zoom, pan and hover over, in one file."""
    print: bool = False
    """Draw the order book dark on white, for paper."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m runners.report")
    if not arguments.compare and "--compare" in (sys.argv[1:] if argv is None else argv):
        raise ConfigError("--compare: expected the folder of another run or more, got none")
    path = arguments.run_dir
    cut_off = not (path / "summary.json").exists()
    if cut_off and (path / "config.json").is_file():
        complete(path)
    run = Run(path)
    with Second(run.timesteps, len(run.market.agents)) as second:
        second.ask(Task(path, audit=False, report=True))
        pictures = write_report(path, arguments.compare, second, on_white=arguments.print)
    if cut_off:
        print(
            f"the run was cut off: wrote its tables first, {Story(path).run.timesteps:,} whole timesteps, marked incomplete"
        )
    print(
        f"wrote {path / 'report.pdf'}, {len(pictures)} pages, each also a picture in {path / 'figures'}; {path / 'heatmap.png'}"
    )
    if arguments.html:
        write_html(path, pictures)
        print(f"wrote {path / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
