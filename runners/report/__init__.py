"""The market report: ``report.pdf`` and its pages as pictures, from a run's files alone.

Every number stands in the run's files or is measured from them (:mod:`runners.measures`); the sentences of the first page
are written from the numbers. Each page is a function of a :class:`Story` that returns a matplotlib figure. Cost:
``python -m benchmarks run``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from market_env.config import ConfigError
from runners.audit.complete import complete
from runners.audit.second import GONE, Second
from runners.files.folder import make_folder
from runners.files.whole import whole_file, write_text
from runners.report import agents, book, market, opening, reality, worth
from runners.report.story import Story
from runners.report.style import MUTED, STYLE, empty, with_thousands
from runners.report.style import page as blank

if TYPE_CHECKING:
    from PIL.Image import Image

PAGES: dict[str, Callable[[Story], Figure]] = {
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
"""The report's pages in order, by the name of their picture; the appendix follows."""


MADE_BESIDE = ("distributions", "facts", "thinning", "learner", "participation")
"""Pages that a second process makes where there is one, in this order: with the audit nearly as much work as all else."""
DOTS, HEATMAP_DOTS = 100, 130
"""An inch, of the pictures."""


def write_report(
    path: Path,
    compare: Sequence[Path] = (),
    second: Second | None = None,
    audited: Callable[[], None] = lambda: None,
    *,
    on_white: bool = False,
) -> list[Path]:
    """Write ``report.pdf``, each of its pages as a picture in ``figures/``, and ``heatmap.png``; return the pictures.

    A run that was cut off gets its tables first, from its finished parts (:func:`runners.audit.complete.complete`).

    Args:
        path: the run's folder.
        compare: folders of runs to set beside it, on a page of their own.
        second: a process that has been asked for its share of the pages, :data:`MADE_BESIDE`.
        audited: called once, before the first page is made, which quotes the audit, and before the second process's first page is asked for.
        on_white: draw the book on white, for paper.

    Raises:
        ConfigError: there is no readable run.
        RunFolderError: a file cannot be written.
    """
    if (path / "config.json").is_file() and not (path / "summary.json").exists():
        complete(path)
    story = Story(path)
    others = [Story(other) for other in compare]
    make_folder(path / "figures")
    with (
        mpl.rc_context(book.PRINT if on_white else {}, fname=STYLE),
        whole_file(path / "report.pdf") as partial,
        PdfPages(partial, metadata={"Title": f"Market report: {path.name}", "CreationDate": None}) as pdf,
    ):
        end = opening.appendix(story)
        names = ["summary", *(["comparison"] if others else []), *pages_of(story)[1:]]
        names += [f"appendix_{part + 1}" for part in range(len(end))]
        drawn_so_far: list[str] = []

        def keep(name: str, figure: Figure) -> None:
            figure.text(0.985, 0.008, str(names.index(name) + 1), ha="right", fontsize=7.5, color=MUTED)
            pdf.savefig(figure, dpi=200)
            drawn_so_far.append(name)

        # In the order in which they can be made, which is the same with a second process and without.
        for name in names:
            if name in PAGES and name != "summary" and name not in MADE_BESIDE:
                keep(name, laid_out(name, story))
        for name, figure in zip(names[-len(end) :], end, strict=True):
            keep(name, figure)
        audited()
        found = GONE if second is None else second.answer()
        if found is not GONE:
            story.facts = found
        keep("summary", laid_out("summary", story))
        if others:
            keep("comparison", settled(opening.comparison([story, *others])))
        for name in MADE_BESIDE:
            answer = GONE if second is None else second.answer()
            keep(name, laid_out(name, story) if answer is GONE else answer)
        # Matplotlib has no other way to give pages another order than that in which they were drawn.
        references = pdf._ensure_file().pageList
        references[:] = [references[drawn_so_far.index(name)] for name in names]
    pictures = draw_pictures(path, names)
    # Of an earlier report with other pages.
    for picture in {
        *(path / "figures" / f"{name}.png" for name in ("comparison", "value")),
        *(path / "figures").glob("appendix_*.png"),
    } - set(pictures):
        with contextlib.suppress(OSError):
            picture.unlink()
    return pictures


def draw_pictures(path: Path, names: Sequence[str]) -> list[Path]:
    """Draw the finished PDF's pages, by name, as pictures: a tenth of the time that matplotlib takes to draw them anew."""
    import pypdfium2

    def save(picture: Path, image: Image) -> Path:
        with whole_file(picture) as beside:
            image.save(beside, format="png", compress_level=3)
        return picture

    saved = []
    with (
        contextlib.closing(pypdfium2.PdfDocument(path / "report.pdf")) as document,
        ThreadPoolExecutor(1) as pool,  # one is compressed while the next one is drawn
    ):
        for name, page in zip(names, document, strict=True):
            picture = path / ("heatmap.png" if name == "heatmap" else f"figures/{name}.png")
            image = page.render(scale=(HEATMAP_DOTS if name == "heatmap" else DOTS) / 72).to_pil()
            saved.append(pool.submit(save, picture, image))
        return [each.result() for each in saved]


def pages_of(story: Story) -> list[str]:
    """Names of the pages of a run's report, in order, without comparison and appendix: a market without a value has none of it."""
    try:
        has_value = story.worth is not None
    except ConfigError:
        has_value = True  # one that says what is missing
    return [name for name in PAGES if name != "value" or has_value]


def laid_out(name: str, story: Story) -> Figure:
    """A page, its panels in their places."""
    return settled(drawn(name, story))


def settled(figure: Figure) -> Figure:
    """A drawn page, its axes' numbers as tables have them and its panels in their places."""
    with_thousands(figure)
    if layout := figure.get_layout_engine():
        layout.execute(figure)
        figure.set_layout_engine(None)  # laid out by now; saving would do it again
    return figure


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


def drawn(name: str, story: Story) -> Figure:
    """A page; where a table that it needs is missing or damaged, one that says so.

    Raises:
        ConfigError: the run is whole: then something else is wrong.
    """
    try:
        return PAGES[name](story)
    except ConfigError as error:
        if not story.missing:
            raise
        figure = blank(name.replace("_", " ").capitalize())
        empty(figure.subplots(), f"this page cannot be made:\n{str(error).split(';')[0]}")
        return figure
