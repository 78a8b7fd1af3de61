"""What was planted is found, and what was not is not claimed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runners import simulate
from runners.files.run import load_run
from runners.measures import liquidity
from runners.measures.timeline import Timeline, timeline
from tests.runners.measures import planted


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    path = tmp_path_factory.mktemp("liquidity") / "run"
    assert (
        simulate.main(
            ["--timesteps", "900", "--population", "day6", "--run-dir", str(path), "--no-report", "--no-tensorboard"]
        )
        == 0
    )
    return timeline(load_run(path))


def test_a_planted_wall_is_found_with_its_owner_and_nothing_else_is_one(tmp_path: Path) -> None:
    found = liquidity.walls(timeline(load_run(planted.with_a_wall(tmp_path / "run"))))
    (wall,) = found.walls
    assert (wall.side, wall.price, wall.start) == (0, 9_988, 100)
    assert wall.end == 220
    assert wall.owners == {"maker_2": 1.0}
    assert wall.most_lots == 600
    assert wall.traded_lots == 0
    assert found.kinds == {"maker": 1.0}
    assert found.typical_lots == 20


def test_walls_are_those_of_the_whole_grid(line: Timeline) -> None:
    found = liquidity.walls(line)
    prices = line.stretches["price"]
    lowest = int(prices.min())
    grid = line.resting(np.arange(line.run.timesteps), lowest, int(prices.max()))
    expected = set()
    for side in (0, 1):
        for place in range(grid.shape[2]):
            large = np.flatnonzero(
                np.diff(np.concatenate([[0], grid[:, side, place] >= liquidity.WALL_SIZE * found.typical_lots, [0]]))
            )
            for start, end in large.reshape(-1, 2).tolist():
                near = abs(lowest + place - line.mid[start]) <= found.reach
                if end - start >= liquidity.WALL_TIMESTEPS and near:
                    expected.add((side, lowest + place, start, end))
    assert {(wall.side, wall.price, wall.start, wall.end) for wall in found.walls} == expected
    assert expected
    for wall in found.walls:
        lots = grid[wall.start : wall.end, wall.side, wall.price - lowest]
        assert wall.mean_lots == pytest.approx(lots.mean())
        assert wall.most_lots == lots.max()
        assert sum(wall.owners.values()) == pytest.approx(1.0)
        assert sum(wall.kinds.values()) == pytest.approx(1.0)


def test_planted_thinning_with_clustered_arrivals_is_claimed(tmp_path: Path) -> None:
    found = liquidity.thinning(timeline(load_run(planted.with_thinning(tmp_path / "run", clustered=True))))
    assert [start for start, _ in found.episodes] == list(range(planted.PERIOD, 2_400, planted.PERIOD))
    assert found.verdict == "clear"
    assert found.before is not None
    assert found.elsewhere is not None
    assert found.before > 2 * found.elsewhere
    # The spread is two ticks: three of the five levels are near.
    assert found.left == {"maker": pytest.approx(-120.0), "noise": 0.0}
    assert set(found.recovery) <= set(range(planted.GONE, planted.GONE + 8))


def test_planted_thinning_without_clustered_arrivals_is_not_claimed(tmp_path: Path) -> None:
    found = liquidity.thinning(timeline(load_run(planted.with_thinning(tmp_path / "run", clustered=False))))
    assert [start for start, _ in found.episodes] == list(range(planted.PERIOD, 2_400, planted.PERIOD))
    assert found.verdict == "no"


def test_few_episodes_or_none_say_nothing() -> None:
    depth = np.full(400, 100.0)
    usual = liquidity.rolling_median(depth, 501)
    shares = liquidity.thin_shares(depth, usual)
    assert shares == (liquidity.THIN_SHARE, 0.85)
    assert liquidity.thin_episodes(depth, usual, *shares) == []
    depth[10:20] = 0  # while the book fills
    depth[100:103] = 60
    depth[103:106] = 80  # not back yet
    depth[300:] = 10
    assert liquidity.thin_episodes(depth, usual, *shares) == [(100, 106), (300, 400)]


def test_where_depth_is_always_uneven_thin_is_what_it_seldom_is() -> None:
    depth = np.random.default_rng(2).exponential(100.0, 5_000)
    usual = liquidity.rolling_median(depth, 501)
    thin, back = liquidity.thin_shares(depth, usual)
    assert np.mean(depth / usual < thin) == pytest.approx(0.05, abs=0.005)
    assert back == pytest.approx(thin + 0.5 * (1 - thin))


def test_the_rolling_median_is_close_to_the_exact_one() -> None:
    values = np.random.default_rng(1).normal(100.0, 10.0, 3_000) + np.linspace(0, 50, 3_000)
    exact = [np.median(values[max(0, min(i - 250, 2_499)) : max(0, min(i - 250, 2_499)) + 501]) for i in range(3_000)]
    assert np.abs(liquidity.rolling_median(values, 501) - exact).max() < 1.0


def test_depth_under_pressure_is_the_mean_of_its_group(line: Timeline) -> None:
    found = liquidity.pressure(line)
    assert found is not None
    flow = np.array([line.signed_flow[i : i + 10].sum() for i in range(line.run.timesteps - 9)])
    depth = line.near_depth[9:]
    lowest, highest = depth[flow < np.median(flow[flow < 0])], depth[flow > np.median(flow[flow > 0])]
    assert found.flow[2] == 0.0
    assert found.flow[0] < found.flow[1] < 0.0 < found.flow[3] < found.flow[4]
    for side in (0, 1):
        assert found.depth[side][0].mean == pytest.approx(lowest[:, side].mean())
        assert found.depth[side][-1].mean == pytest.approx(highest[:, side].mean())
        assert all(np.isnan(point.low) for point in found.depth[side])
    assert found.difference is None  # 900 timesteps are too few blocks to say
    gap = (highest[:, 0] - highest[:, 1]).mean() - (lowest[:, 0] - lowest[:, 1]).mean()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(liquidity, "FEWEST_BLOCKS", 5)
        again = liquidity.pressure(line)
    assert again is not None
    assert again.difference is not None
    assert again.difference.mean == pytest.approx(gap)
    assert again.difference.low < again.difference.mean < again.difference.high


def test_large_orders_take_depth_from_the_side_that_they_hit_only(line: Timeline) -> None:
    found = liquidity.recovery(line)
    assert found is not None
    assert found.after.high < 1.0
    assert found.other[0].mean == 1.0
    assert len(found.path) == liquidity.RECOVERY == len(found.other) - 1 == len(found.small) - 1
    assert found.after.mean < found.small[0].mean < 1.0  # smaller orders take less
