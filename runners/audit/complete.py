"""The tables and the summary of a run that was cut off, made from its finished parts and marked incomplete."""

from __future__ import annotations

from pathlib import Path

from market_env.actions import COMPONENTS
from market_env.config import ConfigError
from runners.audit.compare import rebuild_summary, replay
from runners.files.config import read_config
from runners.files.folder import file_hashes
from runners.files.record import write_table
from runners.files.whole import write_json


def complete(path: Path) -> int:
    """Write the tables and the summary of a run that was cut off, from its finished parts; return the timesteps.

    Actions and rewards of such a run are lost: they were never written.

    Raises:
        ConfigError: there is no run, it has no finished part, or it is not cut off.
    """
    if (path / "summary.json").is_file():
        raise ConfigError(f"run {path}: expected a run that was cut off, found one with summary.json")
    rebuilt = replay(path)
    if not rebuilt.kinds:
        raise ConfigError(f"run {path}: expected at least one finished part in events/, found none")
    data, _ = read_config(path)
    turns = rebuilt.tables["turns"]
    for name in (*COMPONENTS, "reward"):
        turns[name] = [None] * len(turns["turn"])
    for name, columns in rebuilt.tables.items():
        write_table(path / f"{name}.parquet", name, columns, rebuilt.version)
    summary = {
        "complete": False,
        **rebuild_summary(rebuilt),
        "learning": False,
        "parameters_before": data.get("parameters"),
        "parameters_after": None,
        "parameters_unchanged": None,
        "sha256": file_hashes(path),
    }
    write_json(path / "summary.json", summary)
    return rebuilt.timestep
