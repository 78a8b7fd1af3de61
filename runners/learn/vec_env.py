"""Many markets as a Stable-Baselines3 ``VecEnv``: the compiled batch behind the interface that its algorithms expect.

Promise: with one learner a market it is ``DummyVecEnv`` over monitored :class:`market_env.LearnerEnv`, to the bit,
at a fraction of the cost. With several learners each is an environment of its own, market by market, so one
policy learns from all of their seats. Infos have the same plain numbers on every step, ``TimeLimit.truncated`` among them;
at an episode's end also ``terminal_observation``, and ``episode`` as ``Monitor`` gives it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvStepReturn

from market_env import actions, observations
from market_env.actions import WIDTH, as_codes
from market_env.config import LEARNER
from market_env.market import INFO_NAMES, NO_EPISODE, Info, check_options
from market_env.rewards import Reward
from scripted_agents.batch import Batch, Policies, several
from scripted_agents.populations import Parameters, Rules, dealt, reward_of
from scripted_agents.registry import build_each
from scripted_agents.vector import UNCHANGEABLE, Pictures, Seat, Seeds, rewards_of


class MarketVecEnv(VecEnv):
    """``markets`` markets with one learner each, or several.

    Args:
        markets: how many.
        config: a market or a population, by default the default one; a list is dealt to the markets in turn, so that one
            batch mixes populations.
        learners: ids of the learners' seats; several must arrive ``Every(1.0, 0.0)``.
        policies: who plays the others, by agent id or kind, where it is not the population's or the kind's default;
            compiled ones. For a list of configs one mapping for all, or a list of one each.
        reward: pure function of outcome rows, see :mod:`market_env.rewards`; by default the population's.
        render_mode: ``"rgb_array"`` or None.
        torch_threads: PyTorch's threads from now on, in the whole process; None leaves them. Networks as small as a market's
            gain nothing by a second one, while two pools of threads that wait for each other actively (the markets' own and
            PyTorch's) stall tenfold as soon as another process wants a core.

    Raises:
        ConfigError: see :class:`scripted_agents.batch.Batch`.
    """

    def __init__(
        self,
        markets: int,
        config: Rules | Sequence[Rules] | None = None,
        learners: Sequence[str] = (LEARNER,),
        policies: Parameters | Sequence[Parameters] | None = None,
        reward: Reward | None = None,
        render_mode: str | None = None,
        torch_threads: int | None = 1,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: expected 'rgb_array' or None, got {render_mode!r}")
        given, seated = dealt(config, policies)
        configs = several(given)
        self.config = configs[0]
        """Of the first market; the others' action spaces are the same."""
        self.reward = reward or reward_of(config)
        self._others: list[Policies] = [*build_each(configs, learners, seated)]
        self.batch = Batch(configs, self._others, learners, markets)
        if torch_threads is not None:  # after the batch has started its own threads, see there
            torch.set_num_threads(torch_threads)
        self._pictures = Pictures(self.batch, render_mode)
        self.seats = [
            Seat(self.batch, place, number, render_mode) for place in range(markets) for number in range(len(learners))
        ]
        super().__init__(len(self.seats), observations.space(), actions.space(self.config.offsets, self.config.lots))
        self.metadata = {"render_modes": ["rgb_array"]}
        self._next_seeds = Seeds(markets)
        self._actions = np.zeros((self.num_envs, WIDTH), np.int64)
        self._begun = False
        self._began = time.time()
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, np.int64)

    def reset(self) -> NDArray[np.float32]:
        """Start an episode in every market; float32 of shape (num_envs, SIZE).

        Raises:
            ValueError: ``set_options`` asked for another market.
        """
        learners = len(self.batch.learners)
        for options in self._options:
            check_options(options)
        self._begin(np.ones(self.batch.count, np.bool_), self._seeds[::learners])
        self._begun = True
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self.reset_infos = [seat.info() for seat in self.seats]
        return self._observations()

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Take the learners' actions, integers of shape (num_envs, 5)."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Carry them out and play on to the learners' next turns.

        Raises:
            RuntimeError: no episode is under way.
            TypeError, ValueError: the actions are not in the action space; nothing has changed then.
        """
        if not self._begun:
            raise RuntimeError(f"step(): {NO_EPISODE}")
        batch = self.batch
        learners = len(batch.learners)

        def label(place: tuple[int, ...]) -> str:
            return batch.label(divmod(place[0], learners) if place else ())

        codes = as_codes(self._actions, batch.codes, label, (self.num_envs,))
        batch.step(codes.reshape(batch.count, learners, WIDTH))
        rewards = rewards_of(batch, self.reward).reshape(-1)
        self._returns += rewards
        self._lengths += 1
        self._pictures.add(np.ones(batch.count, np.bool_))
        dones = np.repeat(batch.finished, learners)
        infos = self._infos(dones)
        ended = np.flatnonzero(dones).tolist()
        seen = self._observations()
        for number in ended:
            infos[number] |= {
                "terminal_observation": seen[number].copy(),
                "episode": {
                    "r": round(float(self._returns[number]), 6),
                    "l": int(self._lengths[number]),
                    "t": round(time.time() - self._began, 6),
                },
            }
        if ended:
            self._returns[dones] = 0.0
            self._lengths[dones] = 0
            self._begin(batch.finished.copy())
            for number in ended:
                self.reset_infos[number] = self.seats[number].info()
            seen = self._observations()
        return seen, rewards.astype(np.float32), dones, infos

    def _infos(self, dones: NDArray[np.bool_]) -> list[Info]:
        rows = self.batch.infos.reshape(-1).tolist()
        return [
            {**dict(zip(INFO_NAMES, row, strict=True)), "TimeLimit.truncated": done}
            for row, done in zip(rows, dones.tolist(), strict=True)
        ]

    def _observations(self) -> NDArray[np.float32]:
        return self.batch.observations.reshape(self.num_envs, -1).copy()

    def _begin(self, chosen: NDArray[np.bool_], seeds: Sequence[int | None] | None = None) -> None:
        self.batch.reset(self._next_seeds.next_of(chosen, seeds), chosen)
        self._pictures.begin(chosen)

    def action_masks(self) -> NDArray[np.bool_]:
        """Which action codes can have an effect, a row a seat: see :meth:`market_env.LearnerEnv.action_masks`."""
        return self.batch.action_masks().reshape(self.num_envs, -1)

    def recast(self, policies: Policies) -> None:
        """Let other compiled policies play some agents from now on, in every market that has them.

        Raises:
            ConfigError: a policy is not compiled.
        """
        others: list[Policies] = [{**own, **policies} for own in self._others]
        self.batch.recast(others)
        self._others = others

    def save(self) -> dict[str, NDArray[Any]]:
        """The whole environment as it stands, as arrays by name; :meth:`restore` takes them."""
        return {**self.batch.save(), "returns": self._returns.copy(), "lengths": self._lengths.copy()} | {
            "generators": self._next_seeds.save()
        }

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a saved state; what follows is the same to the bit.

        Raises:
            ConfigError: it was saved by an environment of another config or size.
        """
        self.batch.restore(saved)
        self._returns[:] = saved["returns"]
        self._lengths[:] = saved["lengths"]
        self._next_seeds.restore(saved["generators"])
        self._begun = True

    def close(self) -> None:
        """Nothing is held open."""

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """The image of each seat's market."""
        return [picture for picture in self._pictures.draw() for _ in self.batch.learners]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the chosen :class:`Seat` objects."""
        return [getattr(self.seats[number], attr_name) for number in self._chosen(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Not possible: the markets of a batch share one config, one reward and one set of policies.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(f"{attr_name}: {UNCHANGEABLE}")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the chosen :class:`Seat` objects."""
        if method_name == "action_masks":  # which sb3-contrib asks for before every step: all in one call
            found = self.action_masks()
            return [found[number] for number in self._chosen(indices)]
        return [
            getattr(self.seats[number], method_name)(*method_args, **method_kwargs) for number in self._chosen(indices)
        ]

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """True for ``Monitor`` alone: the infos hold what it would write."""
        return [wrapper_class is Monitor for _ in self._chosen(indices)]

    def _chosen(self, indices: VecEnvIndices) -> Iterable[int]:
        return self._get_indices(indices)
