"""What a policy is, and how a compiled one is called.

A policy maps an observation to an action, with its own random stream, a small memory of its own, and nothing else. A compiled policy is
a C function of one signature (:data:`market_env.engine.kernel.POLICY_SIGNATURE`); the Python object around it
and the compiled rollout call the same machine code, so both give the same trajectory bit for bit. A call costs
under 1 µs from Python, some ns from the rollout.

Every compiled policy's parameters begin with the market's grids (:func:`offset_code` and :func:`lots_code`
read them); its own start at index :data:`OWN`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from market_env import observations
from market_env.actions import MAX_GRID, WIDTH
from market_env.config import MarketConfig
from market_env.engine.kernel import PolicyFunction, kernel
from market_env.engine.state import MEMORY

Observation = NDArray[np.float32]
Action = NDArray[np.int64]

OWN = 2 * MAX_GRID + 2
"""Index of a policy's first own parameter, behind the grids."""
LOTS_GRID = MAX_GRID + 1


class Policy(Protocol):
    """Decides for one agent; scripted, frozen or your own."""

    def reset(self, stream: NDArray[np.uint64], memory: NDArray[np.float64]) -> None:
        """Begin an episode.

        Args:
            stream: this agent's policy stream, uint64 of shape (4,), a view into the market's record. Draw from
                it with :mod:`market_env.engine.streams`, or seed a generator of your own with it.
            memory: what the policy may remember from turn to turn, float64 of shape (MEMORY,), zeros, a view into the
                market's record: what it keeps there is saved and restored with the market.
        """
        ...

    def act(self, observation: Observation) -> Action:
        """The action, five codes, for what the agent sees: float32 of shape (SIZE,)."""
        ...


class PolicyConfig(Protocol):
    """Parameters of a policy, as a frozen dataclass that can build it."""

    def build(self, config: MarketConfig) -> Policy:
        """The policy for a seat in this market."""
        ...


@intrinsic
def call_policy(typing_context, address, observation, parameters, memory, stream, action):
    """Call the C function at ``address`` with pointers to five arrays."""
    signature = types.void(address, observation, parameters, memory, stream, action)

    def generate(context, builder, signature, arguments):
        pointers = []
        for kind, value in zip(signature.args[1:], arguments[1:], strict=True):
            array = context.make_array(kind)(context, builder, value)
            pointers.append(builder.bitcast(array.data, ir.IntType(8).as_pointer()))
        function = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()] * len(pointers))
        builder.call(builder.inttoptr(arguments[0], function.as_pointer()), pointers)
        return context.get_dummy_value()

    return signature, generate


@kernel
def decide(address, observation, parameters, memory, stream, action):
    """Ask the compiled policy at ``address``; it writes ``action``."""
    action[:] = 0
    call_policy(address, observation, parameters, memory, stream, action)


@kernel
def offset_code(parameters, ticks):
    """Code of the smallest configured offset of at least ``ticks``; the largest offset if there is none."""
    count = int(parameters[0])
    for code in range(count - 1):
        if parameters[1 + code] >= ticks:
            return code
    return count - 1


@kernel
def market_code(parameters):
    """Code of a market order."""
    return int(parameters[0])


@kernel
def lots_code(parameters, lots):
    """Code of the largest configured quantity of at most ``lots``, but at least the smallest above 0."""
    count = int(parameters[LOTS_GRID])
    for code in range(count - 1, 1, -1):
        if parameters[LOTS_GRID + 1 + code] <= lots:
            return code
    return 1


def grid_header(config: MarketConfig) -> NDArray[np.float64]:
    """The market's grids as the first :data:`OWN` parameters."""
    header = np.zeros(OWN)
    header[0] = len(config.offsets)
    header[1 : 1 + len(config.offsets)] = config.offsets
    header[LOTS_GRID] = len(config.lots)
    header[LOTS_GRID + 1 : LOTS_GRID + 1 + len(config.lots)] = config.lots
    return header


class CompiledPolicy:
    """A compiled policy with its parameters.

    Args:
        function: a function compiled by :func:`market_env.engine.kernel.policy_kernel`.
        config: the market it trades in.
        parameters: its own parameters, float64.
    """

    def __init__(
        self, function: PolicyFunction, config: MarketConfig, parameters: Sequence[float] | NDArray[np.float64]
    ) -> None:
        self.function = function
        self.parameters = np.concatenate([grid_header(config), np.asarray(parameters, np.float64)])
        self._observation = np.zeros(observations.SIZE, np.float32)
        self._stream = np.zeros(4, np.uint64)
        self._memory = np.zeros(MEMORY)

    def parameter_hash(self) -> str:
        """SHA-256 of the parameters that decide, hexadecimal: the same before and after a frozen run."""
        return hashlib.sha256(self.parameters.tobytes()).hexdigest()

    def reset(self, stream: NDArray[np.uint64], memory: NDArray[np.float64]) -> None:
        """Draw from ``stream`` and remember in ``memory`` from now on."""
        self._stream = stream
        self._memory = memory

    def act(self, observation: Observation) -> Action:
        """The action for an observation, int64 of shape (5,), a fresh array.

        Raises:
            ValueError: the observation is not float32 of shape (SIZE,).
        """
        if observation.dtype != np.float32 or observation.shape != (observations.SIZE,):
            raise ValueError(
                f"observation: expected float32 of shape ({observations.SIZE},), "
                f"got {observation.dtype} of shape {observation.shape}"
            )
        action = np.zeros(WIDTH, np.int64)
        # Into a buffer of our own: a view of another layout would be another type to the compiler.
        self._observation[:] = observation
        decide(self.function.address, self._observation, self.parameters, self._memory, self._stream, action)
        return action
