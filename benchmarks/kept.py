"""``python -m benchmarks.kept [NAME ...]``: measure anew what the docs show, and leave it in the repository.

Each set of figures is the output of one command, kept as ``docs/figures/NAME.json`` with the command, the date and the machine;
``make docs`` writes it into the pages. Cost: about a quarter of an hour for all but ``learning``, which
trains for an hour and a half.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from runners.files.versions import versions_of
from runners.files.whole import write_json

FOLDER = Path("docs/figures")
PACKAGES = ("numba", "numpy", "pettingzoo", "stable-baselines3", "torch", "polars", "pyarrow", "matplotlib")
"""Whose versions are kept beside the figures."""
RUN = "runs/seed-1-0"
"""Stands for a run of the default market in the commands that need one."""
OUT = "runs/experiment"
"""Stands for a folder of an experiment's own."""
COMMANDS = {
    "performance": ["benchmarks"],
    "before": ["benchmarks.before"],
    "limits": ["benchmarks.limits"],
    "growth": ["benchmarks.growth"],
    "audits": ["benchmarks.integrity", "audits"],
    "mutations": ["benchmarks.integrity", "mutations"],
    "facts": ["runners.facts", RUN],
    "facts_default": ["runners.facts", "--population", "default"],
    "populations": ["benchmarks.realism", "populations"],
    "size": ["benchmarks.realism", "size"],
    "ablations": ["benchmarks.realism", "ablations"],
    "earnings": ["benchmarks.realism", "earnings"],
    "page": ["benchmarks.realism", "page"],
    "push": ["benchmarks.push"],
    "latency": ["benchmarks.rules", "latency"],
    "latency_policy": ["benchmarks.rules", "policy"],
    "rules": ["benchmarks.rules", "cost"],
    "tape": ["benchmarks.rules", "tape"],
    "learning": ["benchmarks.learning"],
    "libraries": ["benchmarks.libraries"],
    "ray": ["benchmarks.cluster", "speed"],
    "ray_chaos": ["benchmarks.cluster", "chaos"],
    "masks": ["benchmarks.masks"],
    "null": ["benchmarks.experiments", "null"],
    "pairing": ["benchmarks.experiments", "pairing"],
    "speed": ["benchmarks.experiments", "speed"],
    "impact": ["runners.experiment", "impact", "--out", OUT, "--picture", "docs/impact.png"],
    "making": ["runners.experiment", "making"],
    "execution": ["runners.experiment", "execution", "--model", "models/ppo_sell.zip"],
    "impact_day6": ["runners.experiment", "impact", "--population", "day6", "--out", OUT],
}
"""By name the command whose output is kept."""


def machine() -> str:
    """What was measured on, in words."""
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}, "
        f"numba {version('numba')}"
    )


def measure(name: str) -> None:
    """Run a command and keep its output."""
    module, *arguments = COMMANDS[name]
    with tempfile.TemporaryDirectory() as folder:
        if RUN in arguments:
            path = Path(folder) / RUN
            path.parent.mkdir(parents=True)
            quick = ["--no-report", "--no-tensorboard", "--no-audit", "--run-dir", str(path)]
            subprocess.run([sys.executable, "-m", "runners.simulate", *quick], check=True, stdout=subprocess.DEVNULL)
        given = [str(Path(folder) / argument) if argument in (RUN, OUT) else argument for argument in arguments]
        done = subprocess.run([sys.executable, "-m", module, *given], check=True, stdout=subprocess.PIPE, text=True)
        said = done.stdout.replace(f"{folder}/", "").rstrip().split("\n")
        lines = [line for line in said if not line.startswith("wrote ")]
    kept = {
        "command": " ".join(["python -m", module, *arguments]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions_of(PACKAGES),
        "lines": [line.rstrip() for line in lines],
    }
    FOLDER.mkdir(exist_ok=True)
    write_json(FOLDER / f"{name}.json", kept)
    print(json.dumps(kept, indent=2, ensure_ascii=False))


def main(names: list[str]) -> int:
    """Run the command; return its exit status."""
    if names == ["--help"]:
        print(__doc__, f"Figures: {', '.join(COMMANDS)}.", sep="\n")
        return 0
    if unknown := [name for name in names if name not in COMMANDS]:
        print(f"error: figures: expected some of {', '.join(COMMANDS)}, got {unknown[0]!r}", file=sys.stderr)
        return 2
    for name in names or COMMANDS:
        measure(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
