"""What comes from outside: read only where it is a regular file of a bounded size, and shown in errors only in part.

A device, a pipe or a file that grows is refused before a byte of it is read; a text that is no UTF-8 or no JSON is one
error that names the file. Cost: that of reading the file.
"""

from __future__ import annotations

import itertools
import json
import os
import reprlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LARGEST_JSON = 16 * 2**20
"""Largest JSON file that is read, bytes."""


class ConfigError(ValueError):
    """Input that cannot be: one line with the thing, what was expected and what was given."""


MOST_DIGITS = 1_000
"""Longest integer that is read as one."""

LONGEST_SHOWN = 300
"""Most characters of a value that an error shows."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 8


def shown(value: object) -> str:
    """What was given, for an error's one line: its ``repr``, cut where it is long."""
    text = _SHORT.repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def read_bytes(path: Path, what: str, most: int) -> bytes:
    """The content of a regular file.

    Args:
        path: of the file.
        what: what it is called in an error, its name included.
        most: largest size that is read, bytes.

    Raises:
        ConfigError: it cannot be read, is no regular file, or is larger.
    """
    try:
        # Opened before it is looked at, so that what is looked at is what is read; a pipe without a writer must not wait.
        with open(path, "rb", opener=_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"{what}: expected a regular file, found a device or a pipe")
            if found.st_size > most:
                raise ConfigError(f"{what}: expected at most {most:,} bytes, found {found.st_size:,}")
            content = file.read(most + 1)
    except ConfigError:
        raise
    except IsADirectoryError:
        raise ConfigError(f"{what}: expected a file, found a folder") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{what}: cannot be read: {reason}") from None
    if len(content) > most:  # it has grown
        raise ConfigError(f"{what}: expected at most {most:,} bytes, found more")
    return content


def read_lines(path: Path, what: str, longest: int) -> Iterator[tuple[str, bytes]]:
    """The lines of a regular file that is added to, each with where it stands; what follows the last line's end is not one yet.

    Args:
        path: of the file.
        what: what it is called in an error, its name included.
        longest: largest line that is read, bytes.

    Raises:
        ConfigError: it cannot be read, is no regular file, or has a longer line.
    """
    try:
        with open(path, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{what}: expected a regular file, found a device or a pipe")
            for number in itertools.count(1):
                line = file.readline(longest + 1)
                if len(line) > longest:
                    raise ConfigError(f"{what}, line {number:,}: expected at most {longest:,} bytes, found more")
                if not line.endswith(b"\n"):
                    return
                yield f"{what}, line {number:,}", line
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{what}: cannot be read: {reason}") from None


def _integer(digits: str) -> int | str:
    # A longer one stays a text, so that whoever reads the field can say which it is.
    return int(digits) if len(digits) <= MOST_DIGITS else f"{digits[:20]}... ({len(digits):,} digits)"


def load_json(text: str | bytes, where: str) -> Any:
    """JSON data from ``text``, with a byte-order mark or without.

    Raises:
        ConfigError: ``text`` is no JSON or no UTF-8; names ``where`` it came from.
    """
    try:
        found = json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text, parse_int=_integer)
        json.dumps(found, ensure_ascii=False).encode()
        return found
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: not JSON: not UTF-8 text") from None
    except UnicodeEncodeError:
        raise ConfigError(f"{where}: not JSON: a text in it holds half of a surrogate pair") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not JSON: {error}") from None


def read_json(path: Path, where: str, most: int = LARGEST_JSON) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ConfigError: see :func:`read_bytes` and :func:`load_json`; or it holds something else than an object.
    """
    found = load_json(read_bytes(path, where, most), where)
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: expected a JSON object, got {type(found).__name__}")
    return found


def leaves(found: Any, wanted: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Two nested objects' values side by side, each with its path; "absent" where one has none."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            yield from leaves(found.get(key, "absent"), wanted.get(key, "absent"), f"{name}.{key}".lstrip("."))
    else:
        yield name, found, wanted
