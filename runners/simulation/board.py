"""A run on TensorBoard: scalars, histograms, figures, texts, hyperparameters and a layout, by one documented list.

Market, accounts, actions and rewards come from the agents' infos as they act, flows from the exchange's log as it is
drained; a timestep is written as one summary once both are known. :data:`TAGS` is the one list of what is written and
what it means. Cost: about 6 µs a value, against 90 with ``SummaryWriter.add_scalar``.
"""

from __future__ import annotations

import struct
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from market_env.config import LEARNER_KIND, AgentConfig, MarketConfig, to_json
from market_env.engine import state
from runners.files.derive import Rows, news, values_at
from runners.files.event_file import EventFile, experiment, layout, scalars, text
from runners.files.whole import as_json
from scripted_agents import registry
from scripted_agents.standards import NEAR_BOUND


class Tag(NamedTuple):
    """Something that a run writes."""

    name: str
    """``<kind>`` and ``<id>`` stand for each kind and each agent, ``<figure>`` for each page of the report."""
    plugin: str
    """scalars, histograms, images or text."""
    when: str
    meaning: str


EVERY = "timestep"
AGENT_EVERY = 10
"""Timesteps between two summaries of single agents."""
HISTOGRAM_EVERY = 100
"""Timesteps that a histogram shows."""
MOST_POINTS = 5_000
"""Points of a tag at most: of a longer run every second timestep is written, or every third, and so on, agents' scalars and
histograms as many times more seldom."""


def thinning(timesteps: int) -> int:
    """Of how many timesteps of a run of this length one is written; 1 up to :data:`MOST_POINTS`."""
    return max(1, -(-timesteps // MOST_POINTS))


TAGS: tuple[Tag, ...] = (
    Tag("market/mid", "scalars", EVERY, "reference price, ticks, as the last turn of the timestep began"),
    Tag("market/spread", "scalars", EVERY, "best ask - best bid, ticks, as that turn began; absent unless two-sided"),
    Tag("market/imbalance", "scalars", EVERY, "(bid lots - ask lots) / sum at the touch, as that turn began; absent unless two-sided"),
    Tag("liquidity/bid_depth", "scalars", EVERY, "resting lots of the first 10 bid levels, as that turn began"),
    Tag("liquidity/ask_depth", "scalars", EVERY, "resting lots of the first 10 ask levels, as that turn began"),
    Tag("liquidity/depth_imbalance", "scalars", EVERY, "(bid depth - ask depth) / sum, as that turn began; absent if both are 0"),
    Tag("flow/turns", "scalars", EVERY, "turns of all agents"),
    Tag("flow/submitted_lots", "scalars", EVERY, "lots of accepted orders"),
    Tag("flow/refused_lots", "scalars", EVERY, "lots that risk checks refused"),
    Tag("flow/cancelled_lots", "scalars", EVERY, "resting lots that were cancelled, for whatever reason"),
    Tag("flow/trades", "scalars", EVERY, "trades"),
    Tag("flow/traded_lots", "scalars", EVERY, "lots traded"),
    Tag("flow/signed_lots", "scalars", EVERY, "lots that aggressors bought less those that they sold"),
    Tag("per_kind/<kind>/inventory", "scalars", EVERY, "mean inventory of the kind's agents as of their last turns, lots"),
    Tag("per_kind/<kind>/wealth_change", "scalars", EVERY, "mean change in wealth since the start, as of their last turns, tick-lots"),
    Tag("per_kind/<kind>/open_orders", "scalars", EVERY, "mean number of open orders, as of their last turns"),
    Tag("per_kind/<kind>/reward", "scalars", EVERY, "mean reward of the turns settled in the timestep; absent if there were none"),
    Tag("per_kind/<kind>/turns", "scalars", EVERY, "their turns"),
    Tag("per_kind/<kind>/maker_lots", "scalars", EVERY, "lots that their resting orders traded"),
    Tag("per_kind/<kind>/taker_lots", "scalars", EVERY, "lots that their incoming orders traded"),
    Tag("per_agent/<id>/inventory", "scalars", f"{AGENT_EVERY} timesteps", "inventory as of the agent's last turn, lots"),
    Tag("per_agent/<id>/wealth_change", "scalars", f"{AGENT_EVERY} timesteps", "change in wealth since the start, as of its last turn, tick-lots"),
    Tag("per_agent/<id>/open_orders", "scalars", f"{AGENT_EVERY} timesteps", "open orders as of its last turn"),
    Tag("ppo/bound_share", "scalars", EVERY, "absolute inventory as a share of the bound of the agents of kind ppo as they acted, mean; absent, like all of `ppo/`, in a timestep without a turn of theirs"),
    Tag("ppo/orders", "scalars", EVERY, "orders that they asked for, a turn"),
    Tag("ppo/bid_offset", "scalars", EVERY, "ticks below the reference price of the bids that they asked for; absent without one, and for market orders"),
    Tag("ppo/ask_offset", "scalars", EVERY, "ticks above the reference price of the asks that they asked for; absent without one, and for market orders"),
    Tag("ppo/ordered_lots", "scalars", EVERY, "lots bid for less lots offered"),
    Tag("ppo/cancels", "scalars", EVERY, "share of turns that asked for a cancel"),
    Tag("ppo/trading", "scalars", EVERY, "share of turns before which, since the turn before, one of the agent's orders traded"),
    Tag("value/level", "scalars", EVERY, "what the asset is worth at the end of the timestep, ticks; absent, like all of `value/`, in a market without a value. No agent sees it but by its signal"),
    Tag("value/news", "scalars", EVERY, "pieces of news"),
    Tag("histograms/spread", "histograms", f"{HISTOGRAM_EVERY} timesteps", "spreads at the timesteps' last turns, ticks"),
    Tag("histograms/trade_size", "histograms", f"{HISTOGRAM_EVERY} timesteps", "lots of the trades"),
    Tag("histograms/inventory", "histograms", f"{HISTOGRAM_EVERY} timesteps", "inventories of all agents as of their last turns, lots"),
    Tag("report/<figure>", "images", "end", "the report's pages, the order-book heatmap among them; absent without a report"),
    Tag("run/config", "text", "start", "`config.json`"),
    Tag("run/closing_table", "text", "end", "what happened, as the run printed it"),
    Tag("summary/trades", "scalars", "end", "trades of the run; this and the next are the metrics of the HPARAMS page"),
    Tag("summary/mean_spread", "scalars", "end", "mean spread at the ends of the timesteps, ticks"),
    Tag("summary/two_sided_share", "scalars", "end", "share of timesteps that end with a two-sided book"),
    Tag("summary/<kind>_wealth_change", "scalars", "end", "change in wealth of all agents of the kind, tick-lots"),
    Tag("summary/ppo_trading_turns_share", "scalars", "end", "share of the turns of agents of kind ppo after which one of their orders traded before the next turn, mean over agents"),
    Tag("summary/ppo_near_bound_share", "scalars", "end", f"share of timesteps that they end beyond {100 * NEAR_BOUND:g} % of the bound, mean over agents"),
)  # fmt: skip
"""Every tag of a run and its meaning."""

TRAINING_TAGS: tuple[Tag, ...] = (
    Tag("run/config", "text", "start", "the training's arguments"),
    Tag("validation/liquidation_gain", "scalars", "validation", "mean change in liquidation wealth of the deterministic policy over the validation seeds, tick-lots"),
    Tag("validation/gain", "scalars", "validation", "mean change in wealth, tick-lots"),
    Tag("validation/trading_turns", "scalars", "validation", "share of its turns after which one of its orders traded before the next turn"),
    Tag("validation/near_bound", "scalars", "validation", f"share of timesteps beyond {100 * NEAR_BOUND:g} % of its bound"),
    Tag("rollout/ep_rew_mean", "scalars", "update", "mean reward of the last 100 episodes; this and all below are Stable-Baselines3's own"),
    Tag("rollout/ep_len_mean", "scalars", "update", "mean length of the last 100 episodes, turns"),
    Tag("time/fps", "scalars", "update", "learner's turns a second since the start"),
    Tag("train/loss", "scalars", "update", "PPO's whole loss, last minibatch"),
    Tag("train/policy_gradient_loss", "scalars", "update", "the policy's part of it, mean over the update"),
    Tag("train/value_loss", "scalars", "update", "the value function's part, mean"),
    Tag("train/entropy_loss", "scalars", "update", "negative entropy of the policy, mean"),
    Tag("train/approx_kl", "scalars", "update", "approximate Kullback-Leibler divergence of the new policy from the old"),
    Tag("train/clip_fraction", "scalars", "update", "share of samples whose probability ratio was clipped"),
    Tag("train/clip_range", "scalars", "update", "the clipping range"),
    Tag("train/explained_variance", "scalars", "update", "share of the returns' variance that the value function explains"),
    Tag("train/learning_rate", "scalars", "update", "Adam's step"),
)  # fmt: skip
"""Every tag of a training."""

LAYOUT: Mapping[str, Mapping[str, Sequence[str]]] = {
    "Market": {
        "mid": ["market/mid", "value/level"],
        "spread": ["market/spread"],
        "depth by side": ["liquidity/bid_depth", "liquidity/ask_depth"],
        "imbalance": ["market/imbalance", "liquidity/depth_imbalance"],
    },
    "Flow": {
        "lots": ["flow/submitted_lots", "flow/cancelled_lots", "flow/traded_lots"],
        "aggressors' net lots": ["flow/signed_lots"],
    },
    "Agents by kind": {
        "inventory": ["per_kind/<kind>/inventory"],
        "wealth change": ["per_kind/<kind>/wealth_change"],
        "maker lots": ["per_kind/<kind>/maker_lots"],
        "taker lots": ["per_kind/<kind>/taker_lots"],
    },
    "PPO": {
        "share of the inventory bound": ["ppo/bound_share"],
        "offsets": ["ppo/bid_offset", "ppo/ask_offset"],
        "share of turns with a trade": ["ppo/trading"],
    },
}
"""The custom-scalars page: categories, their charts, and each chart's tags."""


def names(plugin: str, *, when: str | None = None, starts: str = "") -> list[str]:
    """Names in :data:`TAGS`, in order."""
    return [t.name for t in TAGS if t.plugin == plugin and when in (None, t.when) and t.name.startswith(starts)]


FLOWS = names("scalars", starts="flow/")[1:]
"""Of all agents, from the log; turns are counted as they come."""
MARKET = [*names("scalars", starts="market/"), *names("scalars", starts="liquidity/")]
PPO = names("scalars", starts="ppo/")
VALUE = names("scalars", starts="value/")
KIND_MEANS = 3
"""First so many tags of a kind are means over its agents' accounts, and an agent's tags the same."""


class Board:
    """Writes a run's event file.

    Args:
        folder: where it goes.
        config: the market.
        seed: the run's, which decides what the asset is worth.
    """

    def __init__(self, folder: Path, config: MarketConfig, seed: int) -> None:
        self._file = EventFile(folder)
        self._config = config
        agents = config.agents
        self._kinds = list(dict.fromkeys(agent.kind for agent in agents))
        self._kind = {agent.id: self._kinds.index(agent.kind) for agent in agents}
        self._kind_of = np.array([self._kind[agent.id] for agent in agents])
        self._index = {agent.id: i for i, agent in enumerate(agents)}
        self._members = np.zeros((len(self._kinds), len(agents)))
        self._members[self._kind_of, np.arange(len(agents))] = 1.0
        self._members /= self._members.sum(axis=1, keepdims=True)
        # Columns: inventory, wealth change, open orders; each agent as of its last turn.
        self._accounts = np.zeros((len(agents), KIND_MEANS))
        self._accounts[:, 0] = [agent.inventory for agent in agents]
        self._start = [agent.cash + agent.inventory * config.first_price for agent in agents]
        self._bounds = {agent.id: agent.inventory_bound for agent in agents if agent.kind == LEARNER_KIND}
        kind_names = [name.rpartition("/")[2] for name in names("scalars", starts="per_kind/<kind>/")]
        self._kind_tags = [[f"per_kind/{kind}/{name}" for name in kind_names] for kind in self._kinds]
        agent_names = names("scalars", starts="per_agent/<id>/")
        self._agent_tags = [[name.replace("<id>", agent.id) for name in agent_names] for agent in agents]
        self._every = thinning(config.timesteps)
        self._agents_every = AGENT_EVERY * self._every
        self._histogram_every = HISTOGRAM_EVERY * self._every
        # From the log, of the timesteps from `_first` on: all flows, and maker and taker lots by kind.
        self._first = 0
        self._flows = np.zeros((0, len(FLOWS)))
        self._lots = np.zeros((2, 0, len(self._kinds)))
        told = news(config, seed, config.timesteps)
        ends = np.arange(1.0, config.timesteps + 1.0)
        self._value = (
            values_at(config, told, np.nextafter(ends, 0.0)),
            np.bincount(told.time.astype(np.int64), minlength=config.timesteps),
        )
        self._sizes: dict[int, list[NDArray[np.int32]]] = {}
        self._known = 0
        """Timesteps whose flows are known."""
        self._pending: deque[tuple[int, float, list[tuple[str, float]] | dict[str, list[float]]]] = deque()
        """Timestep, wall time, and scalars or histograms that wait for the log."""
        self._spreads: list[float] = []
        self._timestep = 0
        self._begin_timestep()

    def _begin_timestep(self) -> None:
        self._turns = [0] * len(self._kinds)
        self._rewards = [(0.0, 0)] * len(self._kinds)
        self._market: dict[str, Any] | None = None
        self._ppo: list[tuple[float | None, ...]] = []

    # --- what is watched ----------------------------------------------------------------------------------

    def turn(self, agent: str, reward: float, info: dict[str, Any], action: NDArray[np.int64]) -> None:
        """Count a turn; a new timestep closes the one before."""
        timestep = info["timestep"]
        if timestep != self._timestep:
            self._close_timestep()
            if timestep // self._histogram_every != self._timestep // self._histogram_every:
                self._close_interval()
            self._timestep = timestep
            self._write_known()
        self._settle(agent, reward, info)
        self._turns[self._kind[agent]] += 1
        self._market = info
        if agent in self._bounds:
            self._ppo.append(self._acted(agent, info, action.tolist()))

    def end(self, agent: str, reward: float, info: dict[str, Any]) -> None:
        """Count what was settled at the end."""
        self._settle(agent, reward, info)

    def drained(self, events: Rows, timestep: int) -> None:
        """Take what the log says; all of it before ``timestep`` is in."""
        events = events[events["timestep"] < self._config.timesteps]
        self._make_room(max(timestep, int(events["timestep"][-1]) + 1 if len(events) else 0))
        kinds = events["kind"]
        when, lots = events["timestep"] - self._first, events["lots"].astype(np.float64)
        trade, cancel = kinds == state.KIND_TRADE, kinds == state.KIND_CANCEL
        signs = np.where(events["side"] == state.BUY, 1.0, -1.0)
        resting = cancel & (events["reason"] != state.REASON_IOC)
        for column, (rows, weights) in enumerate(
            (
                (kinds == state.KIND_ACCEPT, lots),
                (kinds == state.KIND_REJECT, lots),
                (resting, lots),
                (trade, np.ones(len(events))),
                (trade, lots),
                (trade, signs * lots),
            )
        ):
            self._flows[:, column] += np.bincount(when[rows], weights[rows], len(self._flows))
        for side, owner in enumerate(("maker", "agent")):
            np.add.at(self._lots[side], (when[trade], self._kind_of[events[owner][trade]]), lots[trade])
        trades = events[trade]
        for interval in np.unique(trades["timestep"] // self._histogram_every).tolist():
            here = trades["timestep"] // self._histogram_every == interval
            self._sizes.setdefault(interval, []).append(trades["lots"][here])
        self._known = timestep

    def _make_room(self, end: int) -> None:
        """Hold flows of the timesteps before ``end`` from the first one on that still waits for them."""
        first = min(self._known, self._pending[0][0] if self._pending else self._known)
        size = max(end, self._first + len(self._flows)) - first
        flows, lots = np.zeros((size, len(FLOWS))), np.zeros((2, size, len(self._kinds)))
        kept = self._flows[first - self._first :]
        flows[: len(kept)] = kept
        lots[:, : len(kept)] = self._lots[:, first - self._first :]
        self._first, self._flows, self._lots = first, flows, lots

    def _settle(self, agent: str, reward: float, info: dict[str, Any]) -> None:
        index, kind = self._index[agent], self._kind[agent]
        account = self._accounts[index]
        account[0] = info["inventory"]
        account[1] = info["wealth"] - self._start[index]
        account[2] = info["open_orders"]
        total, count = self._rewards[kind]
        self._rewards[kind] = (total + reward, count + 1)

    def _acted(self, agent: str, info: dict[str, Any], codes: list[int]) -> tuple[float | None, ...]:
        """A turn of the learner's seat in the order of :data:`PPO`."""
        cancel, bid_offset, bid_lots, ask_offset, ask_lots = codes
        offsets, lots = self._config.offsets, self._config.lots
        priced = [
            offsets[offset] if size and offset < len(offsets) else None
            for offset, size in ((bid_offset, bid_lots), (ask_offset, ask_lots))
        ]
        return (
            abs(info["inventory"]) / self._bounds[agent],
            (bid_lots > 0) + (ask_lots > 0),
            *priced,
            lots[bid_lots] - lots[ask_lots],
            cancel > 0,
            info["maker_lots"] + info["taker_lots"] > 0,
        )

    # --- what is written ----------------------------------------------------------------------------------

    def _close_timestep(self) -> None:
        """Make a summary of the timestep; its flows follow when the log is drained."""
        info = self._market
        if info is None:
            return
        if info["two_sided"]:
            self._spreads.append(info["spread"])
        if self._timestep % self._every:
            self._begin_timestep()
            return
        depths = info["bid_depth"] + info["ask_depth"]
        balance = (info["bid_depth"] - info["ask_depth"]) / depths if depths else None
        spread, imbalance = (info["spread"], info["imbalance"]) if info["two_sided"] else (None, None)
        numbers = (info["mid"], spread, imbalance, info["bid_depth"], info["ask_depth"], balance)
        values = [(tag, number) for tag, number in zip(MARKET, numbers, strict=True) if number is not None]
        if self._config.value is not None:
            values += ((tag, float(row[self._timestep])) for tag, row in zip(VALUE, self._value, strict=True))
        values.append(("flow/turns", sum(self._turns)))
        means = (self._members @ self._accounts).tolist()
        for tags, mean, (reward, count), turns in zip(self._kind_tags, means, self._rewards, self._turns, strict=True):
            values += zip(tags, mean, strict=False)
            if count:
                values.append((tags[KIND_MEANS], reward / count))
            values.append((tags[KIND_MEANS + 1], turns))
        if self._ppo:
            for tag, column in zip(PPO, zip(*self._ppo, strict=True), strict=True):
                known = [number for number in column if number is not None]
                if known:
                    values.append((tag, sum(known) / len(known)))
        if self._timestep % self._agents_every == 0:
            for tags, row in zip(self._agent_tags, self._accounts.tolist(), strict=True):
                values += zip(tags, row, strict=True)
        self._pending.append((self._timestep, time.time(), values))
        self._begin_timestep()

    def _close_interval(self) -> None:
        """Make the histograms of the interval that ends with the last timestep."""
        data = {"histograms/spread": self._spreads, "histograms/inventory": self._accounts[:, 0].tolist()}
        self._pending.append((self._timestep, time.time(), data))
        self._spreads = []

    def _write_known(self) -> None:
        while self._pending and self._pending[0][0] < self._known:
            timestep, moment, made = self._pending.popleft()
            if isinstance(made, dict):
                sizes = self._sizes.pop(timestep // self._histogram_every, [])
                made["histograms/trade_size"] = [lots for trades in sizes for lots in trades.tolist()]
                value = [v for tag, data in made.items() if data for v in histogram_pb(tag, data).value]
                self._file.add(Summary(value=value), timestep, moment)
                continue
            made += zip(FLOWS, self._flows[timestep - self._first].tolist(), strict=True)
            lots = self._lots[:, timestep - self._first].tolist()
            for tags, maker, taker in zip(self._kind_tags, *lots, strict=True):
                made += ((tags[-2], maker), (tags[-1], taker))
            self._file.add_scalars(made, timestep, moment)

    def describe(self, description: dict[str, Any], name: str) -> None:
        """Write what a run of this name starts with: its config as text, its hyperparameters, the layout."""
        self._file.add(text("run/config", as_json(description)), 0)
        found = hyperparameters(description)
        self._file.add(experiment_of(found, self._kinds), 0)
        self._file.add(hparams_pb(found, trial_id=name), 0)
        self._file.add(layout_of(self._kinds), 0)

    def conclude(self, summary: dict[str, Any], closing_table: str) -> None:
        """Write what a run ends with: the last timesteps, its closing table, and its metrics."""
        self._close_timestep()
        self._close_interval()
        self._known = summary["timesteps"]
        self._write_known()
        step = max(summary["timesteps"] - 1, 0)
        self._file.add(text("run/closing_table", closing_table), step)
        learners = [agent for agent in summary["agents"].values() if agent["kind"] == LEARNER_KIND]
        numbers = {
            "summary/trades": summary["trades"],
            "summary/mean_spread": summary["mean_spread"],
            "summary/two_sided_share": summary["two_sided_share"],
            **{f"summary/{kind}_wealth_change": of["wealth_change"] for kind, of in summary["kinds"].items()},
        }
        for name in ("trading_turns_share", "near_bound_share"):
            known = [agent[name] for agent in learners if agent[name] is not None]
            numbers[f"summary/ppo_{name}"] = sum(known) / len(known) if known else None
        self._file.add(scalars((tag, number) for tag, number in numbers.items() if number is not None), step)

    def figures(self, paths: Iterable[Path], step: int) -> None:
        """Write pictures (PNG files) under their names."""
        for path in paths:
            data = path.read_bytes()
            width, height = struct.unpack(">II", data[16:24])  # where every PNG says its size
            image = Summary.Image(encoded_image_string=data, width=width, height=height, colorspace=4)
            self._file.add(Summary(value=[Summary.Value(tag=f"report/{path.stem}", image=image)]), step)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A disk that is full is so for this file too: what went wrong first is what is said.
        if kind is None:
            self._file.close()
        else:
            self._file.abandon()


def experiment_of(found: Mapping[str, bool | int | float | str], kinds: Iterable[str]) -> Summary:
    """What the HPARAMS page compares runs by: types of the hyperparameters, and names of the metrics.

    The page shows what one run lists for all of them, so every run lists what belongs to any kind that has a policy by
    default, its own or not.
    """
    kinds = list(dict.fromkeys([*registry.KINDS, *kinds]))
    listed: dict[str, Any] = {f"agents/{kind}": 0 for kind in kinds}
    for kind in registry.KINDS:
        for name, value in to_json(registry.default_policy(AgentConfig(f"{kind}_0", kind))).items():
            if isinstance(value, (bool, int, float, str)):
                listed[f"{kind}/{name}"] = value
    listed |= found
    metrics = [
        name.replace("<kind>", kind)
        for name in names("scalars", starts="summary/")
        for kind in (kinds if "<kind>" in name else [""])
    ]
    return experiment(listed, metrics)


def each(tags: Iterable[str], agents: Sequence[AgentConfig]) -> list[str]:
    """Tags with each kind and each agent in place of ``<kind>`` and ``<id>``."""
    kinds = list(dict.fromkeys(agent.kind for agent in agents))
    found = []
    for tag in tags:
        if "<kind>" in tag:
            found += [tag.replace("<kind>", kind) for kind in kinds]
        elif "<id>" in tag:
            found += [tag.replace("<id>", agent.id) for agent in agents]
        else:
            found.append(tag)
    return found


def hyperparameters(description: dict[str, Any]) -> dict[str, bool | int | float | str]:
    """What tells one run from another: seed, market, population, the policies' parameters by kind, and the reward."""
    market = description["market"]
    found: dict[str, Any] = {"seed": description["seed"]}
    found |= {name: value for name, value in market.items() if isinstance(value, (int, float, str))}
    kinds = Counter(agent["kind"] for agent in market["agents"])
    found |= {f"agents/{kind}": kinds[kind] for kind in (*registry.KINDS, *kinds)}
    found |= {f"reward/{name}": value for name, value in description["reward"].items()}
    seats = {agent["id"]: agent["kind"] for agent in market["agents"]}
    for kind in kinds:
        policies = [policy for agent, policy in description["policies"].items() if seats[agent] == kind]
        for name in policies[0]:
            values = [policy.get(name) for policy in policies]
            if all(value == values[0] for value in values):
                found[f"{kind}/{name}"] = values[0]
    return {name: value for name, value in found.items() if isinstance(value, (bool, int, float, str))}


def layout_of(kinds: Sequence[str]) -> Summary:
    """:data:`LAYOUT` as the custom-scalars page takes it; charts of kinds that are not there are left out."""
    return layout(
        {
            title: {
                name: [tag.replace("<kind>", kind) for tag in tags for kind in (kinds if "<kind>" in tag else [""])]
                for name, tags in charts.items()
            }
            for title, charts in LAYOUT.items()
            if title != "PPO" or LEARNER_KIND in kinds
        }
    )
