"""Terms, counterparties and moves add up to what the tables say, by other means."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl
import pytest

from runners import simulate
from runners.files.run import load_run
from runners.measures import discovery, trading
from runners.measures.timeline import Timeline, timeline


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    path = tmp_path_factory.mktemp("trading") / "run"
    assert (
        simulate.main(
            ["--timesteps", "900", "--population", "day6", "--run-dir", str(path), "--no-report", "--no-tensorboard"]
        )
        == 0
    )
    return timeline(load_run(path))


def kind(column: str) -> str:
    return f"regexp_replace({column}, '_[0-9]+$', '')"


def test_the_matrix_of_counterparties_is_what_duckdb_finds(line: Timeline) -> None:
    found = trading.trading(line)
    rows = duckdb.sql(f"""
        SELECT {kind("aggressor")}, {kind("CASE WHEN buyer = aggressor THEN seller ELSE buyer END")}, sum(lots)
        FROM '{line.run.path}/trades.parquet' GROUP BY ALL
    """).fetchall()
    expected = np.zeros_like(found.matrix)
    for taker, maker, lots in rows:
        expected[line.kinds.index(taker), line.kinds.index(maker)] = lots
    assert found.matrix.tolist() == expected.tolist()
    assert found.matrix.sum() == line.run.summary["traded_lots"]


def test_half_spreads_are_lots_weighted_means_and_impact_their_difference(line: Timeline) -> None:
    found = trading.trading(line)
    assert found.gains == pytest.approx(-found.gains.T)
    bids, asks, _ = line.quotes["best_bid"], line.quotes["best_ask"], None
    mids = line.run.quotes["mid"].to_list()
    sums: dict[str, list[float]] = {}
    before: dict[int, tuple[int, int]] = {}
    for index in line.trades.tolist():
        event = line.events[index]
        order = int(event["order_id"])
        bid, ask = before.setdefault(order, (int(bids[index - 1]), int(asks[index - 1])))  # of its first print
        later = int(event["timestep"]) + trading.HORIZON
        if not bid or not ask or later >= len(mids):
            continue
        sign = 1 if event["side"] == 0 else -1
        price, lots = int(event["price"]), int(event["lots"])
        name = line.kinds[line.kind_of[event["maker"]]]
        total = sums.setdefault(name, [0.0, 0.0, 0.0])
        total[0] += lots
        total[1] += lots * sign * (price - (bid + ask) / 2)
        total[2] += lots * sign * (price - mids[later])
    assert set(sums) == set(found.spreads)
    for name, (lots, effective, realised) in sums.items():
        terms = found.spreads[name]
        assert terms.effective.mean == pytest.approx(effective / lots)
        assert terms.realised.mean == pytest.approx(realised / lots)
        assert terms.impact.mean == pytest.approx((effective - realised) / lots)
        assert terms.effective.low < terms.effective.mean < terms.effective.high


def test_fill_rates_are_made_lots_over_those_that_came_to_rest(line: Timeline) -> None:
    found = trading.trading(line)
    events = line.run.events.with_columns(kind_of=pl.col("agent").cast(pl.String).str.split("_").list.first())
    for name in line.kinds:
        own = events.filter(pl.col("kind_of") == name)
        accepted = own.filter(pl.col("kind") == "accept")["lots"].sum()
        taken = own.filter(pl.col("kind") == "trade")["lots"].sum()
        ioc = own.filter((pl.col("kind") == "cancel") & (pl.col("reason") == "ioc"))["lots"].sum()
        made = line.run.summary["kinds"][name]["maker_lots"]
        rested = accepted - taken - ioc
        assert found.fill_rate[name] == (pytest.approx(made / rested) if rested else None)


def test_a_seats_edge_and_holding_are_its_whole_change_in_wealth(line: Timeline) -> None:
    for agent in ("ppo_0", "maker_1", "noise_3"):
        seat = trading.seat(line, agent)
        assert seat is not None
        assert sum(seat.edge.values()) + seat.holding == pytest.approx(
            line.run.summary["agents"][agent]["wealth_change"]
        )
        share = seat.turns["traded"][:-1].mean()  # the last turn has no next one
        assert share == pytest.approx(line.run.summary["agents"][agent]["trading_turns_share"])
        assert seat.near_bound == line.run.summary["agents"][agent]["near_bound_share"]
        assert seat.turns.height == line.run.summary["agents"][agent]["turns"]
        if (
            agent == "ppo_0"
        ):  # the first to act in each timestep: it finds what the account table had at the last one's end
            rows = line.run.agents.filter(pl.col("agent") == agent)["inventory"].to_list()
            assert seat.turns["inventory"].to_list() == [0, *rows[:-1]]
            quotes = line.run.quotes["imbalance"].to_list()
            assert seat.turns["imbalance"].fill_nan(None).to_list() == pytest.approx([None, *quotes[:-1]], nan_ok=True)
        assert seat.ordering is not None
        assert 0 <= seat.ordering <= 1
    values, counts = trading.by_state(seat.turns, "traded")
    assert counts.sum() <= seat.turns.height
    assert np.isnan(values[counts == 0]).all()


def test_every_move_of_the_mid_has_a_cause_and_none_is_a_jump(line: Timeline) -> None:
    found = discovery.moves(line)
    assert (found.off_touch, found.unexplained, found.jumps) == (0, 0, 0)
    assert found.prints == line.run.summary["trades"]
    total = sum(changes.sum() for changes in found.changes.values())
    two_sided = (line.quotes["best_bid"] > 0) & (line.quotes["best_ask"] > 0)
    assert two_sided[np.argmax(two_sided) :].all()
    first = (line.quotes["best_bid"] + line.quotes["best_ask"])[np.argmax(two_sided)] / 2.0
    assert total == pytest.approx(line.mid[-1] - first)
    assert sum(found.count.values()) == np.count_nonzero(
        np.diff((line.quotes["best_bid"] + line.quotes["best_ask"])[two_sided])
    )
    orders = line.run.trades["taker_order_id"].n_unique()
    assert sum(found.levels.values()) == orders
    # Levels emptied, by the other table of levels: a price at which nothing rests on that side just after the order.
    emptied = 0
    rows = line.run.trades.group_by("taker_order_id").agg(pl.col("price").unique(), pl.col("seq").max())
    for _, prices, seq in rows.iter_rows():
        event = line.events[seq]
        time_after = np.searchsorted(line.events["seq"], seq)
        best = int(line.quotes["best_ask" if event["side"] == 0 else "best_bid"][time_after])
        emptied += sum(price != best for price in prices)
    assert sum(level * count for level, count in found.levels.items()) == emptied
    assert found.consumed is not None
    assert found.consumed >= 1.0


def test_a_trade_off_the_best_price_counts_as_a_jump(line: Timeline) -> None:
    events = line.events.copy()
    events["price"][line.trades[7]] += 1
    forged = Timeline(line.run, events, line.quotes, line.stretches, line.near, line.near_ticks, line.liquidation)
    assert discovery.moves(forged).off_touch == 1
    quotes = line.quotes.copy()
    turn = int(np.flatnonzero(events["kind"] == 0)[500])
    quotes["best_bid"][turn] -= 3
    forged = Timeline(line.run, line.events, quotes, line.stretches, line.near, line.near_ticks, line.liquidation)
    assert discovery.moves(forged).jumps >= 1


def test_liquidation_wealth_is_that_of_walking_the_others_orders(line: Timeline) -> None:
    resting = line.stretches[line.stretches["ending"] < 0]
    last = line.run.agents.filter(pl.col("timestep") == line.run.timesteps - 1)
    for place, (inventory, cash) in enumerate(last.select("inventory", "cash").iter_rows()):
        side = 0 if inventory > 0 else 1
        orders = sorted(
            (row for row in resting if row["side"] == side and row["agent"] != place),
            key=lambda row: -row["price"] if side == 0 else row["price"],
        )
        left, value, worst = abs(inventory), float(cash), line.mid[-1]
        for row in orders:
            lots = min(left, int(row["lots"]))
            if lots:
                worst = float(row["price"])
                value += (1 if side == 0 else -1) * lots * worst
                left -= lots
        value += (1 if side == 0 else -1) * left * worst
        assert line.liquidation[place] == pytest.approx(value)


def test_moves_are_the_same_however_the_log_is_cut(line: Timeline, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = discovery.moves(line)
    for piece in (1, 997):
        monkeypatch.setattr(discovery, "PIECE", piece)
        cut = discovery.moves(line)
        for name in ("count", "levels", "prints", "off_touch", "unexplained"):
            assert getattr(cut, name) == getattr(whole, name)
        assert cut.ticks == pytest.approx(whole.ticks)
        assert cut.consumed == pytest.approx(whole.consumed)
        for cause in discovery.CAUSES:
            assert np.array_equal(cut.changes[cause], whole.changes[cause])
        for level, moved in whole.impact.items():
            assert np.array_equal(np.sort(cut.impact[level]), np.sort(moved))
