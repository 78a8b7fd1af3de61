"""The pictures of the book: nothing is lost in bubbles, stretches are what they are called, and paper is white."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import runners.report.__main__ as report_command
from runners import report, simulate
from runners.report import Story, book, opening


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("book") / "run"
    assert simulate.main(["--run-dir", str(run), "--timesteps", "700", "--no-report", "--no-tensorboard"]) == 0
    return run


@pytest.fixture(scope="module")
def story(path: Path) -> Story:
    return Story(path)


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (7, 5), (300, 200), (10_000, 10_000)])
def test_bubbles_hold_every_lot_that_was_traded_where_it_was(story: Story, columns: int, rows: int) -> None:
    trades = story.line.events[story.line.trades]
    low, high = trades["price"].min() - 0.5, trades["price"].max() + 0.5
    seen = book.bubbles(story, (0, 700, low, high), columns, rows)
    assert seen.lots.sum() == trades["lots"].sum()
    assert seen.time @ seen.lots == pytest.approx((trades["time"] * trades["lots"]).sum())
    assert seen.price @ seen.lots == pytest.approx((trades["price"].astype(float) * trades["lots"]).sum())
    assert len(seen.lots) <= columns * rows
    moments = len(np.unique(np.stack([trades["time"], trades["price"]]), axis=1).T)
    assert len(seen.lots) <= moments
    if columns == 1:
        bought = trades["lots"][story.line.trade_signs > 0].sum()
        assert seen.bought[0] == (2 * bought >= trades["lots"].sum())


def test_stretches_are_the_busiest_the_thinnest_and_the_largest_move_apart_from_each_other(story: Story) -> None:
    busiest, thinnest, move = book.stretches(story)
    line, width = story.line, book.ZOOM
    trades = line.events[line.trades]

    def lots(start: int) -> int:
        return int(trades["lots"][(trades["timestep"] >= start) & (trades["timestep"] < start + width)].sum())

    def depth(start: int) -> float:
        return float(line.near_depth[start : start + width].sum())

    starts = range(50, 700 - width + 1)
    assert lots(busiest.start) == max(lots(start) for start in starts)
    apart = [start for start in starts if abs(start - busiest.start) >= width]
    assert depth(thinnest.start) == min(depth(start) for start in apart)
    apart = [start for start in apart if abs(start - thinnest.start) >= width]
    moved = {start: abs(line.mid[start + width - 1] - line.mid[start]) for start in apart}
    assert moved[move.start] == max(moved.values())
    assert busiest.title == f"Busiest: {lots(busiest.start):,} lots traded"
    assert move.title == f"Largest move: {moved[move.start]:,.0f} ticks"


def ground(figure: Figure) -> str:
    return mpl.colors.to_hex(figure.axes[0].get_facecolor())


@pytest.mark.usefixtures("two_pages")
def test_the_book_is_dark_on_screen_and_white_for_paper(story: Story, path: Path) -> None:
    with mpl.rc_context(fname=report.STYLE):
        assert ground(book.heatmap(story)) == book.ON_DARK.ground.lower()
    with mpl.rc_context(book.PRINT, fname=report.STYLE):
        assert ground(book.heatmap(story)) == "#ffffff"
    for flags, low, high in (([], 0, 60), (["--print"], 230, 255)):
        assert report_command.main([str(path), *flags]) == 0
        with Image.open(path / "heatmap.png") as picture:
            middle = np.median(np.asarray(picture.convert("L"))[150, 200:1_300])
        assert low <= middle <= high


def test_the_comparison_says_what_differs_and_by_how_much(story: Story, tmp_path: Path) -> None:
    other = tmp_path / "other"
    arguments = ["--timesteps", "350", "--seed", "2", "--set", "market.fees.taker=5"]
    assert simulate.main(["--run-dir", str(other), "--no-report", "--no-tensorboard", *arguments]) == 0
    beside = Story(other)
    figure = opening.comparison([story, beside])
    (table,) = [table for axes in figure.axes for table in axes.tables]
    cells: dict[int, dict[int, str]] = {}
    for (row, column), cell in table.get_celld().items():
        cells.setdefault(row, {})[column] = cell.get_text().get_text()
    lines = {row[0]: [row[column] for column in sorted(row)][1:] for row in cells.values()}
    assert lines["differs: seed"] == ["1", "2", ""]
    assert lines["differs: fees.taker"] == ["0", "5", ""]
    rates = [one.figures["trades"] / one.run.timesteps for one in (story, beside)]
    totals = [f"{rate:,.2f}  ({one.figures['trades']:,})" for rate, one in zip(rates, (story, beside), strict=True)]
    assert lines["Trades a timestep"] == [*totals, f"{rates[1] - rates[0]:+,.2f}"]
    same = opening.comparison([story, story])
    assert "Their settings are the same." in " ".join(text.get_text() for text in same.texts).replace("\n", " ")
