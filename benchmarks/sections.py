"""What a benchmark of several parts does with its command line: run those that are named, or all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence


def run_sections(sections: Mapping[str, Callable[[], None]], help_text: str | None, names: Sequence[str]) -> int:
    """Run the sections that are named, all without a name; return the exit status."""
    if list(names) == ["--help"]:
        print(help_text, f"Sections: {', '.join(sections)}.", sep="\n")
        return 0
    if unknown := [name for name in names if name not in sections]:
        print(f"error: expected some of {', '.join(sections)}, got {unknown[0]!r}", file=sys.stderr)
        return 2
    for name in names or sections:
        sections[name]()
    return 0
