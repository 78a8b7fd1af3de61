"""``python -m benchmarks.learning [FOLDER]``: what mattered in training, one setting changed at a time.

Beside the published policy's own trainings each setting is trained over two seeds in the default market; what counts is the mean
liquidation gain on the 64 validation seeds of the best checkpoint that may be published; 0 is a policy that does nothing.
Trainings stay in the folder (by default ``runs/learning``), and what is there already is not trained again. Cost: some ten
minutes a training on two cores, an hour and a half for all.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from market_env.outside import read_json
from runners.learn.settings import CONFIG, RESULT
from scripted_agents.standards import STANDARDS

SEEDS = (5, 6)
FOLDER = Path("runs/learning")
CARD = Path("models/ppo_day5.json")
SETTINGS = {
    "inventory penalty .005, not .02": ["--reward.inventory-penalty", ".005"],
    "discount .99, not .95": ["--gamma", ".99"],
    "entropy .01, not .001": ["--ent-coef", ".01"],
    "whole carry counts (damping 0, not .5)": ["--reward.damping", "0"],
}
"""By name the flags that differ from the command's defaults."""
MOST = (1_100_000, 2_100_000, 5_100_000)
"""Turns after which the best so far is shown; an update may end a little later than a round number."""


def curve_of(folder: Path, flags: list[str], seed: int) -> list[dict[str, Any]]:
    """The validations of a training that is in the folder; one that is not is made, one that was stopped goes on."""
    if not (folder / RESULT).exists():
        where = ["--resume", str(folder)] if (folder / CONFIG).exists() else ["--run-dir", str(folder)]
        command = [sys.executable, "-m", "runners.train", "--seed", str(seed), *flags, *where]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    curve: list[dict[str, Any]] = read_json(folder / RESULT, str(folder))["curve"]
    return curve


def line(name: str, seed: int, curve: list[dict[str, Any]]) -> str:
    """What a training came to, after 1, 2 and 5 million turns."""
    gains = {point["timesteps"]: point["liquidation_gain"] for point in curve if STANDARDS.within(point)}
    best = (max((gain for turns, gain in gains.items() if turns <= most), default=0.0) for most in MOST)
    return f"{name:<42}{seed:>5}" + "".join(f"{gain:>+16,.0f}" for gain in best)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    if arguments == ["--help"]:
        print(__doc__)
        return 0
    root = Path(arguments[0]) if arguments else FOLDER
    print("mean liquidation gain of the best checkpoint so far, tick-lots; 0: none that may be published")
    print(f"{'':<42}{'seed':>5}" + "".join(f"{f'{most / 1e6:.0f} M turns':>16}" for most in MOST))
    for training in read_json(CARD, str(CARD))["trainings"]:
        print(line("as published", training["seed"], training["curve"]))
    for number, (name, flags) in enumerate(SETTINGS.items()):
        for seed in SEEDS:
            print(line(name, seed, curve_of(root / f"{number}-{seed}", flags, seed)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
