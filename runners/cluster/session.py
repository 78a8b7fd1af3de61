"""A session with Ray, and what is left of it afterwards: nothing.

Ray lives in a process of its own (:mod:`runners.cluster.broker`): whatever becomes of it, this one goes on or says what is wrong. On this
machine Ray listens on the loopback address alone, without dashboard or usage statistics, lets nobody in who does not know a token of this
session's, writes into a folder of its own that is removed, and ends with the session. A cluster that is there already is used as it is; its
token comes from the environment, as Ray's own documentation has it. Cost: five to ten seconds to begin.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import secrets
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from market_env.config import ConfigError
from market_env.outside import shown
from runners.cluster.sources import sources

LOCAL = "local"
"""The address that means this machine."""
ANSWER = 5.0
"""Seconds that an address has to take a connection, and again to answer as Ray does."""
LOOK = 2.0
"""Seconds without news after which the head is looked for."""
TRIES = 3
"""Times that the head is looked for before it counts as gone."""
SHORT = 30
"""Characters of a temporary folder's path at most."""
SHORT_ROOT = Path(os.sep, "tmp")
PATIENCE = 20.0
"""Seconds that Ray has to end by itself."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    # Ray would end its process a minute after the head is gone; a session finds out sooner.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "3600",
    "RAY_gcs_server_request_timeout_seconds": "5",
}
HEADER = struct.Struct("=Q")
"""Before each message: its bytes."""


def with_local(words: Sequence[str]) -> list[str]:
    """A command line in which ``--ray`` without an address means this machine."""
    found: list[str] = []
    for number, word in enumerate(words):
        found.append(word)
        following = words[number + 1] if number + 1 < len(words) else "-"
        if word == "--ray" and following.startswith("-"):
            found.append(LOCAL)
    return found


def parse_address(text: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        ConfigError: it is none.
    """
    match = re.fullmatch(r"([A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:]{2,45}\]):(\d{1,5})", text)
    if not match or not 0 < int(match[2]) < 2**16:
        raise ConfigError(
            f"--ray: expected nothing for this machine or HOST:PORT of a cluster's head, got {shown(text)}"
        )
    return match[1].strip("[]"), int(match[2])


def answers(host: str, port: int, tries: int = 1) -> bool:
    """Whether somebody takes a connection there."""
    for number in range(tries):
        try:
            socket.create_connection((host, port), ANSWER).close()
        except OSError:
            if number + 1 < tries:
                time.sleep(LOOK / 2)
        else:
            return True
    return False


def short_folder() -> Path:
    """A fresh temporary folder; the paths of Ray's sockets within it are bounded by the system."""
    usual = Path(tempfile.gettempdir())
    root = usual if len(str(usual)) <= SHORT or not SHORT_ROOT.is_dir() else SHORT_ROOT
    return Path(tempfile.mkdtemp(prefix="market-ray-", dir=root))


class Cluster:
    """Ray, seen from the process that asks.

    Args:
        process: the broker.
        log: file that has what it and Ray say.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log
        self._head: tuple[str, int] | None = None
        self._round = 0
        self.again = 0
        """Tasks that were lost with their worker or node, and run again."""
        host, port, self.processors = self._next("ready")
        self._head = host, port

    def run(
        self, function: Callable[..., Any], shared: Any, tasks: Sequence[Any], expected: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Run ``function(shared, task)`` for every task, and give each one's number and result as it comes.

        Args:
            function: what workers run; it, ``shared``, tasks and results can be pickled by cloudpickle.
            shared: sent to every node once.
            tasks: one call each.
            expected: what :func:`runners.cluster.sources.sources` is to be on a node, by default what it is here.

        Raises:
            ConfigError: what a task raised; or one was lost too often, a node has other sources, or the head is gone.
        """
        from ray import cloudpickle

        self._round += 1
        asked = self._round
        # What a node loads is sent as bytes, so that it can be looked at before anything of it is.
        payload = cloudpickle.dumps((function, shared))  # type: ignore[no-untyped-call]
        each = [cloudpickle.dumps(task) for task in tasks]  # type: ignore[no-untyped-call]
        message = pickle.dumps((asked, dict(sources() if expected is None else expected), payload, each))
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what became of it is said below
            self._process.stdin.write(HEADER.pack(len(message)) + message)
            self._process.stdin.flush()
        left = len(each)
        while left:
            of, number, found, self.again = self._next("result")
            if of == asked:  # else of a round that nobody heard to its end
                left -= 1
                yield number, cloudpickle.loads(found)

    def _next(self, kind: str) -> Any:
        """What the broker says next, which is to be of this kind."""
        said = self._read()
        if said[0] == "refused":
            raise ConfigError(said[1])
        if said[0] != kind:
            if self._head is not None and not answers(*self._head, TRIES):
                raise ConfigError(self._gone())  # of which Ray says many things
            raise RuntimeError(f"on Ray: {said[1]}")
        return said[1:]

    def _read(self) -> Any:
        assert self._process.stdout is not None
        size = HEADER.unpack(self._bytes(HEADER.size))[0]
        return pickle.loads(self._bytes(size))  # noqa: S301 (from our own process, by a pipe that nobody else has)

    def _bytes(self, count: int) -> bytes:
        assert self._process.stdout is not None
        file = self._process.stdout.fileno()
        found = b""
        while len(found) < count:
            if not select.select([file], [], [], LOOK)[0]:
                if self._head is not None and not answers(*self._head, TRIES):
                    raise ConfigError(self._gone())
                continue
            part = os.read(file, count - len(found))
            if not part:
                if self._head is not None and not answers(*self._head, TRIES):
                    raise ConfigError(self._gone())
                self._process.wait()
                raise RuntimeError(f"the process that spoke with Ray ended by itself:\n{self._log.read_text()[-4000:]}")
            found += part
        return found

    def _gone(self) -> str:
        assert self._head is not None
        self._process.kill()  # it would wait for the head
        return f"the head of the Ray cluster at {self._head[0]}:{self._head[1]} is gone; what was done is kept, and the same command goes on"

    def said(self) -> str:
        """How many tasks were lost, in words; nothing where none were."""
        if not self.again:
            return ""
        return f"{self.again} task{'s were' if self.again > 1 else ' was'} lost with a worker or node and run again"


@contextlib.contextmanager
def session(address: str = LOCAL) -> Iterator[Cluster]:
    """Within, Ray is there.

    Args:
        address: :data:`LOCAL`, or HOST:PORT of a cluster's head.

    Raises:
        ConfigError: Ray is not installed, the address is none, or nobody answers there.
    """
    if find_spec("ray") is None:
        raise ConfigError("--ray needs ray, which is not installed: pip install '.[ray]'")
    own = {}
    if address == LOCAL:
        # Where Ray is told that it forms no clusters, it keeps to the loopback address.
        own = {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
    else:
        host, port = parse_address(address)
        if not answers(host, port):
            raise ConfigError(f"--ray {address}: expected the head of a Ray cluster, but nobody answers there")
    folder = short_folder()
    log = folder / "broker.log"
    try:
        with log.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 (our own module; the address was checked)
                [sys.executable, "-m", "runners.cluster.broker", address, str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, start_new_session=True,
                env={**os.environ, **QUIET, **own, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )  # fmt: skip
        try:
            yield Cluster(process, log)
        finally:
            end(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Let the broker end Ray and itself; what does not, is ended."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
    with contextlib.suppress(ProcessLookupError):  # what it has started, where it could not end that itself
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
