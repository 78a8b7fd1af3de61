"""The compile cache: it is hit by later processes, and never stale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LIBRARY = """
from market_env.engine.kernel import kernel

@kernel
def inner(x):
    return x + {number}
"""

PROGRAM = """
from market_env.engine.kernel import kernel
from library.inside import inner

@kernel
def outer(x):
    return 10 * inner(x)

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


def test_a_kernel_is_loaded_from_the_cache_until_a_kernel_that_it_inlines_changes(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "__init__.py").touch()
    (tmp_path / "library" / "inside.py").write_text(LIBRARY.format(number=1))
    (tmp_path / "program.py").write_text(PROGRAM)
    assert run(tmp_path) == "20 0"
    assert run(tmp_path) == "20 1"
    (tmp_path / "library" / "inside.py").write_text(LIBRARY.format(number=2))
    assert run(tmp_path) == "30 0"
    assert run(tmp_path) == "30 1"
