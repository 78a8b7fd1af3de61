"""A second process, which audits a run and draws a part of its report while the first draws the rest.

Promise: nothing depends on it. What it does not hand over, for it was killed or could not start, the first process does itself,
and the report has the same bytes. It is a fresh process, since a fork of one whose libraries have threads may hang. Cost: its
imports, which it does while the run is simulated; ``python -m benchmarks run``.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from market_env.config import MarketConfig
from market_env.engine.kernel import PolicyFunction

LONG = 2_000
"""Timesteps from which a second process is worth its start."""


class Task(NamedTuple):
    """What it is asked for."""

    run: Path
    audit: bool
    """Whether to audit the run first."""
    report: bool
    """Whether to make its share of the report's pages."""


class Warming(NamedTuple):
    """What it is asked for before, where nothing is compiled yet: its half of what the first process is about to compile."""

    market: MarketConfig
    policies: Sequence[PolicyFunction]


class Second:
    """The second process as the first sees it; a context manager, which ends it.

    Args:
        timesteps: of the run.
    """

    def __init__(self, timesteps: int) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._asked = False
        if timesteps < LONG or (os.cpu_count() or 1) < 2:
            return
        command = [sys.executable, "-m", "runners.report.beside"]
        with contextlib.suppress(OSError):
            # In a session of its own: Ctrl-C is for the first process, which ends this one.
            self._process = subprocess.Popen(  # noqa: S603  (this project's own)
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                with contextlib.suppress(OSError):
                    stream.close()

    def warm(self, half: Warming) -> None:
        """Let it compile and keep its half; nothing is answered."""
        self._send(half)

    def ask(self, task: Task) -> None:
        """Give it its task; once, and last."""
        if self._send(task):
            self._asked = True
            assert self._process is not None
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            threading.Thread(target=self._listen, daemon=True).start()

    def _send(self, message: Task | Warming) -> bool:
        if self._process is None:
            return False
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        except OSError:
            return False  # it is gone
        return True

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with contextlib.suppress(Exception):  # whatever the end of a process makes of a half-written answer
            while True:
                self._answers.put(pickle.load(self._process.stdout))  # noqa: S301  (from the process started above)
        self._answers.put(GONE)

    def answer(self) -> Any:
        """Its next answer, when it is there: to the audit, then to each page; :data:`GONE` if none will come."""
        if not self._asked:
            return GONE
        found = self._answers.get()
        if found is GONE:
            self._asked = False
        return found


GONE: Any = object()
"""In place of an answer."""
