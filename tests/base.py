"""Every face of the environment with what a plain installation has: ``make base`` runs it where nothing else is installed."""

from __future__ import annotations

import copy
import sys

import gymnasium
import numpy as np

import market_env
import scripted_agents

config = market_env.MarketConfig(timesteps=60)

env = market_env.env(config=config)
env.reset(seed=7)
policies = scripted_agents.build(config)
for agent, policy in policies.items():
    policy.reset(env.unwrapped.policy_stream(agent), env.unwrapped.policy_memory(agent))
turns = 0
for agent in env.agent_iter():
    observation, _, _, truncation, _ = env.last()
    env.step(None if truncation else policies[agent].act(observation))
    turns += 1
assert turns > 500

learner = gymnasium.make("market_env/Learner-v1", config=config)
first, _ = learner.reset(seed=3)
copied = copy.deepcopy(learner)
action = learner.action_space.sample()
assert np.array_equal(learner.step(action)[0], copied.step(action)[0])

vector = gymnasium.make_vec("market_env/Learner-v1", num_envs=3, config=config)
together, _ = vector.reset(seed=3)
assert np.array_equal(together[0], first)
vector.step(vector.action_space.sample())

together = scripted_agents.parallel_env(config, ["ppo_0"])
observations, _ = together.reset(seed=3)
assert np.array_equal(observations["ppo_0"], first)

loaded = [
    name for name in ("torch", "matplotlib", "polars", "pyarrow", "scipy", "tyro", "tensorboard") if name in sys.modules
]
print(f"{turns} turns; loaded beside what the environment needs: {loaded or 'nothing'}")
