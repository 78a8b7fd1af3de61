"""A mistake of the user's is one line; a fault of the program is a traceback."""

from __future__ import annotations

import functools
import gc
import signal
from collections.abc import Sequence

import numpy as np
import pytest

from market_env.config import ConfigError
from runners.command import LONGEST, RARELY, command


def raising(error: BaseException) -> int:
    @command
    def body(argv: Sequence[str] | None = None) -> int:
        raise error

    return body([])


def test_input_that_is_refused_on_purpose_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(ConfigError("seed: expected a number,\ngot 'x'")) == 2
    assert capsys.readouterr().err == "error: seed: expected a number, got 'x'\n"


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("x"), TypeError("y"), np.exceptions.AxisError(3)])
def test_everything_else_that_is_raised_is_a_bug_and_stays_one(error: Exception) -> None:
    with pytest.raises(type(error)):
        raising(error)


def test_a_bug_in_numpy_does_not_look_like_bad_input() -> None:
    @command
    def body(argv: Sequence[str] | None = None) -> int:
        np.zeros(3).reshape(2, 2)
        return 0

    with pytest.raises(ValueError, match="cannot reshape"):
        body([])


def test_what_was_given_is_cut_where_it_is_long(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(ConfigError("name: got " + "x" * 3_000_000)) == 2
    said = capsys.readouterr().err
    assert len(said) < LONGEST + 20
    assert said.endswith("(3,000,010 characters)\n")


def test_a_request_to_terminate_ends_with_one_line_and_leaves_the_handler_as_it_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    @command
    def body(argv: Sequence[str] | None = None) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    assert body([]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_while_a_command_runs_dead_cycles_are_looked_for_rarely(request: pytest.FixtureRequest) -> None:
    request.addfinalizer(functools.partial(gc.set_threshold, *gc.get_threshold()))
    gc.set_threshold(700, 10, 10)
    seen: list[tuple[int, int, int]] = []

    @command
    def body() -> int:
        seen.append(gc.get_threshold())
        raise ConfigError("x")

    assert body() == 2
    assert seen == [(RARELY, 10, 10)]
    assert gc.get_threshold() == (700, 10, 10)
