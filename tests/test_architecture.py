"""Imports run one way: runners -> scripted_agents -> market_env, engine below faces."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "market_env": {"market_env"},
    "scripted_agents": {"scripted_agents", "market_env"},
    "runners": {"runners", "scripted_agents", "market_env"},
}
ENCODINGS = {"market_env.actions", "market_env.observations"}
"""Named and documented once, used by the engine and every face."""


def imports(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: relative import"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    for source in (ROOT / package).rglob("*.py"):
        for name in imports(source):
            top = name.split(".")[0]
            assert top not in MAY_IMPORT or top in MAY_IMPORT[package], f"{source} imports {name}"
            assert top not in {"tests", "benchmarks"}, f"{source} imports {name}"


def test_the_engine_knows_no_face_and_no_environment_library() -> None:
    for source in (ROOT / "market_env" / "engine").glob("*.py"):
        for name in imports(source):
            assert not name.startswith(("pettingzoo", "stable_baselines3", "torch")), f"{source} imports {name}"
            if name.startswith("market_env."):
                below = name.startswith("market_env.engine") or any(name.startswith(e) for e in ENCODINGS)
                assert below, f"{source} imports {name}"


def test_the_twin_shares_no_code_with_the_engine() -> None:
    assert not [name for name in imports(ROOT / "market_env" / "twin.py") if name.startswith(("market_env", "numba"))]


def test_nothing_but_the_frozen_policy_and_training_imports_torch() -> None:
    users = {
        str(source.relative_to(ROOT))
        for package in MAY_IMPORT
        for source in (ROOT / package).rglob("*.py")
        if any(name.split(".")[0] in {"torch", "stable_baselines3"} for name in imports(source))
    }
    assert users == {"scripted_agents/frozen_ppo.py", "runners/checkpoint.py", "runners/train.py", "runners/vec_env.py"}
