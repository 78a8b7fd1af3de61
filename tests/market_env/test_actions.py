"""The action space is what its grids say; what passes as an action is in ``tests/test_faces.py``, of all faces alike."""

from __future__ import annotations

from market_env.actions import COMPONENTS, WIDTH, sizes


def test_sizes_follow_the_components() -> None:
    assert len(COMPONENTS) == WIDTH == 5
    assert sizes((-1, 0, 1), (0, 1, 5)).tolist() == [5, 4, 3, 4, 3]
