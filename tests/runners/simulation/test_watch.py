"""Watching: a real terminal shows the market, answers keys, and nothing recorded changes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from runners import simulate

ROOT = Path(__file__).parents[3]
RUN = ["--timesteps", "60", "--no-report", "--no-audit", "--no-tensorboard"]


class Terminal:
    """A process on a terminal of 150 by 40, and all that it has shown so far."""

    def __init__(self, *arguments: str) -> None:
        self._own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))
        command = [sys.executable, str(ROOT / "run_simulation.py"), *arguments]
        # The terminal's own size counts, not what an environment says of another.
        own = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env={**own, "TERM": "xterm-256color"}
        )
        self.settings = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.shown = ""

    def press(self, keys: str) -> None:
        os.write(self._own, keys.encode())

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until it shows something new that matches, without its colours and places."""
        start = len(self.shown)
        while not (found := re.search(pattern, self.shown[start:])):
            ready = select.select([self._own], [], [], 60)[0]
            assert ready, f"{pattern!r} was not shown in a minute; last: {self.shown[-500:]!r}"
            assert len(self.shown) < start + 1_000_000, f"{pattern!r} was not shown in a hundred pictures"
            self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(self._own, 2**16).decode(errors="replace"))
        return found

    def end(self) -> int:
        """Read on until the process ends; its exit status."""
        while self.process.poll() is None:
            if select.select([self._own], [], [], 0.1)[0]:
                self.shown += os.read(self._own, 2**16).decode(errors="replace")
        assert termios.tcgetattr(self._theirs) == self.settings  # the terminal is as it was
        for end in (self._own, self._theirs):
            os.close(end)
        return self.process.returncode


def told(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@pytest.mark.long
def test_a_terminal_shows_the_market_pauses_steps_and_changes_nothing_that_is_recorded(tmp_path: Path) -> None:
    assert simulate.main([*RUN, "--run-dir", str(tmp_path / "alone")]) == 0
    terminal = Terminal(*RUN, "--watch", "--run-dir", str(tmp_path / "watched"))
    terminal.until("timestep")
    terminal.press(" ")
    terminal.until("paused")
    stepped = []
    for _ in range(3):
        terminal.press("s")
        stepped.append(int(terminal.until(r"timestep +(\d+) of 60")[1]))
    assert stepped == [stepped[0], stepped[0] + 1, stepped[0] + 2]
    terminal.press("s")
    start = len(terminal.shown)
    terminal.until(r"(?s)timestep +\d+ of 60.*Ctrl-C: end the run")  # a picture from its first line to its last
    picture = terminal.shown[start:]
    assert all(word in picture for word in ("order book", "trades", "agents", "ppo_0", "maker_7", "spread"))
    terminal.press("+" * 20)
    terminal.press(" ")
    assert terminal.end() == 0
    assert told(tmp_path / "watched") == told(tmp_path / "alone")


@pytest.mark.long
def test_who_leaves_sees_the_results_and_who_interrupts_keeps_what_was_recorded(tmp_path: Path) -> None:
    for keys, status, said in (("q", 0, "simulated in"), (" ", 130, "stopped after")):
        path = tmp_path / str(status)
        terminal = Terminal(*RUN, "--watch", "--run-dir", str(path))
        terminal.until("timestep")
        terminal.press(keys)
        if status:
            terminal.until("paused")
            terminal.process.send_signal(signal.SIGINT)  # which a pause does not keep from ending it
        assert terminal.end() == status
        assert said in terminal.shown
        assert (path / "summary.json").is_file()


def test_without_a_terminal_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run"
    assert simulate.main([*RUN, "--watch", "--run-dir", str(path)]) == 2
    assert capsys.readouterr().err == "error: --watch: expected a terminal to show the market in, found none\n"
    assert not path.exists()
