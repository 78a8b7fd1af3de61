"""A run's folder: what lies in it, when it may be used, and what overwriting removes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from market_env.config import ConfigError
from runners.files.config import read_config
from runners.files.schema import tables_of
from runners.files.whole import RunFolderError

OWN_NAMES = (
    "config.json",
    "events",
    "summary.json",
    "audit.json",
    "report.pdf",
    "report.html",
    "heatmap.png",
    "figures",
    "tensorboard",
    *(f"{table}.parquet" for table in tables_of()),
)
"""What a run puts into its folder; overwriting touches nothing else."""


def fresh_folder(stem: str, root: Path = Path("runs")) -> Path:
    """The first ``root/<stem>-<n>`` that does not exist."""
    number = 0
    while (path := root / f"{stem}-{number}").exists():
        number += 1
    return path


def check_folder(path: Path, overwrite: bool = False) -> bool:
    """Whether a run already lies at ``path``; nothing is changed.

    Raises:
        RunFolderError: it holds something and ``overwrite`` is off, it is a file, or it cannot be read.
    """
    try:
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"run folder {path}: expected a folder or nothing, found a file")
        used = path.is_dir() and any(path.iterdir())
    except OSError as error:
        raise RunFolderError(f"run folder {path}: cannot be read: {error.strerror}") from None
    if used and not overwrite:
        raise RunFolderError(
            f"run folder {path}: expected an empty folder, found files in it; pass --overwrite to replace a run"
        )
    return used


def make_folder(path: Path) -> None:
    """Make a folder, where it is not there.

    Raises:
        RunFolderError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be made: {error.strerror}") from None


def open_folder(path: Path, overwrite: bool = False) -> None:
    """Make ``path`` an empty run folder.

    Raises:
        RunFolderError: see :func:`check_folder` and :func:`remove_run`, or it cannot be written.
    """
    try:
        if check_folder(path, overwrite):
            remove_run(path)
        (path / "events").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"run folder {path}: cannot be written: {error.strerror}") from None


def remove_run(path: Path) -> None:
    """Remove a run's own files and nothing else.

    Raises:
        RunFolderError: what lies there is no run.
    """
    try:
        read_config(path)
        is_run = True
    except ConfigError:
        is_run = False
    files = [path / name for name in OWN_NAMES if name not in {"config.json", "events", "figures", "tensorboard"}]
    if not is_run or any(file.is_dir() for file in files):
        raise RunFolderError(f"run folder {path}: expected a run to overwrite, found files that are no run's")
    files += [*(path / "events").glob("part-*.parquet"), *(path / "tensorboard").glob("events.out.tfevents.*")]
    files += [file for folder in ("", "events", "figures") for file in (path / folder).glob(".*.partial")]
    files += (path / "figures").glob("*.png")
    for file in (*files, path / "config.json"):  # last what tells that this is a run
        file.unlink(missing_ok=True)


def file_hashes(path: Path) -> dict[str, str]:
    """SHA-256 of a run's config, parts and tables, by name within its folder: what tells an edit that fits."""
    files = [path / "config.json", *sorted((path / "events").glob("part-*.parquet"))]
    files += [path / f"{table}.parquet" for table in tables_of()]
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file()
    }
