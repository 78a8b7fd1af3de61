"""The facts of a market are what their definitions say, the same for a run and for the files that it leaves as."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runners.facts as command
from runners import lobster, simulate
from runners.exchange import facts, stylized, window
from runners.exchange.facts import MEASURES, PARTS, REAL, measure, table, table_rows, tally
from runners.exchange.pairs import OPENING, Pair, pair_of_run, read_pair

TIMESTEPS = 700


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("facts") / "run"
    arguments = ["--timesteps", str(TIMESTEPS), "--run-dir", str(path), "--no-report", "--no-tensorboard"]
    assert simulate.main(arguments) == 0
    return path


@pytest.fixture(scope="module")
def files(run: Path) -> tuple[Path, Path]:
    assert lobster.main(["export", str(run), str(run / "lobster")]) == 0
    message = next((run / "lobster").glob("*message*"))
    return message, message.with_name(message.name.replace("message", "orderbook"))


@pytest.fixture(scope="module")
def found(run: Path) -> dict[str, Any]:
    return facts.facts_of_run(run)["facts"]


@pytest.fixture(scope="module")
def stylized_found(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = facts.facts_of_run(run)["stylized"]
    return found


EMPTY = [window.NO_ASK, 0, window.NO_BID, 0] * 10
"""The book before a run's first message."""


class Twin:
    """The same facts in plain Python, line by line from the exported text."""

    def __init__(self, message: Path, orderbook: Path) -> None:
        self.messages = []
        for line in message.read_text().splitlines():
            time, *numbers = line.split(",")
            self.messages.append((float(time), *map(int, numbers)))
        self.books = [[int(cell) for cell in line.split(",")] for line in orderbook.read_text().splitlines()]
        times = [message[0] for message in self.messages]
        mids: list[float | None] = []
        last = None
        for row in self.books:
            if row[1] and row[3]:
                last = (row[0] + row[2]) / 2
            mids.append(last)
        self.mids = mids
        self.spans = [b - a for a, b in pairwise([*times, OPENING + TIMESTEPS])]
        self.at = [mids[bisect_right(times, OPENING + second) - 1] for second in range(TIMESTEPS + 1)]

    def returns(self, seconds: int) -> list[float]:
        grid = [mid for mid in self.at[::seconds] if mid is not None]
        return [math.log(b / a) for a, b in pairwise(grid)]

    def mean(self, value: Any) -> float:
        known = [(value(row), span) for row, span in zip(self.books, self.spans, strict=True)]
        return sum(v * s for v, s in known if v is not None) / sum(s for v, s in known if v is not None)


def correlation(values: list[float], lag: int) -> float:
    mean = sum(values) / len(values)
    return sum((a - mean) * (b - mean) for a, b in zip(values, values[lag:], strict=False)) / sum(
        (a - mean) ** 2 for a in values
    )


@pytest.fixture(scope="module")
def twin(files: tuple[Path, Path]) -> Twin:
    return Twin(*files)


def test_every_real_fact_is_measured_and_every_list_has_names() -> None:
    assert set(MEASURES) == set(REAL["facts"])
    assert set(stylized.MEASURES) == set(stylized.REAL["facts"])
    for name, measure_ in stylized.MEASURES.items():
        assert all(len(values) == len(measure_.parts) for values in stylized.REAL["facts"][name]["real"].values())
    assert all(len(PARTS[name]) >= len(next(iter(REAL["facts"][name]["whole_day"].values()))) for name in PARTS)


def test_returns_and_their_statistics(found: dict[str, Any], twin: Twin) -> None:
    returns = twin.returns(1)
    mean = sum(returns) / len(returns)
    second, fourth = (sum((r - mean) ** power for r in returns) / len(returns) for power in (2, 4))
    assert found["excess_kurtosis_1s"]["value"] == pytest.approx(fourth / second**2 - 3)
    assert found["volatility_1s_bp"]["value"] == pytest.approx(1e4 * math.sqrt(second))
    assert found["zero_return_share_1s"]["value"] == sum(r == 0 for r in returns) / len(returns)
    assert found["acf_return_lag1"]["value"] == pytest.approx(correlation(returns, 1))
    sizes = [abs(r) for r in returns]
    assert found["acf_abs_return_lag1"]["value"] == pytest.approx(correlation(sizes, 1))
    mean_of_ten = sum(correlation(sizes, lag) for lag in range(1, 11)) / 10
    assert found["acf_abs_return_mean_lag1_10"]["value"] == pytest.approx(mean_of_ten)
    for seconds in (10, 60):
        ratio = statistics.pvariance(twin.returns(seconds)) / (seconds * second)
        assert found[f"variance_ratio_{seconds}s"]["value"] == pytest.approx(ratio)
    minutes = twin.returns(60)
    assert len(minutes) == TIMESTEPS // 60
    assert found["excess_kurtosis_1min"]["value"] is not None
    largest = sorted((abs(r) for r in returns if r), reverse=True)
    count = int(0.05 * len(largest))
    tail = count / sum(math.log(r / largest[count]) for r in largest[:count])
    assert found["hill_tail_index_1s_5pct"]["value"] == pytest.approx(tail)


def test_order_signs_merge_the_prints_of_one_aggressor(found: dict[str, Any], twin: Twin) -> None:
    prints = [(time, direction) for time, kind, _, _, _, direction in twin.messages if kind == window.EXECUTE]
    orders = [
        direction
        for (time, direction), before in zip(prints, [None, *prints], strict=False)
        if (time, direction) != before
    ]
    assert 100 < len(orders) < len(prints)
    signs = [float(-direction) for direction in orders]
    for lag in (1, 5, 10):
        assert found[f"sign_acf_lag{lag}"]["value"] == pytest.approx(correlation(signs, lag))
    assert found["sign_acf_lags_2_5_10_20"]["value"] == pytest.approx(
        [correlation(signs, lag) for lag in (2, 5, 10, 20)]
    )


def test_message_counts(found: dict[str, Any], twin: Twin) -> None:
    kinds = Counter(message[1] for message in twin.messages)
    assert found["cancel_per_submit"]["value"] == (kinds[2] + kinds[3]) / kinds[1]
    assert found["exec_per_submit"]["value"] == kinds[4] / kinds[1]
    assert found["events_per_second"]["value"] == len(twin.messages) / TIMESTEPS
    seconds = Counter(int(message[0]) - OPENING for message in twin.messages)
    counts = [float(seconds[second]) for second in range(TIMESTEPS)]
    fano = statistics.pvariance(counts) / statistics.fmean(counts)
    assert found["event_count_fano_1s"]["value"] == pytest.approx(fano)
    assert found["event_count_acf_1s"]["value"] == pytest.approx(correlation(counts, 1))
    expected = [correlation(counts, lag) for lag in (1, 10, 60)]
    assert found["event_count_acf_1_10_60s"]["value"] == pytest.approx(expected)
    sizes = [math.log(message[3]) for message in twin.messages if message[1] == window.NEW]
    assert found["submit_log_size_sd"]["value"] == pytest.approx(statistics.pstdev(sizes))


def test_spread_depth_and_distance_are_weighted_by_time(found: dict[str, Any], twin: Twin) -> None:
    spread = twin.mean(lambda row: (row[0] - row[2]) / 100 if row[1] and row[3] else None)
    assert found["spread_ticks"]["value"] == pytest.approx(spread)
    for level in (0, 4, 9):
        ask, bid = 4 * level, 4 * level + 2
        depth = [twin.mean(lambda row, c=cell: row[c + 1] or None) for cell in (ask, bid)]
        assert found["depth_by_level_shares"]["value"][level] == pytest.approx(statistics.fmean(depth))
        apart = [
            twin.mean(lambda row, c=cell, first=first: abs(row[c] - row[first]) / 100 if row[c + 1] else None)
            for cell, first in ((ask, 0), (bid, 2))
        ]
        assert found["level_distance_ticks"]["value"][level] == pytest.approx(statistics.fmean(apart))
    assert found["best_depth_shares"]["value"] == found["depth_by_level_shares"]["value"][0]


def test_placement_and_moves_of_the_best_price(found: dict[str, Any], twin: Twin) -> None:
    places, moved, prints = Counter(), 0, 0
    for (_, kind, _, _, price, direction), before, after in zip(
        twin.messages, [EMPTY, *twin.books], twin.books, strict=False
    ):
        cell = 2 if direction == 1 else 0
        if kind == window.NEW:
            own = direction * (price - before[cell]) if before[cell + 1] else 1
            places[(own > 0) - (own < 0)] += 1
        elif kind == window.EXECUTE:
            prints += 1
            moved += before[cell] != after[cell]
    total = places.total()
    assert found["placement_inside_atbest_behind"]["value"] == [
        places[1] / total,
        places[0] / total,
        places[-1] / total,
    ]
    assert found["print_moves_best_share"]["value"] == moved / prints


def test_order_flow_imbalance_and_the_next_move(found: dict[str, Any], twin: Twin) -> None:
    flows = [0.0] * (TIMESTEPS // 10)
    for message, before, after in zip(twin.messages, [twin.books[0], *twin.books], twin.books, strict=False):
        ask, ask_size, bid, bid_size = before[:4]
        new_ask, new_ask_size, new_bid, new_bid_size = after[:4]
        flow = (new_bid >= bid) * new_bid_size - (new_bid <= bid) * bid_size
        flow += (new_ask >= ask) * ask_size - (new_ask <= ask) * new_ask_size
        number = math.ceil((message[0] - OPENING) / 10) - 1  # a mid at a moment is that after its messages
        if number >= 0:
            flows[number] += flow
    pairs = [(flow, b - a) for flow, a, b in zip(flows, twin.at[:-1:10], twin.at[10::10], strict=True) if a is not None]
    assert found["ofi_r2_10s"]["value"] == pytest.approx(statistics.correlation(*zip(*pairs, strict=True)) ** 2)
    bins: list[list[bool]] = [[] for _ in range(5)]
    direction = None
    for number in range(len(twin.books) - 1, -1, -1):
        row, mid = twin.books[number], twin.mids[number]
        if direction is not None and row[1] and row[3]:
            imbalance = (row[3] - row[1]) / (row[3] + row[1])
            bins[min(4, int((imbalance + 1) / 0.4))].append(direction)
        before = twin.mids[number - 1] if number else None
        if before is not None and mid is not None and mid != before:
            direction = mid > before
    # Row 0's book counts a second time, as the one before the first message; it is one-sided.
    expected = [sum(ups) / len(ups) for ups in bins]
    assert found["p_up_by_imbalance"]["value"] == pytest.approx(expected)


def test_stylized_facts(stylized_found: dict[str, Any], twin: Twin) -> None:
    values = {name: fact["values"] for name, fact in stylized_found.items()}
    returns, minutes = twin.returns(1), twin.returns(60)
    expected = [statistics.correlation(returns[:-lag], [r * r for r in returns[lag:]]) for lag in (1, 2, 5, 10)]
    assert values["leverage_effect"] == pytest.approx(expected)
    volume = [0] * (TIMESTEPS // 60)
    for time, kind, _, size, *_ in twin.messages:
        if kind == window.EXECUTE and time < OPENING + 60 * len(volume):
            volume[int(time - OPENING) // 60] += size
    assert len(minutes) == len(volume)
    assert values["volume_volatility"] == [pytest.approx(statistics.correlation(volume, [abs(r) for r in minutes]))]
    mids = [mid / 100 for mid in twin.at if mid is not None]
    sd = statistics.pstdev([b - a for a, b in pairwise(mids[::60])])
    waits: dict[int, list[int]] = {1: [], -1: []}
    for direction, found in waits.items():
        for second, mid in enumerate(mids):
            reached = (later for later in range(second, len(mids)) if direction * (mids[later] - mid) >= sd)
            if (first := next(reached, None)) is not None:
                found.append(first - second)
    assert waits[1]
    assert waits[-1]
    ratio = statistics.fmean(waits[1]) / statistics.fmean(waits[-1])
    assert values["gain_loss_asymmetry"][2] == pytest.approx(ratio)
    mean, sigma = statistics.fmean(returns), statistics.pstdev(returns)
    skewness = statistics.fmean([((r - mean) / sigma) ** 3 for r in returns])
    assert values["gain_loss_asymmetry"][0] == pytest.approx(skewness)
    kurtosis = statistics.fmean([((r - mean) / sigma) ** 4 for r in returns]) - 3
    assert values["aggregational_normality"][0] == pytest.approx(kurtosis)
    assert values["aggregational_normality"][3] is None  # two returns of five minutes


def test_what_a_market_order_does_to_the_price_and_how_long_orders_live(
    stylized_found: dict[str, Any], twin: Twin
) -> None:
    orders: list[tuple[int, float | None]] = []
    last = None
    born: dict[int, float] = {}
    fills: dict[int, float] = {}
    cancels: dict[int, float] = {}
    for row, (time, kind, order, _, _, direction) in enumerate(twin.messages):
        if kind == window.NEW:
            born[order] = time
        elif kind == window.EXECUTE:
            if (time, direction) != last:
                orders.append((-direction, twin.mids[row - 1] if row else None))
            last = time, direction
            if order in born:  # else its submission changed none of the levels
                fills.setdefault(order, time - born[order])
        elif kind == window.DELETE and order in born:
            cancels[order] = time - born[order]
    spread = twin.mean(lambda row: row[0] - row[2] if row[1] and row[3] else None)
    for lag, value in zip((1, 2, 5, 10, 20, 50, 100), stylized_found["response"]["values"], strict=True):
        moves = [
            s * (b - a) for (s, a), (_, b) in zip(orders, orders[lag:], strict=False) if a is not None and b is not None
        ]
        assert value == pytest.approx(statistics.fmean(moves) / spread)
    for name, lives in (("seconds_to_fill", fills), ("seconds_to_cancel", cancels)):
        expected = statistics.quantiles(lives.values(), n=4, method="inclusive")
        assert stylized_found[name]["values"] == pytest.approx(expected)


def test_a_run_and_the_files_that_it_leaves_as_have_the_same_facts(
    run: Path, files: tuple[Path, Path], found: dict[str, Any], stylized_found: dict[str, Any]
) -> None:
    pair = dataclasses.replace(read_pair(*files), before=np.array(EMPTY))
    whole = measure(pair, OPENING, OPENING + TIMESTEPS, 100)
    again = whole["facts"]
    for name, fact in found.items():
        expected = fact["value"]
        assert again[name]["value"] == (None if expected is None else pytest.approx(expected, rel=1e-6)), name
    for name, fact in stylized_found.items():
        for value, expected in zip(whole["stylized"][name]["values"], fact["values"], strict=True):
            assert value == (None if expected is None else pytest.approx(expected, rel=1e-5)), name
    deep = pair_of_run(run, 40)  # what lies behind ten levels is left out
    assert measure(deep, OPENING, OPENING + TIMESTEPS, 100)["facts"] == found


def planted(seconds: int, counts: list[int]) -> Pair:
    rows, number = [], 0
    for second in range(seconds):
        for place in range(counts[second % len(counts)]):
            number += 1
            rows.append((100.0 + second + 0.01 * place, window.NEW, number, 5, 1_000, 1))
    books = np.tile([1_100, 10, 1_000, 0, *[0] * 36], (len(rows), 1))
    books[:, 3] = 5 * np.arange(1, len(rows) + 1)
    return Pair("planted", np.array(rows, window.MESSAGE), books)


def test_windows_are_whole_half_hours_and_their_median_is_judged() -> None:
    found = measure(planted(4_000, [5, 1]), 100.0, 4_100.0, 100)
    assert found["windows"] == 2
    fact = found["facts"]["events_per_second"]
    assert (fact["value"], fact["windows"], fact["inside"]) == (3.0, [3.0, 3.0], "below")
    assert found["facts"]["event_count_fano_1s"]["windows"] == [pytest.approx(4 / 3)] * 2
    assert found["facts"]["spread_ticks"]["value"] == pytest.approx(1.0)
    # What is counted is what has a sign; how far the best is from the best is not judged.
    assert sum(verdict != "" for *_, verdict in table_rows(found)) == tally(found)[1] > 0
    assert found["facts"]["level_distance_ticks"]["inside"][0] is None
    short = measure(planted(40, [5, 1]), 100.0, 140.0, 100)
    assert short["windows"] == 0
    assert short["facts"]["events_per_second"]["value"] == 3.0
    assert not any(fact["inside"] for fact in short["facts"].values() if not isinstance(fact["inside"], list))


def test_what_cannot_be_measured_is_none_and_not_a_number() -> None:
    whole = measure(planted(1, [3]), 100.0, 101.0, 100)
    found = whole["facts"]
    for name in ("excess_kurtosis_1s", "sign_acf_lag1", "print_moves_best_share", "ofi_r2_10s", "variance_ratio_60s"):
        assert found[name]["value"] is None
        assert found[name]["inside"] is None
    assert not any(value is not None for fact in whole["stylized"].values() for value in fact["values"])
    json.dumps(whole, allow_nan=False)


def test_the_command_prints_a_table_or_json(
    run: Path, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(run)]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*MEASURES, *stylized.MEASURES))
    assert "not judged: shorter than one window of 1,800 s" in printed
    assert "of 0 within" not in printed
    assert command.main([*map(str, files), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["facts"]) == set(MEASURES)
    # Too short to judge, over seeds as well: measured, and nobody is told that it failed.
    short = ["--population", "day6", "--timesteps", "300"]
    assert command.main([*short, "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "day6: 1 seed, 300 timesteps each" in printed
    assert "not judged: shorter than one window of 1,800 s" in printed
    assert "of 0 in the mean" not in printed
    assert command.main([*short, "--seeds", "1", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["name"].split(":")[0] for row in found["facts"]} == set(MEASURES)
    assert {row["name"].split(":")[0] for row in found["stylized"]} == set(stylized.MEASURES)
    means = {row["name"]: row["mean"] for row in found["facts"]}
    assert means["spread_ticks"] > 1.0
    for arguments, expected in (
        ([str(run), "--tick-size", "0.5"], "a run has its own tick"),
        ([*map(str, files), "--tick-size", "0"], "--tick-size: expected above 0, got 0"),
        ([str(files[0])], "expected its order-book file beside it"),
        ([str(run), str(files[1])], "the first of them a folder"),
        ([*map(str, files), str(files[0])], "got 3 paths"),
        (["--seeds", "3"], "--seeds: are a population's"),
        (["--population", "day6", str(run)], "leave paths and --tick-size out"),
        (["--population", "moon"], "population: expected one of default"),
    ):
        assert command.main(arguments) == 2
        assert expected in capsys.readouterr().err
    assert command.main([str(run / "none")]) == 2
    assert "found no folder" in capsys.readouterr().err


def test_what_one_level_cannot_show_is_measured_and_not_judged(run: Path) -> None:
    deep = pair_of_run(run, 10)
    touch = dataclasses.replace(deep, books=np.ascontiguousarray(deep.books[:, :4]), before=np.array(EMPTY)[:4])
    hour = dataclasses.replace(touch, messages=touch.messages.copy())
    hour.messages["time"] = OPENING + (hour.messages["time"] - OPENING) * 3  # long enough for a window
    found = measure(hour, OPENING, OPENING + 3 * TIMESTEPS, 100)
    assert (found["levels"], found["windows"]) == (1, 1)
    assert found["facts"]["placement_inside_atbest_behind"]["inside"] == [None] * 3
    assert found["facts"]["events_per_second"]["inside"] is None
    assert found["facts"]["spread_ticks"]["inside"] is not None
    printed = table(found)
    assert "first level, 1 windows" in printed
    assert "first 10 levels," not in printed
    assert "not judged: events_per_second" in printed
