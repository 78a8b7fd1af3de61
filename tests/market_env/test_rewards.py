"""A reward is a pure function of outcome rows, one or many."""

from __future__ import annotations

import numpy as np
import pytest

from market_env.engine.state import OUTCOME
from market_env.rewards import WealthReward


def test_one_row_and_many_rows_give_the_same() -> None:
    rng = np.random.default_rng(1)
    rows = np.zeros(50, OUTCOME)
    rows["wealth_change"] = rng.normal(0, 100, 50)
    rows["inventory"] = rng.integers(-100, 101, 50)
    rows["elapsed"] = rng.exponential(1.0, 50)
    reward = WealthReward(inventory_penalty=0.5, scale=10.0)
    many = reward(rows)
    assert many.shape == (50,)
    assert many.tolist() == [float(reward(row)) for row in rows]
    assert many[3] == pytest.approx(
        (rows["wealth_change"][3] - 0.5 * rows["inventory"][3] ** 2 * rows["elapsed"][3]) / 10.0
    )


def test_penalties_are_charged_for_excess_inventory_and_refused_lots() -> None:
    row = np.zeros(1, OUTCOME)[0]
    row["wealth_change"], row["inventory"], row["inventory_bound"], row["elapsed"] = 100.0, -60.0, 100.0, 2.0
    row["rejected"][:2] = 3, 4
    row["refused"] = 7
    plain = WealthReward(inventory_penalty=0.0, scale=1.0)
    assert float(plain(row)) == 100.0
    excess = WealthReward(inventory_penalty=0.0, excess_penalty=0.1, scale=1.0)
    row["inventory"] = -80.0
    assert float(excess(row)) == pytest.approx(100.0 - 0.1 * 10.0**2 * 2.0)
    row["inventory"] = 70.0
    assert float(excess(row)) == 100.0
    refused = WealthReward(inventory_penalty=0.0, refusal_penalty=0.5, scale=1.0)
    assert float(refused(row)) == pytest.approx(100.0 - 0.5 * 7)


def test_damping_leaves_out_a_share_of_what_the_held_inventory_gained() -> None:
    row = np.zeros(1, OUTCOME)[0]
    row["wealth_change"], row["carry"] = 100.0, 60.0
    assert float(WealthReward(damping=0.5, scale=1.0)(row)) == 70.0
    assert float(WealthReward(damping=1.0, scale=1.0)(row)) == 40.0


def test_doing_nothing_earns_exactly_nothing() -> None:
    assert float(WealthReward()(np.zeros(1, OUTCOME)[0])) == 0.0
