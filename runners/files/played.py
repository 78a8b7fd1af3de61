"""A market that was just played, with the tables of a recorded run, and no file.

Cost: a table is made when first asked for, each in some milliseconds for 5,000 timesteps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from market_env.config import MarketConfig
from market_env.market import Market
from runners.files.derive import Rows, Tables, derive
from runners.files.once import once
from runners.files.record import arrow_table, table_columns
from runners.files.run import History
from runners.files.summary import summarise
from scripted_agents.policy import Policy
from scripted_agents.rollout import run_compiled


class Played(History):
    """A market's history from its log.

    Its tables are those that a recorded run would have, but for actions and rewards of turns, which are null, since the
    compiled rollout keeps none.

    Args:
        config: the market.
        seed: of the episode.
        log: its events, to the end of the episode.
    """

    def __init__(self, config: MarketConfig, seed: int, log: Rows) -> None:
        self.market = config
        self.seed = seed
        self.timesteps = config.timesteps
        self.name = f"seed {seed}"
        self._log = log

    @property
    def log(self) -> Rows:
        """Rows of :data:`market_env.engine.state.EVENT`."""
        return self._log

    @once
    def derived(self) -> Tables:
        """The state at the end of each timestep as numpy rows."""
        return derive(self.market, self._log)

    @once
    def _summary(self) -> dict[str, Any]:
        return summarise(self.market, self._log, self.derived)

    @property
    def summary(self) -> dict[str, Any]:
        """Its figures, see :func:`runners.files.summary.summarise`."""
        return self._summary

    def table(self, name: str) -> pl.DataFrame:
        """A table of the schema by name."""
        columns = table_columns(name, self.market, self.seed, self._log, self.derived)
        return pl.DataFrame(pl.from_arrow(arrow_table(name, columns)))


def play(config: MarketConfig, policies: Mapping[str, Policy], seed: int) -> Played:
    """Play an episode in the compiled rollout.

    Args:
        config: the market.
        policies: a compiled policy for every agent.
        seed: of the episode.

    Raises:
        ConfigError: a policy is missing or not compiled.
    """
    market = Market(config, log=True)
    market.reset(seed)
    return Played(config, seed, run_compiled(market, policies))
