"""A recorded day plays as it was, agents trade in it, and twin, audit, faces and batch agree on what came of it."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
import math
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import scripted_agents
from market_env.aec import raw_env
from market_env.config import (
    AgentConfig,
    ConfigError,
    Every,
    Fees,
    MarketConfig,
    Tape,
    Value,
    amend,
    parse_json,
    to_json,
)
from market_env.engine import state
from market_env.market import Market
from market_env.tape import bytes_of, tape_of
from runners import lobster, simulate
from runners.audit import compare
from runners.exchange import tape as tapes
from runners.exchange.pairs import FormatError, Pair, pair_of_events, pair_of_run, read_pair, write_pair
from runners.files.run import load_run
from runners.simulation.drive import drive
from scripted_agents import DoNothing, population
from scripted_agents.batch import Batch
from scripted_agents.recorded import load_tape, on_tape, part_of, seats
from scripted_agents.registry import build_others
from scripted_agents.rollout import run_compiled
from tests import kit

DATA = Path(__file__).parents[4] / "shared" / "data"
TIMESTEPS = 300


@functools.cache
def day() -> Pair:
    """Ten levels of a small market's run, as the format shows it from its sixtieth message on."""
    config = population("day6", {"ppo": 0, "noise": 8, "maker": 2}, TIMESTEPS)
    market = Market(config.market, log=True)
    market.reset(3)
    pair = pair_of_events(
        config.market, run_compiled(market, scripted_agents.build(config.market, config.policies)), 10, "day"
    )
    return dataclasses.replace(pair, messages=pair.messages[60:], books=pair.books[60:], before=None)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    return tapes.write(tapes.make(day()), tmp_path_factory.mktemp("tapes") / "day.npy")


def beside(tape: Tape, timesteps: int = 120, **counts: int) -> tuple[MarketConfig, dict[str, Any]]:
    """A population beside the tape; episodes start anywhere on it."""
    nobody = dict.fromkeys(("ppo", "noise", "maker", "momentum", "informed"), 0)
    of = population("default", nobody | counts)
    return on_tape(part_of(tape, 0.0, 1.0, timesteps), of.market, timesteps), dict(of.policies)


# --- as it was ------------------------------------------------------------------------------------------------


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kit.market_configs(), st.integers(0, 10**6), st.sampled_from([1, 3, 10, 200]), st.integers(0, 40))
def test_any_run_as_files_plays_back_with_every_level_of_every_row(
    tmp_path: Path, config: MarketConfig, seed: int, levels: int, first: int
) -> None:
    market = Market(config, log=True)
    market.reset(seed)
    for action in kit.random_actions(config, seed, 100_000):
        if market.acting < 0:
            break
        market.act(action)
    pair = pair_of_events(config, market.drain(), levels, "run")
    if first:  # from any moment of its day on, of which the files show a window
        pair = dataclasses.replace(pair, messages=pair.messages[first:], books=pair.books[first:], before=None)
    if len(pair.messages) < 2 or not (pair.books[:, 1::2] > 0).any():
        return
    made = tapes.make(pair)
    found = tapes.play_back(pair, made, tapes.write(made, tmp_path / "run.npy"))
    assert (found.agreeing, found.first_difference) == (found.rows, None)
    assert found.rows == len(pair.messages)
    assert made.reset == 0 or levels < 200  # a book that is seen whole needs nothing set anew
    if levels == 200 and not first:
        assert (made.entered, made.unfounded) == (0, 0)


@pytest.mark.skipif(not DATA.is_dir(), reason="no real data on this machine")
@pytest.mark.parametrize(("folder", "rows", "levels"), [("lobster_goog_5", 12_346, 5), ("lobster_excerpt", 1_000, 50)])
def test_real_days_play_back_with_every_level_of_every_row(folder: str, rows: int, levels: int, tmp_path: Path) -> None:
    pair = read_pair(*(next((DATA / folder).glob(f"*_{what}_*")) for what in ("message", "orderbook")))
    made = tapes.make(pair)
    found = tapes.play_back(pair, made, tapes.write(made, tmp_path / "day.npy"))
    assert (found.rows, found.agreeing, made.levels) == (rows, rows, levels)


def test_a_market_with_nobody_else_is_the_recorded_day(tape: Tape, tmp_path: Path) -> None:
    config = on_tape(tape)
    market = Market(config, log=True)
    assert not market.reset(1)  # nobody has a turn
    pair = pair_of_events(amend(config), market.drain(), 10, "again")
    shown = {tuple(row) for row in day().books.tolist()}
    # Once the book is laid out. A level that is set anew, or several messages of one row, show what no row does in between.
    rows = pair.books[pair.messages["time"] > pair.messages["time"][0]].tolist()
    assert sum(tuple(row) in shown for row in rows) > 0.9 * len(rows) > 500
    assert pair.books[-1].tolist() == day().books[day().messages["time"] - _origin() < config.timesteps][-1].tolist()


def _origin() -> float:
    return math.ceil(day().messages["time"][0]) - 1.0


# --- with agents ----------------------------------------------------------------------------------------------

played: Counter[str] = Counter()


@pytest.mark.long
def test_the_market_does_what_its_twin_does_beside_a_recorded_day(tape: Tape) -> None:
    played.clear()

    @settings(max_examples=120)
    @given(kit.market_configs(), st.integers(0, 2**32))
    def examples(config: MarketConfig, seed: int) -> None:
        fee = config.fees if config.charges else Fees(10, 20)
        market = kit.beside_twin(on_tape(part_of(tape, 0.0, 1.0, 60), amend(config, fees=fee), 60), seed, 300, played)
        for name in ("tape_cut", "tape_displaced", "tape_skipped"):
            played[name] += int(market.records[name][0])

    examples()
    assert played["turns"] >= 4_000
    assert played["arrived"] >= 200
    for rare in ("tape_cut", "tape_displaced", "tape_skipped"):
        assert played[rare] >= 15, rare


def test_a_recorded_market_order_meets_agents_who_stand_first(tape: Tape) -> None:
    config = on_tape(
        tape, MarketConfig(agents=(AgentConfig("a_0", "a", arrivals=Every(1.0, 0.0)),), offsets=(-1, 0, 1))
    )
    market, alone = Market(config, log=True), Market(on_tape(tape), log=True)
    alone.reset(1)
    going = market.reset(1)
    while going:  # a bid and an ask just within the quotes, renewed each timestep
        going = market.act(np.array([4, 1, 1, 1, 1]))
    events, before = market.drain(), alone.drain()
    maker, taker = (market.index[seat.id] for seat in seats())
    me = market.index["a_0"]
    trades = events[events["kind"] == state.KIND_TRADE]
    mine = trades[trades["maker"] == me]
    assert len(mine) > 10
    assert set(mine["agent"].tolist()) <= {maker, taker}
    # Whatever agents trade in its place, the history's own orders lose all the same.
    lots = before["lots"][before["kind"] == state.KIND_TRADE].sum()
    record = market.records[0]
    assert record["tape_displaced"] == mine["lots"][mine["agent"] == taker].sum() > 0
    assert record["tape_skipped"] < 10
    assert trades["lots"].sum() <= lots + mine["lots"].sum()
    kit.check_structure(market)
    kit.check_accounts(market)


def test_what_agents_have_traded_cannot_trade_or_leave_again(tape: Tape) -> None:
    config = on_tape(
        tape, MarketConfig(agents=(AgentConfig("a_0", "a", arrivals=Every(1.0, 0.0), inventory_bound=10_000),))
    )
    market = Market(config)
    going = market.reset(1)
    code = len(config.offsets)
    while going:  # buys at the market what stands there
        going = market.act(np.array([0, code, 12, 0, 0]))
    record = market.records[0]
    assert record["tape_cut"] > 100
    assert record["tape_skipped"] > 5
    kit.check_structure(market)


def test_the_signal_is_the_historys_own_mid_and_nobody_elses_quotes_move_it(tape: Tape) -> None:
    def seen(policy: Any) -> list[float]:
        who = (
            AgentConfig("a_0", "a", arrivals=Every(1.0, 0.0), signal=0.0),
            AgentConfig("b_0", "b", arrivals=Every(1.0, 0.5)),
        )
        config = on_tape(tape, MarketConfig(agents=who, value=Value()))
        market = Market(config)
        chosen = scripted_agents.build(config, {"a": DoNothing(), "b": policy})
        going, found = market.reset(1), []
        for agent, own in chosen.items():
            own.reset(market.policy_stream(market.index[agent]), market.policy_memory(market.index[agent]))
        while going:
            if market.acting == 0:
                found.append(round(float(market.observation[-3]) * 128 + market.reference, 3))
            going = market.act(chosen[market.agent_ids[market.acting]].act(market.observation))
        return found

    quiet, busy = seen(DoNothing()), seen(scripted_agents.RandomActions())
    assert quiet == busy
    assert len(set(quiet)) > 8
    rows = tape_of(on_tape(tape))
    mids = [rows["mid"][rows["time"] <= time][-1] for time in range(1, len(quiet))]
    assert quiet[1:] == pytest.approx(mids)


def test_episodes_start_where_the_seed_says_and_a_part_is_kept_to(tape: Tape) -> None:
    config, _ = beside(tape, ppo=1)
    half = amend(config, tape=part_of(tape, 0.5, 1.0, 120))
    starts = []
    for seed in range(40):
        market = Market(half)
        market.reset(seed)
        starts.append(float(market.records["tape_start"][0]))
    assert min(starts) >= 0.5 * tape.length
    assert max(starts) <= tape.length - 120
    assert len(set(starts)) == 40


def test_aec_rollout_and_batch_play_the_same_beside_a_tape(tape: Tape) -> None:
    nobody = dict.fromkeys(("momentum", "splitter"), 0)
    of = population("default", nobody | {"ppo": 1, "noise": 3, "maker": 2, "informed": 1})
    config, policies = on_tape(part_of(tape, 0.0, 1.0, 120), kit.ruled(of.market), 120), dict(of.policies)
    chosen = scripted_agents.build(config, policies | {"ppo_0": DoNothing()})
    for seed in (1, 2):
        env = raw_env(config=config, log=True)
        assert drive(env, chosen, seed)
        market = Market(config, log=True)
        market.reset(seed)
        rolled = run_compiled(market, chosen)
        assert env.drain().tobytes() == rolled.tobytes()
        assert len(rolled) > 500
    batch = Batch(config, build_others(config, ["ppo_0"], policies), ["ppo_0"], 3)
    batch.reset([1, 2, 7])
    while not batch.finished.all():
        batch.step(np.zeros((3, 1, 5), np.int64))
    for place, seed in enumerate((1, 2, 7)):
        market = Market(config)
        market.reset(seed)
        run_compiled(market, chosen)
        ends = market.records[0]
        for name in ("agents", "reference", "turns", "seq", "tape_next", "tape_cut", "tape_start", "collected"):
            assert batch.records[place][name].tobytes() == ends[name].tobytes(), name


def test_a_copy_in_the_middle_goes_on_the_same(tape: Tape) -> None:
    config, _ = beside(tape, ppo=1, noise=2)
    market = Market(config, log=True)
    market.reset(5)
    actions = kit.random_actions(config, 5, 400)
    for action in actions[:60]:
        market.act(action)
    market.drain()
    copies = [copy.deepcopy(market), pickle.loads(pickle.dumps(market)), Market(config, log=True)]
    copies[2].restore(market.save())
    logs = []
    for each in (market, *copies):
        for action in actions[60:140]:
            if not each.act(action):
                break
        logs.append(each.drain().tobytes())
    assert len(logs[0]) > 1_000
    assert logs.count(logs[0]) == 4


def test_a_record_with_a_handle_out_of_range_is_refused(tape: Tape) -> None:
    config, _ = beside(tape, ppo=1)
    market = Market(config)
    market.reset(1)
    saved = market.save()
    saved["handles"]["slot"][0, 3] = 2**30
    with pytest.raises(ValueError, match="tape: the next row within it"):
        market.restore(saved)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    """A day of more messages than a log holds at once, in which the others seldom arrive."""
    config = population("day6", {"ppo": 0}, 1_600)
    market = Market(config.market, log=True)
    market.reset(3)
    pair = pair_of_events(
        config.market, run_compiled(market, scripted_agents.build(config.market, config.policies)), 20, "long"
    )
    return tapes.write(tapes.make(pair), tmp_path_factory.mktemp("tapes") / "long.npy")


@pytest.mark.parametrize("period", [1_500.0, 80.0])
def test_a_log_that_fills_more_than_once_between_two_turns_loses_nothing(period: float, long: Tape) -> None:
    who = (AgentConfig("a_0", "a", arrivals=Every(period, 50.0)),)
    config = on_tape(long, MarketConfig(agents=who))
    policies = scripted_agents.build(config, {"a": scripted_agents.RandomActions()})
    logged, silent = Market(config, log=True), Market(config)
    for market in (logged, silent):
        market.reset(2)
    events = run_compiled(logged, policies)
    run_compiled(silent, policies)
    room = len(logged.events) - state.longest_turn(len(logged.records[0]["orders"]))
    assert len(events) > 2.5 * room
    assert events["seq"].tolist() == list(range(len(events)))
    ends = [market.records[0] for market in (logged, silent)]
    assert ends[0]["finished"] == 1
    for name in ("agents", "turns", "seq", "tape_next", "traded_lots"):
        assert ends[0][name].tobytes() == ends[1][name].tobytes(), name
    env = raw_env(config=config, log=True)
    assert drive(env, policies, 2)
    assert env.drain().tobytes() == events.tobytes()


def test_a_state_whose_tape_was_wound_back_is_refused(tape: Tape) -> None:
    config, _ = beside(tape, ppo=1)
    market = Market(config)
    market.reset(1)
    for _ in range(20):
        market.act(np.zeros(5, np.int64))
    for step in (-30, 30):
        saved = market.save()
        saved["tape_next"] += step
        with pytest.raises(ValueError, match="tape: the next row within it"):
            market.restore(saved)


# --- the commands ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_pair(day(), tmp_path_factory.mktemp("pair"), "DAY", "2001-02-03", 34_200 + TIMESTEPS)


def test_a_run_beside_a_pair_of_files_is_recorded_and_audited(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["--no-report", "--no-tensorboard", "--run-dir", "run"]
    given = [
        "--tape",
        *map(str, files),
        "--maker",
        "2",
        "--informed",
        "1",
        "--set",
        "market.agents.maker.latency.fixed=.05",
    ]
    fees = ["--set", "market.fees.taker=30", "--set", "market.fees.message=900"]
    assert simulate.main([*given, *quick, *fees]) == 0
    said = capsys.readouterr().out
    assert "values rebuilt from the log alone, none differ" in said
    assert "the recorded day, from 0.0 timesteps on: " in said
    run = load_run("run")
    assert run.market.tape is not None
    assert {agent.kind for agent in run.market.agents} == {"ppo", "maker", "informed", "tape"}
    assert run.events.filter(run.events["agent"].cast(str) == "tape_0").height > 100
    assert run.summary["tape"]["displaced"] > 0
    rebuilt = compare.audit(Path("run"))
    assert not rebuilt.differences
    assert rebuilt.tape == run.summary["tape"]
    assert run.summary["tape"]["start"] == 0.0
    wrong = json.loads(Path("run/summary.json").read_text())
    wrong["tape"]["cut"] += 1
    whole = Path("run/summary.json").read_bytes()
    Path("run/summary.json").write_text(json.dumps(wrong))
    assert str(compare.audit(Path("run")).differences[0]).startswith("summary.json: whole run, tape.cut")
    Path("run/summary.json").write_bytes(whole)
    assert rebuilt.checked["rules"] > 100
    # The same again, from its own config; and a line of the history's that is another is noticed.
    assert simulate.main(["--config", "run/config.json", *quick[:2], "--run-dir", "again"]) == 0
    for name in ("trades", "agents", "events/part-00000"):
        assert Path(f"run/{name}.parquet").read_bytes() == Path(f"again/{name}.parquet").read_bytes()
    tape = Path(run.market.tape.file)
    tape.rename("elsewhere.npy")
    # Whoever looks at the run does without it; what only it can say is said to be unchecked.
    for command, wanted in (
        (["runners.replay", "again"], ".npy: cannot be read: No such file or directory"),
        (["runners.report", "again"], "wrote again/report.pdf"),
    ):
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert wanted in done.stdout


def test_a_tape_is_made_played_back_and_trained_on_by_commands(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from runners import train

    monkeypatch.chdir(tmp_path)
    assert lobster.main(["tape", *map(str, files), "day.npy"]) == 0
    rows = len(day().messages)
    assert f"played back without agents: {rows:,} of {rows:,} rows agree in all levels" in capsys.readouterr().out
    small = ["--episode", "30", "--markets", "4", "--n-steps", "16", "--batch-size", "32", "--validate-every", "64"]
    assert (
        train.main(["--tape", "day.npy", "--total-timesteps", "128", "--run-dir", "trained", "--maker", "1", *small])
        == 0
    )
    training = json.loads(Path("trained/training.json").read_text())["training"]
    assert (training["tape"], training["counts"]) == ("day.npy", {"maker": 1})
    capsys.readouterr()
    assert train.main(["--tape", "day.npy", "--episode", "100", "--run-dir", "other"]) == 2
    assert "is shorter than an episode of 100" in capsys.readouterr().err


# --- bad input ------------------------------------------------------------------------------------------------


def changed(cell: Callable[[NDArray[np.void], NDArray[np.int64]], None]) -> Pair:
    messages, books = day().messages.copy(), day().books.copy()
    cell(messages, books)
    return Pair("day", messages, books)


def test_a_pair_that_cannot_be_a_tape_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(
        FormatError,
        match=r"day: price: expected whole multiples of 500, as tick_size 0.05 has it, got \d+; tick_size 0.01 fits all",
    ):
        tapes.make(day(), tick_size=0.05)
    with pytest.raises(
        FormatError,
        match=r"day: size: expected whole multiples of 7, as lot_size 7 has it, got \d+; lot_size 1 fits all",
    ):
        tapes.make(day(), lot_size=7.0)
    with pytest.raises(ConfigError, match="tick_size: expected a whole number of the files' units, got 1e-05"):
        tapes.make(day(), tick_size=0.00001)

    def cross(messages: NDArray[np.void], books: NDArray[np.int64]) -> None:
        books[8, 2] = books[8, 0]

    with pytest.raises(FormatError, match=r"day, line 9: expected a best bid below the best ask, got (\d+) and \1"):
        tapes.make(changed(cross))
    wide = changed(lambda messages, books: books.__setitem__((slice(None), 36), 900_000_000))
    made = tapes.make(wide)
    with pytest.raises(
        ConfigError,
        match=r"tape: a market holds at most .* prices within 32,767 ticks of each other, .* 8,99\d,\d{3} ticks",
    ):
        tapes.play_back(wide, made, tapes.write(made, tmp_path / "wide.npy"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"timesteps": 5_000},
            r"tape: it ends 247\.79 timesteps after its start, before an episode of 5,000 .* does",
        ),
        ({"tick_size": 0.02}, r"tick_size: expected the tape's, 0.01, got 0.02"),
        ({"lot_size": 2.0}, r"lot_size: expected the tape's, 1.0, got 2.0"),
        ({"first_price": 5}, r"first_price must lie within the tape's prices, \d+ to \d+ ticks, got 5"),
        ({"halt": {"move": 5}}, r"halt: a recorded day has its own"),
        ({"value": {}}, r"value: a recorded day has its own"),
        (
            {"agents.0.inventory_bound": 20},
            r"agents: tape_0 is a seat of the tape's: expected no latency, .* a cash_floor of -4398046511104",
        ),
        ({"agents.1.latency": {}}, r"agents: tape_1 is a seat of the tape's"),
        ({"tape": None}, r"arrivals of tape_0: this market has no tape"),
        (
            {"agents": [to_json(AgentConfig("a_0", "a"))]},
            r"agents: a market with a tape has two seats for it, .* got \[\]",
        ),
    ],
)
def test_a_market_that_a_tape_does_not_fit_is_one_clear_error(change: dict[str, Any], message: str, tape: Tape) -> None:
    data = to_json(on_tape(tape))
    for path, value in change.items():
        if path.startswith("agents."):
            _, number, name = path.split(".")
            data["agents"][int(number)][name] = value
        else:
            data[path] = value
    with pytest.raises(ConfigError, match=message):
        parse_json(MarketConfig, json.dumps(data))


def test_a_tape_that_is_another_damaged_or_hostile_is_one_clear_error(tape: Tape, tmp_path: Path) -> None:
    good = tape_of(on_tape(tape))
    path = tmp_path / "bad.npy"

    def error_of(content: bytes) -> str:
        path.write_bytes(content)
        with pytest.raises(ConfigError) as raised:
            load_tape(path)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    whole = bytes_of((0.01, 1.0), good)
    path.write_bytes(whole)
    assert dataclasses.replace(load_tape(path), file=tape.file) == tape
    assert "expected a tape that runners.lobster tape wrote" in error_of(whole[:-7])
    assert "expected a tape that runners.lobster tape wrote" in error_of(b"time,type\n")
    assert "expected a tape that runners.lobster tape wrote" in error_of(b"")
    hidden = whole.replace(b"'descr': [('time', '<f8')", b"'descr': [('time', '|O8')", 1)  # would be unpickled
    assert hidden != whole
    assert "expected a tape that runners.lobster tape wrote" in error_of(hidden)
    assert "sizes of tick and lot" in error_of(bytes_of((0.0, 1.0), good))
    for name, value, wanted in (
        ("handle", 2**30, r"handle: expected below"),
        ("handle", -1, "handle: expected below"),
        ("price", 0, "price: expected 1 to"),
        ("lots", -5, "lots: expected 1 or more"),
        ("kind", 9, "kind: expected 0 to 3"),
        ("side", 2, "side: expected 0 or 1"),
        ("mid", math.nan, "mid: expected a price"),
        ("time", math.inf, "time: expected a time"),
        ("time", -3.0, "or later, found -3.0"),
    ):
        rows = good.copy()
        rows[name][40] = value
        assert wanted in error_of(bytes_of((0.01, 1.0), rows)), name
    other = amend(on_tape(tape), tape=dataclasses.replace(tape, sha256=hashlib.sha256(b"").hexdigest()))
    with pytest.raises(ConfigError, match="expected sha256 e3b0c44298fc1c149afbf4c8996fb924"):
        Market(other)
    with pytest.raises(ConfigError, match="the config says otherwise how long"):
        Market(amend(on_tape(tape), tape=dataclasses.replace(tape, orders=tape.orders + 1)))
    with pytest.raises(ConfigError, match=r"no\.npy: cannot be read"):
        load_tape(tmp_path / "no.npy")


def test_messages_of_a_hostile_tape_break_nothing(tape: Tape, tmp_path: Path) -> None:
    good = tape_of(on_tape(tape)).copy()
    rng = np.random.default_rng(4)
    for number in range(12):
        rows = good.copy()
        for name in ("handle", "price", "side", "kind", "lots"):
            some = rng.random(len(rows)) < 0.2
            rows[name][some] = rng.permutation(rows[name])[some]
        rows["lots"] = np.maximum(rows["lots"], 1)
        path = tmp_path / f"{number}.npy"
        path.write_bytes(bytes_of((0.01, 1.0), rows))
        config, _ = beside(load_tape(path), ppo=1, noise=2)
        market = kit.beside_twin(config, number, 150, Counter())
        kit.check_structure(market)


def test_a_run_of_ours_becomes_a_tape(tmp_path: Path) -> None:
    quick = ["--no-audit", "--no-report", "--no-tensorboard", "--timesteps", "100", "--population", "day6"]
    assert simulate.main([*quick, "--run-dir", str(tmp_path / "run")]) == 0
    pair = pair_of_run(tmp_path / "run", 20)
    made = tapes.make(pair)
    assert tapes.play_back(pair, made, tapes.write(made, tmp_path / "own.npy")).agreeing == len(pair.messages) > 500


def test_a_day_alone_is_recorded_by_the_command_and_a_second_one_refused(
    tape: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["--no-report", "--no-tensorboard", "--run-dir"]
    assert simulate.main(["--tape", tape.file, "--ppo", "0", *quick, "alone"]) == 0
    assert "none differ" in capsys.readouterr().out
    assert {agent.id for agent in load_run("alone").market.agents} == {"tape_0", "tape_1"}
    other = tapes.write(
        tapes.make(dataclasses.replace(day(), messages=day().messages[:90], books=day().books[:90])), tmp_path / "o.npy"
    )
    assert simulate.main(["--config", "alone/config.json", "--tape", other.file, *quick, "twice"]) == 2
    assert "alone/config.json has a recorded day of its own (market.tape)" in capsys.readouterr().err
    moved = tmp_path / "moved.npy"
    moved.write_bytes(Path(tape.file).read_bytes())
    assert simulate.main(["--config", "alone/config.json", "--tape", str(moved), *quick, "moved"]) == 0
    again = load_run("moved").market.tape
    assert again is not None
    assert again.file == str(moved)


def test_a_recorded_days_seat_is_nobodys_to_learn(tape: Tape) -> None:
    config, policies = beside(tape, ppo=1)
    with pytest.raises(ConfigError, match="tape_0 is a seat of the recorded day's, which nobody plays"):
        Batch(config, build_others(config, ["ppo_0"], policies), ["tape_0"], 2)


def test_a_tape_is_held_once_whatever_part_is_played(tape: Tape) -> None:
    first, second = (tape_of(on_tape(part_of(tape, *part, 50))) for part in ((0.0, 0.5), (0.5, 1.0)))
    assert np.shares_memory(first, second)
    assert not first.flags.writeable


def test_a_tick_that_is_no_number_is_one_clear_error() -> None:
    for number in (math.nan, math.inf):
        with pytest.raises(ConfigError, match="tick_size: expected a whole number of the files' units"):
            tapes.make(day(), tick_size=number)
