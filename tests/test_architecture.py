"""Imports run one way: runners -> scripted_agents -> market_env, engine below faces; and the rooms of runners likewise."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import runners

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "market_env": {"market_env"},
    "scripted_agents": {"scripted_agents", "market_env"},
    "runners": {"runners", "scripted_agents", "market_env"},
}
ENCODINGS = {"market_env.actions", "market_env.observations"}
"""Named and documented once, used by the engine and every face."""
BELOW: dict[str, set[str]] = {
    "files": set(),
    "audit": {"files"},
    "measures": {"files", "audit"},
    "exchange": {"files", "audit", "measures"},
    "report": {"files", "audit", "measures", "exchange"},
    "experiment": {"files", "audit", "measures", "exchange", "report"},
    "simulation": {"files", "audit", "measures", "exchange", "report"},
    "learn": {"files", "measures", "experiment"},
    "cluster": {"files", "measures", "experiment", "learn"},
}
"""By room of runners the rooms that it stands on."""
COMMANDS = {"simulate", "replay", "facts", "lobster", "train", "evaluate", "tune", "card", "docs"}
IN_ROOMS = {
    "report.__main__",
    *(f"experiment.{name}" for name in ("__main__", "claims", "impact", "calibrate", "making", "execution")),
}
"""Commands that lie in a room."""
ANOTHER_NAME = {"load": "runners.files.run", "drive": "runners.simulation.drive", "vec_env": "runners.learn.vec_env"}
"""Paths that docs have named, kept as re-exports, and what they stand for."""


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


@pytest.mark.parametrize("room", BELOW)
def test_a_room_of_runners_imports_only_those_below_it(room: str) -> None:
    commands = {*COMMANDS, *IN_ROOMS}
    for source in (ROOT / "runners" / room).glob("*.py"):
        if f"{room}.{source.stem}" in IN_ROOMS:
            continue
        for name in imports(source):
            top, _, rest = name.partition(".")
            if top == "runners":
                assert rest, f"{source} imports the public page"
                assert rest.split(".")[0] in {room, *BELOW[room]}, f"{source} imports {name}"
                assert rest not in commands, f"{source} imports {name}"


def test_everything_of_runners_lies_in_a_room_is_a_command_or_another_name() -> None:
    folders = {path.name for path in (ROOT / "runners").iterdir() if (path / "__init__.py").exists()}
    assert folders == set(BELOW)
    modules = {path.stem for path in (ROOT / "runners").glob("*.py")}
    assert modules == {"__init__", "arguments", "command", *COMMANDS, *ANOTHER_NAME}


def test_no_module_imports_a_command() -> None:
    commands = {f"runners.{name}" for name in (*COMMANDS, *IN_ROOMS)}
    for package in MAY_IMPORT:
        for source in (ROOT / package).rglob("*.py"):
            # The documentation is made from a run.
            for name in imports(source):
                home = name if name in commands else name.rpartition(".")[0]
                assert home not in commands, f"{source} imports {name}"


@pytest.mark.parametrize("name", ANOTHER_NAME)
def test_a_path_that_docs_have_named_stays_importable_and_is_a_mere_re_export(name: str) -> None:
    source = ROOT / "runners" / f"{name}.py"
    body = ast.parse(source.read_text()).body
    assert all(isinstance(node, (ast.Expr, ast.ImportFrom, ast.Assign)) for node in body)
    assert {node.module for node in body if isinstance(node, ast.ImportFrom)} == {ANOTHER_NAME[name]}


def test_the_public_page_is_whole_and_no_name_is_a_modules() -> None:
    modules = {path.stem for path in (ROOT / "runners").iterdir()}
    for name in runners.__all__:
        assert getattr(runners, name).__name__ == name
        assert name not in modules
    assert dir(runners) == sorted(runners.__all__)
    with pytest.raises(AttributeError, match="no attribute 'simulate_nothing'"):
        _ = runners.simulate_nothing


def test_the_engine_knows_no_face_and_no_environment_library() -> None:
    for source in (ROOT / "market_env" / "engine").glob("*.py"):
        for name in imports(source):
            assert not name.startswith(("pettingzoo", "stable_baselines3", "torch")), f"{source} imports {name}"
            if name.startswith("market_env."):
                below = name.startswith("market_env.engine") or any(name.startswith(e) for e in ENCODINGS)
                assert below, f"{source} imports {name}"


def test_the_twin_shares_no_code_with_the_engine() -> None:
    assert not [name for name in imports(ROOT / "market_env" / "twin.py") if name.startswith(("market_env", "numba"))]


def test_nothing_in_scripted_agents_or_market_env_points_up_by_a_string() -> None:
    for package in ("market_env", "scripted_agents"):
        for source in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(source.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    assert not node.value.startswith(("runners.", "runners:")), f"{source}: {node.value}"


def test_nothing_but_training_imports_torch() -> None:
    users = {
        str(source.relative_to(ROOT))
        for package in MAY_IMPORT
        for source in (ROOT / package).rglob("*.py")
        if any(name.split(".")[0] in {"torch", "stable_baselines3"} for name in imports(source))
    }
    assert users == {
        f"runners/learn/{name}.py" for name in ("checkpoint", "fast", "imitation", "schedule", "training", "vec_env")
    }


HEAVY = ("torch", "stable_baselines3", "matplotlib", "plotly", "tensorboard", "tyro")


def required(extra: str | None) -> set[str]:
    """Names of the packages that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    return {re.split(r"[\[<>=]", line)[0] for line in lines}


def test_the_environment_needs_only_what_a_plain_installation_has() -> None:
    needed = {name.split(".")[0] for package in ("market_env", "scripted_agents") for source in
              (ROOT / package).rglob("*.py") for name in imports(source)}  # fmt: skip
    foreign = needed - set(sys.stdlib_module_names) - set(MAY_IMPORT) - {"llvmlite"}  # numba's own
    assert foreign == required(None)
    assert required("all") == {"market-env"}
    users = {name.split(".")[0] for source in (ROOT / "runners").rglob("*.py") for name in imports(source)}
    named = {
        name.replace("-", "_") for name in required(None) | required("report") | required("train") | required("ray")
    }
    assert users - set(sys.stdlib_module_names) - set(MAY_IMPORT) - {"jinja2", "PIL"} <= named


def test_ray_is_known_in_one_room_and_imported_as_it_loads_by_its_own_process_alone() -> None:
    users = {
        str(source.relative_to(ROOT))
        for source in (ROOT / "runners").rglob("*.py")
        if any(name.split(".")[0] == "ray" for name in imports(source))
    }
    assert users == {f"runners/cluster/{name}.py" for name in ("broker", "experiments", "session")}
    program = "import runners.cluster.experiments, runners.cluster.trainings, sys; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_every_face_plays_where_no_extra_is_installed() -> None:
    others = (required("report") | required("train")) - required(None)
    unwanted = {name.replace("-", "_") for name in others}
    program = f"""
import importlib.abc, runpy, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split('.')[0] in {unwanted!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
sys.path.insert(0, {str(ROOT)!r})
runpy.run_path({str(ROOT / "tests" / "base.py")!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "loaded beside what the environment needs: nothing" in done.stdout


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import market_env, market_env.engine.turn", (*HEAVY, "polars", "pyarrow")),
        ("import scripted_agents", (*HEAVY, "polars", "pyarrow")),
        ("import runners", (*HEAVY, "polars", "pyarrow", "numba")),
        ("import runners.load", (*HEAVY, "market_env.twin", "runners.audit")),
        ("from runners.learn.settings import read_training", ("torch", "stable_baselines3", "matplotlib")),
    ],
)
def test_an_import_loads_nothing_that_it_does_not_need(statement: str, unwanted: tuple[str, ...]) -> None:
    program = f"{statement}\nimport sys\nprint([name for name in {unwanted!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
