"""The market as a PettingZoo environment: one agent acts at a time, whoever arrives next.

``env()`` is ``raw_env`` with PettingZoo's ``OrderEnforcing``. A step costs a few µs more than PettingZoo's own
loop, whatever the number of agents: rewards and infos are settled for the one agent whose turn comes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray
from pettingzoo import AECEnv
from pettingzoo.utils.env_logger import EnvLogger
from pettingzoo.utils.wrappers import OrderEnforcingWrapper

from market_env import actions, global_state, observations, render
from market_env.config import MarketConfig
from market_env.engine import state
from market_env.market import NO_EPISODE, Info, Market, Records, check_options, check_seed
from market_env.rewards import DEFAULT_REWARD, Reward

Observation = NDArray[np.float32]
Action = NDArray[np.int64]


@dataclass(frozen=True)
class EnvState:
    """A saved environment: the market's record and what the face has told its agents."""

    market: Records
    agents: list[str]
    agent_selection: str
    rewards: dict[str, float]
    cumulative_rewards: dict[str, float]
    truncations: dict[str, bool]
    infos: dict[str, Info]
    next_seeds: dict[str, Any] | None
    """State of the generator that resets without a seed draw from."""


class OrderEnforcing(OrderEnforcingWrapper[str, Observation, Action]):  # type: ignore[misc]
    """PettingZoo's checks of call order; stepping after the end is an error too, where PettingZoo only warns.

    What a turn asks for is handed straight on: PettingZoo's own wrapper finds each attribute by a detour that costs more
    than a turn of the market.
    """

    @property
    def agents(self) -> list[str]:
        """Agents that are left."""
        if not self._has_reset:
            raise AttributeError  # which lets PettingZoo's __getattr__ say what is wrong
        agents: list[str] = self.env.agents
        return agents

    @property
    def agent_selection(self) -> str:
        """Whose turn it is."""
        if not self._has_reset:
            raise AttributeError
        agent: str = self.env.agent_selection
        return agent

    def last(self, observe: bool = True) -> tuple[Observation | None, float, bool, bool, Info]:
        """What the selected agent is told: observation, reward since its last turn, termination, truncation, info."""
        agent, inner = self.agent_selection, self.env
        observation = self.observe(agent) if observe else None
        reward = inner._cumulative_rewards[agent]
        return observation, reward, inner.terminations[agent], inner.truncations[agent], inner.infos[agent]

    def observe(self, agent: str) -> Observation | None:
        """See :meth:`raw_env.observe`."""
        if not self._has_reset:
            EnvLogger.error_observe_before_reset()
        observation: Observation | None = self.env.observe(agent)
        return observation

    def step(self, action: Any) -> None:
        """Step, if the environment was reset and an agent is left."""
        if not self._has_reset:
            EnvLogger.error_step_before_reset()
        self._has_updated = True
        self.env.step(action)

    def save(self) -> EnvState:
        """See :meth:`raw_env.save`."""
        saved: EnvState = self.unwrapped.save()
        return saved

    def restore(self, saved: EnvState) -> None:
        """See :meth:`raw_env.restore`; a fresh environment needs no reset before."""
        self.unwrapped.restore(saved)
        self._has_reset = self.unwrapped.market.begun


def env(**arguments: Any) -> OrderEnforcing:
    """The environment with PettingZoo's checks of call order; takes what :class:`raw_env` takes."""
    return OrderEnforcing(raw_env(**arguments))


class raw_env(AECEnv[str, Observation, Action]):  # type: ignore[misc]  # noqa: N801 (PettingZoo's name)
    """A limit order book in which every agent trades by the same rules.

    ## Description
    A continuous double auction with price-time priority. Each agent has an arrival process in continuous
    market time; whoever arrives next is ``agent_selection``. In its turn an agent may cancel own orders and
    place one order on each side, which pass risk checks, trade against resting orders and rest. Agents only see
    their observation. A timestep (read it as one second) holds a varying number of turns.

    ## Action Space
    ``MultiDiscrete([cancel, bid_offset, bid_lots, ask_offset, ask_lots])``, see :mod:`market_env.actions`.

    ## Observation Space
    A bounded ``Box`` of named features, see :data:`market_env.observations.FEATURES` and ``docs/observations.md``.

    ## Rewards
    By default the change in wealth since the agent's last turn less an inventory penalty, at a fixed scale; see
    :class:`market_env.rewards.WealthReward`. It is settled when the agent's next turn comes, and at the end.

    ## Starting State
    An empty book at the first price; every agent has its starting cash and inventory.

    ## Episode End
    All agents are truncated when the clock passes the last timestep. None is ever terminated.

    ## Arguments
    | argument | default | meaning |
    |---|---|---|
    | ``config`` | ``MarketConfig()`` | rules and roster |
    | ``reward`` | ``WealthReward()`` | pure function of outcome rows |
    | ``render_mode`` | ``None`` | ``"ansi"``, ``"rgb_array"`` or ``"human"`` |
    | ``log`` | ``False`` | keep the event log for :meth:`drain` |

    ## Version History
    * v1: first version.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "market_v1",
        "render_modes": ["ansi", "rgb_array", "human"],
        "is_parallelizable": False,
        "render_fps": 10,
    }

    def __init__(
        self,
        config: MarketConfig | None = None,
        reward: Reward = DEFAULT_REWARD,
        render_mode: str | None = None,
        log: bool = False,
    ) -> None:
        super().__init__()
        render.check_mode(render_mode, self.metadata["render_modes"])
        self.config = MarketConfig() if config is None else config
        self.reward = reward
        self.render_mode = render_mode
        self.market = Market(self.config, log=log)
        self.possible_agents = self.market.agent_ids
        self.agents: list[str] = []
        self.observation_spaces: dict[str, Any] = {agent: observations.space() for agent in self.possible_agents}
        self.action_spaces: dict[str, Any] = {
            agent: actions.space(self.config.offsets, self.config.lots) for agent in self.possible_agents
        }
        self.state_space = global_state.space(len(self.possible_agents))
        self.rewards: dict[str, float] = {}
        self._cumulative_rewards: dict[str, float] = {}
        self.terminations: dict[str, bool] = {}
        self.truncations: dict[str, bool] = {}
        self.infos: dict[str, Info] = {}
        self.agent_selection = ""
        self._np_random: np.random.Generator | None = None
        self._depth_history = render.DepthHistory()
        self._drawn_timestep = -1

    @property
    def np_random(self) -> np.random.Generator:
        """Draws the seeds of resets without one; wrappers draw from it too."""
        if self._np_random is None:
            self._np_random, _ = seeding.np_random(None)
        return self._np_random

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The observation space of ``agent``, the same object on every call."""
        space: spaces.Space[Any] = self.observation_spaces[agent]
        return space

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The action space of ``agent``, the same object on every call."""
        space: spaces.Space[Any] = self.action_spaces[agent]
        return space

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Start an episode.

        Args:
            seed: the run's seed; without one the next is drawn from the generator that the last seed started.
            options: none that it honours; see :func:`market_env.market.check_options`.

        Raises:
            ValueError: the seed is no non-negative integer, or an option asks for another market.
        """
        check_options(options)
        if seed is not None:
            seed = check_seed(seed)
            self._np_random, _ = seeding.np_random(seed)
        else:
            seed = int(self.np_random.integers(2**63))
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.agent_selection = self.agents[0]
        self._skip_agent_selection = None
        self._depth_history = render.DepthHistory()
        self._drawn_timestep = -1
        ready = self.market.reset(seed)
        self.infos = {agent: self.market.info(i) for i, agent in enumerate(self.agents)}
        self._next(ready)

    def step(self, action: Any) -> None:
        """Carry out the selected agent's action and select whoever arrives next.

        Raises:
            RuntimeError: the environment was not reset, or the episode is over.
            TypeError: the action is no sequence of integers.
            ValueError: its shape or a component is out of range, or it is not None for an agent that is done.
        """
        if not self.agents:
            raise RuntimeError(f"step(): {NO_EPISODE}")
        agent = self.agent_selection
        if self.truncations[agent]:
            self._was_dead_step(action)
            return
        going = self.market.act(action)
        self.rewards[agent] = 0.0
        self._cumulative_rewards[agent] = 0.0
        self._next(going)

    def _next(self, ready: bool) -> None:
        if self.render_mode == "rgb_array" and self._drawn_timestep != (
            timestep := int(self.market.records["timestep"][0])
        ):
            self._depth_history.add(self.market)
            self._drawn_timestep = timestep
        market = self.market
        if ready:
            self.agent_selection = agent = self.possible_agents[market.acting]
            if market.acting_has_acted():
                self.rewards[agent] = self._cumulative_rewards[agent] = float(self.reward(market.acting_outcome()))
            self.infos[agent] = market.acting_info()
            return
        for index, agent in enumerate(self.agents):
            outcome = self.market.outcome(index)
            if outcome["turn"] != state.NONE:
                self.rewards[agent] = self._cumulative_rewards[agent] = float(self.reward(outcome))
            self.infos[agent] = self.market.info(index)
            self.truncations[agent] = True
        self.agent_selection = self.agents[0]

    def observe(self, agent: str) -> Observation:
        """What ``agent`` sees now: float32 of shape (SIZE,), a fresh array; no side effects."""
        if agent not in self.market.index:
            raise ValueError(f"agent: expected one of {self.possible_agents}, got {agent!r}")
        index = self.market.index[agent]
        if index == self.market.acting:
            return self.market.observation.copy()
        return self.market.observe(index)

    def state(self) -> Observation:
        """The whole market as one float32 vector, see :func:`market_env.global_state.vector`."""
        return global_state.vector(self.market)

    def render(self) -> NDArray[np.uint8] | str | None:
        """The ladder as text (``ansi``), printed (``human``), or recent depth as an image (``rgb_array``).

        Raises:
            ValueError: the environment was made without a render mode.
        """
        if self.render_mode == "human":
            print(render.ladder(self.market))
            return None
        return render.picture(self.render_mode, self.metadata["render_modes"], self.market, self._depth_history)

    def policy_stream(self, agent: str) -> NDArray[np.uint64]:
        """The random stream of ``agent``'s policy: uint64 of shape (4,), a view that save and restore cover."""
        return self.market.policy_stream(self.market.index[agent])

    def policy_memory(self, agent: str) -> NDArray[np.float64]:
        """What ``agent``'s policy remembers: float64 of shape (MEMORY,), a view that save and restore cover."""
        return self.market.policy_memory(self.market.index[agent])

    def action_masks(self, agent: str | None = None) -> NDArray[np.bool_]:
        """Which action codes of an agent, by default the one whose turn it is, can have an effect: components one after another.

        :mod:`market_env.engine.masks` says what a mask promises; a masked code may be taken all the same.
        """
        return self.market.action_masks(self.market.index[self.agent_selection if agent is None else agent])

    def drain(self) -> NDArray[np.void]:
        """Events since the last call, as :data:`market_env.engine.state.EVENT` rows; none unless made with ``log``."""
        return self.market.drain()

    def save(self) -> EnvState:
        """The whole environment as it stands; it pickles and restores into any environment of the same config."""
        return EnvState(
            self.market.save(),
            list(self.agents),
            self.agent_selection,
            dict(self.rewards),
            dict(self._cumulative_rewards),
            dict(self.truncations),
            copy.deepcopy(self.infos),
            None if self._np_random is None else copy.deepcopy(dict(self._np_random.bit_generator.state)),
        )

    def restore(self, saved: EnvState) -> None:
        """Go back to a saved state; what follows is the same to the bit.

        Raises:
            ValueError: the state was saved by an environment of another config.
        """
        self.market.restore(saved.market)
        self.agents = list(saved.agents)
        self.agent_selection = saved.agent_selection
        self.rewards = dict(saved.rewards)
        self._cumulative_rewards = dict(saved.cumulative_rewards)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict(saved.truncations)
        self.infos = copy.deepcopy(saved.infos)
        if saved.next_seeds is not None:
            self._np_random, _ = seeding.np_random(0)
            self._np_random.bit_generator.state = saved.next_seeds
        self._depth_history = render.DepthHistory()
        self._drawn_timestep = -1
        self._skip_agent_selection = None

    def close(self) -> None:
        """Nothing is held open."""
