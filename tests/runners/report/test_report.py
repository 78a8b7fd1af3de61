"""The report is made from a run's files alone, whatever the run was like."""

from __future__ import annotations

import contextlib
import html
import json
import os
import pickle
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import matplotlib as mpl
import polars as pl
import pypdfium2
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

import runners.report.__main__ as report_command
from market_env.market import Market
from runners import replay, report, simulate
from runners.audit import second
from runners.files.run import load_run
from runners.files.schema import tables_of
from runners.report import Story, beside, opening
from runners.report.standing import population_of, standings
from runners.simulation.config import RunConfig
from runners.simulation.run import simulate as record
from scripted_agents import build, population
from tests.runners.measures import planted


def run_of(folder: Path, *arguments: str, config: dict[str, object] | None = None) -> Path:
    path = folder / "run"
    extra = []
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
        extra = ["--config", str(folder / "config.json")]
    assert simulate.main(["--run-dir", str(path), "--no-report", "--no-tensorboard", *extra, *arguments]) == 0
    return path


ROOT = Path(__file__).parents[3]
RUNS = {
    "short": (["--timesteps", "200"], None),
    "no makers": (["--timesteps", "200", "--maker", "0"], None),
    "no momentum, no ppo": (["--timesteps", "200", "--momentum", "0", "--ppo", "0"], None),
    "one timestep": (["--timesteps", "1"], None),
    "fees": (["--timesteps", "200", "--set", "market.fees.taker=300"], None),
    "many agents": (["--timesteps", "50", "--noise", "90"], None),
    "no trades": (["--timesteps", "100"], {"policies": {kind: {"policy": "nothing"} for kind in ("ppo", "noise", "maker", "momentum", "informed")}}),
    "kinds of one's own": (
        ["--timesteps", "120"],
        {
            "market": {"agents": [
                {"id": f"trader_{number}", "kind": kind, "cash": 2_000_000, "inventory_bound": 60, "arrivals": {"process": "every", "period": 1.0}}
                for number, kind in enumerate(("institutionalprovider", "retailcrowd", "retailcrowd", "trendfollowingfund", "rl"))
            ]},
            "policies": {"institutionalprovider": {"policy": "maker"}, "retailcrowd": {"policy": "noise"}, "trendfollowingfund": {"policy": "momentum"}, "rl": {"policy": "ppo", "model": "models/ppo_day6.zip"}},
        },
    ),
    "one side": (["--timesteps", "100"], {"market": {"agents": [{"id": "maker_0", "kind": "maker", "inventory": -100, "inventory_bound": 100}]}}),
}  # fmt: skip


def overflowing(figure: Figure) -> list[str]:
    """Texts that leave the page, which was drawn."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    width, height = figure.bbox.size
    ticks = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label in (*axis.get_ticklabels(), *axis.get_ticklabels(minor=True))  # those out of view lie anywhere
    }
    found = []
    for text in set(figure.findobj(Text)) - ticks:
        if text.get_visible() and text.get_text().strip():
            box = text.get_window_extent(renderer)
            if box.x0 < -2 or box.y0 < -2 or box.x1 > width + 2 or box.y1 > height + 2:
                found.append(text.get_text())
    return found


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of the page's own texts, its panels' titles and its tables' cells that lie on each other; the page was drawn."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in figure.texts if text.get_text().strip()]
    texts += [axes.title for axes in figure.axes] + [axes._left_title for axes in figure.axes]
    tables = [table for axes in figure.axes for table in axes.tables]
    texts += [cell.get_text() for table in tables for cell in table.get_celld().values()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text().strip()]
    return [
        (one, other)
        for number, (one, box) in enumerate(boxes)
        for other, beside in boxes[number + 1 :]
        if box.x0 < beside.x1 - 1 and beside.x0 < box.x1 - 1 and box.y0 < beside.y1 - 1 and beside.y0 < box.y1 - 1
    ]


def brightness(colour: Any) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.2)."""
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def faint(figure: Figure) -> list[tuple[str, float]]:
    """Texts on their page's or panel's own ground, numbers and names of axes among them, of less than WCAG's contrast of 4.5."""
    grounds = [(text, figure.get_facecolor()) for text in figure.texts]
    for axes in figure.axes:
        outside = [
            axes.title,
            axes._left_title,
            axes.xaxis.label,
            axes.yaxis.label,
            *axes.get_xticklabels(),
            *axes.get_yticklabels(),
        ]
        grounds += [(text, figure.get_facecolor()) for text in outside]
        if not axes.images and not axes.patches and not axes.collections:
            grounds += [(text, axes.get_facecolor()) for text in axes.texts if text.get_bbox_patch() is None]
        if legend := axes.get_legend():
            grounds += [(text, axes.get_facecolor()) for text in legend.get_texts()]
    found = []
    for text, ground in grounds:
        if text.get_visible() and text.get_text().strip():
            bright, dark = sorted((brightness(text.get_color()), brightness(ground)), reverse=True)
            if (contrast := (bright + 0.05) / (dark + 0.05)) < 4.5:
                found.append((text.get_text(), round(contrast, 2)))
    return found


@pytest.mark.parametrize("name", RUNS)
def test_every_page_is_drawn_whole_titled_and_labelled(name: str, tmp_path: Path) -> None:
    arguments, config = RUNS[name]
    story = Story(run_of(tmp_path, *arguments, config=config))
    with mpl.rc_context(fname=report.STYLE):
        pages: dict[str, Callable[[], list[Figure]]] = {
            n: (lambda n=n: [report.laid_out(n, story)]) for n in report.pages_of(story)
        }
        pages |= {
            "appendix": lambda: opening.appendix(story),
            "comparison": lambda: [report.settled(opening.comparison([story, story]))],
        }
        for title, figure in ((title, figure) for title, make in pages.items() for figure in make()):
            figure.draw_without_rendering()
            assert not overflowing(figure), title
            assert not overlapping(figure), title
            assert not faint(figure), title
            texts = [text.get_text() for text in figure.findobj(Text)]
            assert not any("nan" in text.lower().split() for text in texts), title
            for axes in figure.axes:
                if axes.axison and axes.get_label() != "<colorbar>":
                    assert axes.get_title(loc="left") or axes.get_ylabel() or axes.texts, title


@pytest.mark.long
def test_the_command_writes_all_pages_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    path = run_of(tmp_path / "a", "--timesteps", "400")
    other = run_of(tmp_path / "b", "--timesteps", "300", "--seed", "2")
    assert report_command.main([str(path), "--compare", str(other)]) == 0
    pdf = (path / "report.pdf").read_bytes()
    pictures = {file.stem for file in (path / "figures").iterdir()}
    assert pictures == (report.PAGES.keys() - {"heatmap"}) | {"comparison", "appendix_1", "appendix_2", "appendix_3"}
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") == len(pictures) + 1
    assert b"/FontFile2" in pdf  # fonts are embedded
    assert b"/Type3" not in pdf
    assert len(pdf) < 5_000_000


def test_the_key_figures_are_what_duckdb_finds(tmp_path: Path) -> None:
    path = run_of(tmp_path, "--timesteps", "600")
    figures = Story(path).figures

    def ask(query: str) -> Any:
        (row,) = duckdb.sql(query.replace("$", str(path))).fetchall()
        return row[0]

    expected = {
        "timesteps": "SELECT count(*) FROM '$/quotes.parquet'",
        "turns": "SELECT count(*) FROM '$/turns.parquet'",
        "events": "SELECT count(*) FROM '$/events/*.parquet'",
        "trades": "SELECT count(*) FROM '$/trades.parquet'",
        "traded lots": "SELECT sum(lots) FROM '$/trades.parquet'",
        "last mid": "SELECT last(mid ORDER BY timestep) FROM '$/quotes.parquet'",
        "lowest mid": "SELECT min(mid) FROM '$/quotes.parquet'",
        "highest mid": "SELECT max(mid) FROM '$/quotes.parquet'",
        "mean spread": "SELECT avg(spread) FROM '$/quotes.parquet'",
        "two-sided share": "SELECT avg(CASE WHEN spread IS NULL THEN 0 ELSE 1 END) FROM '$/quotes.parquet' WHERE timestep >= 50",
        "mean bid lots at the touch": "SELECT avg(bid_lots) FROM '$/quotes.parquet'",
        "mean ask lots at the touch": "SELECT avg(ask_lots) FROM '$/quotes.parquet'",
        "lots bought by aggressors": "SELECT sum(lots) FROM '$/trades.parquet' WHERE buyer = aggressor",
        "lots sold by aggressors": "SELECT sum(lots) FROM '$/trades.parquet' WHERE seller = aggressor",
        "first price": "SELECT market.first_price FROM '$/config.json'",
    }
    assert set(expected) == set(figures)
    for name, query in expected.items():
        assert figures[name] == pytest.approx(ask(query)), name


def test_the_agents_of_the_first_page_are_what_duckdb_finds(tmp_path: Path) -> None:
    path = run_of(tmp_path, "--timesteps", "600")
    kinds = load_run(path).summary["kinds"]
    rows = duckdb.sql(f"""
        SELECT regexp_replace(agent, '_[0-9]+$', '') AS kind, count(DISTINCT agent), sum(turns), sum(maker_lots), sum(taker_lots)
        FROM '{path}/agents.parquet' GROUP BY kind
    """).fetchall()
    for kind, agents, turns, made, took in rows:
        figures = kinds[kind]
        assert (figures["agents"], figures["turns"], figures["maker_lots"], figures["taker_lots"]) == (
            agents,
            turns,
            made,
            took,
        )
    assert len(rows) == len(kinds)


def test_the_findings_say_what_was_planted_and_claim_nothing_else(tmp_path: Path) -> None:
    for name, make, held, words in (
        ("wall", planted.with_a_wall, True, "1 wall of liquidity"),
        (
            "clustered",
            partial(planted.with_thinning, clustered=True),
            True,
            "clear evidence that arrivals cluster as liquidity thins",
        ),
        (
            "apart",
            partial(planted.with_thinning, clustered=False),
            False,
            "no evidence that arrivals cluster as liquidity thins",
        ),
    ):
        findings = Story(make(tmp_path / name)).findings
        assert 3 <= len(findings) <= 6
        (finding,) = [finding for finding in findings if words in finding.text]
        assert finding.held is held


def test_the_checks_say_whether_this_very_record_was_audited(tmp_path: Path) -> None:
    path = run_of(tmp_path, "--timesteps", "120", "--no-audit")
    assert [check.good for check in Story(path).checks] == [None, True, True, True]
    assert replay.main([str(path)]) == 0
    check = Story(path).checks[0]
    assert check.good is True
    assert "0 differ" in check.text
    summary = json.loads((path / "summary.json").read_text())
    (path / "summary.json").write_text(json.dumps(summary))  # no longer the file that was audited
    assert Story(path).checks[0].good is None
    (path / "summary.json").write_text(json.dumps(summary | {"trades": 1}))
    assert replay.main([str(path)]) == 1
    assert Story(path).checks[0].good is False


def test_the_lots_asked_for_are_what_duckdb_finds(tmp_path: Path) -> None:
    path = run_of(tmp_path, "--timesteps", "300")
    with mpl.rc_context(fname=report.STYLE):
        figure = report.PAGES["learner"](Story(path))
        (axes,) = [axes for axes in figure.axes if axes.get_title(loc="left") == "Lots asked for"]
        sizes = sorted(
            int(size)
            for (size,) in duckdb.sql(
                f"SELECT bid_lots FROM '{path}/turns.parquet' WHERE agent = 'ppo_0' "
                f"UNION SELECT ask_lots FROM '{path}/turns.parquet' WHERE agent = 'ppo_0'"
            ).fetchall()
        )
        named = {
            round(place): label.get_text()
            for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        }
        assert all(name == str(sizes[place]) for place, name in named.items())
        for side, bars in zip(("bid", "ask"), axes.containers, strict=True):
            expected = dict(
                duckdb.sql(
                    f"SELECT {side}_lots, count(*) / 300 FROM '{path}/turns.parquet' WHERE agent = 'ppo_0' GROUP BY ALL"
                ).fetchall()
            )
            found = {size: bar.get_height() for size, bar in zip(sizes, bars, strict=True) if bar.get_height()}
            assert found == pytest.approx(expected)


def test_an_empty_panel_says_why(tmp_path: Path) -> None:
    arguments, config = RUNS["no trades"]
    story = Story(run_of(tmp_path, *arguments, config=config))
    with mpl.rc_context(fname=report.STYLE):
        for name, why in (
            ("heatmap", "no order rested"),
            ("flow", "there were no trades"),
            ("participation", "there were no trades"),
            ("price_discovery", "the mid never moved"),
            ("pressure", "too few trades"),
            ("distributions", "no order rested"),
        ):
            figure = report.PAGES[name](story)
            assert any(why in text.get_text() for text in figure.findobj(Text)), name


def test_the_report_reads_nothing_but_the_files(tmp_path: Path) -> None:
    path = run_of(tmp_path, "--timesteps", "60")
    moved = tmp_path / "elsewhere"
    shutil.move(path, moved)
    (moved / "heatmap.png").unlink(missing_ok=True)
    assert report_command.main([str(moved)]) == 0
    assert (moved / "heatmap.png").is_file()


def test_an_interrupted_run_says_so_on_its_first_page(tmp_path: Path) -> None:
    path = run_of(tmp_path, "--timesteps", "60")
    summary = json.loads((path / "summary.json").read_text()) | {"complete": False}
    (path / "summary.json").write_text(json.dumps(summary))
    figure = opening.summary(Story(path))
    assert any(text.get_text().startswith("Incomplete") for text in figure.texts)


def test_a_run_that_was_cut_off_gets_its_tables_and_a_report_of_what_is_there(tmp_path: Path) -> None:
    path = run_of(tmp_path, "--timesteps", "600")
    for file in (*path.glob("*.parquet"), path / "summary.json", path / "events" / "part-00001.parquet"):
        file.unlink()
    assert report_command.main([str(path)]) == 0
    run = load_run(path)
    assert (run.timesteps, run.summary["complete"]) == (500, False)
    assert (path / "figures" / "thinning.png").is_file()
    assert (path / "report.pdf").stat().st_size > 50_000


@pytest.mark.parametrize("table", tables_of())
def test_a_table_that_is_missing_is_named_and_the_other_pages_are_made(table: str, tmp_path: Path) -> None:
    path = run_of(tmp_path, "--timesteps", "120")
    (path / f"{table}.parquet").unlink()
    story = Story(path)
    assert story.missing == [f"{table}.parquet is missing"]
    with mpl.rc_context(fname=report.STYLE):
        for name in report.pages_of(story):
            figure = report.drawn(name, story)
            texts = " ".join(text.get_text() for text in figure.findobj(Text))
            if name == "summary" or "cannot be made" in texts:  # the others are as they are for a whole run
                figure.draw_without_rendering()
                assert not overflowing(figure), name
            if name == "summary":
                assert f"Not whole: {table}.parquet is missing" in texts
            if table in ("quotes", "trades", "depth"):
                assert "cannot be made" not in texts, name  # the log has all that they need
    (path / f"{table}.parquet").write_bytes(b"PAR1 nonsense")
    assert Story(path).missing[0].startswith(f"{table}.parquet is damaged")


@pytest.fixture(scope="module")
def interactive_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("html")
    path = run_of(folder, "--timesteps", "300")
    assert report_command.main([str(path), "--html"]) == 0
    return path / "report.html"


def test_the_interactive_page_is_one_file_that_needs_no_network(interactive_page: Path) -> None:
    text = interactive_page.read_text()
    assert len(text) < 15_000_000
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)\s*=\s*['\"](?!data:)", text)
    assert (
        text.count("<img alt=") == len(report.PAGES) + 1
    )  # less two that are there anyway, with three of the appendix
    for agent in ("ppo_0", "noise_11", "maker_7", "momentum_0", "informed_5"):
        assert f'"{agent}"' in text
    for finding in Story(interactive_page.parent).findings:
        assert html.escape(finding.text) in text


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("chromium"), reason="no headless browser on this machine")
def test_a_real_browser_draws_the_interactive_page(interactive_page: Path, tmp_path: Path) -> None:
    run = load_run(interactive_page.parent)
    for link, at, chosen in (("", 299, 0), ("#t=150&from=120&to=180", 150, 0), ("#t=42&p=PRICE", 42, 1)):
        book, _ = run.state_at(at)
        prices = {side: book.filter(pl.col("side") == side)["price"].to_list() for side in ("buy", "sell")}
        far = prices["buy"][-1]  # a level beyond those that the ladder shows by itself
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=20000", "--dump-dom", interactive_page.as_uri() + link.replace("PRICE", str(far)),
        ]  # fmt: skip
        drawn = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
        assert drawn.count('class="plotly-graph-div js-plotly-plot"') == 2
        assert len(re.findall(r'class="trace scatter', drawn)) > 2 * 26  # two lines an agent
        assert "Inventory, lots" in drawn
        assert re.search(r'<canvas[^>]*data-drawn="\d+x\d+"', drawn)
        # The ladder is the book at that moment, as the engine rebuilds it from the log.
        ladder = re.findall(r'data-price="(\d+)" data-lots="(\d+)"( class="chosen")?', drawn)
        shown = sorted([*prices["sell"][:12], *prices["buy"][:12], *([far] if chosen else [])], reverse=True)
        assert [int(price) for price, *_ in ladder] == list(dict.fromkeys(shown))
        lots = dict(book.select("price", "lots").rows())
        assert all(int(size) == lots[int(price)] for price, size, _ in ladder)
        assert [int(price) for price, _, mark in ladder if mark] == [far] * chosen
        assert f"End of timestep {at}; " in drawn


@pytest.mark.usefixtures("two_pages")
def test_a_later_report_leaves_no_picture_of_an_earlier_ones_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, other = run_of(tmp_path, "--timesteps", "60"), run_of(tmp_path / "other", "--timesteps", "60")
    assert report_command.main([str(path), "--compare", str(other)]) == 0
    assert (path / "figures" / "comparison.png").is_file()
    (path / "figures" / "mine.png").write_bytes(b"a user's own")
    assert report_command.main([str(path), "--html"]) == 0
    assert not (path / "figures" / "comparison.png").exists()
    assert (path / "figures" / "mine.png").read_bytes() == b"a user's own"
    capsys.readouterr()
    assert report_command.main([str(path), "--compare"]) == 2
    assert capsys.readouterr().err == "error: --compare: expected the folder of another run or more, got none\n"


def test_what_lies_in_a_run_is_checked_and_escaped_before_it_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_of(tmp_path, "--timesteps", "60")
    written = (path / "config.json").read_text()
    tag = "<script>alert(1)</script>"
    config = json.loads(written)
    for change in ({"seed": tag}, {"models": {"x": 1}}, {"parameters": [tag]}, {"reward": {"scale": tag}}):
        (path / "config.json").write_text(json.dumps(config | change))
        assert report_command.main([str(path), "--html"]) == 2
        assert "config.json: " in capsys.readouterr().err
        assert not (path / "report.html").exists()
    # What may be any text.
    for agent in config["market"]["agents"]:
        config["policies"][agent["id"]] = {"policy": "own", "name": tag}
    config["versions"]["numpy"] = tag
    config["models"] = {tag: tag}
    (path / "config.json").write_text(json.dumps(config))
    named = tmp_path / "<script>alert(2)<"
    path.rename(named)
    assert report_command.main([str(named), "--html"]) == 0
    text = (named / "report.html").read_text()
    assert "<script>alert" not in text


def test_a_folder_that_is_no_run_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_of(tmp_path, "--timesteps", "60")

    def error_of(folder: Path) -> str:
        assert report_command.main([str(folder)]) == 2
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return text

    capsys.readouterr()
    assert "found no folder" in error_of(tmp_path / "none")
    assert "found none" in error_of(tmp_path)
    for damaged, why in (
        ("{}", "timesteps: Field required"),
        ("[]", "expected a JSON object"),
        ("x", "not JSON"),
    ):
        whole = (path / "summary.json").read_bytes()
        (path / "summary.json").write_text(damaged)
        assert why in error_of(path)
        (path / "summary.json").write_bytes(whole)
    config = json.loads((path / "config.json").read_text()) | {"schema": 99}
    (path / "config.json").write_text(json.dumps(config))
    assert "expected schema version 1 to 4, got 99" in error_of(path)


def test_findings_quote_the_claims_standing_of_the_population_that_the_run_played(tmp_path: Path) -> None:
    for name, changes in (("default", {}), ("day6", {}), ("default", {"maker": 7})):
        of = population(name, changes, timesteps=300)
        path = tmp_path / f"{name}-{len(changes)}"
        run = RunConfig(market=of.market, policies=dict(of.policies), reward=of.reward)
        record(run, path, audit=False, report=False, tensorboard=False, verbose=False)
        story = Story(path)
        own = None if changes else name
        assert population_of(story.run) == own
        where = "" if own else " of default"
        for claim, finding in zip(
            ("walls", "teleport", "asymmetry", "selective", "thinning"), story.findings, strict=True
        ):
            said = standings()[name]["claims"][claim]
            quoted = f"Claim {said['number']}, 64 seeds{where}: {said['standing']}."
            assert finding.text.endswith(quoted)


def told(path: Path) -> dict[str, Any]:
    """A report's pictures, and the words of its pages: a place in the PDF may differ by a millionth of a point each time."""
    with contextlib.closing(pypdfium2.PdfDocument(path / "report.pdf")) as document:
        words = [page.get_textpage().get_text_range() for page in document]
    pictures = {file.name: file.read_bytes() for file in (path / "heatmap.png", *path.glob("figures/*"))}
    return {"words": words, **pictures}


@pytest.mark.parametrize(
    ("timesteps", "agents", "helps"), [(2_000, 2, True), (500, 26, False), (500, 1_000, True), (6_000, 1_000, False)]
)
def test_a_second_process_helps_where_there_is_much_to_do_and_both_have_room(
    timesteps: int, agents: int, helps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second, "cores", lambda: 2)
    with second.Second(timesteps, agents) as other:
        assert (other._process is not None) == helps


@pytest.mark.usefixtures("pages_made_beside")
def test_a_second_process_changes_nothing_of_a_report_whether_it_helps_ends_early_or_never_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_of(tmp_path, "--timesteps", "120")
    report.write_report(path)
    alone = told(path)
    monkeypatch.setattr(second, "LONG", 1)
    monkeypatch.setattr(second, "cores", lambda: 2)

    def amid(answers: int) -> None:
        helped = 0
        with second.Second(300) as other:
            assert other._process is not None
            other.ask(second.Task(path, audit=True, report=True))
            if answers < 0:
                other._process.kill()
            answer = other.answer

            def counted() -> Any:
                nonlocal helped
                found = answer()
                helped += found is not second.GONE
                if helped == answers:
                    assert other._process is not None
                    other._process.kill()
                    other._process.wait()
                return found

            monkeypatch.setattr(other, "answer", counted)
            audited = []
            report.write_report(path, second=other, audited=lambda: audited.append(other.answer()))
            process = other._process
        assert process.poll() is not None
        assert len(audited) == 1
        if answers > len(report.MADE_BESIDE) + 1:
            assert helped == 2 + len(report.MADE_BESIDE)  # the audit and the facts before
            assert audited[0]["checked"] > 10_000
            assert audited[0]["differ"] == 0
        assert told(path) == alone

    amid(99)
    amid(2)
    amid(-1)
    monkeypatch.setattr(second.sys, "executable", str(tmp_path / "none"))
    with second.Second(300) as other:
        other.ask(second.Task(path, audit=True, report=True))
        assert other.answer() is second.GONE
        report.write_report(path, second=other)
    assert told(path) == alone


def test_a_second_process_is_our_own_code_wherever_it_starts_ends_with_us_and_is_given_up_when_it_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_of(tmp_path, "--timesteps", "120")
    monkeypatch.setattr(second, "LONG", 1)
    monkeypatch.setattr(second, "cores", lambda: 2)
    foreign = tmp_path / "elsewhere" / "runners"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("print('foreign', flush=True)\nraise SystemExit(3)\n")
    monkeypatch.chdir(foreign.parent)
    task = second.Task(path, audit=True, report=False)
    with second.Second(120) as other:
        other.ask(task)
        assert other.answer()["differ"] == 0
    # It says nothing of its own, and ends well, though threads of it read and write.
    command = [sys.executable, "-c", second.PROGRAM]
    asked = pickle.dumps(second.Task(path, audit=True, report=True))
    beside_us = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert beside_us.stdin is not None
    assert beside_us.stdout is not None
    assert beside_us.stderr is not None
    beside_us.stdin.write(asked)
    beside_us.stdin.flush()
    given = beside_us.stdout.read()
    assert (beside_us.wait(), beside_us.stderr.read()) == (0, b"")
    assert len(given) > 100_000
    for stream in (beside_us.stdin, beside_us.stdout, beside_us.stderr):
        stream.close()
    (path / "audit.json").unlink()
    with second.Second(120) as other:
        assert other._process is not None
        os.kill(other._process.pid, signal.SIGSTOP)
        monkeypatch.setattr(second, "PATIENCE", 0.5)
        other.ask(task)
        assert other.answer() is second.GONE
    assert other._process.poll() == -signal.SIGKILL
    # One that nobody waits for any more ends, and leaves nothing in the run.
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom runners.audit import second\nsecond.LONG = 1\n"
        "second.cores = lambda: 2\nother = second.Second(120)\n"
        f"other.ask(second.Task(Path({str(path)!r}), audit=True, report=True))\n"
        "print(other._process.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    child = int(done.stdout)
    with contextlib.suppress(ProcessLookupError):  # it has ended already
        watched = os.pidfd_open(child)
        assert select.select([watched], [], [], 60.0)[0], "it goes on"
        os.close(watched)
    assert not (path / "audit.json").exists()


def test_what_is_not_compiled_yet_is_shared_out(tmp_path: Path) -> None:
    of = population()
    market = Market(of.market, log=True)
    market.compile_turn()
    assert market.turn_is_kept()
    program = "from market_env.market import Market\nfrom scripted_agents import population\nprint(Market(population().market, log=True).turn_is_kept())"
    environment = {**os.environ, "MARKET_ENV_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "False\n"
    functions = [policy.function for policy in build(of.market, of.policies).values()]
    beside.compile_half(second.Warming(of.market, functions))
    assert all(function._address for function in functions)
