"""The market as a PettingZoo parallel environment: any agents learn and act at once, the rest is background.

Promise: the market is the one that the AEC environment plays when it is fed the same actions, to the bit. Cost: some
µs a step and learner with a compiled background; many markets at once are ``scripted_agents.batch``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from market_env import actions, global_state, observations, render
from market_env.config import LEARNER, MarketConfig, check_learners, check_together
from market_env.engine import observe, state, step
from market_env.engine.kernel import kernel
from market_env.learner import Background
from market_env.market import NO_EPISODE, Info, Market, Records, as_info, check_options
from market_env.rewards import DEFAULT_REWARD, Reward

Observation = NDArray[np.float32]
Action = NDArray[np.int64]


@kernel
def begin_looks(markets, learners, seen):
    """See :func:`market_env.engine.step.begin_looks`."""
    step.begin_looks(markets[0], learners, seen)


@kernel
def look(markets, learners, seats, seen, seen_now, infos, outcomes):
    """See :func:`market_env.engine.step.look`; then the turn that has begun is noted."""
    step.look(markets[0], learners, seen, seen_now, infos, outcomes)
    step.open_turn(markets[0], seats, seen)


@kernel
def open_turn(markets, seats, seen):
    """See :func:`market_env.engine.step.open_turn`."""
    step.open_turn(markets[0], seats, seen)


@dataclass(frozen=True)
class ParallelState:
    """A saved parallel environment: the market's record, who is left, and how the learners stood at their last look."""

    market: Records
    agents: list[str]
    seen: NDArray[np.void]
    """:data:`market_env.engine.state.SEEN`, shape (learners,)."""
    next_seeds: dict[str, Any] | None
    """State of the generator that resets without a seed draw from."""


class parallel_env(ParallelEnv[str, Observation, Action]):  # type: ignore[misc]  # noqa: N801 (PettingZoo's name)
    """Several learners in one market.

    ## Description
    The market of :class:`market_env.aec.raw_env`, a timestep a step. The learners arrive together at the start of every
    timestep and decide on the book as it stands then; their actions are carried out in the order of their turns,
    which the market's hash of ties draws anew each timestep. Then the others' turns are played up to the next
    timestep's start.

    ## Action Space
    ``MultiDiscrete([cancel, bid_offset, bid_lots, ask_offset, ask_lots])`` for each learner, see
    :mod:`market_env.actions`. Offsets count from the reference price at the turn at which the action is carried out.

    ## Observation Space
    A bounded ``Box`` of named features for each learner, see :data:`market_env.observations.FEATURES`.

    ## Rewards
    Of each learner's step, from look to look, see :class:`market_env.rewards.WealthReward`.

    ## Starting State
    The start of timestep 0; others may have acted before.

    ## Episode End
    All learners are truncated after ``config.timesteps`` steps. None is ever terminated.

    ## Infos
    The figures of :data:`market_env.engine.observe.INFO`, and ``TimeLimit.truncated``: whether the clock has just ended an
    episode, at its last step and at the reset that follows. The same keys and plain numbers on every step.

    ## Arguments
    | argument | default | meaning |
    |---|---|---|
    | ``config`` | | rules and roster; the learners arrive ``Every(1.0, 0.0)`` |
    | ``background`` | | who plays the other agents |
    | ``learners`` | ``("ppo_0",)`` | ids of the learners' seats |
    | ``reward`` | ``WealthReward()`` | pure function of outcome rows |
    | ``render_mode`` | ``None`` | ``"ansi"`` or ``"rgb_array"`` |

    ## Version History
    * v1: first version.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "market_parallel_v1",
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 10,
    }

    def __init__(
        self,
        config: MarketConfig,
        background: Background,
        learners: Sequence[str] = (LEARNER,),
        reward: Reward = DEFAULT_REWARD,
        render_mode: str | None = None,
    ) -> None:
        check_learners("learners", config, learners)
        check_together(config, learners)
        render.check_mode(render_mode, self.metadata["render_modes"])
        self.config = config
        self.background = background
        self.reward = reward
        self.render_mode = render_mode
        self.market = Market(config)
        self.possible_agents = list(learners)
        self.agents: list[str] = []
        self.observation_spaces: dict[str, Any] = {agent: observations.space() for agent in learners}
        self.action_spaces: dict[str, Any] = {agent: actions.space(config.offsets, config.lots) for agent in learners}
        self.state_space = global_state.space(len(config.agents))
        self._learners = tuple(self.market.index[agent] for agent in learners)
        self._indices = np.array(self._learners, np.int64)
        self._seats = step.seats_of(list(self._learners), len(config.agents))
        self._seen = np.zeros(len(learners), state.SEEN)
        self._observations = np.zeros((len(learners), observations.SIZE), np.float32)
        self._infos = np.zeros(len(learners), observe.INFO)
        self._outcomes = np.zeros(len(learners), state.OUTCOME)
        self._np_random: np.random.Generator | None = None
        self._depth_history = render.DepthHistory()

    @property
    def np_random(self) -> np.random.Generator:
        """Draws the seeds of resets without one; wrappers draw from it too."""
        if self._np_random is None:
            self._np_random, _ = seeding.np_random()
        return self._np_random

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The observation space of ``agent``, the same object on every call."""
        space: spaces.Space[Any] = self.observation_spaces[agent]
        return space

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The action space of ``agent``, the same object on every call."""
        space: spaces.Space[Any] = self.action_spaces[agent]
        return space

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, Info]]:
        """Start an episode; without a seed the next is drawn from the generator that the last seed started.

        Raises:
            ValueError: the seed is no non-negative integer, or an option asks for another market.
        """
        check_options(options)
        cut_off = bool(self.market.records["finished"][0])
        if seed is not None:
            self.market.reset(seed)
            self._np_random, _ = seeding.np_random(int(seed))
        else:
            self.market.reset(int(self.np_random.integers(2**63)))
        self._depth_history = render.DepthHistory()
        begin_looks(self.market.records, self._indices, self._seen)
        self.background.reset(self.market)
        self.background.play(self.market, self._learners)
        self.agents = list(self.possible_agents)
        self._look()
        return self._seen_by_agent(), self._infos_by_agent(cut_off)

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Info]]:
        """Carry out every learner's action at its turn and play on to the next timestep.

        Raises:
            RuntimeError: no episode is under way.
            TypeError: an action is no sequence of integers.
            ValueError: an action is missing, of no learner, of another shape or out of range; nothing has changed then.
        """
        if not self.agents:
            if self.market.begun and not actions:
                return {}, {}, {}, {}, {}  # PettingZoo's custom: nobody is left to act, and nothing happens
            raise RuntimeError(f"step(): {NO_EPISODE}")
        if set(actions) != set(self.agents):
            raise ValueError(f"actions: expected one for each of {self.agents}, got them for {sorted(actions)}")
        codes = [self.market.check(actions[agent], agent) for agent in self.possible_agents]
        left = len(codes)
        going = True
        while going and left:
            self.market.act(codes[self._seats[self.market.acting]])
            left -= 1
            going = self.background.play(self.market, self._learners)
            if left:
                open_turn(self.market.records, self._seats, self._seen)
        self._look()
        rewards = np.where(self._outcomes["turn"] != state.NONE, self.reward(self._outcomes), 0.0).tolist()
        if not going:
            self.agents = []
        return (
            self._seen_by_agent(),
            dict(zip(self.possible_agents, rewards, strict=True)),
            dict.fromkeys(self.possible_agents, False),
            dict.fromkeys(self.possible_agents, not going),
            self._infos_by_agent(not going),
        )

    def _look(self) -> None:
        look(
            self.market.records, self._indices, self._seats, self._seen, self._observations, self._infos, self._outcomes
        )
        if self.render_mode == "rgb_array":
            self._depth_history.add(self.market)

    def _seen_by_agent(self) -> dict[str, Observation]:
        return dict(zip(self.possible_agents, self._observations.copy(), strict=True))

    def _infos_by_agent(self, cut_off: bool) -> dict[str, Info]:
        # Wrappers that fold both ends into one flag would else hide from a trainer that it may bootstrap. The reset that
        # follows says it once more: SuperSuit lays a reset's infos over those of the step before.
        return {
            agent: {**as_info(self._infos[n : n + 1]), "TimeLimit.truncated": cut_off}
            for n, agent in enumerate(self.possible_agents)
        }

    def action_masks(self, agent: str) -> NDArray[np.bool_]:
        """Which of a learner's action codes can have an effect if it is the first to act: see :mod:`market_env.engine.masks`."""
        return self.market.action_masks(self.market.index[agent])

    def save(self) -> ParallelState:
        """The whole environment as it stands; it pickles and restores into any environment of the same config and learners.

        A background of plain-Python policies keeps what they remember outside the market's record to itself.
        """
        return ParallelState(
            self.market.save(),
            list(self.agents),
            self._seen.copy(),
            None if self._np_random is None else copy.deepcopy(dict(self._np_random.bit_generator.state)),
        )

    def restore(self, saved: ParallelState) -> None:
        """Go back to a saved state; what follows is the same to the bit.

        Raises:
            ValueError: the state was saved by an environment of another config or other learners.
        """
        if saved.seen.shape != self._seen.shape or not {*saved.agents} <= {*self.possible_agents}:
            raise ValueError(f"state: expected one of the learners {self.possible_agents}, got one of others")
        self.market.restore(saved.market)
        self.agents = list(saved.agents)
        self._seen[:] = saved.seen
        if saved.next_seeds is not None:
            self._np_random, _ = seeding.np_random(0)
            self._np_random.bit_generator.state = saved.next_seeds
        self._depth_history = render.DepthHistory()

    def state(self) -> Observation:
        """The whole market as one float32 vector, see :func:`market_env.global_state.vector`."""
        return global_state.vector(self.market)

    def render(self) -> Any:
        """The ladder as text (``ansi``) or recent depth as an image (``rgb_array``).

        Raises:
            ValueError: the environment was made without a render mode.
        """
        return render.picture(self.render_mode, self.metadata["render_modes"], self.market, self._depth_history)

    def close(self) -> None:
        """Nothing is held open."""
