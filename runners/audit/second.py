"""A second process, which audits a run and draws a part of its report while the first draws the rest.

Promise: nothing depends on it. What it does not hand over, for it was killed, hangs or could not start, the first process does
itself, and the report has the same bytes. It writes nothing into a run, and ends when the first process does. It is a fresh
process, since a fork of one whose libraries have threads may hang. Cost: its imports, which it does while the run is simulated;
``python -m benchmarks run``.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from market_env.config import MarketConfig
from market_env.engine.kernel import PolicyFunction

LONG, LONGEST = 2_000, 200_000
"""Timesteps of :data:`AGENTS` agents from which a second process is worth its start, and up to which both may hold a run in memory at once."""
AGENTS = 25
"""What more of them do is counted as so much longer a run."""
PATIENCE = 60.0
"""Seconds without progress after which it is given up."""
BEAT = 5.0
"""Seconds between two signs of life."""
PROGRAM = "import gc; gc.disable(); from runners.report.beside import serve; serve()"
"""It ends soon, and makes millions of objects and no cycles to look for (:func:`runners.command.collecting_rarely`)."""


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


class Alive(NamedTuple):
    """A sign of life."""

    spent: float
    """CPU time so far, seconds."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Second:
    """The second process as the first sees it; a context manager, which ends it.

    Args:
        timesteps: of the run.
        agents: in its market.
    """

    def __init__(self, timesteps: int, agents: int = AGENTS) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._asked = False
        self._spent = -1.0
        self._seen = time.monotonic()
        """When it last got on with its task."""
        if not LONG <= timesteps * max(1.0, agents / AGENTS) <= LONGEST or cores() < 2:
            return
        # -P, and our own paths: the code that this process runs, wherever it was started from.
        command = [sys.executable, "-P", "-c", PROGRAM]
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        with contextlib.suppress(OSError):
            # In a session of its own: Ctrl-C is for the first process, which ends this one.
            self._process = subprocess.Popen(  # noqa: S603  (this project's own)
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
                env={**os.environ, "PYTHONPATH": paths},
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        if self._process is not None:
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                with contextlib.suppress(OSError):
                    stream.close()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()

    def warm(self, half: Warming) -> None:
        """Let it compile and keep its half; nothing is answered."""
        self._send(half)

    def ask(self, task: Task) -> None:
        """Give it its task; once, and last."""
        if self._send(task):
            self._asked, self._seen = True, time.monotonic()
            threading.Thread(target=self._listen, daemon=True).start()

    def _send(self, message: Task | Warming) -> bool:
        if self._process is None:
            return False
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        except Exception:  # it is gone, or what is asked cannot be told: the first process does it
            return False
        return True

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with contextlib.suppress(Exception):  # whatever the end of a process makes of a half-written answer
            while True:
                found = pickle.load(self._process.stdout)  # noqa: S301  (from the process started above)
                if not isinstance(found, Alive):
                    self._answers.put(found)
                elif found.spent > self._spent:
                    self._spent, self._seen = found.spent, time.monotonic()
        self._answers.put(GONE)

    def answer(self) -> Any:
        """Its next answer, when it is there: to the audit, the run's facts, then each page; :data:`GONE` if none will come."""
        while self._asked:
            try:
                found = self._answers.get(timeout=min(BEAT, PATIENCE))
            except queue.Empty:
                if time.monotonic() - self._seen > PATIENCE:
                    self._end()
                    self._asked = False
                continue
            if found is GONE:
                self._asked = False
            return found
        return GONE


GONE: Any = object()
"""In place of an answer."""
