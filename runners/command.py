"""What every command of this package does with a mistake: one line that says what is wrong, and an exit status."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from typing import Protocol


class Command(Protocol):
    """Takes the command line, by default the process's own, and returns the exit status."""

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Run."""
        ...


def command(body: Command) -> Command:
    """Turn bad input (a ``ValueError``, :class:`market_env.ConfigError` among them) into one line and exit status 2.

    Output that nobody reads any more (``| head``) is no mistake.
    """

    @functools.wraps(body)
    def run(argv: Sequence[str] | None = None) -> int:
        try:
            status = body(argv)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        return status

    return run
