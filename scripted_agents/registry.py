"""Who trades how: a policy for every seat of a market."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from market_env.config import AgentConfig, ConfigError, MarketConfig, Recorded, check_learners, seated
from scripted_agents import frozen_ppo, informed, maker, momentum, noise, splitter
from scripted_agents.baselines import DoNothing, RandomActions
from scripted_agents.kind import Kind
from scripted_agents.policy import Policy, PolicyConfig
from scripted_agents.pusher import Pusher
from scripted_agents.rollout import CompiledBackground
from scripted_agents.schedules import Participation, Peg, Schedule

KINDS: dict[str, Kind] = {
    module.KIND.name: module.KIND for module in (frozen_ppo, noise, maker, momentum, informed, splitter)
}
"""The kinds of agents, by name. A new one is declared beside its policy and listed here, and nowhere else."""

if TYPE_CHECKING:
    AnyPolicy = PolicyConfig
else:
    AnyPolicy = Annotated[
        Union[
            (
                *(policy for kind in KINDS.values() for policy in kind.policies),
                DoNothing,
                RandomActions,
                Pusher,
                Schedule,
                Participation,
                Peg,
            )
        ],
        Field(discriminator="policy"),
    ]
"""The parameters of any policy that a configuration file can name."""


def roster(counts: Mapping[str, int]) -> tuple[AgentConfig, ...]:
    """So many agents of each kind, by name.

    Raises:
        ConfigError: a count is negative.
    """
    return seated({name: kind.seat for name, kind in KINDS.items()}, counts)


def default_policy(agent: AgentConfig) -> PolicyConfig:
    """The policy of a seat of a known kind.

    Raises:
        ConfigError: the kind is unknown.
    """
    if isinstance(agent.arrivals, Recorded):
        return DoNothing()  # never asked: its messages are on the tape
    if agent.kind not in KINDS:
        raise ConfigError(
            f"kind of {agent.id}: expected one of {', '.join(KINDS)} or a policy for it in `policies`, got {agent.kind!r}"
        )
    return KINDS[agent.kind].policy(agent)


def resolve(config: MarketConfig, policies: Mapping[str, PolicyConfig]) -> dict[str, PolicyConfig]:
    """Policy parameters for every agent: by id, else by kind, else the kind's default.

    Raises:
        ConfigError: a name in ``policies`` is no agent and no kind of this market, or an agent has no policy.
    """
    known = {agent.id for agent in config.agents} | {agent.kind for agent in config.agents}
    for name in policies:
        # A known kind without an agent is no mistake: a population of no makers keeps the makers' parameters.
        if name not in known and name not in KINDS:
            raise ConfigError(f"policies: expected an agent id or a kind of this market, got {name!r}")
        if not hasattr(policies[name], "build"):
            raise ConfigError(
                f"policies: expected parameters for {name} that build(config) a policy, got {type(policies[name]).__name__}"
            )
    return {
        agent.id: policies.get(agent.id) or policies.get(agent.kind) or default_policy(agent) for agent in config.agents
    }


def build(config: MarketConfig, policies: Mapping[str, PolicyConfig] | None = None) -> dict[str, Policy]:
    """A policy for every agent of the market.

    Raises:
        ConfigError: see :func:`resolve`; a model file that cannot be used included.
    """
    return {agent: chosen.build(config) for agent, chosen in resolve(config, policies or {}).items()}


def build_others(
    config: MarketConfig, learners: Sequence[str], policies: Mapping[str, PolicyConfig] | None = None
) -> dict[str, Policy]:
    """A policy for every agent of the market but the learners.

    Raises:
        ConfigError: a learner is not in the market, there is none, or see :func:`resolve`.
    """
    check_learners("learners", config, learners)
    # Never asked: it spares a learner of a new kind a policy.
    own = {learner: DoNothing() for learner in learners}
    chosen = resolve(config, {**(policies or {}), **own})
    return {agent: chosen[agent].build(config) for agent in config.agent_ids if agent not in own}


def build_each(
    configs: Sequence[MarketConfig],
    learners: Sequence[str],
    policies: Mapping[str, PolicyConfig] | Sequence[Mapping[str, PolicyConfig]] | None = None,
) -> list[dict[str, Policy]]:
    """:func:`build_others` for each of several markets, with one set of parameters for all of them or one each.

    Raises:
        ConfigError: there are as many sets neither as markets nor one; or see :func:`build_others`.
    """
    each = [policies] * len(configs) if policies is None or isinstance(policies, Mapping) else list(policies)
    if len(each) != len(configs):
        raise ConfigError(f"policies: expected one mapping, or one for each of {len(configs)} configs, got {len(each)}")
    return [build_others(config, learners, own) for config, own in zip(configs, each, strict=True)]


def background(
    config: MarketConfig, learners: Sequence[str], policies: Mapping[str, PolicyConfig] | None = None
) -> CompiledBackground:
    """A compiled background for every agent but the learners.

    Raises:
        ConfigError: see :func:`build_others`.
    """
    return CompiledBackground(build_others(config, learners, policies), config.agent_ids)
