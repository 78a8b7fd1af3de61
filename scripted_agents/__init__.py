"""Policies for the market: noise, maker, momentum, frozen PPO, baselines; populations and the compiled turn loop.

:func:`population` gives a market and who sits in it by name, :func:`learner_env` and :func:`parallel_env` environments with
scripted policies around the learners. Importing this package registers two environments with Gymnasium: ``market_env/Learner-v1``, the
default population with one learner in the PPO's seat, and ``market_env/Execution-v1``, one large order to be worked in it (:func:`execution`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gymnasium

import market_env
from market_env.config import LEARNER
from market_env.learner import LearnerEnv
from scripted_agents.baselines import DoNothing, RandomActions
from scripted_agents.batch import Batch
from scripted_agents.execution import EXECUTION_ID, execution
from scripted_agents.freezing import freeze
from scripted_agents.frozen_ppo import FrozenPPO
from scripted_agents.informed import InformedTrader
from scripted_agents.maker import MarketMaker
from scripted_agents.model_file import ModelError
from scripted_agents.momentum import MomentumTrader
from scripted_agents.noise import NoiseTrader
from scripted_agents.patient import PatientTrader
from scripted_agents.policy import CompiledPolicy, Policy, PolicyConfig
from scripted_agents.populations import Population, Rules, alone, population, reward_of
from scripted_agents.quoter import Quoter
from scripted_agents.recorded import load_tape, on_tape, part_of
from scripted_agents.registry import background, build
from scripted_agents.rollout import CompiledBackground, PythonBackground, run_compiled
from scripted_agents.schedules import Participation, Peg, Schedule
from scripted_agents.splitter import Splitter

__all__ = [
    "Batch",
    "CompiledBackground",
    "CompiledPolicy",
    "DoNothing",
    "FrozenPPO",
    "InformedTrader",
    "MarketMaker",
    "ModelError",
    "MomentumTrader",
    "NoiseTrader",
    "Participation",
    "PatientTrader",
    "Peg",
    "Policy",
    "Population",
    "PythonBackground",
    "Quoter",
    "RandomActions",
    "Schedule",
    "Splitter",
    "background",
    "build",
    "execution",
    "freeze",
    "learner_env",
    "load_tape",
    "on_tape",
    "parallel_env",
    "part_of",
    "population",
    "run_compiled",
]


def learner_env(
    config: Rules | None = None,
    learner: str = LEARNER,
    policies: Mapping[str, PolicyConfig] | None = None,
    **arguments: Any,
) -> LearnerEnv:
    """A learner's environment with scripted policies around it.

    Args:
        config: a market or a population; by default the default one.
        learner: id of the learner's seat.
        policies: who plays the others, by agent id or kind, where it is not the population's or the kind's default.
        arguments: further ones, as :class:`LearnerEnv` takes them.

    Raises:
        ConfigError: the learner is not in the market, or an agent has no policy.
    """
    market, seated = alone(config, policies)
    arguments.setdefault("reward", reward_of(config))
    env = LearnerEnv(market, background(market, [learner], seated), learner, **arguments)
    own = {"config": config, "learner": learner, "policies": policies, **arguments}
    env.spec = replace(gymnasium.spec(LEARNER_ID), kwargs={n: v for n, v in own.items() if v is not None})
    return env


def parallel_env(
    config: Rules,
    learners: Sequence[str],
    policies: Mapping[str, PolicyConfig] | None = None,
    **arguments: Any,
) -> market_env.parallel_env:
    """Several learners' parallel environment with scripted policies around them.

    Args:
        config: a market or a population.
        learners: ids of the learners' seats, which arrive ``Every(1.0, 0.0)``.
        policies: who plays the others, by agent id or kind, where it is not the population's or the kind's default.
        arguments: further ones, as :class:`market_env.parallel_env` takes them.

    Raises:
        ConfigError: a learner is not in the market or arrives otherwise, or an agent has no policy.
    """
    market, seated = alone(config, policies)
    arguments.setdefault("reward", reward_of(config))
    return market_env.parallel_env(market, background(market, learners, seated), learners, **arguments)


LEARNER_ID = "market_env/Learner-v1"

gymnasium.register(
    id=LEARNER_ID,
    entry_point="scripted_agents:learner_env",
    vector_entry_point="scripted_agents.vector:MarketVectorEnv",
)
gymnasium.register(
    id=EXECUTION_ID,
    entry_point="scripted_agents.execution:execution_env",
    vector_entry_point="scripted_agents.execution:ExecutionVectorEnv",
)
