"""The process that speaks with Ray for another one: ``python -m runners.cluster.broker ADDRESS FOLDER``, by :mod:`runners.cluster.session` alone.

It reads messages from its input (a function, what its tasks share, the tasks) and writes results as they come. What is lost with a worker or a
node is run again and counted; Ray's own retries are off, since they are not counted and would repeat for ever a task that brings its worker
down. When its input ends it ends Ray, if it started it, and itself.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import sys
import threading
import traceback
from collections import deque
from queue import SimpleQueue
from typing import Any, BinaryIO

import ray

from market_env.config import ConfigError
from runners.cluster.session import ANSWER, HEADER, LOCAL, LOOK, parse_address

MOST_LOST = 5
"""Times that one task may be lost: whatever is lost that often takes its worker with it."""
AHEAD = 2
"""Tasks that are begun for each processor."""
SHARED = 80 * 2**20
"""Bytes of Ray's shared memory on this machine, nearly the fewest that it takes: results are small."""
OPEN = "r"
"""Ray's own folder within ours: Ray lets everybody write there, ours lets nobody else in."""
ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Of a worker: there is one for each processor."""
LOST = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.OutOfMemoryError,
)
"""What Ray raises where a task went down with its worker or node."""


class EndedError(Exception):
    """Nobody listens any more."""


class Inbox(threading.Thread):
    """Reads what is asked, and notices when nobody asks any more."""

    def __init__(self, source: int) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._messages: SimpleQueue[bytes | None] = SimpleQueue()
        self.over = threading.Event()

    def run(self) -> None:
        """Read to the end."""
        while (header := self._bytes(HEADER.size)) is not None:
            message = self._bytes(HEADER.unpack(header)[0])
            if message is None:
                break
            self._messages.put(message)
        self.over.set()
        self._messages.put(None)

    def _bytes(self, count: int) -> bytes | None:
        found = b""
        while len(found) < count:
            if not (part := os.read(self._source, min(count - len(found), 2**20))):
                return None
            found += part
        return found

    def next(self) -> bytes:
        """The next message."""
        if (message := self._messages.get()) is None:
            raise EndedError
        return message


class Outbox:
    """Writes what is answered."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target

    def say(self, *words: Any) -> None:
        """Write a message."""
        message = pickle.dumps(words)
        try:
            self._target.write(HEADER.pack(len(message)) + message)
            self._target.flush()
        except BrokenPipeError:
            raise EndedError from None


def begin(address: str, folder: str) -> tuple[str, int]:
    """Start Ray on this machine, or connect to a cluster; return where its head is.

    Raises:
        ConfigError: what answers there is no Ray, or will not have us.
    """
    runtime = {"env_vars": ONE_THREAD}
    if address == LOCAL:
        try:
            found: Any = ray.init(
                address=LOCAL, num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False, _node_ip_address="127.0.0.1",
                _temp_dir=f"{folder}/{OPEN}", log_to_driver=False, logging_level=logging.ERROR, object_store_memory=SHARED, runtime_env=runtime,
            )  # fmt: skip
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            raise ConfigError(f"--ray: Ray cannot start on this machine: {error}") from None
        return parse_address(found.address_info["gcs_address"])
    said = f"--ray {address}: expected the head of a Ray cluster"
    failed: list[Exception] = []
    there = threading.Event()

    def ask() -> None:  # Ray itself waits for a minute for what takes a connection and is no Ray
        try:
            import ray._raylet as raylet

            client: Any = vars(raylet)["GcsClient"]
            client(address=address).get_all_node_info(timeout=ANSWER)
        except Exception as error:
            failed.append(error)
        there.set()

    threading.Thread(target=ask, daemon=True).start()
    if not there.wait(ANSWER) or failed:
        why = f": {failed[0]}" if failed else ""
        raise ConfigError(f"{said}, but what answers there is none, or refuses us{why}")
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=runtime)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise ConfigError(f"{said}, and this machine to be a node of it: {error}") from None
    if not ray.cluster_resources().get("CPU"):  # type: ignore[no-untyped-call]
        raise ConfigError(f"--ray {address}: the cluster has no processor to play on")
    return parse_address(address)


def processors() -> int:
    """Of all nodes that are there."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 1)))


def at_node(payload: bytes, task: bytes, expected: dict[str, Any]) -> tuple[bool, Any]:
    """Run a task in a worker, if its node has the sources of who asks: whether it has, and the result as bytes or what is wrong.

    It goes to a node by its value, since nothing of ours need be there, and loads nothing that came along before it has looked.
    """
    import importlib
    import socket

    from ray import cloudpickle

    try:
        looked = importlib.import_module("runners.cluster.sources")
    except ImportError as error:
        return False, f"--ray: node {socket.gethostname()} lacks this package: {error}; install the same on all nodes"
    if (wrong := looked.differing(expected)) is not None:
        return False, wrong
    function, shared = cloudpickle.loads(payload)
    return True, cloudpickle.dumps(function(shared, cloudpickle.loads(task)))  # type: ignore[no-untyped-call]


def play(message: bytes, inbox: Inbox, outbox: Outbox, again: int) -> int:
    """Run what a message asks for, and say each result; return how many tasks were lost so far."""
    asked, expected, payload, tasks = pickle.loads(message)  # noqa: S301 (from our own process, by a pipe that nobody else has)
    remote = ray.remote(max_retries=0, num_cpus=1)(at_node)
    what = ray.put(payload)
    waiting = deque((number, 0) for number in range(len(tasks)))
    running: dict[Any, tuple[int, int]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < AHEAD * processors():
                number, lost = waiting.popleft()
                running[remote.remote(what, tasks[number], expected)] = (number, lost)
            done, _ = ray.wait(list(running), num_returns=1, timeout=LOOK)
            if inbox.over.is_set():
                raise EndedError
            for reference in done:
                number, lost = running.pop(reference)
                try:
                    same, found = ray.get(reference)
                except LOST:
                    again += 1
                    if lost + 1 == MOST_LOST:
                        raise ConfigError(
                            f"--ray: task {number} of {len(tasks)} was lost {MOST_LOST} times with its worker or node"
                        ) from None
                    waiting.append((number, lost + 1))
                except ray.exceptions.RayTaskError as error:
                    if isinstance(error.cause, ConfigError):
                        raise ConfigError(str(error.cause)) from None
                    raise
                else:
                    if not same:
                        raise ConfigError(found)
                    outbox.say("result", asked, number, found, again)
        return again
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def main(arguments: list[str]) -> int:
    """Serve until the input ends; return its exit status."""
    address, folder = arguments
    target = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what anything prints goes to the log
    inbox, outbox = Inbox(sys.stdin.fileno()), Outbox(target)
    inbox.start()
    again = 0
    try:
        try:
            outbox.say("ready", *begin(address, folder), processors())
        except ConfigError as error:
            outbox.say("refused", str(error))
            return 2
        while True:
            message = inbox.next()
            try:
                again = play(message, inbox, outbox, again)
            except ConfigError as error:
                outbox.say("refused", str(error))
            except EndedError:
                raise
            except Exception:
                outbox.say("failed", traceback.format_exc())
    except EndedError:
        return 0
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)  # also where who asked was killed


if __name__ == "__main__":
    # At once: the thread that reads would hold the interpreter up.
    os._exit(main(sys.argv[1:]))
