"""What the commands of experiments share."""

from __future__ import annotations

from collections.abc import Mapping

from market_env.config import MarketConfig, amend
from runners.arguments import Rules, Start
from runners.experiment.arms import Base
from scripted_agents.policy import PolicyConfig
from scripted_agents.registry import KINDS


def base_of(start: Start, flags: Rules) -> Base:
    """What the arms are variations of: the command's population, with the flags' numbers of agents and length."""
    run = start.populated(flags)
    if start.has_roster:
        return Base(lambda counts: (run.market, run.policies), f"{start.file}")
    begun = start.flags()
    own = {kind: getattr(flags, kind) for kind in begun if hasattr(flags, kind) and kind in KINDS}

    def recount(counts: Mapping[str, int]) -> tuple[MarketConfig, Mapping[str, PolicyConfig]]:
        changed = {kind: count for kind, count in {**own, **counts}.items() if count != begun[kind]}
        made = start.run_with(changed)
        return amend(made.market, timesteps=flags.timesteps), made.policies

    return Base(recount)
