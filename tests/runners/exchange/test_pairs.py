"""A run leaves as LOBSTER files, and the book follows any such pair in every level of every row."""

from __future__ import annotations

import dataclasses
import gzip
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from market_env.config import ConfigError
from market_env.market import Market
from runners import lobster, simulate
from runners.exchange import pairs, verify, window
from runners.exchange.facts import facts_of_pair
from runners.exchange.pairs import Pair, pair_of_run
from runners.exchange.verify import verify_pair
from runners.files.read import load_events
from runners.files.run import load_run
from tests import kit

Orders = dict[int, list[list[int]]]
"""A side: by price the queue of [id, size]."""


def rows_of(sides: dict[int, Orders], levels: int) -> list[int]:
    """The first levels as a row of the order-book file."""
    asks, bids = sorted(sides[-1]), sorted(sides[1], reverse=True)
    row = []
    for level in range(levels):
        for prices, side, dummy in ((asks, -1, window.NO_ASK), (bids, 1, window.NO_BID)):
            if level < len(prices):
                row += [prices[level], sum(size for _, size in sides[side][prices[level]])]
            else:
                row += [dummy, 0]
    return row


def exchange(seed: int, count: int, levels: int, prices: list[int], hidden: bool = True) -> Pair:
    """A pair as an exchange of plain Python shows it, from any moment of its day on.

    It matches nothing, so its book also locks and crosses, as around a trading halt. What happens behind the first
    ``levels`` levels is left out, as such files do.
    """
    rng = random.Random(seed)
    sides: dict[int, Orders] = {1: {}, -1: {}}
    messages, books, last = [], [], [window.NO_ASK, 0, window.NO_BID, 0] * levels
    next_id, now = 1, 34_200.0
    while len(messages) < count:
        now += rng.choice([0.0, rng.random()])
        side = rng.choice([1, -1])
        open_prices = sorted(sides[side], reverse=side == 1)
        kind = rng.choices([1, 2, 3, 4, 5, 6, 7], [50, 10, 25, 15, 2 * hidden, 1 * hidden, 1 * hidden])[0]
        if kind > 4:
            messages.append({5: (now, 5, 0, 10, 5, side), 6: (now, 6, -1, 9, 7, -1), 7: (now, 7, 0, 0, -1, -1)}[kind])
            books.append(last)
            continue
        if kind == 1 or not open_prices:
            middle = len(prices) // 2
            near = int(rng.expovariate(0.25)) - 2
            price = prices[min(max(middle - side * near, 0), len(prices) - 1)]
            size = rng.randint(1, 9)
            sides[side].setdefault(price, []).append([next_id, size])
            message = (now, 1, next_id, size, price, side)
            next_id += 1
        else:
            price = open_prices[0] if kind == 4 else rng.choice(open_prices)
            queue = sides[side][price]
            order = queue[0] if kind == 4 else rng.choice(queue)
            size = order[1]
            if kind == 2 and size == 1:
                kind = 3
            elif kind == 2:
                size = rng.randint(1, size - 1)
            elif kind == 4:
                size = rng.randint(1, size)
            message = (now, kind, order[0], size, price, side)
            order[1] -= size
            if order[1] == 0:
                queue.remove(order)
                if not queue:
                    del sides[side][price]
        row = rows_of(sides, levels)
        if row != last:
            messages.append(message)
            books.append(row)
            last = row
    first = rng.randrange(count // 2)
    table = np.array(books[first:], np.int64)
    rows = np.array([tuple(message) for message in messages[first:]], window.MESSAGE)
    return Pair(f"seed {seed}", rows, table)


price_grids = st.sampled_from(
    [
        [100 * p for p in range(3_000, 3_060)],
        [p * p * p for p in range(1, 1_500)],  # from a hundredth of a cent to hundreds of thousands
        [1, 2, 3, 5, 10_000, 10_001, 2_000_000_000, 9_000_000_000],
    ]
)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3, 5, 10, 40]), price_grids)
@example(seed=0, levels=1, prices=[100, 200])
def test_every_row_of_any_windowed_day_agrees(seed: int, levels: int, prices: list[int]) -> None:
    pair = exchange(seed, 600, levels, prices)
    found = verify_pair(pair)
    assert found.first_difference is None
    assert found.agreeing == found.rows == len(pair.messages) - 1
    assert found.warnings == []
    assert found.at_best == found.executions
    assert found.taken <= found.entered
    assert levels == 1 or found.taken_at_touch == 0
    assert found.first_in_queue == found.judged <= found.executions


def test_a_day_seen_whole_has_nothing_to_take_and_nothing_left_unjudged() -> None:
    pair = exchange(3, 3_000, 60, [100 * p for p in range(3_000, 3_060)])
    found = verify_pair(pair)
    assert (found.entered, found.taken, found.outside) == (0, 0, 0)
    assert found.matched == found.executions > 200
    assert found.judged > found.executions / 2


@settings(max_examples=25)
@given(kit.market_configs(), st.integers(0, 10**6), st.sampled_from([1, 3, 10, 200]))
def test_any_market_leaves_as_a_pair_that_the_book_follows(config: object, seed: int, levels: int) -> None:
    market = Market(config, log=True)  # type: ignore[arg-type]
    market.reset(seed)
    for action in kit.random_actions(market.config, seed, 100_000):
        if market.acting < 0:
            break
        market.act(action)
    events = market.drain()
    messages, books = pairs.visible(market.config, events, levels)
    pair = Pair("run", messages, books)
    if not len(messages):
        return
    found = verify_pair(pair)
    assert found.agrees, found.first_difference
    assert found.warnings == []
    assert found.first_in_queue == found.judged
    assert np.all(np.diff(messages["time"]) >= 0)
    assert np.any(books[1:] != books[:-1], axis=1).all()  # a message is there because it changed a level
    if levels == 200:
        # A dict of orders, fed by the messages alone, has every row's levels.
        sides: dict[int, Orders] = {1: {}, -1: {}}
        for message, row in zip(messages.tolist(), books.tolist(), strict=True):
            _, kind, order, size, price, direction = message
            if kind == window.NEW:
                assert all(price * direction < other * direction for other in sides[-direction])
                sides[direction].setdefault(price, []).append([order, size])
            else:
                queue = sides[direction][price]
                entry = next(entry for entry in queue if entry[0] == order)
                assert kind != window.EXECUTE or entry is queue[0]
                assert entry[1] > size if kind == window.PARTIAL else entry[1] >= size
                assert entry[1] == size if kind == window.DELETE else True
                entry[1] -= size
                if not entry[1]:
                    queue.remove(entry)
                if not queue:
                    del sides[direction][price]
            assert rows_of(sides, levels) == row


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lobster") / "run"
    assert (
        simulate.main(
            ["--timesteps", "300", "--population", "day6", "--run-dir", str(path), "--no-report", "--no-tensorboard"]
        )
        == 0
    )
    return path


@pytest.fixture(scope="module")
def files(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("lobster") / "files"
    assert lobster.main(["export", str(run), str(folder), "--levels", "5", "--ticker", "ABC"]) == 0
    message = folder / "ABC_2000-01-03_34200000_34500000_message_5.csv"
    return message, folder / message.name.replace("message", "orderbook")


def test_the_exported_touch_and_trades_are_those_of_the_tables(run: Path, files: tuple[Path, Path]) -> None:
    messages = pairs.read_messages(files[0])
    books = pairs.read_books(files[1]).to_numpy()
    tables = load_run(run)
    executed = messages[messages["type"] == window.EXECUTE]
    trades = tables.trades
    assert executed["size"].tolist() == trades["lots"].to_list()
    assert executed["price"].tolist() == [100 * price for price in trades["price"]]
    assert executed["order"].tolist() == [order + 1 for order in trades["maker_order_id"]]
    bought = trades["buyer"].cast(pl.String) == trades["aggressor"].cast(pl.String)
    assert (executed["direction"] == -1).tolist() == bought.to_list()  # the resting order's side
    for timestep, bid, ask in tables.quotes.select("timestep", "best_bid", "best_ask").iter_rows():
        row = books[np.searchsorted(messages["time"], pairs.OPENING + timestep + 1) - 1]
        assert row[0] == (100 * ask if ask else window.NO_ASK)
        assert row[2] == (100 * bid if bid else window.NO_BID)


def test_verify_prints_a_table_or_json_and_its_status(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lobster.main(["verify", *map(str, files)]) == 0
    shown = capsys.readouterr().out
    assert "(100.00%)" in shown
    assert "first difference: none" in shown
    assert lobster.main(["verify", *map(str, files), "--json"]) == 0
    assert '"agreeing": ' in capsys.readouterr().out
    lines = files[1].read_text().splitlines()
    cells = lines[100].split(",")
    cells[1] = str(int(cells[1]) + 1)
    lines[100] = ",".join(cells)
    edited = tmp_path / "orderbook.csv"
    edited.write_text("\n".join(lines) + "\n")
    assert lobster.main(["verify", str(files[0]), str(edited)]) == 1
    assert "first difference: line 101, ask level 1: the file says" in capsys.readouterr().out


@pytest.mark.parametrize("column", [0, 1, 2, 3, 8, 9, 10, 11])
def test_one_wrong_cell_of_a_book_is_found_in_its_row(column: int) -> None:
    pair = exchange(5, 800, 3, [100 * p for p in range(3_000, 3_060)], hidden=False)
    rng = random.Random(column)
    caught = 0
    for _ in range(40):
        row = rng.randrange(1, len(pair.books))
        level = column // 4
        entering = level == 2 and pair.books[row, column - column % 2] != pair.books[row - 1, column - column % 2]
        if entering or pair.books[row, column | 1] == 0:
            continue  # a level that enters the window is the table's to say
        books = pair.books.copy()
        books[row, column] += 1
        found = verify_pair(dataclasses.replace(pair, books=books))
        assert found.first_difference is not None
        assert found.first_difference.startswith(f"line {row + 1}, {'ask' if column % 4 < 2 else 'bid'} level")
        assert 1 <= found.rows - found.agreeing <= 2  # the row, and perhaps the one that says otherwise again
        caught += 1
    assert caught >= 15


def drop(pair: Pair, row: int) -> Pair:
    keep = np.arange(len(pair.messages)) != row
    return dataclasses.replace(pair, messages=pair.messages[keep], books=pair.books[keep])


def resize(pair: Pair, row: int) -> Pair:
    messages = pair.messages.copy()
    messages["size"][row] += 1
    return dataclasses.replace(pair, messages=messages)


@pytest.mark.parametrize("edit", [drop, resize])
def test_a_message_lost_or_changed_is_noticed_where_it_stood(edit: Callable[[Pair, int], Pair]) -> None:
    pair = exchange(6, 800, 60, [100 * p for p in range(3_000, 3_060)], hidden=False)
    for row in range(5, len(pair.messages) - 1, 37):
        found = verify_pair(edit(pair, row))
        # What takes more from a level than it has leaves it empty, as the table says: the message is at fault.
        noticed = [found.first_difference or "", *(warning.split("first in ")[1] for warning in found.warnings)]
        assert any(words.startswith((f"line {row + 1},", f"line {row + 1}:")) for words in noticed)


def test_what_is_not_there_is_a_counted_warning_with_its_line() -> None:
    pair = exchange(7, 300, 60, [100 * p for p in range(3_000, 3_060)], hidden=False)
    messages = pair.messages.copy()
    row = int(np.flatnonzero(messages["type"] == window.EXECUTE)[3])
    messages["price"][row] = 299_900  # no order ever rested there
    found = verify_pair(dataclasses.replace(pair, messages=messages))
    (warning,) = [warning for warning in found.warnings if "not there" in warning]
    assert f"first in line {row + 1}: type 4, order {messages['order'][row]}" in warning
    swapped = pair.messages.copy()
    twice = int(np.flatnonzero(swapped["type"] == window.NEW)[-1])
    swapped["order"][twice] = swapped["order"][np.flatnonzero(swapped["type"] == window.NEW)[-2]]
    found = verify_pair(dataclasses.replace(pair, messages=swapped))
    assert found.agrees  # the levels are the same, whatever the id
    assert any(f"line {twice + 1}" in warning for warning in found.warnings)


def test_an_execution_out_of_turn_is_a_counted_warning() -> None:
    rows = [(34_200.0, 1, 1, 5, 100, 1), (34_200.1, 1, 2, 5, 100, 1), (34_200.2, 4, 2, 3, 100, 1)]
    books = np.array([[window.NO_ASK, 0, 100, size] for size in (5, 10, 7)], np.int64)
    found = verify_pair(Pair("three", np.array(rows, window.MESSAGE), books))
    assert found.agrees
    assert (found.judged, found.first_in_queue, found.at_best) == (1, 0, 1)
    assert "line 3: type 4, order 2" in found.warnings[0]


def test_rows_that_no_book_could_show_differ_and_break_nothing() -> None:
    pair = exchange(8, 200, 5, [100 * p for p in range(3_000, 3_060)], hidden=False)
    rng = np.random.default_rng(1)
    books = rng.permuted(pair.books, axis=1)
    books[:, 1::2] = np.abs(books[:, 1::2]) % 1_000
    found = verify_pair(dataclasses.replace(pair, books=books))
    assert found.agreeing < 5


MESSAGE_LINE = "34200.5,1,7,100,308700,1"
BOOK_LINE = "308900,10,308700,100"


@pytest.mark.parametrize(
    ("message", "book", "expected"),
    [
        ("34200.5,1,7,100,308700", BOOK_LINE, r"m\.csv, line 1: expected 6 columns, got 5"),
        ("34200.5,1,7,100,308700,1,9", BOOK_LINE, r"m\.csv, line 1: expected 6 columns, got 7"),
        ("34200.5,1,x,100,308700,1", BOOK_LINE, r"line 1, column 3 \(order id\): expected a whole number of 64 bits, got 'x'; the format has no header line"),
        ("34200.5,1,7,100,3087.5,1", BOOK_LINE, r"column 5 \(price\): expected a whole number of 64 bits, got '3087.5'"),
        ("noon,1,7,100,308700,1", BOOK_LINE, r"column 1 \(time\): expected a number, got 'noon'"),
        ("time,type,order,size,price,direction", BOOK_LINE, r"line 1, column 1 \(time\): expected a number, got 'time'; the format has no header"),
        (MESSAGE_LINE + "\n34200.4,3,7,100,308700,1", BOOK_LINE + "\n" + BOOK_LINE, r"line 2: time: expected 34200\.5\d* or later, got 34200\.4"),
        ("34200.5,9,7,100,308700,1", BOOK_LINE, r"line 1: type: expected 1 to 7, got 9"),
        ("34200.5,1,7,0,308700,1", BOOK_LINE, r"line 1: size: expected 1 to 2,147,483,647, got 0"),
        ("34200.5,1,7,100,0,1", BOOK_LINE, r"line 1: price: expected 1 to 9,999,999,998, got 0"),
        ("34200.5,1,7,100,308700,2", BOOK_LINE, r"line 1: direction: expected 1 or -1, got 2"),
        ("-1.0,1,7,100,308700,1", BOOK_LINE, r"line 1: time: expected seconds after midnight, got -1"),
        (MESSAGE_LINE + "\n\n" + MESSAGE_LINE, BOOK_LINE, r"m\.csv, line 2: expected 6 columns, got 0"),
        ("34200.5,1,99999999999999999999,100,308700,1", BOOK_LINE, r"m\.csv, line 1, column 3 .* got '9{20}'"),
        (BOOK_LINE * 3, MESSAGE_LINE, r"expected 6 columns, got 10; is it the order-book file\?"),
        ("", BOOK_LINE, r"m\.csv: expected rows, found an empty file"),
        (MESSAGE_LINE, "", r"o\.csv, line 1: expected 4 columns a level, got 1 columns"),
        (MESSAGE_LINE, "308900,10,308700", r"o\.csv, line 1: expected 4 columns a level, got 3 columns"),
        (MESSAGE_LINE, BOOK_LINE + "\n1,2,3", r"o\.csv, line 2: expected 4 columns, got 3"),
        (MESSAGE_LINE, "308900,-10,308700,100", r"o\.csv, line 1: column 2: size: expected 0 to 2,147,483,647, got -10"),
        (MESSAGE_LINE, "308900,ten,308700,100", r"o\.csv, line 1, column 2: expected a whole number of 64 bits, got 'ten'"),
        (MESSAGE_LINE, BOOK_LINE + "\n" + BOOK_LINE, r"o\.csv: expected 1 rows as in .*m\.csv, got 2"),
    ],
)  # fmt: skip
def test_a_file_that_breaks_the_format_is_one_error_with_line_and_value(
    message: str, book: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text(message + ("\n" if message else ""))
    (tmp_path / "o.csv").write_text(book + ("\n" if book else ""))
    with pytest.raises(pairs.FormatError, match=expected):
        verify.verify(tmp_path / "m.csv", tmp_path / "o.csv")


def test_empty_lines_at_the_end_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(MESSAGE_LINE + "\n\n\n")
    (tmp_path / "o.csv").write_text(BOOK_LINE + "\r\n\r\n")
    found = verify.verify(tmp_path / "m.csv", tmp_path / "o.csv")
    assert (found.messages, found.rows) == (1, 0)
    assert "nothing to compare" in str(found)


@pytest.mark.parametrize(
    ("kind", "order", "size", "price"),
    [(3, 9, 5, 100), (3, 2, 5, 101), (3, 2, 4, 100), (2, 2, 5, 100), (4, 9, 5, 100), (4, 2, 6, 100), (3, 9, 5, 102)],
    ids=[
        "no such order",
        "other price",
        "other size",
        "partial of all",
        "execution of none",
        "execution of more",
        "no such level",
    ],
)
def test_a_message_about_what_is_not_there_is_a_warning_though_the_level_has_the_lots(
    kind: int, order: int, size: int, price: int
) -> None:
    rows = [(34_200.0 + i, 1, i + 1, 5, p, 1) for i, p in enumerate((99, 100, 100, 101))]
    rows.append((34_205.0, kind, order, size, price, 1))
    table = np.tile([window.NO_ASK, 0, window.NO_BID, 0], (5, 3))
    standing: dict[int, int] = {}
    for row, (_, _, _, lots, p, _) in enumerate(rows[:4]):
        standing[p] = standing.get(p, 0) + lots
        for level, best in enumerate(sorted(standing, reverse=True)):
            table[row, 4 * level + 2 : 4 * level + 4] = best, standing[best]
    table[4] = table[3]
    found = verify_pair(Pair("five", np.array(rows, window.MESSAGE), table))
    assert any("not there" in warning and "line 5:" in warning for warning in found.warnings)


def test_missing_files_and_folders_in_use_are_one_line(
    run: Path, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = str(tmp_path / "none.csv")
    assert lobster.main(["verify", none, str(files[1])]) == 2
    assert capsys.readouterr().err == f"error: {none}: cannot be read: No such file or directory\n"
    before = files[0].read_bytes()
    assert lobster.main(["export", str(run), str(files[0].parent), "--levels", "5", "--ticker", "ABC"]) == 2
    assert "expected no file there, found one" in capsys.readouterr().err
    assert files[0].read_bytes() == before
    assert lobster.main(["export", str(run), str(tmp_path), "--levels", "0"]) == 2
    assert "levels: expected 1 to 200, got 0" in capsys.readouterr().err
    assert lobster.main(["export", str(run), str(tmp_path), "--date", "today"]) == 2
    assert "date: expected year-month-day, got 'today'" in capsys.readouterr().err
    assert lobster.main(["export", str(run), str(tmp_path), "--ticker", "a/b"]) == 2
    assert "ticker: expected letters, digits, points and hyphens, got 'a/b'" in capsys.readouterr().err
    assert (
        lobster.main(["export", str(run), str(files[0].parent), "--levels", "5", "--ticker", "ABC", "--overwrite"]) == 0
    )
    assert files[0].read_bytes() == before
    assert lobster.main(["export", str(tmp_path), str(tmp_path)]) == 2
    assert "expected a run folder" in capsys.readouterr().err


def test_a_pair_compressed_by_gzip_is_the_same_pair(files: tuple[Path, Path], tmp_path: Path) -> None:
    packed = tuple(tmp_path / f"{path.name}.gz" for path in files)
    for path, target in zip(files, packed, strict=True):
        target.write_bytes(gzip.compress(path.read_bytes()))
    plain, found = verify.verify(*files), verify.verify(*packed)
    assert found.agrees
    assert (found.rows, found.levels, found.executions) == (plain.rows, plain.levels, plain.executions)
    assert facts_of_pair(*packed)["facts"] == facts_of_pair(*files)["facts"]


@pytest.mark.parametrize("which", [0, 1])
def test_a_compressed_file_that_is_cut_off_or_damaged_is_one_line(
    which: int, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = [tmp_path / f"{path.name}.gz" for path in files]
    for path, target in zip(files, packed, strict=True):
        target.write_bytes(gzip.compress(path.read_bytes()))
    whole = packed[which].read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 40] = bytes(40)
    for content, message in ((whole[: len(whole) // 2], "cannot be unpacked"), (bytes(damaged), "cannot be unpacked")):
        packed[which].write_bytes(content)
        assert lobster.main(["verify", *map(str, packed)]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {packed[which]}: {message}")
        assert said.count("\n") == 1
    lines = files[which].read_text().splitlines()
    packed[which].write_bytes(gzip.compress("\n".join([*lines[:7], "a,b", *lines[8:]]).encode()))
    assert lobster.main(["verify", *map(str, packed)]) == 2
    assert f"{packed[which]}, line 8: expected" in capsys.readouterr().err


def test_an_export_on_a_full_disk_leaves_neither_file(run: Path, tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from runners.lobster import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        f"sys.exit(main(['export', {str(run)!r}, {str(tmp_path / 'out')!r}, '--levels', '20']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "orderbook_20.csv: cannot be written" in done.stderr
    assert not list((tmp_path / "out").iterdir())


def test_a_tick_that_the_format_cannot_say_is_refused(run: Path) -> None:
    config = load_run(run).market
    events: NDArray[np.void] = load_events(run)
    with pytest.raises(ValueError, match=r"tick_size: the format needs a multiple of 1/10,000, got 3e-05"):
        pairs.visible(dataclasses.replace(config, tick_size=3e-5), events, 5)
    for name, value in (("tick_size", 1e5), ("lot_size", 1e9)):
        with pytest.raises(ValueError, match=rf"{name}: with \S+ the run has a value of [\d,]+, the format at most"):
            pairs.visible(dataclasses.replace(config, **{name: value}), events, 5)
    assert len(pair_of_run(run, 5).messages) > 100


@pytest.mark.parametrize(
    ("name", "row", "value", "expected"),
    [
        (
            "kind",
            30,
            "other",
            "seq 30: kind: expected one of turn, accept, trade, cancel, reject, halt, resume, found 'other'",
        ),
        ("agent", 30, "nobody", "seq 30: agent: expected one of ppo_0, "),
        ("time", 30, 0.0, r"seq 30: time: expected \S+ or later, found \S*0\.0"),
        ("timestep", 30, 200, r"seq 30: timestep: expected \d, found 200"),
        ("order_id", "accept", 10**12, "accept of order 1000000000000, .* cannot stand there"),
        ("maker_order_id", "trade", 10**12, "trade of order .* cannot stand there"),
        ("maker_order_id", "trade", -1, "trade of order .* cannot stand there"),
        ("maker", "trade", "ppo_0", "trade of order .* cannot stand there"),
        ("lots", "trade", 10**6, "trade of order .* 1000000 lots .* cannot stand there"),
        ("lots", "cancel", -3, "cancel of order .* -3 lots .* cannot stand there"),
        ("order_id", "cancel", 10**12, "cancel of order 1000000000000, .* cannot stand there"),
        ("price", "accept", 2**31 - 1, r"(accept|trade|cancel) of order .* cannot stand there"),
        ("price", "trade", 1, "trade of order .* 1 ticks: cannot stand there"),
        ("side", "accept", "other", "seq .*: side: expected one of buy, sell, found 'other'"),
    ],
)
def test_a_log_that_no_market_wrote_is_one_clear_error(
    name: str, row: int | str, value: object, expected: str, run: Path, tmp_path: Path
) -> None:
    part = run / "events" / "part-00000.parquet"
    columns = pq.read_table(part).to_pydict()
    columns[name][columns["kind"].index(row) if isinstance(row, str) else row] = value
    (tmp_path / "events").mkdir()
    shutil.copy(run / "config.json", tmp_path)
    kit.rewrite(tmp_path / "events" / part.name, "events", columns)
    with pytest.raises(ConfigError, match=expected):
        pair_of_run(tmp_path, 10)
