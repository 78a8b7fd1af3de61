"""Trainings on a cluster, a processor each: their folders, checkpoints among them, lie where all nodes reach them.

A training that is lost with its worker or node goes on from its last checkpoint elsewhere, to the weights that it would have had. A node that has
other versions or does not see the folder refuses.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from market_env.config import ConfigError
from runners.cluster.session import Cluster
from runners.learn.many import Executor, Leg, go_on
from scripted_agents.standards import Standards


def train_leg(shared: tuple[Standards, Path], leg: Leg) -> dict[str, Any]:
    """Train in a worker.

    Args:
        shared: standards, and a file that who asks has put beside the trainings' folders.
        leg: what is trained.

    Raises:
        ConfigError: this worker does not see the folder.
    """
    standards, mark = shared
    if not mark.exists():
        raise ConfigError(
            f"--run-dir: node {socket.gethostname()} does not see {mark.parent}: expected a folder that all nodes share under one path"
        )
    return go_on(leg, standards)


def on_ray(cluster: Cluster, root: Path) -> Executor:
    """An executor that trains on a cluster.

    Args:
        cluster: it.
        root: the folder of all trainings.
    """

    def play(legs: Sequence[Leg], standards: Standards) -> Iterator[tuple[int, dict[str, Any]]]:
        mark = root.resolve() / f".seen-{secrets.token_hex(8)}"
        mark.touch()
        try:
            whole = [replace(leg, folder=leg.folder.resolve()) for leg in legs]
            yield from cluster.run(train_leg, (standards, mark), whole)
        finally:
            mark.unlink(missing_ok=True)

    return play
