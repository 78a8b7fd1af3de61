"""Populations with a mechanism taken out or put in another's place: what experiments set against the whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from market_env.config import AgentConfig, Hawkes, MarketConfig, Poisson, amend
from scripted_agents.policy import PolicyConfig
from scripted_agents.populations import Population, population
from scripted_agents.quoter import Quoter


def changed(
    of: Population,
    agents: Callable[[AgentConfig], AgentConfig | None] = lambda agent: agent,
    policies: Callable[[str, PolicyConfig], PolicyConfig] = lambda agent, own: own,
    **rules: Any,
) -> Population:
    """A population with each seat, each policy and some rules changed; a seat that is None is left out."""
    kept = [seat for agent in of.market.agents if (seat := agents(agent)) is not None]
    own = {seat.id: policies(seat.id, of.policies[seat.id]) for seat in kept}
    return replace(of, market=amend(of.market, agents=tuple(kept), **rules), policies=own)


def arriving(agent: AgentConfig, **fields: Any) -> AgentConfig:
    """A seat whose Hawkes group is another, if it has one."""
    return replace(agent, arrivals=replace(agent.arrivals, **fields)) if isinstance(agent.arrivals, Hawkes) else agent


def without_value(agent: AgentConfig) -> AgentConfig:
    """A seat in a market without a value."""
    return arriving(replace(agent, signal=None), news=0.0)


def without_value_at_all(of: Population) -> Population:
    """A population that no value anchors and no news wake."""
    return changed(of, without_value, value=None)


def unwoken(of: Population) -> Population:
    """A population whose clocks no news set off."""
    return changed(of, lambda agent: arriving(agent, news=0.0))


def unclustered(of: Population) -> Population:
    """A population whose agents arrive as often in the mean, and independently of each other, of the past and of news.

    The mean of a Hawkes group's clock is its own rate and what news set off: ``news`` arrivals a piece directly, and those
    that these set off.
    """
    news = of.market.value.rate if of.market.value else 0.0
    members = {
        agent.arrivals.group: sum(
            isinstance(other.arrivals, Hawkes) and other.arrivals.group == agent.arrivals.group
            for other in of.market.agents
        )
        for agent in of.market.agents
        if isinstance(agent.arrivals, Hawkes)
    }

    def alone(agent: AgentConfig) -> AgentConfig:
        clock = agent.arrivals
        if not isinstance(clock, Hawkes):
            return agent
        size = clock.size or members[clock.group]
        quiet = 1.0 - math.fsum(ratio for ratio, _ in clock.parts)
        return replace(agent, arrivals=Poisson(clock.rate + news * clock.news / quiet / size))

    return changed(of, alone)


def ablated() -> dict[str, Population]:
    """The default without each of its mechanisms."""
    of = population()
    value = of.market.value
    assert value is not None
    plain = MarketConfig()

    def quoting(**fields: Any) -> Population:
        return changed(of, policies=lambda _, own: replace(own, **fields) if isinstance(own, Quoter) else own)

    return {
        "default": of,
        "no value": without_value_at_all(of),
        "makers do not see the value": changed(of, lambda a: replace(a, signal=None) if a.kind == "maker" else a),
        "no informed traders": population("default", {"informed": 0}),
        "news wake nobody": unwoken(of),
        "the same, base rates x 6": changed(
            of,
            lambda a: arriving(a, news=0.0, rate=6 * a.arrivals.rate) if a.kind in ("maker", "informed") else a,  # type: ignore[union-attr]
        ),
        "bursts slow (decay 0.5)": changed(of, lambda a: arriving(a, decay=0.5)),
        "takers take all levels": changed(of, lambda a: replace(a, best_only=False)),
        "smooth value (2 news a timestep)": changed(
            of, value=replace(value, rate=2.0, jump=value.jump * (value.rate / 2.0) ** 0.5)
        ),
        "news not clustered": changed(of, value=replace(value, branching_ratio=0.0)),
        "jumps without a heavy tail": changed(of, value=replace(value, tail=100.0)),
        "makers never flicker": quoting(flicker=0.0),
        "makers neither join nor better": quoting(join=0.0, better=0.0),
        "no patient makers": changed(of, lambda a: None if of.policies[a.id] == of.policies["maker_3"] else a),
        "no noise traders": population("default", {"noise": 0}),
        "no momentum trader": population("default", {"momentum": 0}),
        "grids of day6": changed(of, offsets=plain.offsets, lots=plain.lots),
        "price and lot of day6": changed(of, first_price=plain.first_price, lot_size=plain.lot_size),
    }
