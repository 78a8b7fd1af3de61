"""What a kind of agents is: declared once, beside its policy, and listed in :data:`scripted_agents.registry.KINDS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from market_env.config import AgentConfig
from scripted_agents.policy import PolicyConfig

BLUE, ORANGE, BLUISH_GREEN, REDDISH_PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#888888"
"""Okabe and Ito's colours, which colour-blind readers can tell apart: in every figure."""


@dataclass(frozen=True)
class Kind:
    """A kind of agents.

    The flag that counts them (``--noise 20``), the policies that a file can name, the colour in every figure and the
    roster follow from it.
    """

    name: str
    """As configurations, figures and flags have it; also the word of its agents' ids, ``<name>_<n>``."""
    people: str
    """What several of them are called, for help and documentation."""
    seat: AgentConfig
    """Cash, bounds and arrivals of one; rosters number copies of it."""
    policies: tuple[type, ...]
    """Parameters of the policies that it brings, the default's first: dataclasses made by
    :func:`market_env.config.checked`, each with a field ``policy`` that names it."""
    policy: Callable[[AgentConfig], PolicyConfig]
    """The parameters that a seat has by default."""
    colour: str
    """In every figure, as matplotlib takes it."""
