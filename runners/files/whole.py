"""Files that are whole or absent: written beside, synced, renamed.

Each writer has a name of its own beside the file, so two at once do not meet: the last to finish wins, whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from market_env.config import ConfigError


class RunFolderError(ConfigError):
    """A run folder that cannot be used: one line with the path, what was expected and what was found."""


def cannot_be_written(path: Path, error: OSError) -> RunFolderError:
    """The error of a file that the disk or its rights do not let be written."""
    # Arrow's errors have a text of their own in the system's place.
    return RunFolderError(f"{path}: cannot be written: {os.strerror(error.errno) if error.errno else error}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes the name once written and synced, or vanishes on failure.

    Raises:
        RunFolderError: the disk is full or the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise cannot_be_written(path, error) from None
    finally:
        with contextlib.suppress(OSError):  # where nothing can be written nothing is left, and what went wrong is said
            partial.unlink(missing_ok=True)


def as_json(data: Any) -> str:
    """JSON text as every file of this project has it."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, data: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, as_json(data))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
