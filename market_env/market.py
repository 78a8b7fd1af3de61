"""A market as a Python object: the record and the calls that move it. Every face stands on this.

Promise: the record is the whole state. :meth:`Market.save` copies it, :meth:`Market.restore` puts it back, and
what follows is the same to the bit. Cost: one compiled call a turn, about 1 µs with observation and info.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market_env import actions, observations
from market_env.actions import WIDTH
from market_env.config import ConfigError, Duty, Every, Hawkes, MarketConfig, Poisson, Recorded, to_json
from market_env.engine import accounts, book, masks, observe, state, turn
from market_env.engine.kernel import entry, kept, kernel
from market_env.engine.soundness import check_records
from market_env.engine.state import EVENT, LOG_FULL, OUT_OF_RANGE, OVER, READY
from market_env.engine.streams import name_key, run_key
from market_env.outside import shown
from market_env.tape import tape_of

Records = NDArray[np.void]
Info = dict[str, Any]

LOG_CAPACITY = 8192
"""Events that a logging market holds before they must be drained, if that is more than one turn needs."""

INFO_NAMES = observe.INFO.names or ()
INFO_FORMAT = struct.Struct("=" + "".join({"i": "q", "f": "d"}[observe.INFO[name].kind] for name in INFO_NAMES))
"""An INFO row, whose fields all have eight bytes; a third of the cost of numpy's ``item``."""
assert INFO_FORMAT.size == observe.INFO.itemsize

NO_ACTION: NDArray[np.int64] = np.zeros(0, np.int64)
"""In place of an action: nothing is carried out."""
NO_EVENTS: NDArray[np.void] = np.zeros(0, state.EVENT)
"""An event buffer that keeps nothing."""


@kernel
def start(markets, key, tape):
    """Reset ``markets[0]``."""
    turn.reset(markets[0], key, tape)


@kernel
def advance(markets, events, tape, action, observation, info, outcome):
    """Carry out the acting agent's action, unless it has no codes, open the next turn and look for its agent.

    Returns the acting agent's index or a status below 0.
    """
    market = markets[0]
    if len(action) > 0:
        if not turn.in_range(market, action):
            return OUT_OF_RANGE
        turn.act(market, events, action, market.reference)
    status = turn.begin(market, events, tape)
    if status == READY:
        look(market, market.acting, observation, info, outcome)
        return market.acting
    return status


@kernel
def look(market, agent, observation, info, outcome):
    """Observe and describe for an agent, and copy what came of its last turn; ``info`` and ``outcome`` of shape (1,)."""
    settled = market.agents[agent].outcome
    observe.observe(market, agent, settled, observation, observe.ALL)
    observe.describe(market, agent, settled, info[0])
    outcome[0] = settled


@kernel
def look_again(markets, agent, observation, info, outcome):
    """Look for an agent between turns."""
    look(markets[0], agent, observation, info, outcome)


@kernel
def observe_agent(markets, agent, observation):
    """Observe for any agent."""
    market = markets[0]
    observe.observe(market, agent, market.agents[agent].outcome, observation, observe.ALL)


@kernel
def describe_agent(markets, agent, info):
    """Describe any agent."""
    market = markets[0]
    observe.describe(market, agent, market.agents[agent].outcome, info[0])


@kernel
def read_depth(markets, side, prices, lots):
    """Read L2 levels of one side."""
    return book.depth(markets[0], side, prices, lots)


@kernel
def read_masks(markets, agent, mask):
    """Which codes of any agent can have an effect."""
    masks.mask_codes(markets[0], agent, mask)


@kernel
def close_out(markets, agent):
    """Liquidation wealth of an agent."""
    return accounts.liquidation_wealth(markets[0], agent)


def capacity_of(config: MarketConfig) -> state.Capacity:
    """The smallest compiled capacity that holds this market.

    Raises:
        ConfigError: none holds so many agents, open orders or messages under way.
    """
    under_way = sum(agent.latency.under_way for agent in config.agents if agent.latency is not None)
    seats = [agent for agent in config.agents if not isinstance(agent.arrivals, Recorded)]
    try:
        fits = state.fitting(len(config.agents), sum(agent.max_open_orders for agent in seats), under_way)
        if config.tape is None:
            return fits
        return state.with_tape(fits, config.tape.orders, config.tape.highest - config.tape.lowest)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def configure(config: MarketConfig, capacity: state.Capacity | None = None) -> Records:
    """A record, shape (1,), that holds ``config`` and awaits its first reset.

    Args:
        config: rules and roster.
        capacity: of the record, at least that of :func:`capacity_of`, which is the default.

    Raises:
        ConfigError: no compiled capacity holds so many agents or open orders.
    """
    records = np.zeros(1, state.market_dtype(capacity or capacity_of(config)))
    market = records[0]
    # Nothing rests and nobody acts, before the first reset as after the end.
    market["acting"] = state.NONE
    market["orders"]["id"] = state.NONE
    for ends in (
        market["levels"]["head"],
        market["levels"]["tail"],
        market["agents"]["oldest"],
        market["agents"]["newest"],
    ):
        ends[:] = state.NONE
    market["config"] = name_key(json.dumps(to_json(config)))
    market["end"] = config.timesteps
    market["first_price"] = config.first_price
    market["price_band"] = config.price_band
    market["protection_ticks"] = config.protection_ticks
    if config.tape is not None:
        market["tape_first"], market["tape_last"] = config.tape.first, config.tape.last
    if config.halt is not None:
        market["halt_move"] = config.halt.move
        market["halt_within"] = config.halt.within
        market["halt_pause"] = config.halt.pause
    market["agent_count"] = len(config.agents)
    market["offset_count"] = len(config.offsets)
    market["offsets"][: len(config.offsets)] = config.offsets
    market["lots_count"] = len(config.lots)
    market["lots"][: len(config.lots)] = config.lots
    members: dict[str, list[int]] = {}
    for index, agent in enumerate(config.agents):
        account = market["agents"][index]
        account["name"] = name_key(agent.id)
        account["start_inventory"] = agent.inventory
        account["start_cash"] = agent.cash
        account["inventory_bound"] = agent.inventory_bound
        account["cash_floor"] = agent.cash_floor
        account["max_open_orders"] = agent.max_open_orders
        account["post_only"] = agent.post_only
        account["best_only"] = agent.best_only
        fees = config.fees_of(agent)
        account["maker_fee"] = fees.maker
        account["taker_fee"] = fees.taker
        account["message_fee"] = fees.message
        account["free_messages"] = fees.free_messages
        delay = market["delays"][index]
        delay["fixed"] = -1.0
        if agent.latency is not None:
            market["delayed"] += 1
            delay["fixed"] = agent.latency.fixed
            delay["random"] = agent.latency.random
            delay["most"] = agent.latency.under_way
        account["signal"] = -1.0 if agent.signal is None else agent.signal
        duty = agent.duty or Duty(0, 1)
        account["shift"] = duty.shift
        account["shifts"] = duty.shifts
        account["shift_length"] = duty.length
        account["shift_phase"] = duty.phase
        arrivals = agent.arrivals
        if isinstance(arrivals, Recorded):
            account["clock"] = state.NONE
            account["max_open_orders"] = 2**31 - 1
            market["tape_taker"] = index
            market["tape_maker"] = index if not market["tape_rows"] else market["tape_maker"]
            assert config.tape is not None
            market["tape_rows"] = config.tape.rows
            continue
        # A group's name cannot be an agent's id, which ends in a number behind an underscore.
        members.setdefault(arrivals.group if isinstance(arrivals, Hawkes) else agent.id, []).append(index)
    placed = 0
    for number, (name, indices) in enumerate(members.items()):
        clock = market["clocks"][number]
        clock["name"] = name_key(name)
        clock["first_member"] = placed
        clock["members"] = clock["size"] = len(indices)
        market["members"][placed : placed + len(indices)] = indices
        placed += len(indices)
        for index in indices:
            market["agents"][index]["clock"] = number
        match config.agents[indices[0]].arrivals:
            case Every(period, phase):
                clock["process"] = state.CLOCK_EVERY
                clock["period"] = period
                clock["phase"] = -1.0 if phase is None else phase
            case Poisson(rate):
                clock["process"] = state.CLOCK_POISSON
                clock["rate"] = rate
            case Hawkes() as hawkes:
                clock["process"] = state.CLOCK_HAWKES
                clock["size"] = hawkes.size or len(indices)
                clock["rate"] = hawkes.rate * clock["size"]
                clock["parts"] = len(hawkes.parts)
                for part, (ratio, decay) in enumerate(hawkes.parts):
                    clock["branching"][part] = ratio
                    clock["decay"][part] = decay
                    clock["news"][part] = hawkes.news * hawkes.share(part)
    market["clock_count"] = len(members)
    if config.value is not None:
        for name in ("rate", "decay", "jump", "tail", "reversion"):
            market["value"][name] = getattr(config.value, name)
        market["value"]["branching"] = config.value.branching_ratio
    return records


NO_EPISODE = "no episode is under way; call reset() first"


def check_seed(seed: object) -> int:
    """``seed`` as an int.

    Raises:
        ConfigError: it is no non-negative integer.
    """
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ConfigError(f"seed: expected an integer of 0 or more, got {shown(seed)}")
    return int(seed)


MADE_WITH = ("config", "reward", "learner", "learners", "policies", "background", "render_mode", "log")
"""What an environment is made with, and cannot be told at a reset."""


def check_options(options: Mapping[str, Any] | None) -> None:
    """Raise a ValueError if the ``options`` of a reset ask for another environment; others are ignored."""
    for name in options or ():
        if name in MADE_WITH:
            raise ValueError(f"options: {name} is fixed when an environment is made; make another one with it")


class Market:
    """One market, moved turn by turn.

    Args:
        config: its rules and roster.
        log: whether to keep events for :meth:`drain`.
        records: a record of this config, shape (1,), to move instead of a fresh one: a row of a batch, say. Call
            :meth:`sync` when others have moved it.
    """

    def __init__(self, config: MarketConfig, *, log: bool = False, records: Records | None = None) -> None:
        given: object = config
        if not isinstance(given, MarketConfig):
            kind = type(given).__name__
            market = ", whose .market is one" if hasattr(given, "market") else ""
            raise ConfigError(f"config: expected a MarketConfig, got {kind}{market}")
        self.config = config
        self.records = configure(config) if records is None else records
        self.tape = tape_of(config)
        """The recorded day's rows, :data:`market_env.engine.state.TAPE`; None without one."""
        self.agent_ids = config.agent_ids
        self.index = {agent: i for i, agent in enumerate(self.agent_ids)}
        capacity = len(self.records[0]["orders"])
        self.events = np.zeros(max(LOG_CAPACITY, 2 * state.longest_turn(capacity)), state.EVENT) if log else NO_EVENTS
        self.observation = np.zeros(observations.SIZE, np.float32)
        self._action = np.zeros(WIDTH, np.int64)
        self._info = np.zeros(1, observe.INFO)
        self._outcome = np.zeros(1, state.OUTCOME)
        self._outcome_turn = self._outcome["turn"]
        self._looked = (self.observation, self._info, self._outcome)
        self.acting: int = OVER
        """Index of the agent whose turn it is; -1 once the episode is over."""
        self.codes = actions.sizes(config.offsets, config.lots)
        self._kept: list[NDArray[np.void]] = []
        self.begun = bool(self.records["key"][0])
        """Whether it was ever reset."""
        if self.begun:
            self.sync()

    def reset(self, seed: int) -> bool:
        """Start an episode and open its first turn; False if nobody ever arrives."""
        self._kept.clear()
        self.begun = True
        start(self.records, run_key(check_seed(seed)), self.tape)
        self.acting = self._advance(self.records, self.events, self.tape, NO_ACTION, *self._looked)
        return self._going()

    def act(self, action: Any) -> bool:
        """Carry out the acting agent's action, five codes, and open the next turn; False at the end.

        Raises:
            RuntimeError: the market was not reset, or the episode is over.
            TypeError: the action is no sequence of integers.
            ValueError: its shape is not (5,), or a component is out of range.
        """
        if self.acting < 0:
            raise RuntimeError(NO_EPISODE)
        if type(action) is np.ndarray and action.dtype == np.int64 and action.shape == (WIDTH,):
            # Into a buffer of our own: a view of another layout would be another type to the compiler.
            self._action[:] = action
        else:
            self._action[:] = actions.as_codes(action, self.codes, actions.label_of(self.agent_ids[self.acting]))
        status = self._advance(self.records, self.events, self.tape, self._action, *self._looked)
        if status == OUT_OF_RANGE:
            raise ValueError(actions.out_of_range(self._action, self.codes, f"action of {self.agent_ids[self.acting]}"))
        self.acting = status
        return self._going()

    def _advance(self, *arguments: Any) -> int:
        # The first time; from then on the compiled entry stands in this method's place.
        self.compile_turn()
        return self._advance(*arguments)

    def compile_turn(self) -> None:
        """Compile what a turn takes, or load it; nothing of it runs."""
        compiled = entry(advance, self.records, self.events, self.tape, self._action, *self._looked)
        self._advance = compiled  # type: ignore[method-assign]

    def turn_is_kept(self) -> bool:
        """Whether what a turn takes lies on disk, so that nothing of note has to be compiled, or can be kept nowhere."""
        return kept(advance, self.records, self.events, self.tape, self._action, *self._looked)

    def check(self, action: Any, agent: str) -> NDArray[np.int64]:
        """An action of ``agent`` as five codes, int64 of shape (5,); nothing is carried out.

        Raises:
            TypeError: the action is no sequence of integers.
            ValueError: its shape is not (5,), or a component is out of range.
        """
        codes = actions.as_codes(action, self.codes, actions.label_of(agent))
        if ((codes < 0) | (codes >= self.codes)).any():
            raise ValueError(actions.out_of_range(codes, self.codes, f"action of {agent}"))
        return codes

    def _going(self) -> bool:
        if self.acting == LOG_FULL:
            self.make_room()
        return self.acting >= 0

    def make_room(self) -> None:
        """Empty the full event buffer, keeping the events for :meth:`drain`, and open the turn that had to wait."""
        while True:  # what falls due before the turn can fill it more than once
            self._keep()
            self.acting = self._advance(self.records, self.events, self.tape, NO_ACTION, *self._looked)
            if self.acting != LOG_FULL:
                return

    def sync(self) -> None:
        """Look anew after a kernel of somebody else's has moved the record."""
        self.acting = int(self.records["acting"][0])
        if self.acting >= 0:
            look_again(self.records, self.acting, *self._looked)

    def _keep(self) -> None:
        count = int(self.records["logged"][0])
        if count:
            self._kept.append(self.events[:count].copy())
            self.records["logged"][0] = 0

    def drain(self) -> NDArray[np.void]:
        """Hand over all events since the last call, as EVENT rows."""
        self._keep()
        events = np.concatenate(self._kept) if self._kept else NO_EVENTS
        self._kept.clear()
        return events

    @property
    def reference(self) -> float:
        """The reference price, ticks."""
        return float(self.records["reference"][0])

    def acting_info(self) -> Info:
        """The info of the agent whose turn just began."""
        return as_info(self._info)

    def acting_has_acted(self) -> bool:
        """Whether the agent whose turn just began has had a turn before."""
        return bool(self._outcome_turn[0] >= 0)

    def acting_outcome(self) -> np.void:
        """What came of the last turn of the agent whose turn just began: an OUTCOME record."""
        row: np.void = self._outcome[0]
        return row

    def info(self, agent: int) -> Info:
        """The info of any agent now."""
        if not self.begun:
            raise RuntimeError(NO_EPISODE)
        row = np.zeros(1, observe.INFO)
        describe_agent(self.records, agent, row)
        return as_info(row)

    def observe(self, agent: int) -> NDArray[np.float32]:
        """The observation of any agent now: a fresh float32 array of shape (SIZE,)."""
        if not self.begun:
            raise RuntimeError(NO_EPISODE)
        out = np.zeros(observations.SIZE, np.float32)
        observe_agent(self.records, agent, out)
        return out

    def outcome(self, agent: int) -> np.void:
        """What came of the agent's last settled turn: an OUTCOME record, a view."""
        row: np.void = self.records["agents"]["outcome"][0, agent]
        return row

    def action_masks(self, agent: int) -> NDArray[np.bool_]:
        """Which codes of the agent's components can have an effect now, one component after another: see :mod:`market_env.engine.masks`."""
        if not self.begun:
            raise RuntimeError(NO_EPISODE)
        mask = np.zeros(int(self.codes.sum()), np.bool_)
        read_masks(self.records, agent, mask)
        return mask

    def liquidation_wealth(self, agent: int) -> float:
        """Cash after closing the agent's inventory against the others' resting orders, tick-lots."""
        return float(close_out(self.records, agent))

    def policy_stream(self, agent: int) -> NDArray[np.uint64]:
        """The agent's policy stream: a view into the record, so that it is saved and restored with it."""
        stream: NDArray[np.uint64] = self.records["agents"]["policy_stream"][0, agent]
        return stream

    def policy_memory(self, agent: int) -> NDArray[np.float64]:
        """What the agent's policy remembers: float64 of shape (MEMORY,), a view that is saved and restored with the record."""
        memory: NDArray[np.float64] = self.records["agents"]["memory"][0, agent]
        return memory

    def depth(self, levels: int) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        """Bid prices, bid lots, ask prices, ask lots of the best ``levels`` levels; 0 beyond the book."""
        prices, lots = np.zeros((2, levels), np.int32), np.zeros((2, levels), np.int64)
        for side in (state.BUY, state.SELL):
            read_depth(self.records, side, prices[side], lots[side])
        return prices[0], lots[0], prices[1], lots[1]

    def __getstate__(self) -> dict[str, Any]:
        # The record, and the events that wait to be drained: all else is made from the config.
        kept = self.drain()
        if len(kept):
            self._kept.append(kept)
        return {"config": self.config, "log": len(self.events) > 0, "market": self.save(), "kept": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["config"], log=state["log"])  # type: ignore[misc]
        # The dtype object that the kernels were compiled for; an equal copy, as unpickling makes, would be slow.
        self.restore(state["market"].view(self.records.dtype))
        if len(state["kept"]):
            self._kept.append(state["kept"].view(EVENT))

    def save(self) -> Records:
        """A copy of the whole state, shape (1,); pickles. Events that wait to be drained are not part of it."""
        saved = np.zeros_like(self.records)
        # By bytes: a copy by fields would leave the padding between them undefined.
        saved.view(np.uint8)[:] = self.records.view(np.uint8)
        return saved

    def restore(self, saved: Records) -> None:
        """Go back to a saved state of a market with the same configuration.

        Raises:
            ValueError: ``saved`` is no state of a market of this config, or none that a market could be in.
        """
        if not isinstance(saved, np.ndarray) or saved.dtype != self.records.dtype or saved.shape != (1,):
            raise ValueError("state: expected a record of shape (1,) saved by Market.save of this version, got another")
        if saved["config"][0] != self.records["config"][0]:
            raise ValueError("state: expected one saved by a market of the same config, got one of another")
        check_records(saved.view(self.records.dtype), configure(self.config), self.tape)
        self._kept.clear()
        self.begun = bool(saved["key"][0])
        self.records.view(np.uint8)[:] = saved.view(np.uint8)
        self.records["logged"][0] = 0
        self.sync()


def as_info(row: NDArray[np.void]) -> Info:
    """An INFO row, shape (1,), as a dict of plain numbers."""
    # One dtype made both, and this runs every turn; numpy's stubs know nothing of its buffers.
    return dict(zip(INFO_NAMES, INFO_FORMAT.unpack_from(row)))  # type: ignore[arg-type]  # noqa: B905
