"""An action is checked by the market itself, whatever wraps it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import market_env
from market_env.actions import COMPONENTS, sizes


@pytest.fixture
def env(small_config: market_env.MarketConfig) -> Any:
    environment = market_env.raw_env(config=small_config)
    environment.reset(seed=1)
    return environment


@pytest.mark.parametrize(
    ("action", "kind", "message"),
    [
        (None, TypeError, "got None"),
        (3, ValueError, "shape ()"),
        ([0, 0, 0, 0], ValueError, "shape (4,)"),
        (np.zeros((1, 5), np.int64), ValueError, "shape (1, 5)"),
        ([[0], [0, 1], 0, 0, 0], ValueError, "expected 5 integers"),
        ([0, 0, 0, 0, 1.0], TypeError, "ask_lots must be an integer, got 1.0 (float)"),
        ([float("nan"), 0, 0, 0, 0], TypeError, "cancel must be an integer, got nan (float)"),
        ([True, 0, 0, 0, 0], TypeError, "cancel must be an integer, got True (bool)"),
        (np.zeros(5, bool), TypeError, "cancel must be an integer, got False (bool)"),
        (np.zeros(5), TypeError, "cancel must be an integer, got 0.0 (float)"),
        (["0", 0, 0, 0, 0], TypeError, "cancel must be an integer, got '0' (str)"),
        ([5, 0, 0, 0, 0], ValueError, "cancel must be an integer from 0 to 4, got 5"),
        ([0, -1, 0, 0, 0], ValueError, "bid_offset must be an integer from 0 to 20, got -1"),
        ([0, 0, 14, 0, 0], ValueError, "bid_lots must be an integer from 0 to 13, got 14"),
        ([0, 0, 0, 21, 0], ValueError, "ask_offset must be an integer from 0 to 20, got 21"),
        ([0, 0, 0, 0, 10**30], ValueError, "ask_lots is out of range"),
    ],
)
def test_a_bad_action_names_agent_component_range_and_value_and_changes_nothing(
    env: Any, action: Any, kind: type[Exception], message: str
) -> None:
    before = env.market.save().tobytes()
    with pytest.raises(kind) as raised:
        env.step(action)
    assert message in str(raised.value)
    assert env.agent_selection in str(raised.value)
    assert env.market.save().tobytes() == before


FORMS = {
    "list": list,
    "tuple": tuple,
    "int64": np.array,
    "int32": lambda a: np.array(a, np.int32),
    "uint8": lambda a: np.array(a, np.uint8),
    "strided": lambda a: np.array([a, a]).T.ravel()[::2],
}


@pytest.mark.parametrize("form", FORMS)
def test_integers_are_accepted_in_any_form_and_mean_the_same(env: Any, form: str) -> None:
    env.step(FORMS[form]([4, 9, 3, 11, 2]))
    other = market_env.raw_env(config=env.config)
    other.reset(seed=1)
    other.step([4, 9, 3, 11, 2])
    assert env.market.save().tobytes() == other.market.save().tobytes()


def test_sizes_follow_the_components() -> None:
    assert len(COMPONENTS) == 5
    assert sizes((-1, 0, 1), (0, 1, 5)).tolist() == [5, 4, 3, 4, 3]
