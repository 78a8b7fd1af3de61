"""What the second process does (:mod:`runners.audit.second`): it imports, waits for its task, audits and draws."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import threading
import time
from typing import Any, BinaryIO

import matplotlib as mpl

from market_env.engine.streams import run_key
from market_env.market import Market, start
from runners.audit import compare
from runners.audit.second import BEAT, Alive, Task, Warming
from runners.files.derive import derive
from runners.report import MADE_BESIDE, laid_out
from runners.report.story import Story
from runners.report.style import STYLE


class Answers:
    """Where answers go, and signs of life between them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._one_at_a_time = threading.Lock()

    def give(self, answer: Any) -> None:
        """Hand an answer over."""
        with self._one_at_a_time:
            pickle.dump(answer, self._stream)
            self._stream.flush()

    def beat(self) -> None:
        """Give signs of life for as long as anybody listens."""
        with contextlib.suppress(OSError, ValueError):
            while True:
                self.give(Alive(time.process_time()))
                time.sleep(BEAT)


def serve() -> None:
    """Answer one task from standard input on standard output."""
    # Nothing but answers may go where they go.
    answers = Answers(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    task = None
    while not isinstance(task, Task):
        try:
            task = pickle.load(sys.stdin.buffer)  # noqa: S301  (from the process that started this one)
        except EOFError:
            return  # nothing is asked for
        if isinstance(task, Warming):
            compile_half(task)
    threading.Thread(target=answers.beat, daemon=True).start()
    threading.Thread(target=end_with_the_first, daemon=True).start()
    with contextlib.suppress(BrokenPipeError):
        if task.audit:
            answers.give(compare.result_of(compare.audit(task.run), task.run))
        story = Story(task.run)
        if task.report:
            answers.give(story.facts)
        with mpl.rc_context(fname=STYLE):
            for name in MADE_BESIDE if task.report else ():
                answers.give(laid_out(name, story))
    os._exit(0)  # at once: Python's own end waits for what its threads are reading and writing


def end_with_the_first() -> None:
    """End this process when the first one has ended, whatever it is about."""
    while os.read(0, 4096):
        pass
    os._exit(1)


def compile_half(half: Warming) -> None:
    """Compile, or load, all but a market's turn, which is half of everything and the first process's own."""
    market = Market(half.market, log=True)
    start(market.records, run_key(0), market.tape)
    for function in half.policies:
        _ = function.address
    derive(half.market, market.drain())
