"""Requests to end, Ctrl-C and SIGTERM, met at a moment that loses nothing."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def interruptible() -> Iterator[list[bool]]:
    """A list that an interrupt (Ctrl-C, or a request to terminate) makes non-empty; a third one ends at once."""
    asked: list[bool] = []

    def ask(number: int, frame: Any) -> None:
        asked.append(True)
        if len(asked) > 2:
            raise KeyboardInterrupt

    # Python hands signals to its main thread alone; elsewhere nobody can ask.
    main = threading.current_thread() is threading.main_thread()
    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM) if main}
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class terminable:  # noqa: N801 (a context manager)
    """Lets a request to terminate be met as Ctrl-C is, within; what was asked for before holds again afterwards."""

    def __enter__(self) -> None:
        self._before: Callable[..., Any] | int | None = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)

    @staticmethod
    def _ask(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
