"""The compile cache: it is hit by later processes, never stale, and does what it can where it cannot be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from market_env.engine.kernel import PolicyFunction, policy_kernel

ROOT = Path(__file__).parents[3]

INNERMOST = """
from market_env.engine.kernel import kernel

@kernel
def innermost(x):
    '''Adds.'''
    return x + {number}
"""

MIDDLE = """
from market_env.engine.kernel import kernel
from {first} import {second}

@kernel
def middle(x):
    return {call}(x)
"""

PROGRAM = """
from market_env.engine.kernel import kernel
from middle.here import middle

@kernel
def outer(x):
    return 10 * middle(x)

print(outer(1), sum(outer.stats.cache_hits.values()))
"""


def run(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.insert(0, '.'); import program"],
        cwd=folder,
        env={**os.environ, "MARKET_ENV_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "imports",
    [
        {"first": "library.inside", "second": "innermost", "call": "innermost"},
        {"first": "library", "second": "inside", "call": "inside.innermost"},
        {"first": "outermost", "second": "library", "call": "library.inside.innermost"},
    ],
    ids=["by name", "through a module", "through nested modules"],
)
def test_a_kernel_is_loaded_from_the_cache_until_a_kernel_that_it_reaches_changes(
    imports: dict[str, str], tmp_path: Path
) -> None:
    for folder in ("library", "middle"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "outermost.py").write_text("import library.inside\n")
    (tmp_path / "library" / "inside.py").write_text(INNERMOST.format(number=1))
    (tmp_path / "middle" / "here.py").write_text(MIDDLE.format(**imports))
    (tmp_path / "program.py").write_text(PROGRAM)
    assert run(tmp_path) == "20 0"
    assert run(tmp_path) == "20 1"
    (tmp_path / "library" / "inside.py").write_text(INNERMOST.format(number=2))
    assert run(tmp_path) == "30 0"
    assert run(tmp_path) == "30 1"


def test_a_constant_from_elsewhere_is_part_of_what_is_compiled(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "program.py").write_text(
        "from market_env.engine.kernel import kernel\nfrom figures.some import HALF\n"
        "@kernel\ndef f(x):\n    return x * HALF\nprint(f(1), sum(f.stats.cache_hits.values()))\n"
    )
    for number, hits in ((3, 0), (3, 1), (4, 0)):
        (tmp_path / "figures" / "some.py").write_text(f"HALF = {number}\n")
        assert run(tmp_path) == f"{number} {hits}"


@pytest.mark.parametrize("where", ["argument", "made"])
def test_the_names_of_a_named_tuples_fields_are_part_of_what_is_compiled(where: str, tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    made = "Pair(1.0, 2.0)"
    body, call = ("x.first", made) if where == "argument" else ("Pair(x, 2.0 * x).first", "1.0")
    (tmp_path / "program.py").write_text(
        "from market_env.engine.kernel import kernel\nfrom pairs.some import Pair\n"
        f"@kernel\ndef f(x):\n    return {body}\nprint(f({call}), sum(f.stats.cache_hits.values()))\n"
    )
    for fields, printed in (
        (("first", "other"), "1.0 0"),
        (("first", "other"), "1.0 1"),
        (("other", "first"), "2.0 0"),
    ):
        (tmp_path / "pairs" / "some.py").write_text(
            f"from typing import NamedTuple\nclass Pair(NamedTuple):\n    {fields[0]}: float\n    {fields[1]}: float\n"
        )
        assert run(tmp_path) == printed


def test_a_comment_a_docstring_and_a_function_that_no_kernel_calls_recompile_nothing(tmp_path: Path) -> None:
    for folder in ("library", "middle"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    inside = tmp_path / "library" / "inside.py"
    imports = {"first": "library.inside", "second": "innermost", "call": "innermost"}
    inside.write_text(INNERMOST.format(number=1))
    (tmp_path / "middle" / "here.py").write_text(MIDDLE.format(**imports))
    (tmp_path / "program.py").write_text(PROGRAM)
    assert run(tmp_path) == "20 0"
    kept = sorted((tmp_path / "cache").iterdir())
    text = INNERMOST.format(number=1).replace("Adds.", "Adds a constant to its argument.")
    inside.write_text("# Longer.\n" + text + "\n\ndef unused():\n    return 7\n")
    assert run(tmp_path) == "20 1"
    assert sorted((tmp_path / "cache").iterdir()) == kept


def test_a_comment_in_a_face_or_a_kernel_of_the_market_recompiles_nothing(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "market_env", tmp_path / "market_env", ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        "import sys; sys.path.insert(0, '.')\n"
        "import market_env\nfrom market_env.engine.kernel import announced, cache_root\n"
        f"assert market_env.__file__.startswith({str(tmp_path)!r})\n"
        "with announced('a market'):\n"
        "    env = market_env.env()\n    env.reset(seed=1)\n    env.step(env.action_space(env.agent_selection).sample())\n"
        "print(len(list(cache_root().iterdir())))\n"
    )
    counts = []
    for name in ("", "render.py", "engine/turn.py"):
        if name:
            source = tmp_path / "market_env" / name
            source.write_text("# Read me first.\n" + source.read_text() + "# And last.\n")
        # A cache of its own, which no other test fills at the same time.
        own = {**os.environ, "MARKET_ENV_CACHE": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=own, capture_output=True, text=True, check=True
        )  # fmt: skip
        counts.append(int(done.stdout))
        if name:
            assert done.stderr == "", name
    assert counts[0] == counts[1] == counts[2] > 0


def without_rights(cache: Path, program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program run by a user who may write nowhere; it has imported the market by then."""
    start = "import os\nimport numba\nfrom program import outer\nnumba.njit(lambda x: x)(1)\nif os.geteuid() == 0:\n    os.seteuid(65534)\n"
    return subprocess.run(
        [
            sys.executable,
            "-W",
            "always::RuntimeWarning",
            "-c",
            f"import sys; sys.path.insert(0, '.')\n{start}{program}",
        ],
        cwd=cache.parent,
        env={**os.environ, "MARKET_ENV_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A kernel over two folders, nothing of it compiled yet, readable by all."""
    for folder in ("library", "middle"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "library" / "inside.py").write_text(INNERMOST.format(number=1))
    imports = {"first": "library.inside", "second": "innermost", "call": "innermost"}
    (tmp_path / "middle" / "here.py").write_text(MIDDLE.format(**imports))
    (tmp_path / "program.py").write_text(PROGRAM.replace("print(outer(1), sum(outer.stats.cache_hits.values()))", ""))
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.getuid():
            folder.chmod(0o755)
    return tmp_path


CALL = "print(outer(1), sum(outer.stats.cache_hits.values()))"


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_filled_cache_that_cannot_be_written_is_used(library: Path) -> None:
    cache = library / "cache"
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, '.')\nfrom program import outer\n{CALL}"],
        cwd=library, env={**os.environ, "MARKET_ENV_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}, check=True,
    )  # fmt: skip
    before = files_of(library)
    cache.chmod(0o555)
    done = without_rights(cache, CALL)
    assert (done.stdout.strip(), done.stderr) == ("20 1", "")
    # What it lacks is compiled, and not a stale neighbour.
    (library / "library" / "inside.py").write_text(INNERMOST.format(number=2))
    done = without_rights(cache, CALL)
    assert done.stdout.strip() == "30 0"
    assert done.stderr.count("RuntimeWarning: compiled kernels cannot be kept") == 1
    assert files_of(library) == before


@pytest.mark.parametrize("place", ["empty", "missing", "a file", "no home"])
def test_without_a_place_for_it_machine_code_is_kept_nowhere_and_that_is_said_once(place: str, library: Path) -> None:
    cache = library / "cache"
    environment = {}
    if place == "empty":
        cache.mkdir()
        cache.chmod(0o555)
    elif place == "a file":
        cache.write_text("mine")
    elif place == "no home":
        environment = {"MARKET_ENV_CACHE": "", "HOME": "/nonexistent", "XDG_CACHE_HOME": ""}
    before = files_of(library)
    for number in (1, 2):  # an edit shows at once
        (library / "library" / "inside.py").write_text(INNERMOST.format(number=number))
        done = without_rights(cache, CALL, **environment)
        assert done.stdout.strip() == f"{10 * (1 + number)} 0"
        assert done.stderr.count("RuntimeWarning: compiled kernels cannot be kept") == 1
    assert files_of(library) == before


def test_a_damaged_cache_file_is_compiled_anew(library: Path) -> None:
    (library / "program.py").write_text(PROGRAM)
    assert run(library) == "20 0"
    for entry in (library / "cache").iterdir():
        entry.write_bytes(entry.read_bytes()[:40])
    assert run(library) == "20 0"
    assert run(library) == "20 1"


def test_a_kernel_typed_at_a_prompt_compiles() -> None:
    program = "from market_env.engine.kernel import kernel\n@kernel\ndef f(x):\n    return x + 1\nprint(f(1))\n"
    done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"


def test_a_policy_that_several_threads_ask_for_at_once_is_compiled_once() -> None:
    def policy(observation, parameters, memory, stream, action):  # type: ignore[no-untyped-def]
        action[0] = 1

    for _ in range(5):
        made = policy_kernel(policy)
        together = threading.Barrier(8)

        def ask(made: PolicyFunction = made, together: threading.Barrier = together) -> tuple[int, int]:
            together.wait()
            return made.address, id(made.compiled)

        with ThreadPoolExecutor(8) as pool:
            found = {future.result() for future in [pool.submit(ask) for _ in range(8)]}
        # One piece of machine code: a second one would be freed, and its address asked for by whoever came first.
        assert len(found) == 1


TWO_SHAPES = """
import sys
import numpy as np
from market_env.engine.kernel import kernel

@kernel
def total(row, depth):
    found = 0
    for i in range(len(row.values)):
        found += row.values[i]
    if depth > 0:
        found += total(row, depth - 1) + total(row, depth - 2)
    return found

@kernel
def outer(rows, depth):
    return total(rows[0], depth)

for size in map(int, sys.argv[1:]):
    rows = np.zeros(1, np.dtype([("values", "i8", (size,))], align=True))
    rows["values"] = 1
    print(outer(rows, 0), end=" ")
print(sum(outer.stats.cache_hits.values()))
"""


def test_kept_code_for_records_of_two_shapes_does_not_meet(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(TWO_SHAPES)
    environment = {**os.environ, "MARKET_ENV_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}

    def run_with(*sizes: str) -> str:
        return subprocess.run(
            [sys.executable, "program.py", *sizes], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()  # fmt: skip

    # Each is compiled by a process of its own, in which the other is not known; then one loads both.
    assert run_with("3") == "3 0"
    assert run_with("5") == "5 0"
    assert run_with("3", "5") == "3 5 2"
    assert run_with("5", "3") == "5 3 2"
