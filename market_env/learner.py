"""The market as a Gymnasium environment for one learner, the other agents played by a background.

A background moves the market through the others' turns up to the learner's next; ``scripted_agents`` has a
compiled one and one for plain-Python policies. Cost: a few µs a step with a compiled background.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import seeding
from numpy.typing import NDArray

from market_env import actions, observations, render
from market_env.config import LEARNER, Every, MarketConfig, check_learners
from market_env.engine import state
from market_env.market import NO_EPISODE, Market, Records, check_options
from market_env.rewards import DEFAULT_REWARD, Reward


class Background(Protocol):
    """Plays every agent but the learners."""

    def reset(self, market: Market) -> None:
        """Get ready for an episode that has just begun."""
        ...

    def play(self, market: Market, learners: tuple[int, ...]) -> bool:
        """Play the turns that have begun until it is a learner's, given by index; False once the episode is over."""
        ...


@dataclass(frozen=True)
class LearnerState:
    """A saved learner's environment: the market's record, and whether its episode is under way."""

    market: Records
    learner: str
    running: bool
    next_seeds: dict[str, Any] | None
    """State of the generator that resets without a seed draw from."""


class LearnerEnv(gym.Env[NDArray[np.float32], NDArray[np.int64]]):
    """One agent of a market learns, the rest is background.

    ## Description
    The market of :class:`market_env.aec.raw_env`, seen from one seat. A step carries out the learner's action and
    plays the others' turns up to the learner's next.

    ## Action Space
    ``MultiDiscrete([cancel, bid_offset, bid_lots, ask_offset, ask_lots])``, see :mod:`market_env.actions`.

    ## Observation Space
    A bounded ``Box`` of named features, see :data:`market_env.observations.FEATURES`.

    ## Rewards
    Of the learner's turn, settled at its next, see :class:`market_env.rewards.WealthReward`.

    ## Infos
    The figures of :data:`market_env.engine.observe.INFO`, plain numbers, the same on every step; what is undefined is 0, and
    ``two_sided`` says so.

    ## Starting State
    The learner's first turn; others may have acted before.

    ## Episode End
    Truncated when the clock passes the last timestep; never terminated.

    ## Arguments
    | argument | default | meaning |
    |---|---|---|
    | ``config`` | | rules and roster |
    | ``background`` | | who plays the other agents |
    | ``learner`` | ``"ppo_0"`` | id of the learner's seat |
    | ``reward`` | ``WealthReward()`` | pure function of outcome rows |
    | ``render_mode`` | ``None`` | ``"ansi"`` or ``"rgb_array"`` |

    ## Version History
    * v1: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's convention)

    def __init__(
        self,
        config: MarketConfig,
        background: Background,
        learner: str = LEARNER,
        reward: Reward = DEFAULT_REWARD,
        render_mode: str | None = None,
    ) -> None:
        check_learners("learner", config, [learner])
        render.check_mode(render_mode, self.metadata["render_modes"])
        self.config = config
        self.background = background
        self.learner = learner
        self.reward = reward
        self.render_mode = render_mode
        self.market = Market(config)
        self.seat = self.market.index[learner]
        self._learners = (self.seat,)
        self.observation_space: spaces.Space[Any] = observations.space()
        self.action_space: spaces.Space[Any] = actions.space(config.offsets, config.lots)
        self._running = False
        self._depth_history = render.DepthHistory()
        self._spec: EnvSpec | None = None

    def longest_episode(self) -> int | None:
        """Steps of an episode at most; None where the learner arrives at random."""
        arrivals = self.config.agents[self.seat].arrivals
        if not isinstance(arrivals, Every):
            return None
        return max(1, math.ceil((self.config.timesteps - (arrivals.phase or 0.0)) / arrivals.period))

    @property
    def spec(self) -> EnvSpec | None:
        """What it was made from; it tells wrappers that count time how many steps an episode has."""
        return self._spec

    @spec.setter
    def spec(self, made: EnvSpec | None) -> None:
        # Gymnasium sets its own, which knows nothing of the market that it was made with.
        steps = self.longest_episode()
        self._spec = made if made is None else replace(made, max_episode_steps=made.max_episode_steps or steps)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode; without a seed the next is drawn from ``np_random``.

        Raises:
            ValueError: the seed is no non-negative integer, or an option asks for another market.
        """
        check_options(options)
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(2**63))
        self.market.reset(seed)
        self.background.reset(self.market)
        self._depth_history = render.DepthHistory()
        self._running = True
        self.background.play(self.market, self._learners)
        return self._look()

    def step(self, action: NDArray[np.int64]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Carry out the learner's action and play on to its next turn.

        Raises:
            RuntimeError: no episode is under way.
            TypeError, ValueError: the action is not in the action space.
        """
        if not self._running:
            raise RuntimeError(f"step(): {NO_EPISODE}")
        if self.market.acting == self.seat:
            self.market.act(action)
        going = self.background.play(self.market, self._learners)
        self._running = going
        outcome = self.market.outcome(self.seat)
        reward = float(self.reward(outcome)) if outcome["turn"] != state.NONE else 0.0
        observation, info = self._look()
        return observation, reward, False, not going, info

    def _look(self) -> tuple[NDArray[np.float32], dict[str, Any]]:
        if self.render_mode == "rgb_array":
            self._depth_history.add(self.market)
        return self.market.observe(self.seat), self.market.info(self.seat)

    def action_masks(self) -> NDArray[np.bool_]:
        """Which of the learner's action codes can have an effect, as sb3-contrib's MaskablePPO asks: see :meth:`raw_env.action_masks`."""
        return self.market.action_masks(self.seat)

    def save(self) -> LearnerState:
        """The whole environment as it stands; it pickles and restores into any environment of the same config and seat.

        A background of plain-Python policies keeps what they remember outside the market's record to itself.
        """
        seeds = None if self._np_random is None else copy.deepcopy(dict(self._np_random.bit_generator.state))
        return LearnerState(self.market.save(), self.learner, self._running, seeds)

    def restore(self, saved: LearnerState) -> None:
        """Go back to a saved state; what follows is the same to the bit.

        Raises:
            ValueError: the state was saved by an environment of another config or another learner.
        """
        if saved.learner != self.learner:
            raise ValueError(f"state: expected one of the learner {self.learner}, got one of {saved.learner}")
        self.market.restore(saved.market)
        self._running = saved.running
        if saved.next_seeds is not None:
            self._np_random, _ = seeding.np_random(0)
            self._np_random.bit_generator.state = saved.next_seeds
        self._depth_history = render.DepthHistory()

    def render(self) -> Any:
        """The ladder as text (``ansi``) or recent depth as an image (``rgb_array``)."""
        return render.picture(self.render_mode, self.metadata["render_modes"], self.market, self._depth_history)
