"""Distances of distributions: 0 for equal ones, 1 for such that share nothing, and the scores are what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runners.facts as command
from runners import lobster, simulate
from runners.exchange import distances, pairs, window
from runners.exchange.sample import Sample, sample_of, span_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("distances") / "run"
    arguments = ["--timesteps", "400", "--run-dir", str(path), "--no-report", "--no-tensorboard", "--no-audit"]
    assert simulate.main(arguments) == 0
    assert lobster.main(["export", str(path), str(path / "lobster")]) == 0
    return path


@pytest.fixture(scope="module")
def sample(run: Path) -> Sample:
    pair = pairs.pair_of_run(run, 10)
    return sample_of(pair, *span_of(pair), 100.0)


def test_equal_samples_are_no_distance_apart_and_strange_ones_as_far_as_can_be() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=4_000), rng.normal(size=4_000)
    same = distances.distance(one, one)
    assert (same.total_variation, same.wasserstein) == (0.0, 0.0)
    assert distances.distance(one, one + 50.0).total_variation == pytest.approx(1.0, abs=0.01)
    assert distances.distance(one, one + 50.0).wasserstein == pytest.approx(50.0, rel=0.03)
    # Two normals a standard deviation apart: the total variation is 2 Phi(1/2) - 1, Wasserstein's distance 1.
    shifted = distances.distance(one, other + 1.0)
    assert shifted.low < 0.3829 < shifted.high + 0.03
    assert shifted.wasserstein == pytest.approx(1.0, abs=0.07)
    assert shifted.wasserstein_low < shifted.wasserstein < shifted.wasserstein_high
    wider = distances.distance(one, 3.0 * other)
    assert 0.2 < wider.total_variation < 0.5


def test_the_scores_are_those_of_a_plain_walk_through_the_messages(sample: Sample) -> None:
    expected: dict[str, list[float]] = {name: [] for name in distances.SCORES}
    born: dict[int, float] = {}
    for row, message in enumerate(sample.messages):
        before, after = ({side: sample.sides[side][0][row + shift] for side in (1, -1)} for shift in (0, 1))
        sizes = {side: np.nan_to_num(sample.sides[side][1][row + 1]) for side in (1, -1)}
        if not np.isnan(after[1][0] + after[-1][0]):
            expected["spread"].append(after[-1][0] - after[1][0])
        expected["orderbook_imbalance"].append((sizes[1][0] - sizes[-1][0]) / max(sizes[1][0] + sizes[-1][0], 1.0))
        expected["ask_volume"].append(sizes[-1].sum())
        expected["bid_volume_touch"].append(sizes[1][0])
        side, kind = int(message["direction"]), int(message["type"])
        word = "bid" if side == 1 else "ask"
        price = message["price"] / 100
        if kind == window.NEW:
            born[int(message["order"])] = float(message["time"])
            expected[f"{word}_limit_level"].append(1 + sum(side * level > side * price for level in after[side]))
            expected[f"{word}_limit_depth"].append(abs(price - sample.mid[row]))
        elif kind in (window.PARTIAL, window.DELETE):
            expected[f"{word}_cancel_level"].append(1 + sum(side * level > side * price for level in before[side]))
            if int(message["order"]) in born:
                lived = float(message["time"]) - born.pop(int(message["order"]))
                expected["log_time_to_cancel"].append(float(np.log10(max(lived, 1e-6))))
    checked = 0
    for name, values in expected.items():
        if values:
            found = distances.SCORES[name].of(sample)
            np.testing.assert_allclose(found[np.isfinite(found)], [v for v in values if np.isfinite(v)], err_msg=name)
            checked += 1
    assert checked == 11
    flows = [distances.SCORES[name].of(sample) for name in ("ofi", "ofi_up", "ofi_stay", "ofi_down")]
    assert len(flows[0]) == sum(map(len, flows[1:]))
    assert distances.SCORES["volume_per_minute"].of(sample).sum() <= sample.messages["size"].sum()
    assert np.isfinite(distances.SCORES["log_inter_arrival_time"].of(sample)).all()


def test_a_run_is_no_distance_from_its_own_export_and_the_command_says_so(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = next((run / "lobster").glob("*message*"))
    files = [str(message), str(message).replace("message", "orderbook")]
    capsys.readouterr()
    assert command.main(["--distance", str(run), *files, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(found) == set(distances.SCORES)
    apart = {name: distance["total_variation"] for name, distance in found.items() if distance}
    assert len(apart) >= 20
    assert max(apart.values()) < 0.02  # times are rounded to a nanosecond in the file
    assert command.main(["--distance", *files, *files]) == 0
    assert "mean of all" in capsys.readouterr().out
    for arguments, expected in (
        ([str(run)], "expected RUN_DIR MESSAGE ORDERBOOK"),
        ([*files], "got 2 paths"),
        ([str(run), *files, "--seeds", "3"], "leave --population and --seeds out"),
    ):
        assert command.main(["--distance", *arguments]) == 2
        assert expected in capsys.readouterr().err
