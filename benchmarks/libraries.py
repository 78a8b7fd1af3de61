"""``python -m benchmarks.libraries``: how fast each script of ``docs/libraries.md`` trains, where its library is installed.

Each script runs in a process of its own with more turns than the page has; a turn is one decision of one learner. The scripts
measure themselves, from the first turn to the end of the last update. Cost: three minutes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "libraries.md"
TURNS = {"Stable-Baselines3": 262_144, "sb3-contrib": 32_768, "A loop of your own, in CleanRL's manner": 131_072}
"""By section, where it is more than :data:`FEWEST`: so many that it takes some ten seconds."""
FEWEST = 8_192


def scripts() -> dict[str, str]:
    """The page's scripts, by section."""
    return dict(
        re.findall(r"^## ([^\n]*)\n(?:(?!^## ).)*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    )


def installed(script: str) -> bool:
    """Whether what a script imports can be imported here."""
    lines = [line for line in script.splitlines() if line.startswith(("import ", "from "))]
    words = [sys.executable, "-W", "ignore", "-c", "\n".join(lines)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def measure(section: str, script: str) -> list[tuple[str, float]]:
    """Turns a second by the names that a script prints."""
    longer = re.sub(r"^TURNS = [\d_]+", f"TURNS = {TURNS.get(section, FEWEST)}", script, flags=re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "script.py"
        program.write_text(longer)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(program)], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
        )
    return [
        (name, float(number.replace(",", "")))
        for name, number in re.findall(r"^(.*): ([\d,]+) turns/s$", done.stdout, re.MULTILINE)
    ]


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    if arguments:
        print(__doc__)
        return arguments != ["--help"]
    found = [line for section, script in scripts().items() if installed(script) for line in measure(section, script)]
    first = found[0][1]
    print(f"{'turns a second':<24}{'':>12}   over {found[0][0]}'s on MarketVecEnv")
    for name, rate in found:
        print(f"{name:<24}{rate:>12,.0f}{rate / first:>9.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
