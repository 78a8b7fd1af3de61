"""Two measurements of the same things, line by line: what ``python -m benchmarks --against FILE`` prints at its end."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "us": 1e-6, "s": 1.0, "KiB": 2.0**10, "MiB": 2.0**20}
"""What a figure's unit is worth."""
LINE = re.compile(r"(?P<label>.*?\S)\s{2,}(?P<number>[\d.]+) ?(?P<unit>k|M|us|s|KiB|MiB)?(?:\s{2,}.*)?")
"""A line of a benchmark: label, figure with its unit, note."""


def figures(lines: Sequence[str]) -> dict[str, float]:
    """Figures by label, in units of their own."""
    found = {}
    for line in lines:
        if match := LINE.fullmatch(line.rstrip()):
            found[match["label"]] = float(match["number"]) * UNITS[match["unit"] or ""]
    return found


def read(file: Path) -> list[str]:
    """The lines of a measurement that was kept, and where it was made.

    Raises:
        ValueError: the file holds none.
    """
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        lines: list[str] = [str(line) for line in kept["lines"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"--against: expected a file that benchmarks.kept wrote, got {file}") from None
    return lines


def compared(then: Sequence[str], now: Sequence[str]) -> list[str]:
    """A table of what both measured: the ratio is now over then, of speeds, sizes and times as they come."""
    before, after = figures(then), figures(now)
    rows = [
        f"{label:<66} {before[label]:>12.4g} {after[label]:>12.4g} {after[label] / before[label]:>7.2f}"
        for label in after
        if before.get(label)
    ]
    return [f"{'':<66} {'then':>12} {'now':>12} {'ratio':>7}", *rows]
