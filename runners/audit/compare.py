"""A run held against its own log: everything rebuilt from ``config.json`` and ``events/`` alone, and compared.

Trades, quotes, depth, accounts, turns with their actions and rewards, and the summary's figures are rebuilt with the
plain-Python book and never the engine, and compared with what was recorded, column by column; then the plain-Python
market carries out every recorded action and must write the same log. Cost: some seconds for 5,000 timesteps.
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from market_env.actions import COMPONENTS
from market_env.config import FEE_UNIT, AgentConfig, ConfigError, MarketConfig, parse_json
from market_env.engine.state import KINDS, REJECT_REASONS
from market_env.outside import read_json
from market_env.rewards import DEFAULT_REWARD, WealthReward
from market_env.twin import Entry, TwinMarket
from runners.audit.rebuild import Event, Replay, twin_of
from runners.audit.streams import delays
from runners.files.config import read_config
from runners.files.folder import file_hashes
from runners.files.read import read_parts
from runners.files.schema import TABLES, VERSION, arrow_schema, known
from runners.files.summary import OPENING
from runners.files.whole import write_json
from scripted_agents.standards import NEAR_BOUND

ROWS = 2**14
"""Recorded rows that are looked at together."""


def replay(path: Path, until: int | None = None) -> Replay:
    """Rebuild a run from ``config.json`` and ``events/``.

    Args:
        path: the run's folder.
        until: stop at the end of this timestep; by default the whole log, up to its last whole timestep.

    Raises:
        ConfigError: there is no run, or a part is missing, damaged or out of order.
    """
    data, config = read_config(path)
    reward = parse_json(WealthReward, json.dumps(data["reward"])) if "reward" in data else DEFAULT_REWARD
    rebuilt = Replay(config, reward, data["seed"], data["schema"])
    last = -1
    for part, rows in read_parts(path):
        for row, values in enumerate(rows.iter_rows()):
            event = Event(*values)
            if event.agent not in rebuilt.accounts:
                raise ConfigError(f"{part}: row {row}: agent: expected one of the roster, found {event.agent!r}")
            if not 0 <= event.timestep < config.timesteps:
                raise ConfigError(
                    f"{part}: row {row}: timestep: expected 0 to {config.timesteps - 1}, found {event.timestep}"
                )
            if until is not None and event.timestep > until:
                rebuilt.finish(until + 1)
                return rebuilt
            try:
                rebuilt.feed(event)
            except (AssertionError, LookupError, OverflowError, TypeError, ValueError):
                raise ConfigError(f"{part}: row {row}: cannot stand here: {event}") from None
            last = event.timestep
    summary = path / "summary.json"
    recorded = read_json(summary, str(summary)).get("timesteps") if summary.is_file() else None
    # A log cannot tell of quiet timesteps at its end: a finished run says how many there were.
    timesteps = recorded if isinstance(recorded, int) and last < recorded <= config.timesteps else last + 1
    if until is not None and until >= timesteps:
        raise ConfigError(f"timestep: expected 0 to {timesteps - 1}, which were recorded, got {until}")
    rebuilt.finish(timesteps if until is None else until + 1)
    return rebuilt


def actions_lost(path: Path) -> bool:
    """Whether the run was cut off and its tables were made from its parts: then no action or reward is known."""
    summary = path / "summary.json"
    return summary.is_file() and read_json(summary, str(summary)).get("parameters_after", "") is None


def compare_table(rebuilt: Replay, path: Path, name: str) -> None:
    """Compare a recorded table with the rebuilt one, column by column."""
    check = f"{name}.parquet"
    file = path / check
    if not file.is_file():
        rebuilt.differ(check, None, None, "file", "missing", "a table")
        return
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        rebuilt.differ(check, None, None, "file", f"damaged: {str(error).splitlines()[0]}", "a table")
        return
    schema = arrow_schema(name, rebuilt.version)
    if not table.schema.equals(schema, check_metadata=rebuilt.version == VERSION):  # words have changed since
        rebuilt.differ(check, None, None, "columns, types, metadata", table.schema.names, schema.names)
        return
    columns = rebuilt.tables[name]
    count = len(columns[TABLES[name][1][0].name])
    if not rebuilt.expect(check, None, "number of rows", table.num_rows, count):
        return
    lost = name == "turns" and actions_lost(path)
    for column in table.schema.names:
        if lost and column in (*COMPONENTS, "reward"):
            expected: list[Any] = [None] * count
        elif name == "turns" and column in COMPONENTS:
            continue
        else:
            expected = rebuilt.rewards if name == "turns" and column == "reward" else columns[column]
        rebuilt.checked[check] += count
        if len(expected) != count:  # a column that the schema has, and nothing here makes
            rebuilt.differ(check, None, None, f"column {column}", f"{count} values", "the rebuild has none")
            continue
        recorded = table.column(column)
        for row, found, wanted in _apart(recorded, expected):
            at = {key: columns[key][row] for key in ("timestep", "seq", "first_seq") if key in columns}
            rebuilt.differ(check, at.get("timestep"), at.get("seq", at.get("first_seq")), column, found, wanted)
    if name == "turns" and not lost:
        compare_actions(rebuilt, carried_out(rebuilt, table))
        if not rebuilt.failed.total():
            compare_rules(rebuilt, carried_out(rebuilt, table))


def _apart(recorded: pa.ChunkedArray, expected: Sequence[Any]) -> Iterator[tuple[int, Any, Any]]:
    """Rows where a recorded column is not what is expected, with both."""
    for first in range(0, len(recorded), ROWS):
        found, wanted = recorded[first : first + ROWS].to_pylist(), expected[first : first + ROWS]
        if found != wanted:
            for row, (one, other) in enumerate(zip(found, wanted, strict=True), first):
                if one != other:
                    yield row, one, other


def carried_out(rebuilt: Replay, turns: pa.Table) -> Iterator[dict[str, Any]]:
    """What the market does with each recorded action, some thousand rows at a time."""
    batches = turns.select(["first_seq", *COMPONENTS]).to_batches(max_chunksize=ROWS)
    recorded = (action for batch in batches for action in batch.to_pylist())
    for action, turn in zip(recorded, rebuilt.turns, strict=True):
        yield turn.carried_out(action)


def limit_of(config: MarketConfig, sign: int, offset: int | None, reference: float) -> int:
    """Limit price of an order of an action, ticks: a buy's (``sign`` 1) rounds down, a sell's (-1) up; no offset is a market order."""
    limit = reference + sign * (config.protection_ticks if offset is None else -offset)
    price = math.floor(limit) if sign == 1 else math.ceil(limit)
    return max(1, price) if offset is None else price


def compare_actions(rebuilt: Replay, rows: Iterable[dict[str, Any]]) -> None:
    """Hold each recorded action against what the log says that the agent did."""
    config = rebuilt.config
    for row, (action, turn) in enumerate(zip(rows, rebuilt.turns, strict=True)):
        if rebuilt.accounts[turn.agent].seat.latency is not None:
            continue  # what it finds on arrival is for the rules to say, and some of it never arrives
        timestep = rebuilt.tables["turns"]["timestep"][row]

        def expect(
            column: str, recorded: Any, wanted: Any, at: tuple[int, int] = (timestep, action["first_seq"])
        ) -> None:
            rebuilt.checked["actions"] += 1
            if recorded != wanted:
                rebuilt.differ("actions", *at, column, recorded, wanted)

        expect("cancel", turn.cancels(action["cancel"]), list(turn.cancelled))
        for side, word, sign in (("buy", "bid", 1), ("sell", "ask", -1)):
            price, lots = turn.order_of(side) or (None, 0)
            expect(f"{word}_lots", action[f"{word}_lots"], lots)
            offset = action[f"{word}_offset"]
            expect(f"{word}_offset", offset is None or offset in config.offsets, True)
            if price is not None:
                expect(f"{word}_offset", price, limit_of(config, sign, offset, turn.reference))


def compare_rules(rebuilt: Replay, rows: Iterable[dict[str, Any]]) -> None:
    """Let the plain-Python market carry out every recorded action, and compare its log with the recorded one.

    It decides anew what risk refuses and why, what trades, rests and is cancelled; which side goes first, a draw,
    it takes from the log.
    """
    config = rebuilt.config
    try:
        twin = twin_of(config, rebuilt.seed)
    except ConfigError as error:  # its tape lies elsewhere now
        rebuilt.unchecked.append(f"rules: {error}")
        return
    if not _carries_on(rebuilt, rebuilt.opening, [*twin.lay_out(), *_until(rebuilt, twin, -1, {})], None):
        return
    travel = {agent.id: delays(agent.latency, agent.id, rebuilt.seed) for agent in config.agents}
    for row, (action, turn) in enumerate(zip(rows, rebuilt.turns, strict=True)):
        orders = {}
        for side, word, sign in (("buy", "bid", 1), ("sell", "ask", -1)):
            if lots := action[f"{word}_lots"]:
                offset = action[f"{word}_offset"]
                orders[side] = (limit_of(config, sign, offset, twin.reference), lots, offset is None)
        firsts: dict[int, str] = {}
        for entry in turn.entries:
            if entry.line.kind in {"accept", "reject"}:
                firsts.setdefault(entry.turn, str(entry.line.side))
        first, delay = firsts.get(row, "buy"), next(travel[turn.agent])
        expected = list(twin.turn(turn.agent, action["cancel"], first, orders, turn.time, delay))
        expected += _until(rebuilt, twin, row, firsts)
        if not _carries_on(rebuilt, turn.entries, expected, row):
            return  # the two markets have parted: what follows says nothing more
    if config.tape is not None:
        assert twin.recording is not None
        rebuilt.tape = {"start": twin.recording.start, **twin.counted}


def _until(rebuilt: Replay, twin: TwinMarket, row: int, firsts: dict[int, str]) -> list[Entry]:
    """What the twin lets happen after a turn until the next one, or the end."""
    last = row + 1 == len(rebuilt.turns)
    until = float(rebuilt.timestep) if last else rebuilt.turns[row + 1].time
    return list(twin.advance(until, firsts, end=last))


def _carries_on(rebuilt: Replay, recorded: Sequence[Entry], expected: list[Entry], row: int | None) -> bool:
    """Whether the log says what the twin does after a turn, None for before the first; else the difference is kept."""
    rebuilt.checked["rules"] += 1
    if list(recorded) == expected:
        return True
    found, wanted = next((a, b) for a, b in zip_longest(recorded, expected) if a != b)
    turns = rebuilt.tables["turns"]
    timestep, seq = (None, None) if row is None else (turns["timestep"][row], turns["first_seq"][row])
    rebuilt.differ("rules", timestep, seq, "turn", found, wanted)
    return False


def rebuild_summary(rebuilt: Replay) -> dict[str, Any]:
    """The summary's figures from the rebuilt tables."""
    quotes, agents, trades = rebuilt.tables["quotes"], rebuilt.tables["agents"], rebuilt.tables["trades"]
    spreads = [spread for spread in quotes["spread"] if spread is not None]
    both = [spread is not None for spread in quotes["spread"]]
    count = len(both)
    ids = rebuilt.config.agent_ids
    own_turns: dict[str, list[int]] = {agent: [] for agent in ids}
    own_trades: dict[str, list[int]] = {agent: [] for agent in ids}
    for seq, who in zip(rebuilt.tables["turns"]["first_seq"], rebuilt.tables["turns"]["agent"], strict=True):
        own_turns[who].append(seq)
    for seq, buyer, seller in zip(trades["seq"], trades["buyer"], trades["seller"], strict=True):
        for who in {buyer, seller}:
            own_trades[who].append(seq)
    figures = {
        seat.id: {"kind": seat.kind}
        | _agent_figures(
            rebuilt,
            seat,
            {name: values[index :: len(ids)] for name, values in agents.items()},
            own_turns[seat.id],
            own_trades[seat.id],
        )
        for index, seat in enumerate(rebuilt.config.agents)
    }
    kinds: dict[str, dict[str, Any]] = {}
    for agent in figures.values():
        kind = kinds.setdefault(
            agent["kind"],
            {"agents": 0, "turns": 0, "trades": 0, "maker_lots": 0, "taker_lots": 0, "wealth_change": 0},
        )
        kind["agents"] += 1
        for name in kind.keys() - {"agents", "trades"}:
            kind[name] += agent[name]
    if known("agents.fees", rebuilt.version):
        for agent in figures.values():
            kinds[agent["kind"]]["fees"] = kinds[agent["kind"]].get("fees", 0.0) + agent["fees"]
    for buyer, seller in zip(trades["buyer"], trades["seller"], strict=True):
        for name in {figures[buyer]["kind"], figures[seller]["kind"]}:
            kinds[name]["trades"] += 1
    return {
        "timesteps": count,
        "events": {
            "all": sum(rebuilt.kinds.values()),
            **{k: rebuilt.kinds[k] for k in KINDS if known(k, rebuilt.version)},
        },
        "trades": len(trades["seq"]),
        "traded_lots": sum(trades["lots"]),
        "two_sided_share": sum(both) / count if count else None,
        "two_sided_share_after_opening": sum(both[OPENING:]) / (count - OPENING) if count > OPENING else None,
        "first_price": rebuilt.config.first_price,
        "last_mid": quotes["mid"][-1] if count else None,
        "lowest_mid": min(quotes["mid"]) if count else None,
        "highest_mid": max(quotes["mid"]) if count else None,
        "mean_spread": sum(spreads) / len(spreads) if spreads else None,
        "rejected_lots": {
            reason: rebuilt.rejected[reason] for reason in sorted(REJECT_REASONS) if known(reason, rebuilt.version)
        },
        "kinds": kinds,
        "agents": figures,
    }


def _agent_figures(
    rebuilt: Replay, seat: AgentConfig, rows: dict[str, list[Any]], own_turns: list[int], own_trades: list[int]
) -> dict[str, Any]:
    """An agent's figures from its accounts, and from the sequence numbers of its turns and trades."""
    before = [bisect_left(own_trades, seq) for seq in own_turns]
    sizes = [abs(lots) for lots in rows["inventory"]]
    start = seat.cash + seat.inventory * rebuilt.config.first_price
    return {
        "turns": sum(rows["turns"]),
        "trades": len(own_trades),
        "maker_lots": sum(rows["maker_lots"]),
        "taker_lots": sum(rows["taker_lots"]),
        "inventory": rows["inventory"][-1] if sizes else seat.inventory,
        "largest_inventory": max(sizes, default=abs(seat.inventory)),
        "inventory_bound": seat.inventory_bound,
        "near_bound_share": sum(size > NEAR_BOUND * seat.inventory_bound for size in sizes) / len(sizes)
        if sizes
        else None,
        "trading_turns_share": sum(b > a for a, b in pairwise(before)) / (len(before) - 1) if len(before) > 1 else None,
        "wealth_change": float(rows["wealth"][-1] - start) if sizes else 0.0,
        **({"fees": (rows["fees"][-1] if sizes else 0) / FEE_UNIT} if "fees" in rows else {}),
    }


def compare_summary(rebuilt: Replay, path: Path) -> None:
    """Compare the recorded summary's figures with the rebuilt ones."""
    file = path / "summary.json"
    if not file.is_file():
        rebuilt.differ("summary.json", None, None, "file", "missing", "a summary")
        return
    recorded, data = read_json(file, str(file)), read_config(path)[0]
    lost = actions_lost(path)
    expected = {
        "complete": recorded.get("timesteps") == rebuilt.config.timesteps and not lost,
        **rebuild_summary(rebuilt),
        "learning": False,
        "parameters_before": data.get("parameters"),
        "parameters_after": None if lost else data.get("parameters"),
        "parameters_unchanged": None if lost else True,
        "sha256": file_hashes(path),
    }
    if rebuilt.config.tape is not None and expected["complete"]:
        expected["tape"] = rebuilt.tape or recorded.get("tape")  # which only the rules can tell
    for name, found, wanted in _leaves(recorded, expected, ""):
        rebuilt.checked["summary.json"] += 1
        close = isinstance(found, float) and isinstance(wanted, float) and math.isclose(found, wanted, rel_tol=1e-12)
        if (found != wanted or isinstance(found, bool) != isinstance(wanted, bool)) and not close:
            rebuilt.differ("summary.json", None, None, name, found, wanted)


def _leaves(found: Any, wanted: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            yield from _leaves(found.get(key, "absent"), wanted.get(key, "absent"), f"{name}.{key}".lstrip("."))
    else:
        yield name, found, wanted


def audit(path: Path) -> Replay:
    """Rebuild a run, check every rule, and compare all that was recorded.

    Raises:
        ConfigError: there is no run, it was cut off and not completed, or a part is missing, damaged or out of order.
    """
    rebuilt = replay(path)
    missing = [name for name in rebuilt.tables if not (path / f"{name}.parquet").is_file()]
    if len(missing) == len(rebuilt.tables) and not (path / "summary.json").is_file():
        if not rebuilt.kinds:
            raise ConfigError(f"run {path}: expected at least one finished part in events/, found none")
        raise ConfigError(
            f"run {path}: expected tables and summary.json, found none: it was cut off after {rebuilt.timestep:,} whole timesteps; "
            f"python -m runners.replay {path} --complete writes them"
        )
    for name in rebuilt.tables:
        compare_table(rebuilt, path, name)
    compare_summary(rebuilt, path)
    return rebuilt


def report_of(rebuilt: Replay) -> str:
    """The audit as a short table: what was checked, how many, how many differ; then the first differences."""
    names = sorted(
        rebuilt.checked.keys() | rebuilt.failed.keys(), key=lambda name: (name.endswith((".parquet", ".json")), name)
    )
    lines = [f"{'checked':<30} {'how many':>10} {'differ':>8}"]
    lines += [f"{name:<30} {rebuilt.checked[name]:>10,} {rebuilt.failed[name]:>8,}" for name in names]
    if not rebuilt.checked["actions"] and rebuilt.kinds["turn"]:
        lines.append("actions, rewards, rules: not checked, since the run was cut off before they were recorded")
    lines += [f"not checked: {what}" for what in rebuilt.unchecked]
    if rebuilt.timestep < rebuilt.config.timesteps:
        lines.append(f"incomplete: {rebuilt.timestep:,} of {rebuilt.config.timesteps:,} timesteps")
    if rebuilt.differences:
        lines += ["", f"first difference: {rebuilt.differences[0]}"]
        lines += [f"  then: {difference}" for difference in rebuilt.differences[1:5]]
    else:
        lines += ["", "nothing differs"]
    return "\n".join(lines)


def result_of(rebuilt: Replay, path: Path) -> dict[str, Any]:
    """What ``audit.json`` holds, which the report quotes: what was checked and what differs, and of which summary."""
    return {
        "summary_sha256": hashlib.sha256((path / "summary.json").read_bytes()).hexdigest(),
        "checked": rebuilt.checked.total(),
        "differ": rebuilt.failed.total(),
        "first_difference": str(rebuilt.differences[0]) if rebuilt.differences else None,
        "checks": {
            name: {"checked": count, "differ": rebuilt.failed[name]} for name, count in sorted(rebuilt.checked.items())
        },
    }


def keep_result(result: Mapping[str, Any], path: Path) -> None:
    """Write ``audit.json``.

    Raises:
        RunFolderError: it cannot be written.
    """
    write_json(path / "audit.json", result)
