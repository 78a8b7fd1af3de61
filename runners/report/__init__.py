"""The market report: ``report.pdf`` and its pages as pictures, from a run's files alone.

Every number stands in the run's files or is measured from them (:mod:`runners.measures`); the sentences of the first page
are written from the numbers. Each page is a function of a :class:`Story` that returns a matplotlib figure. Cost:
``python -m benchmarks run``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from market_env.config import ConfigError
from runners.audit.complete import complete
from runners.files.folder import make_folder
from runners.files.whole import whole_file, write_text
from runners.report import agents, book, market, opening, reality, worth
from runners.report.story import Story
from runners.report.style import MUTED, STYLE, empty
from runners.report.style import page as blank

PAGES: dict[str, Callable[[Story], Figure | None]] = {
    "summary": opening.summary,
    "heatmap": book.heatmap,
    "zooms": book.zooms,
    "flow": market.flow,
    "price_discovery": market.price_discovery,
    "value": worth.value,
    "pressure": market.pressure,
    "inventories": agents.inventories,
    "participation": agents.participation,
    "learner": agents.learner,
    "thinning": market.thinning,
    "distributions": reality.distributions,
    "facts": reality.fact_table,
}
"""The report's pages in order, by the name of their picture; the appendix follows. One that has nothing to say is left out."""


def write_report(path: Path, compare: Sequence[Path] = ()) -> list[Path]:
    """Write ``report.pdf``, each of its pages as a picture in ``figures/``, and ``heatmap.png``; return the pictures.

    A run that was cut off gets its tables first, from its finished parts (:func:`runners.audit.complete.complete`).

    Args:
        path: the run's folder.
        compare: folders of runs to set beside it, on a page of their own.

    Raises:
        ConfigError: there is no readable run.
        RunFolderError: a file cannot be written.
    """
    if (path / "config.json").is_file() and not (path / "summary.json").exists():
        complete(path)
    story = Story(path)
    others = [Story(other) for other in compare]
    make_folder(path / "figures")
    pictures = []
    with (
        mpl.rc_context(fname=STYLE),
        whole_file(path / "report.pdf") as partial,
        PdfPages(partial, metadata={"Title": f"Market report: {path.name}", "CreationDate": None}) as pdf,
    ):
        number = 0

        def keep(name: str, figure: Figure) -> None:
            nonlocal number
            number += 1
            picture = path / ("heatmap.png" if name == "heatmap" else f"figures/{name}.png")
            layout = figure.get_layout_engine()
            if layout:
                layout.execute(figure)
                figure.set_layout_engine(None)  # laid out by now; each of the two savings would do it twice again
            with whole_file(picture) as beside:
                figure.savefig(beside, format="png", dpi=130 if name == "heatmap" else 100)
            pictures.append(picture)
            figure.text(0.985, 0.008, str(number), ha="right", fontsize=7.5, color=MUTED)
            pdf.savefig(figure, dpi=200)

        for name, page in PAGES.items():
            if figure := drawn(name, page, story):
                keep(name, figure)
            if name == "summary" and others:
                keep("comparison", opening.comparison([story, *others]))
        for part, figure in enumerate(opening.appendix(story)):
            keep(f"appendix_{part + 1}", figure)
    # Of an earlier report with other pages.
    for picture in {
        *(path / "figures" / f"{name}.png" for name in ("comparison", "value")),
        *(path / "figures").glob("appendix_*.png"),
    } - set(pictures):
        with contextlib.suppress(OSError):
            picture.unlink()
    return pictures


def write_html(path: Path, pictures: Sequence[Path] = ()) -> Path:
    """Write ``report.html`` into a run's folder, with the report's pages as pictures in it.

    Raises:
        ConfigError: there is no readable run.
        RunFolderError: it cannot be written.
    """
    from runners.report import interactive  # plotly takes half a second to import, and few ask for this page

    others = [picture for picture in pictures if picture.stem not in ("summary", "heatmap")]  # those are there to zoom
    text = interactive.page(Story(path), others)
    write_text(path / "report.html", text)
    return path / "report.html"


def drawn(name: str, page: Callable[[Story], Figure | None], story: Story) -> Figure | None:
    """A page, or None if it has nothing to say; where a table that it needs is missing or damaged, one that says so.

    Raises:
        ConfigError: it is the first page, or the run is whole: then something else is wrong.
    """
    try:
        return page(story)
    except ConfigError as error:
        if not story.missing:
            raise
        figure = blank(name.replace("_", " ").capitalize())
        empty(figure.subplots(), f"this page cannot be made:\n{str(error).split(';')[0]}")
        return figure
