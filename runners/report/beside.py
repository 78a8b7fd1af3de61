"""What the second process does (:mod:`runners.audit.second`): it imports, waits for its task, audits and draws."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import sys

import matplotlib as mpl

from market_env.engine.streams import run_key
from market_env.market import Market, start
from runners.audit.compare import audit_run
from runners.audit.second import Task, Warming
from runners.files.derive import derive
from runners.report import MADE_BESIDE, laid_out
from runners.report.story import Story
from runners.report.style import STYLE


def serve() -> None:
    """Answer one task from standard input on standard output."""
    # Nothing but answers may go where they go.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    task = None
    while not isinstance(task, Task):
        try:
            task = pickle.load(sys.stdin.buffer)  # noqa: S301  (from the process that started this one)
        except EOFError:
            return  # nothing is asked for
        if isinstance(task, Warming):
            compile_half(task)
    gc.disable()  # it ends soon, and makes millions of objects and no cycles
    with contextlib.suppress(BrokenPipeError):
        if task.audit:
            pickle.dump(audit_run(task.run), answers)
            answers.flush()
        story = Story(task.run)
        with mpl.rc_context(fname=STYLE):
            for name in MADE_BESIDE if task.report else ():
                pickle.dump(laid_out(name, story), answers)
                answers.flush()


def compile_half(half: Warming) -> None:
    """Compile, or load, all but a market's turn, which is half of everything and the first process's own."""
    market = Market(half.market, log=True)
    start(market.records, run_key(0), market.tape)
    for function in half.policies:
        _ = function.address
    derive(half.market, market.drain())


if __name__ == "__main__":
    serve()
