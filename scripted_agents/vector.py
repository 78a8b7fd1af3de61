"""Many markets as one ``gymnasium.vector.VectorEnv``: the compiled batch behind Gymnasium's interface.

Promise: sub-environment ``i`` reset with seed ``s`` is :class:`market_env.LearnerEnv` reset with ``s + i``, to the
bit, later episodes included. ``gymnasium.make_vec("market_env/Learner-v1", num_envs=64)`` makes one. Cost: see
``python -m benchmarks batch``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from market_env import actions, observations, render
from market_env.actions import as_codes
from market_env.config import LEARNER, ConfigError
from market_env.engine import observe, state
from market_env.market import NO_EPISODE, Info, Market, as_info, check_options, check_seed
from market_env.outside import shown
from market_env.rewards import Reward
from scripted_agents.batch import Batch, several
from scripted_agents.populations import Parameters, Rules, dealt, reward_of
from scripted_agents.registry import build_each

Infos = dict[str, Any]


class Seeds:
    """The seeds of many environments' episodes: given ones, and those that their generators draw from then on.

    Args:
        count: how many environments.
    """

    def __init__(self, count: int) -> None:
        self._generators: list[np.random.Generator | None] = [None] * count

    def next_of(self, chosen: NDArray[np.bool_], given: Sequence[int | None] | None = None) -> list[int]:
        """The seeds of the chosen environments' next episodes.

        Args:
            chosen: bool of shape (count,).
            given: one for each environment, chosen or not; None where its generator is to draw it.

        Raises:
            ValueError: a seed is no non-negative integer.
        """
        numbers = np.flatnonzero(chosen).tolist()
        wanted = [None if given is None else given[number] for number in numbers]
        # All are checked before any counts.
        checked = [None if seed is None else check_seed(seed) for seed in wanted]
        return [self._next(number, seed) for number, seed in zip(numbers, checked, strict=True)]

    def _next(self, number: int, seed: int | None) -> int:
        # As gymnasium.Env.reset has it.
        generator = self._generators[number]
        if seed is not None or generator is None:
            generator, _ = seeding.np_random(seed)
            self._generators[number] = generator
        return int(generator.integers(2**63)) if seed is None else seed

    def save(self) -> NDArray[np.uint8]:
        """The generators as they stand; :meth:`restore` takes it."""
        states = [generator and generator.bit_generator.state for generator in self._generators]
        return np.frombuffer(json.dumps(states).encode(), np.uint8)

    def restore(self, saved: NDArray[np.uint8]) -> None:
        """Go on as saved.

        Raises:
            ConfigError: it is not what :meth:`save` gave of as many environments.
        """
        try:
            states = json.loads(saved.tobytes())
            generators: list[np.random.Generator | None] = []
            for kept in states:
                generator = None
                if kept is not None:
                    generator, _ = seeding.np_random(0)
                    generator.bit_generator.state = kept
                generators.append(generator)
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"state: generators: expected what save gave: {error}") from None
        if len(generators) != len(self._generators):
            raise ConfigError(f"state: expected {len(self._generators)} generators, found {len(generators)}")
        self._generators = generators


def rewards_of(batch: Batch, reward: Reward) -> NDArray[np.float64]:
    """The reward of each learner's last step, 0 before its first turn: float64 of shape (markets, learners).

    Raises:
        ConfigError: the reward is not one finite number for each row.
    """
    found = np.asarray(reward(batch.outcomes), np.float64)
    if found.shape != batch.outcomes.shape:
        raise ConfigError(
            f"reward: expected one number for each of {batch.outcomes.shape} outcome rows, got shape {found.shape}"
        )
    if not np.isfinite(found).all():
        raise ConfigError("reward: expected finite numbers, got NaN or infinity")
    return np.where(batch.outcomes["turn"] != state.NONE, found, 0.0)


class Pictures:
    """What the markets of a batch look like.

    Args:
        batch: the markets.
        mode: ``"ansi"``, ``"rgb_array"`` or None.

    Raises:
        ValueError: the mode is another.
    """

    MODES = ("ansi", "rgb_array")

    def __init__(self, batch: Batch, mode: str | None) -> None:
        render.check_mode(mode, self.MODES)
        self.mode = mode
        self._batch = batch
        self._histories = [render.DepthHistory() for _ in range(batch.count if mode == "rgb_array" else 0)]

    def begin(self, chosen: NDArray[np.bool_]) -> None:
        """Episodes have begun in the chosen markets."""
        if self.mode == "rgb_array":
            for number in np.flatnonzero(chosen).tolist():
                self._histories[number] = render.DepthHistory()
            self.add(chosen)

    def add(self, chosen: NDArray[np.bool_]) -> None:
        """The chosen markets have moved."""
        if self.mode == "rgb_array":
            for number in np.flatnonzero(chosen).tolist():
                self._histories[number].add(self._market(number))

    def draw(self) -> tuple[Any, ...]:
        """A picture of each market."""
        if self.mode == "ansi":
            return tuple(render.ladder(self._market(number)) for number in range(self._batch.count))
        if self.mode == "rgb_array":
            return tuple(history.image() for history in self._histories)
        raise ValueError(f"render(): make the environment with render_mode in {list(self.MODES)}, it has None")

    def _market(self, number: int) -> Market:
        return Market(self._batch.config_of(number), records=self._batch.records[number : number + 1])


UNCHANGEABLE = "seats of a batch of markets cannot be changed one by one"


class Seat:
    """One learner's seat in one market of a batch: what a vector environment's attributes and methods reach.

    Args:
        batch: the markets.
        place: number of the market.
        number: the learner's number in it.
        render_mode: of the vector environment.
    """

    def __init__(self, batch: Batch, place: int, number: int, render_mode: str | None) -> None:
        self.config = batch.config_of(place)
        self.learner = batch.learners[number]
        self.render_mode = render_mode
        self.observation_space = observations.space()
        self.action_space = actions.space(self.config.offsets, self.config.lots)
        self._batch = batch
        self._place = place
        self._number = number

    @property
    def market(self) -> Market:
        """The market as it stands: a view of the batch's record."""
        return Market(self.config, records=self._batch.records[self._place : self._place + 1])

    def action_masks(self) -> NDArray[np.bool_]:
        """Which of the learner's action codes can have an effect, see :meth:`market_env.LearnerEnv.action_masks`."""
        return self.market.action_masks(int(self._batch.agents[self._place, self._number]))

    def info(self) -> Info:
        """The learner's info as of its last look, as :class:`market_env.LearnerEnv` has it."""
        return as_info(self._batch.infos[self._place, self._number : self._number + 1])

    def liquidation_wealth(self) -> float:
        """Cash after closing the inventory against the others' resting orders, tick-lots."""
        return self.market.liquidation_wealth(int(self._batch.agents[self._place, self._number]))


class MarketVectorEnv(VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]):
    """``num_envs`` markets with one learner each.

    Infos are arrays by name, as Gymnasium's own vector environments give them: ``infos["spread"][i]`` counts where
    ``infos["_spread"][i]`` is true, which it is for every market that was reset or stepped.

    Args:
        num_envs: how many markets.
        config: a market or a population, by default the default one; a list is dealt to the markets in turn.
        learner: id of the learner's seat.
        policies: who plays the others, by agent id or kind, where it is not the population's or the kind's default;
            compiled ones. For a list of configs one mapping for all, or a list of one each.
        reward: pure function of outcome rows, see :mod:`market_env.rewards`; by default the population's.
        autoreset_mode: when an episode that is over makes place for the next: at the next step, whose action is
            ignored (``NEXT_STEP``), or at once, with the last observation and info as ``final_obs`` and
            ``final_info`` in the infos (``SAME_STEP``).
        render_mode: ``"ansi"`` or ``"rgb_array"``, or None.

    Raises:
        ConfigError: see :class:`scripted_agents.batch.Batch`; another autoreset mode.
    """

    def __init__(
        self,
        num_envs: int = 1,
        config: Rules | Sequence[Rules] | None = None,
        learner: str = LEARNER,
        policies: Parameters | Sequence[Parameters] | None = None,
        reward: Reward | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        modes = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)
        if autoreset_mode not in (*modes, *(mode.value for mode in modes)):
            raise ConfigError(
                f"autoreset_mode: expected one of {[mode.value for mode in modes]}, got {autoreset_mode!r}"
            )
        given, seated = dealt(config, policies)
        markets = several(given)
        self.learner = learner
        self.reward = reward or reward_of(config)
        self.num_envs = num_envs
        self.batch = Batch(markets, build_each(markets, [learner], seated), [learner], num_envs)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {
            "render_modes": list(Pictures.MODES),
            "render_fps": 10,
            "autoreset_mode": self.autoreset_mode,
        }
        self.render_mode = render_mode
        self.single_observation_space = observations.space()
        self.single_action_space = actions.space(markets[0].offsets, markets[0].lots)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.seats = [Seat(self.batch, place, 0, render_mode) for place in range(num_envs)]
        self._pictures = Pictures(self.batch, render_mode)
        self._seeds = Seeds(num_envs)
        self._begun = False
        self._over = np.zeros(num_envs, np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], Infos]:
        """Start an episode in every market.

        Args:
            seed: of the first market, the others take the next ones; or one for each; without any, each market's
                generator draws the next.
            options: ``"reset_mask"``, bool of shape (num_envs,), resets only the markets where it is true, the others go on.

        Raises:
            TypeError, ValueError: a seed is no non-negative integer, their number is wrong, the mask is none, or an option
                asks for other markets.
        """
        options = dict(options or {})
        chosen = self._mask(options.pop("reset_mask")) if "reset_mask" in options else np.ones(self.num_envs, np.bool_)
        check_options(options)
        seeds: Sequence[int | None] = []
        if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
            super().reset(seed=check_seed(seed))
            seeds = range(int(seed), int(seed) + self.num_envs)
        elif seed is None:
            seeds = [None] * self.num_envs
        elif isinstance(seed, Sequence):
            seeds = seed
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed: expected an integer or one for each of {self.num_envs} markets, got {seed!r}")
        if not (chosen | self.batch.begun).all():
            raise ValueError("options: reset_mask leaves out a market that was never reset")
        self._begin(chosen, seeds)
        self._over[chosen] = False
        self._begun = True
        return self.batch.observations[:, 0].copy(), self._infos(chosen)

    def _mask(self, mask: Any) -> NDArray[np.bool_]:
        wanted = f"options: reset_mask must be a numpy array of bool of shape ({self.num_envs},) with a True in it"
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            kind = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
            raise TypeError(f"{wanted}, got {kind}")
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(f"{wanted}, got {shown(mask.tolist())}")
        return mask

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Infos]:
        """Carry out the learners' actions, integers of shape (num_envs, 5), and play on to their next turns.

        Raises:
            RuntimeError: no episode is under way.
            TypeError, ValueError: the actions are not in the action space; nothing has changed then.
        """
        if not self._begun:
            raise RuntimeError(f"step(): {NO_EPISODE}")
        batch = self.batch
        played = ~self._over
        codes = as_codes(
            actions, batch.codes, lambda place: batch.label((*place, 0) if place else ()), (self.num_envs,)
        )
        batch.step(codes[:, None], played)
        rewards = np.where(played, rewards_of(batch, self.reward)[:, 0], 0.0)
        truncated = batch.finished & played
        self._pictures.add(played)
        infos: Infos = {}
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            if self._over.any():
                self._begin(self._over)
            self._over = truncated
        elif truncated.any():
            last = np.full(self.num_envs, None, object)
            for number in np.flatnonzero(truncated).tolist():
                last[number] = batch.observations[number, 0].copy()
            infos = {
                "final_obs": last,
                "_final_obs": truncated,
                "final_info": self._infos(truncated),
                "_final_info": truncated,
            }
            self._begin(truncated)
        everywhere = np.ones(self.num_envs, np.bool_)
        return (
            batch.observations[:, 0].copy(),
            rewards,
            np.zeros(self.num_envs, np.bool_),
            truncated.copy(),
            {**infos, **self._infos(everywhere)},
        )

    def _begin(self, chosen: NDArray[np.bool_], seeds: Sequence[int | None] | None = None) -> None:
        self.batch.reset(self._seeds.next_of(chosen, seeds), chosen)
        self._pictures.begin(chosen)

    def _infos(self, where: NDArray[np.bool_]) -> Infos:
        rows = self.batch.infos[:, 0]
        infos: Infos = {}
        for name in observe.INFO.names or ():
            infos[name] = np.where(where, rows[name], 0)
            infos[f"_{name}"] = where.copy()
        return infos

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """An attribute of each market's :class:`Seat`, called if it can be."""
        if name == "action_masks":
            return tuple(self.batch.action_masks()[:, 0])  # all in one call
        found = [getattr(seat, name) for seat in self.seats]
        return tuple(each(*args, **kwargs) if callable(each) else each for each in found)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of each market's :class:`Seat`."""
        return tuple(getattr(seat, name) for seat in self.seats)

    def set_attr(self, name: str, values: Any) -> None:
        """Not possible: the markets of a batch cannot be changed one by one.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(f"{name}: {UNCHANGEABLE}")

    def render(self) -> tuple[Any, ...]:
        """A picture of each market: its ladder as text (``ansi``) or recent depth as an image (``rgb_array``)."""
        return self._pictures.draw()
