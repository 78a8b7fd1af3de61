"""Runs agents through a market, and looks at what came of it.

The names below load what they need when they are first asked for, so reading a run costs no training library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runners.exchange.facts import facts_of_run
    from runners.exchange.pairs import pair_of_run
    from runners.files.run import Run, load_run
    from runners.learn.settings import Training
    from runners.learn.vec_env import MarketVecEnv
    from runners.report import write_html, write_report
    from runners.simulation.config import RunConfig

__all__ = [
    "MarketVecEnv",
    "Run",
    "RunConfig",
    "Training",
    "facts_of_run",
    "load_run",
    "pair_of_run",
    "write_html",
    "write_report",
]

_HOMES = {
    "MarketVecEnv": "runners.learn.vec_env",
    "Run": "runners.files.run",
    "RunConfig": "runners.simulation.config",
    "Training": "runners.learn.settings",
    "facts_of_run": "runners.exchange.facts",
    "load_run": "runners.files.run",
    "pair_of_run": "runners.exchange.pairs",
    "write_html": "runners.report",
    "write_report": "runners.report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'runners' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
