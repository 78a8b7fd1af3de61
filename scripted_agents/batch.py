"""Many markets at once: one compiled call carries all learners' actions out and plays up to their next turns.

Promise: each market is the one that the AEC environment plays with the same seed, actions and policies, bit for
bit, whatever the number of markets and cores. Markets run in parallel (``numba.set_num_threads``), without
the interpreter's lock. Cost: about 0.2 µs a turn and core and :func:`market_bytes` of memory a market
(``python -m benchmarks batch``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from market_env import actions, observations
from market_env.actions import WIDTH
from market_env.config import ConfigError, MarketConfig, check_learners, check_together
from market_env.engine import ahead, masks, observe, step, turn
from market_env.engine.kernel import entry, kernel, parallel_kernel
from market_env.engine.soundness import check_records
from market_env.engine.state import (
    LINE,
    NONE,
    NOT_BEGUN,
    OUT_OF_RANGE,
    OUTCOME,
    OVER,
    READY,
    SEEN,
    Capacity,
    covering,
    market_dtype,
)
from market_env.engine.streams import run_key
from market_env.market import NO_EPISODE, NO_EVENTS, capacity_of, check_seed, configure
from market_env.tape import tape_of
from scripted_agents.policy import Policy
from scripted_agents.rollout import Players, PolicyTable, bad_action, play_on


class BatchArrays(NamedTuple):
    """What a batch's kernels read and write beside the markets' records: arrays that ride together, first axis the market."""

    learners: NDArray[np.int64]
    """Agent indices of the learners: shape (markets, learners)."""
    cast: NDArray[np.int64]
    """Which of the casts plays in each market: shape (markets,). Markets that are alike share one, which stays in the caches."""
    seats: NDArray[np.int64]
    """Of each cast: the learner's number of each agent, NONE of those that are none: shape (casts, agents)."""
    addresses: NDArray[np.int64]
    """Of the policies: shape (casts, agents); so ``starts``, where their parameters begin."""
    starts: NDArray[np.int64]
    parts: NDArray[np.int64]
    """Of the observation, that the policies read: shape (casts, agents)."""
    parameters: NDArray[np.float64]
    """Of all policies."""
    seen: NDArray[np.void]
    """SEEN, shape (markets, learners)."""
    acted: NDArray[np.int8]
    """Whether a learner has had its turn in this step: shape (markets, learners)."""
    scratch: NDArray[np.float32]
    """Work space, a row a thread, at least SIZE wide; so ``action``, at least WIDTH wide."""
    action: NDArray[np.int64]
    codes: NDArray[np.int64]
    """The action that was out of range, where one was: shape (markets, WIDTH)."""
    statuses: NDArray[np.int64]
    observations: NDArray[np.float32]
    """Shape (markets, learners, SIZE)."""
    infos: NDArray[np.void]
    """INFO, shape (markets, learners)."""
    outcomes: NDArray[np.void]
    """OUTCOME, shape (markets, learners)."""
    finished: NDArray[np.bool_]
    tape: NDArray[np.void] | None
    """A recorded day's rows, TAPE, the same for all markets; None without one."""


@kernel
def players_of(arrays, i):
    """Who plays market ``i``, with the work space of the thread that asks."""
    cast, own = arrays.cast[i], numba.get_thread_id()
    return Players(
        arrays.seats[cast], arrays.addresses[cast], arrays.starts[cast], arrays.parts[cast], arrays.parameters,
        arrays.scratch[own], arrays.action[own], arrays.tape,
    )  # fmt: skip


@kernel
def begin_market(market, events, key, learners, seen, players):
    """Start an episode and play it to a learner's first turn; return a status."""
    turn.reset(market, key, players.tape)
    step.begin_looks(market, learners, seen)
    status = turn.begin(market, events, players.tape)
    if status == READY:
        status = play_on(market, events, players)
    return status


@kernel
def step_market(market, events, decisions, seen, acted, players):
    """Carry out the learners' decisions, each at its turn, and play up to the next step; return a status."""
    acted[:] = 0
    seats = players.seats
    status = OVER if market.finished else READY
    while status == READY:
        number = seats[market.acting]
        if acted[number]:
            break
        acted[number] = 1
        for component in range(WIDTH):  # a slice would allocate
            players.action[component] = decisions[number, component]
        turn.act(market, events, players.action, market.reference)
        status = turn.begin(market, events, players.tape)
        if status == READY:
            status = play_on(market, events, players)
        if status == READY and not acted[seats[market.acting]]:
            step.open_turn(market, seats, seen)
    return status


@kernel
def fetch_rows(i, arrays):
    """Ask for what is kept of market ``i``'s learners beside its record."""
    for number in range(arrays.learners.shape[1]):
        ahead.fetch(arrays.seen[i, number], 0, SEEN_LINES)
        ahead.fetch(arrays.infos[i, number], 0, INFO_LINES)
        ahead.fetch(arrays.outcomes[i, number], 0, OUTCOME_LINES)


@kernel
def look(market, i, arrays):
    """A step of market ``i`` has ended: let its learners look."""
    if arrays.statuses[i] == OUT_OF_RANGE:
        codes = arrays.codes[i]
        for component in range(WIDTH):
            codes[component] = arrays.action[numba.get_thread_id(), component]
    step.look(market, arrays.learners[i], arrays.seen[i], arrays.observations[i], arrays.infos[i], arrays.outcomes[i])
    step.open_turn(market, arrays.seats[arrays.cast[i]], arrays.seen[i])
    arrays.finished[i] = market.finished != 0


@kernel
def bad_market(chosen, statuses):
    """The first chosen market in which a policy acted out of range; NONE if none did."""
    for i in range(len(chosen)):
        if chosen[i] and statuses[i] == OUT_OF_RANGE:
            return i
    return NONE


@kernel
def bad_decision(markets, chosen, begun, decisions):
    """The first decision out of range in the chosen markets, as market x learners + learner; NONE if there is none.

    NOT_BEGUN if a chosen market has no episode.
    """
    learners = decisions.shape[1]
    for i in range(len(chosen)):
        if chosen[i]:
            if not begun[i]:
                return NOT_BEGUN
            for number in range(learners):
                if not turn.in_range(markets[i], decisions[i, number]):
                    return i * learners + number
    return NONE


@parallel_kernel
def begin_markets(markets, events, chosen, keys, arrays):
    """Start an episode in every chosen market, and look."""
    statuses = arrays.statuses  # named here: numba loses what a prange writes to a field
    for i in numba.prange(len(markets)):
        if chosen[i]:
            statuses[i] = begin_market(
                markets[i], events, keys[i], arrays.learners[i], arrays.seen[i], players_of(arrays, i)
            )
            look(markets[i], i, arrays)


@parallel_kernel
def step_markets(markets, events, chosen, decisions, arrays):
    """A step in every chosen market, and look."""
    statuses = arrays.statuses  # as above
    for i in numba.prange(len(markets)):
        if chosen[i]:
            if len(markets) > FEW:
                ahead.fetch_next(markets, i)
                fetch_rows(min(i + 1, len(markets) - 1), arrays)
            statuses[i] = step_market(
                markets[i], events, decisions[i], arrays.seen[i], arrays.acted[i], players_of(arrays, i)
            )
            look(markets[i], i, arrays)


@parallel_kernel
def mask_markets(markets, learners, found):
    """Which codes of each learner can have an effect, in every market."""
    for i in numba.prange(len(markets)):
        for number in range(learners.shape[1]):
            masks.mask_codes(markets[i], learners[i, number], found[i, number])


def market_bytes(config: MarketConfig, learners: int = 1, capacity: Capacity | None = None) -> int:
    """Memory that one market of a batch of this config takes, in records of a capacity that is its own by default."""
    seat = 4 * observations.SIZE + observe.INFO.itemsize + OUTCOME.itemsize + SEEN.itemsize + 9
    work = 8 * WIDTH + 16
    return int(market_dtype(capacity or capacity_of(config)).itemsize + learners * seat + work)


APART = 128
"""Bytes between two threads' work space."""
FEW = 64
"""Markets that the caches hold: with no more, memory is not asked for ahead."""

SEEN_LINES, INFO_LINES, OUTCOME_LINES = (-(-kind.itemsize // LINE) for kind in (SEEN, observe.INFO, OUTCOME))

STATE = ("records", "observations", "infos", "outcomes", "finished", "begun", "_seen")
"""Arrays of a batch that are its state; what else it holds is work space."""


Policies = Mapping[str, Policy | Sequence[Policy]]
"""A compiled policy by agent id; a sequence is dealt to a batch's markets in turn."""


def several(config: MarketConfig | Sequence[MarketConfig] | None) -> list[MarketConfig]:
    """One config, the default one, or a list of them, as a list.

    Raises:
        ConfigError: the list is empty, or holds something else; their agents could not share an action space.
    """
    configs = [MarketConfig()] if config is None else [config] if isinstance(config, MarketConfig) else list(config)
    if not configs:
        raise ConfigError("config: expected at least one, got none")
    for other in configs:
        if not isinstance(other, MarketConfig):
            raise ConfigError(f"config: expected a MarketConfig or a list of them, got {type(other).__name__} in it")
        if other.tape != configs[0].tape:
            raise ConfigError("config: markets of one batch share their tape: expected the same one, or none, in all")
        for name in ("offsets", "lots"):
            if getattr(other, name) != getattr(configs[0], name):
                raise ConfigError(
                    f"config: markets of one batch share their action space: expected {name} "
                    f"{getattr(configs[0], name)}, got {getattr(other, name)}"
                )
    return configs


def on_lines(count: int, kind: np.dtype[np.void]) -> NDArray[np.void]:
    """Zeroed rows that begin with a cache line."""
    room = np.zeros(count * kind.itemsize + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + count * kind.itemsize].view(kind)


class Batch:
    """``markets`` markets, moved together from step to step, of one config or of several that are dealt to them in turn.

    A step goes from the moment at which a learner arrives to the next such moment. One learner may arrive as it
    likes; several must arrive together, see :func:`market_env.config.check_together`.

    Args:
        config: rules and roster of each market; of a list, market ``i`` has the one at ``i % len(config)``, so that
            one batch mixes populations. Their grids of offsets and lots are the same.
        policies: for every agent that does not learn; for a list of configs a list of as many.
        learners: agent ids, in every market.
        markets: how many.

    Raises:
        ConfigError: a learner is not in the market, an agent has no compiled policy, the number of markets is below
            one or their memory above the machine's.
    """

    def __init__(
        self,
        config: MarketConfig | Sequence[MarketConfig],
        policies: Policies | Sequence[Policies],
        learners: Sequence[str],
        markets: int,
    ) -> None:
        distinct = several(config)
        for each in distinct:
            check_learners("learners", each, learners)
            if len(learners) > 1:
                check_together(each, learners)
        if isinstance(markets, bool) or not isinstance(markets, int) or markets < 1:
            raise ConfigError(f"markets: expected an integer of at least 1, got {markets!r}")
        self.distinct = distinct[:markets]
        """The configs that are dealt."""
        self.learners = list(learners)
        self.count = markets
        capacity = covering(map(capacity_of, self.distinct))
        needed = markets * max(market_bytes(each, len(learners), capacity) for each in self.distinct)
        present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed > present:
            raise ConfigError(
                f"markets: {markets:,} would take {needed / 2**30:,.1f} GiB, this machine has {present / 2**30:,.1f} GiB"
            )
        places = [[each.agent_ids.index(learner) for learner in learners] for each in self.distinct]
        self.agents = self._dealt(np.array(places, np.int64))
        """int64 of shape (markets, learners): their indices in the rosters."""
        shape = (markets, len(learners))
        # As bytes, so that the padding is copied too, and with the very dtype object that the kernels are compiled for.
        fresh = np.stack([configure(each, capacity).view(np.uint8) for each in self.distinct])
        self._fresh = fresh.reshape(-1).view(market_dtype(capacity))
        self.records = on_lines(markets, market_dtype(capacity))
        """The markets' records, shape (markets,)."""
        for place, row in enumerate(fresh):
            self.records.view(np.uint8).reshape(markets, -1)[place :: len(fresh)] = row
        self.observations = np.zeros((*shape, observations.SIZE), np.float32)
        """What each learner sees: float32 of shape (markets, learners, SIZE)."""
        self.infos = np.zeros(shape, observe.INFO)
        """INFO rows of shape (markets, learners)."""
        self.outcomes = np.zeros(shape, OUTCOME)
        """What came of the last step: OUTCOME rows of shape (markets, learners)."""
        self.finished = np.ones(markets, np.bool_)
        """Whether each market's episode is over, or has not begun."""
        self.begun = np.zeros(markets, np.bool_)
        """Whether each market has an episode, under way or over."""
        self.codes = actions.sizes(distinct[0].offsets, distinct[0].lots)
        self._seen = np.zeros(shape, SEEN)
        self._decisions = np.zeros((*shape, WIDTH), np.int64)
        self._keys = np.zeros(markets, np.uint64)
        self._everywhere = np.ones(markets, np.bool_)
        self.recast(policies)
        # Starts numba's threads. Started later they would undo what others, PyTorch for one, have set in the OpenMP
        # that all share, and a seed's weights would depend on what ran before.
        numba.get_num_threads()

    def _dealt(self, rows: NDArray[Any]) -> NDArray[Any]:
        """A row for each market, of one for each config."""
        return rows[np.arange(self.count) % len(rows)]

    def config_of(self, market: int) -> MarketConfig:
        """Rules and roster of a market."""
        return self.distinct[market % len(self.distinct)]

    def recast(self, policies: Policies | Sequence[Policies]) -> None:
        """Let other policies play the agents that do not learn, from now on.

        Args:
            policies: as the batch was made with.

        Raises:
            ConfigError: an agent has no compiled policy, or the list is of another length than that of the configs.
        """
        given = [policies] if isinstance(policies, Mapping) else list(policies)[: self.count]
        if len(given) != len(self.distinct):
            raise ConfigError(f"policies: expected those of {len(self.distinct)} configs, got {len(given)}")
        tables = []
        for number, (config, own) in enumerate(zip(self.distinct, given, strict=True)):
            markets = range(number, self.count, len(self.distinct))
            # Dealt to all the batch's markets in turn, of which these are some.
            dealt = {
                agent: [policy[market % len(policy)] for market in markets] if isinstance(policy, Sequence) else policy
                for agent, policy in own.items()
            }
            table = PolicyTable(dealt, config.agent_ids, len(markets))
            table.check(config, self.agents[number].tolist())
            tables.append(table)
        self._tables = tables
        self._gather()

    def _gather(self) -> None:
        """Lay out what the kernels take; what is no state is work space, made anew."""
        agents = max(len(config.agents) for config in self.distinct)
        rows = np.zeros((self.count, 4, agents), np.int64)
        rows[:, 0] = NONE
        begin = 0
        for number, (config, table) in enumerate(zip(self.distinct, self._tables, strict=True)):
            markets = slice(number, None, len(self.distinct))
            known = len(config.agents)
            rows[markets, 0, :known] = step.seats_of(self.agents[number].tolist(), known)
            rows[markets, 1, :known] = table.addresses
            rows[markets, 2, :known] = begin + table.starts
            rows[markets, 3, :known] = table.parts
            begin += len(table.parameters)
        casts, cast = np.unique(rows, axis=0, return_inverse=True)
        seats, addresses, starts, parts = np.ascontiguousarray(casts.swapaxes(0, 1))
        threads = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # (set when numba is imported)
        self._step_markets: Callable[..., None] | None = None
        self._bad_decision: Callable[..., int] | None = None
        self._bad_market: Callable[..., int] | None = None
        self._arrays = BatchArrays(
            learners=self.agents,
            cast=cast.reshape(-1),
            seats=seats,
            addresses=addresses,
            starts=starts,
            parts=parts,
            parameters=self.policy_parameters(),
            seen=self._seen,
            acted=np.zeros(self._seen.shape, np.int8),
            # Rows so far apart that no two threads write into one cache line.
            scratch=np.zeros((threads, observations.SIZE + APART // 4), np.float32),
            action=np.zeros((threads, WIDTH + APART // 8), np.int64),
            codes=np.zeros((self.count, WIDTH), np.int64),
            statuses=np.zeros(self.count, np.int64),
            observations=self.observations,
            infos=self.infos,
            outcomes=self.outcomes,
            finished=self.finished,
            tape=tape_of(self.distinct[0]),
        )

    def reset(self, seeds: Sequence[int], chosen: NDArray[np.bool_] | None = None) -> None:
        """Start an episode in the chosen markets, by default in all.

        Args:
            seeds: one for each chosen market, in order.
            chosen: bool of shape (markets,).

        Raises:
            ValueError: a seed is no non-negative integer, or their number is wrong.
        """
        where = self._where(chosen)
        count = int(where.sum())
        if len(seeds) != count:
            raise ValueError(f"seeds: expected {count}, one for each market to reset, got {len(seeds)}")
        self._keys[where] = [run_key(check_seed(seed)) for seed in seeds]
        begin_markets(self.records, NO_EVENTS, where, self._keys, self._arrays)
        self._check(where)

    def step(self, decisions: Any, chosen: NDArray[np.bool_] | None = None) -> None:
        """Carry out the learners' actions and play on to their next step, in the chosen markets, by default in all.

        A market whose episode is over stays as it is.

        Args:
            decisions: integer codes of shape (markets, learners, 5); those of markets not chosen do not matter.
            chosen: bool of shape (markets,).

        Raises:
            RuntimeError: a chosen market was not reset, or a policy acted out of range in it.
            TypeError: the actions are no integers.
            ValueError: their shape is another, or one is out of range; nothing has changed then.
        """
        where = self._where(chosen)
        self._decisions[:] = actions.as_codes(decisions, self.codes, self.label, self._decisions.shape[:-1])
        if self._bad_decision is None:
            self._bad_decision = entry(bad_decision, self.records, where, self.begun, self._decisions)
        bad = self._bad_decision(self.records, where, self.begun, self._decisions)
        if bad == NOT_BEGUN:
            raise RuntimeError(NO_EPISODE)
        if bad != NONE:
            market, number = divmod(bad, len(self.learners))
            codes = self._decisions[market, number]
            raise ValueError(actions.out_of_range(codes, self.codes, self.label((market, number))))
        if self._step_markets is None:
            arguments = (self.records, NO_EVENTS, where, self._decisions, self._arrays)
            self._step_markets = entry(step_markets, *arguments)
        self._step_markets(self.records, NO_EVENTS, where, self._decisions, self._arrays)
        self._check(where)

    def label(self, place: tuple[int, ...]) -> str:
        """How an error names the action at a place: of all, or (market, learner)."""
        if not place:
            return f"actions of {', '.join(self.learners)}"
        market, number = place
        return f"market {market}: action of {self.learners[number]}"

    def _where(self, chosen: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        if chosen is None:
            return self._everywhere
        if not isinstance(chosen, np.ndarray) or chosen.dtype != np.bool_ or chosen.shape != (self.count,):
            raise ValueError(f"chosen: expected an array of bool of shape ({self.count},), got {chosen!r}")
        return np.ascontiguousarray(chosen)

    def __getstate__(self) -> dict[str, Any]:
        # Addresses mean nothing in another process.
        made = {"_arrays", "_step_markets", "_bad_decision", "_bad_market"}
        return {name: value for name, value in vars(self).items() if name not in made}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        vars(self).update(saved)
        # The very dtype objects that the kernels are compiled for; an equal copy would be slow.
        kept = market_dtype(covering(map(capacity_of, self.distinct)))
        records, self._fresh = self.records, self._fresh.view(kept)
        self.records = on_lines(self.count, kept)
        self.records.view(np.uint8)[:] = records.view(np.uint8)
        self.infos = self.infos.view(observe.INFO)
        self.outcomes = self.outcomes.view(OUTCOME)
        self._seen = self._seen.view(SEEN)
        self._gather()
        numba.get_num_threads()

    def policy_parameters(self) -> NDArray[np.float64]:
        """The parameters of all policies that play here, float64."""
        return np.concatenate([table.parameters for table in self._tables])

    def action_masks(self) -> NDArray[np.bool_]:
        """Which of the learners' action codes can have an effect, each as if it were the first to act.

        Returns:
            bool of shape (markets, learners, codes of all components), see :mod:`market_env.engine.masks`.

        Raises:
            RuntimeError: a market has no episode.
        """
        if not self.begun.all():
            raise RuntimeError(f"action_masks(): {NO_EPISODE}")
        config = self.config_of(0)
        codes = int(actions.sizes(config.offsets, config.lots).sum())
        found = np.zeros((self.count, len(self.learners), codes), np.bool_)
        mask_markets(self.records, self.agents, found)
        return found

    def save(self) -> dict[str, NDArray[Any]]:
        """Copies of all that the markets are, by name; :meth:`restore` takes them."""
        return {name: getattr(self, name).copy() for name in STATE}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go back to a saved state of a batch of the same config, learners and number of markets.

        Raises:
            ConfigError: the state is one of another batch, or none that a batch could be in.
        """
        for name in STATE:
            ours, theirs = getattr(self, name), saved[name]
            if theirs.dtype != ours.dtype:
                raise ConfigError(
                    f"state: expected {name} laid out as in this version, got those of another, or of other markets"
                )
            if theirs.shape != ours.shape:
                raise ConfigError(f"state: expected {name} of shape {ours.shape}, got {theirs.shape} of another batch")
        if (saved["records"]["config"] != self.records["config"]).any():
            raise ConfigError("state: expected one saved by a batch of the same config, got one of another")
        try:
            records = saved["records"].view(self.records.dtype)
            for place in range(len(self.distinct)):
                own = records[place :: len(self.distinct)]
                check_records(np.ascontiguousarray(own), self._fresh[place : place + 1], self._arrays.tape)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        for number in np.flatnonzero(saved["begun"] & (saved["records"]["key"] == 0)):
            raise ConfigError(f"state: market {number} was begun, and has no episode")
        for name in STATE:
            getattr(self, name)[:] = saved[name]

    def _check(self, where: NDArray[np.bool_]) -> None:
        if self._bad_market is None:
            self._bad_market = entry(bad_market, where, self._arrays.statuses)
        bad = self._bad_market(where, self._arrays.statuses)
        self.begun |= where
        if bad != NONE:
            # The episode cannot go on: the turn of an agent that does not learn has begun and found no action.
            self.begun[where & (self._arrays.statuses == OUT_OF_RANGE)] = False
            agent = self.config_of(bad).agent_ids[int(self.records["acting"][bad])]
            raise ValueError(f"market {bad}: {bad_action(agent, self._arrays.codes[bad])}")
