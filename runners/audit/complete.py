"""The tables and the summary of a run that was cut off, made from its finished parts and marked incomplete."""

from __future__ import annotations

import contextlib
from pathlib import Path

from market_env.actions import COMPONENTS
from market_env.config import ConfigError
from runners.audit.compare import replay
from runners.audit.figures import Figures
from runners.files.config import read_config
from runners.files.folder import file_hashes
from runners.files.record import written_in_pieces
from runners.files.whole import write_json


def complete(path: Path) -> int:
    """Write the tables and the summary of a run that was cut off, from its finished parts; return the timesteps.

    Actions and rewards of such a run are lost: they were never written.

    Raises:
        ConfigError: there is no run, it has no finished part, or it is not cut off.
    """
    if (path / "summary.json").is_file():
        raise ConfigError(f"run {path}: expected a run that was cut off, found one with summary.json")
    rebuilt, pieces = replay(path)
    figures = Figures(rebuilt)
    with contextlib.ExitStack() as files:
        tables = {
            name: files.enter_context(written_in_pieces(path / f"{name}.parquet", name, rebuilt.version))
            for name in rebuilt.tables
        }
        for piece in pieces:
            figures.add(piece)
            piece.tables["turns"] |= dict.fromkeys((*COMPONENTS, "reward"), [None] * len(piece.turns))
            for name, take in tables.items():
                take(piece.tables[name])
        if not rebuilt.kinds:
            raise ConfigError(f"run {path}: expected at least one finished part in events/, found none")
    data, _ = read_config(path)
    summary = {
        "complete": False,
        **figures.result(),
        "learning": False,
        "parameters_before": data.get("parameters"),
        "parameters_after": None,
        "parameters_unchanged": None,
        "sha256": file_hashes(path),
    }
    write_json(path / "summary.json", summary)
    return rebuilt.timestep
