"""TensorBoard, its reader and its server alike, finds every documented tag, and the values that the tables have."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from runners import report, simulate
from runners.files.run import Run, load_run
from runners.simulation.board import (
    AGENT_EVERY,
    HISTOGRAM_EVERY,
    LAYOUT,
    MOST_POINTS,
    TAGS,
    each,
    experiment_of,
    hyperparameters,
    thinning,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.custom_scalar import layout_pb2
    from tensorboard.plugins.hparams import plugin_data_pb2

TIMESTEPS = 650  # more than a part of the log, and no whole number of histograms


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board") / "run"
    assert simulate.main(["--timesteps", str(TIMESTEPS), "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def run(path: Path) -> Run:
    return load_run(path)


@pytest.fixture(scope="module")
def board(path: Path) -> EventAccumulator:
    return read(path)


def read(path: Path) -> EventAccumulator:
    everything = dict.fromkeys(("scalars", "tensors", "images", "histograms"), 0)
    accumulator = EventAccumulator(str(path / "tensorboard"), size_guidance=everything)
    accumulator.Reload()
    return accumulator


def documented(run: Run, plugin: str) -> set[str]:
    tags = each([tag.name for tag in TAGS if tag.plugin == plugin], run.market.agents)
    pages = [*report.PAGES, "appendix_1", "appendix_2", "appendix_3"]
    return {tag.replace("<figure>", page) for tag in tags for page in pages}


def values(board: EventAccumulator, tag: str) -> dict[int, float]:
    return {event.step: event.value for event in board.Scalars(tag)}


def test_the_tags_are_the_documented_ones(board: EventAccumulator, run: Run) -> None:
    tags = board.Tags()
    assert set(tags["scalars"]) == documented(run, "scalars")
    assert set(tags["images"]) == documented(run, "images")
    assert set(tags["tensors"]) >= documented(run, "histograms")
    assert {name.removesuffix("/text_summary") for name in tags["tensors"] if name.startswith("run/")} == documented(
        run, "text"
    )


def test_each_timestep_is_written_once_in_order(board: EventAccumulator) -> None:
    assert [event.step for event in board.Scalars("market/mid")] == list(range(TIMESTEPS))
    assert [event.step for event in board.Scalars("per_agent/noise_3/inventory")] == list(
        range(0, TIMESTEPS, AGENT_EVERY)
    )


def test_a_timestep_is_one_summary(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    (file,) = (path / "tensorboard").iterdir()
    scalars: dict[int, int] = {}
    for event in EventFileLoader(str(file)).Load():
        if any(value.tag == "market/mid" for value in event.summary.value):
            scalars[event.step] = len(event.summary.value)
        else:
            assert not any(
                value.tag.startswith(("market/", "flow/", "per_kind/", "per_agent/")) for value in event.summary.value
            )
    assert len(scalars) == TIMESTEPS
    assert min(scalars.values()) > 35


def test_flows_are_those_of_the_log(board: EventAccumulator, run: Run) -> None:
    events = run.events
    signs = pl.when(pl.col("side") == "buy").then(1).otherwise(-1)
    trade = pl.col("kind") == "trade"
    expected = {
        "flow/turns": (pl.col("kind") == "turn").sum(),
        "flow/submitted_lots": pl.col("lots").filter(pl.col("kind") == "accept").sum(),
        "flow/refused_lots": pl.col("lots").filter(pl.col("kind") == "reject").sum(),
        "flow/cancelled_lots": pl.col("lots").filter((pl.col("kind") == "cancel") & (pl.col("reason") != "ioc")).sum(),
        "flow/trades": trade.sum(),
        "flow/traded_lots": pl.col("lots").filter(trade).sum(),
        "flow/signed_lots": (signs * pl.col("lots")).filter(trade).sum(),
    }
    assert set(expected) == {tag.name for tag in TAGS if tag.name.startswith("flow/")}
    flows = events.group_by("timestep").agg(**expected).sort("timestep")
    for tag in expected:
        assert values(board, tag) == dict(flows.select("timestep", tag).iter_rows()), tag
        assert any(values(board, tag).values())


def test_accounts_and_lots_by_kind_are_those_of_the_tables(board: EventAccumulator, run: Run) -> None:
    agents = run.agents.with_columns(kind=pl.col("agent").cast(pl.String).str.split("_").list.first())
    lots = agents.group_by("kind", "timestep").agg(pl.col("maker_lots", "taker_lots", "turns").sum())
    for kind in run.kinds:
        rows = lots.filter(pl.col("kind") == kind)
        for name in ("maker_lots", "taker_lots", "turns"):
            assert values(board, f"per_kind/{kind}/{name}") == dict(rows.select("timestep", name).iter_rows()), name
    # The PPO agent has a turn in every timestep, so its account is known then: as that turn begins.
    turns = run.turns.filter(pl.col("agent") == "ppo_0")
    assert values(board, "per_kind/ppo/inventory").keys() == set(turns["timestep"])
    rewards = dict(zip(turns["timestep"][1:], turns["reward"], strict=False))
    found = values(board, "per_kind/ppo/reward")
    assert all(found[timestep] == pytest.approx(reward, rel=1e-6) for timestep, reward in list(rewards.items())[:-1])


def test_the_ppo_agents_actions_are_those_of_the_table(board: EventAccumulator, run: Run) -> None:
    turns = run.turns.filter(pl.col("agent") == "ppo_0")
    bids = turns.filter(pl.col("bid_lots") > 0, pl.col("bid_offset").is_not_null())
    assert values(board, "ppo/bid_offset") == dict(bids.select("timestep", "bid_offset").iter_rows())
    lots = turns.select("timestep", pl.col("bid_lots") - pl.col("ask_lots"))
    assert values(board, "ppo/ordered_lots") == dict(lots.iter_rows())
    cancels = turns.select("timestep", (pl.col("cancel") != "keep").cast(pl.Int8))
    assert values(board, "ppo/cancels") == dict(cancels.iter_rows())
    share = np.mean(list(values(board, "ppo/trading").values())[1:])
    assert share == pytest.approx(run.summary["agents"]["ppo_0"]["trading_turns_share"])


def test_histograms_hold_every_trade_and_timestep(board: EventAccumulator, run: Run) -> None:
    steps = [*range(HISTOGRAM_EVERY - 1, TIMESTEPS, HISTOGRAM_EVERY), TIMESTEPS - 1]
    trades = run.trades.group_by(pl.col("timestep") // HISTOGRAM_EVERY).len().sort("timestep")["len"].to_list()
    for name, sizes in (("trade_size", trades), ("inventory", [28] * len(steps))):
        found = board.Tensors(f"histograms/{name}")
        assert [event.step for event in found] == steps
        counts = [np.frombuffer(event.tensor_proto.tensor_content, np.float64).reshape(-1, 3)[:, 2] for event in found]
        assert [column.sum() for column in counts] == sizes
    assert [event.step for event in board.Tensors("histograms/spread")] == steps


def test_pictures_are_the_reports_own(board: EventAccumulator, path: Path) -> None:
    (event,) = board.Images("report/heatmap")
    assert event.encoded_image_string == (path / "heatmap.png").read_bytes()
    assert (event.width, event.height) > (1_000, 700)


def test_the_layouts_charts_find_data(board: EventAccumulator) -> None:
    (event,) = board.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == list(LAYOUT)
    tags = set(board.Tags()["scalars"])
    for category in layout.category:
        for chart in category.chart:
            assert {tag.strip("^$") for tag in chart.multiline.tag} <= tags


def test_a_run_without_the_learner_has_none_of_its_tags(tmp_path: Path) -> None:
    arguments = ["--timesteps", "60", "--ppo", "0", "--run-dir", str(tmp_path / "run"), "--no-report"]
    assert simulate.main(arguments) == 0
    tags = read(tmp_path / "run").Tags()
    assert not [tag for tag in tags["scalars"] if "ppo" in tag]
    assert not tags["images"]


def test_runs_of_different_populations_compare_on_the_same_columns(run: Run) -> None:
    market = run.config["market"]
    lonely = run.config | {
        "market": market | {"agents": [agent for agent in market["agents"] if agent["kind"] == "noise"]},
        "policies": {name: policy for name, policy in run.config["policies"].items() if name.startswith("noise")},
    }
    columns = []
    for description, kinds in ((run.config, run.kinds), (lonely, ["noise"])):
        found = hyperparameters(description)
        assert found["agents/maker"] == sum(agent["kind"] == "maker" for agent in description["market"]["agents"])
        (value,) = experiment_of(found, kinds).value
        content = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
        columns.append(
            (
                {info.name for info in content.experiment.hparam_infos},
                {info.name.tag for info in content.experiment.metric_infos},
            )
        )
    assert columns[0] == columns[1]
    assert {"ppo/model", "seed", "noise/policy"} <= columns[1][0]
    assert {"summary/ppo_near_bound_share", "summary/maker_wealth_change"} <= columns[1][1]


def test_every_tag_is_explained_once() -> None:
    assert len({tag.name for tag in TAGS}) == len(TAGS)
    assert all(tag.meaning for tag in TAGS)


@pytest.fixture(scope="module")
def server(path: Path) -> Iterator[str]:
    """Address of a real server over the run's folder."""
    command = [sys.executable, "-W", "ignore", "-m", "tensorboard.main", "--logdir", str(path.parent), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        for line in process.stderr:
            if " at http" in line:
                yield line.split(" at ")[1].split()[0].rstrip("/")
                break
        else:
            pytest.fail("the server said no address")
    finally:
        process.terminate()
        process.communicate()


def fetch(server: str, route: str, **query: Any) -> Any:
    with urllib.request.urlopen(f"{server}/data/{route}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
        return json.loads(answer.read())


@pytest.mark.long
def test_a_real_server_shows_scalars_pictures_texts_hyperparameters_and_layout(
    server: str, board: EventAccumulator, run: Run
) -> None:
    name = "run/tensorboard"
    # It reads the files while it answers: ask until the last thing written is there.
    for _ in range(5_000):
        if "report/appendix_3" in fetch(server, "plugin/images/tags").get(name, {}):
            break
    else:
        pytest.fail("the server never showed the last picture")
    tags = fetch(server, "plugin/scalars/tags")[name]
    assert set(tags) == documented(run, "scalars")
    points = fetch(server, "plugin/scalars/scalars", run=name, tag="flow/traded_lots")
    expected = values(board, "flow/traded_lots")
    assert points
    assert all(expected[step] == pytest.approx(value) for _, step, value in points)
    assert set(fetch(server, "plugin/histograms/tags")[name]) == documented(run, "histograms")
    assert set(fetch(server, "plugin/text/tags")[name]) == documented(run, "text")
    (text,) = fetch(server, "plugin/text/text", run=name, tag="run/closing_table")
    assert f"{run.summary['trades']:,} trades" in text["text"]
    layout = fetch(server, "plugin/custom_scalars/layout")
    assert [category["title"] for category in layout["category"]] == list(LAYOUT)
    (picture,) = fetch(server, "plugin/images/images", run=name, tag="report/heatmap", sample=0)
    assert picture["step"] == TIMESTEPS - 1
    experiment = post(server, "plugin/hparams/experiment", {"experimentName": ""})
    assert {info["name"] for info in experiment["hparamInfos"]} >= {"seed", "timesteps", "agents/noise", "ppo/model"}
    metrics = [{"tag": info["name"]["tag"], "group": ""} for info in experiment["metricInfos"]]
    asked = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"metric": metric} for metric in metrics],
        "startIndex": 0,
        "sliceSize": 10,
    }
    (group,) = post(server, "plugin/hparams/session_groups", asked)["sessionGroups"]
    assert group["hparams"]["seed"] == 1
    found = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
    assert found["summary/trades"] == run.summary["trades"]
    assert set(found) == {tag for tag in documented(run, "scalars") if tag.startswith("summary/")}


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("chromium"), reason="no headless browser on this machine")
@pytest.mark.parametrize(
    ("page", "lines", "ink"),
    [("scalars", 1_000, 0), ("custom_scalars", 1_000, 0), ("images", 0, 3_000), ("hparams", 0, 500)],
)
def test_a_real_browser_shows_data_on_the_page(page: str, lines: int, ink: int, server: str, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1500,1400", "--virtual-time-budget=25000", f"--screenshot={picture}", f"{server}/#{page}",
    ]  # fmt: skip
    for _ in range(4):  # the page loads its data in its own time
        subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        body = np.asarray(Image.open(picture).convert("RGB")).astype(int)[
            150:, 350:
        ]  # without the bars above and beside
        run_colour = (np.abs(body - [255, 112, 67]).sum(axis=2) < 40).sum()  # TensorBoard's for the first run
        dark = (body.sum(axis=2) < 200).sum()
        if run_colour >= lines and dark >= ink:
            return
    pytest.fail(f"{page}: {run_colour} pixels of the run's colour, {dark} dark ones")


def post(server: str, route: str, body: Any) -> Any:
    request = urllib.request.Request(f"{server}/data/{route}", json.dumps(body).encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def test_a_long_run_is_thinned_out_to_the_values_of_the_timesteps_that_are_written(
    path: Path, board: EventAccumulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert thinning(MOST_POINTS) == 1
    assert thinning(MOST_POINTS + 1) == 2
    assert thinning(1_000_000) * MOST_POINTS >= 1_000_000
    monkeypatch.setattr("runners.simulation.board.MOST_POINTS", TIMESTEPS // 3)
    folder = tmp_path / "thin"
    assert simulate.main(["--timesteps", str(TIMESTEPS), "--run-dir", str(folder), "--no-report", "--no-audit"]) == 0
    thin, every = read(folder), 4
    for tag in thin.Tags()["scalars"]:
        if tag.startswith("summary/"):
            continue
        steps = every * AGENT_EVERY if tag.startswith("per_agent/") else every
        expected = {step: value for step, value in values(board, tag).items() if step % steps == 0}
        assert values(thin, tag) == expected, tag
        assert len(expected) <= TIMESTEPS // 3
    spreads = thin.Tensors("histograms/spread")
    assert spreads[0].step < HISTOGRAM_EVERY * every
    assert len(spreads) == -(-TIMESTEPS // (HISTOGRAM_EVERY * every))
