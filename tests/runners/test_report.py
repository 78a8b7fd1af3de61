"""The report is made from a run's files alone, whatever the run was like."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

from runners import report, simulate
from runners.load import load_run

mpl.use("Agg")


def run_of(folder: Path, *arguments: str, config: dict[str, object] | None = None) -> Path:
    path = folder / "run"
    extra = []
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
        extra = ["--config", str(folder / "config.json")]
    assert simulate.main(["--run-dir", str(path), "--no-report", "--no-tensorboard", *extra, *arguments]) == 0
    return path


RUNS = {
    "short": (["--timesteps", "200"], None),
    "no makers": (["--timesteps", "200", "--maker", "0"], None),
    "no momentum, no ppo": (["--timesteps", "200", "--momentum", "0", "--ppo", "0"], None),
    "one timestep": (["--timesteps", "1"], None),
    "many agents": (["--timesteps", "50", "--noise", "90"], None),
    "no trades": (["--timesteps", "100"], {"policies": {kind: {"policy": "nothing"} for kind in ("ppo", "noise", "maker", "momentum")}}),
    "one side": (["--timesteps", "100"], {"agents": [{"id": "maker_0", "kind": "maker", "inventory": -100, "inventory_bound": 100}]}),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_every_page_is_drawn_titled_and_labelled(name: str, tmp_path: Path) -> None:
    arguments, config = RUNS[name]
    path = run_of(tmp_path, *arguments, config=config)
    assert report.main([str(path)]) == 0
    assert (path / "report.pdf").stat().st_size > 10_000
    assert (path / "heatmap.png").stat().st_size > 5_000
    run = load_run(path)
    with mpl.rc_context(report.STYLE):
        for page in report.PAGES:
            figure = page(run)
            figure.draw_without_rendering()
            texts = [text.get_text() for text in figure.findobj(mpl.text.Text)]
            assert not any("nan" in text.lower().split() for text in texts)
            for axes in figure.axes:
                if axes.axison and axes.get_label() != "<colorbar>":
                    assert axes.get_title(loc="left") or axes.get_ylabel()
            plt.close(figure)


def test_an_empty_panel_says_why(tmp_path: Path) -> None:
    arguments, config = RUNS["no trades"]
    run = load_run(run_of(tmp_path, *arguments, config=config))
    for page, why in (
        (report.heatmap_page, "no order rested"),
        (report.market_page, "there were no trades"),
        (report.participation_page, "there were no trades"),
    ):
        figure = page(run)
        assert any(why in text.get_text() for text in figure.findobj(mpl.text.Text))
        plt.close(figure)


def test_the_report_reads_nothing_but_the_files(tmp_path: Path) -> None:
    path = run_of(tmp_path, "--timesteps", "60")
    moved = tmp_path / "elsewhere"
    shutil.move(path, moved)
    (moved / "heatmap.png").unlink(missing_ok=True)
    assert report.main([str(moved)]) == 0
    assert (moved / "heatmap.png").is_file()


def test_an_interrupted_run_says_so_on_its_first_page(tmp_path: Path) -> None:
    path = run_of(tmp_path, "--timesteps", "60")
    summary = json.loads((path / "summary.json").read_text()) | {"complete": False}
    (path / "summary.json").write_text(json.dumps(summary))
    figure = report.summary_page(load_run(path))
    assert any(text.get_text().startswith("Incomplete") for text in figure.texts)
    plt.close(figure)


def test_a_run_that_was_cut_off_gets_its_tables_and_a_report_of_what_is_there(tmp_path: Path) -> None:
    path = run_of(tmp_path, "--timesteps", "600")
    for file in (*path.glob("*.parquet"), path / "summary.json", path / "events" / "part-00001.parquet"):
        file.unlink()
    assert report.main([str(path)]) == 0
    run = load_run(path)
    assert (run.timesteps, run.summary["complete"]) == (500, False)
    assert {file.stem for file in (path / "figures").iterdir()} == {"summary", "market", "inventory", "participation"}
    assert (path / "report.pdf").stat().st_size > 50_000


def test_a_folder_that_is_no_run_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_of(tmp_path, "--timesteps", "60")

    def error_of(folder: Path) -> str:
        assert report.main([str(folder)]) == 2
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return text

    capsys.readouterr()
    assert "found no folder" in error_of(tmp_path / "none")
    assert "found none" in error_of(tmp_path)
    (path / "trades.parquet").write_bytes(b"PAR1 nonsense")
    assert "trades.parquet is damaged" in error_of(path)
    (path / "trades.parquet").unlink()
    assert "trades.parquet is missing" in error_of(path)
    config = json.loads((path / "config.json").read_text()) | {"schema": 99}
    (path / "config.json").write_text(json.dumps(config))
    assert "expected schema version 1, found 99" in error_of(path)
