"""The compile cache: it is hit by later processes, and never stale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

INNERMOST = """
from market_env.engine.kernel import kernel

@kernel
def innermost(x):
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


def test_a_kernel_without_a_source_file_compiles_without_a_cache() -> None:
    program = "from market_env.engine.kernel import kernel\n@kernel\ndef f(x):\n    return x + 1\nprint(f(1))\n"
    done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"
