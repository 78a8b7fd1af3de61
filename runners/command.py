"""What every command of this package does with a mistake: one line that says what is wrong, and an exit status.

Only input that the code refuses on purpose (:class:`market_env.ConfigError`) is a mistake of the user's. Whatever else is
raised is a fault of the program, and its traceback is what helps to mend it.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

from market_env.config import ConfigError
from runners.simulation.interrupts import terminable

Given = ParamSpec("Given")

RARELY = 70_000
"""New objects until the next look for dead cycles."""
LONGEST = 800
"""Characters of an error's line; what was given may be megabytes."""


def one_line(error: BaseException) -> str:
    """An error's text in one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 40]} ... ({len(text):,} characters)"


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Within, cycles of dead objects are looked for a hundred times more rarely than by Python itself.

    Modules and drawings are millions of objects and few such cycles; looking for them takes a seventh of a run's time. What makes large
    ones, as a model is, collects by itself.
    """
    before = gc.get_threshold()
    gc.set_threshold(RARELY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def command(body: Callable[Given, int]) -> Callable[Given, int]:
    """Turn bad input into one line and exit status 2, a request to end into one line and 130.

    Output that nobody reads any more (``| head``) is no mistake.
    """

    @functools.wraps(body)
    def run(*given: Given.args, **named: Given.kwargs) -> int:
        with terminable(), collecting_rarely():
            try:
                status = body(*given, **named)
                sys.stdout.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 0
            except ConfigError as error:
                print(f"error: {one_line(error)}", file=sys.stderr)
                return 2
            except KeyboardInterrupt as asked:
                print(f"interrupted{f': {one_line(asked)}' if str(asked) else ''}", file=sys.stderr)
                return 130
        return status

    return run
