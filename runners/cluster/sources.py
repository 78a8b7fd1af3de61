"""What decides rows and weights beside what was asked for: code and versions, the same on every node or refused."""

from __future__ import annotations

import socket
from typing import Any

from runners.experiment.store import CODE, PACKAGES, hash_of
from runners.files.versions import versions_of
from runners.learn import settings


def sources() -> dict[str, Any]:
    """Hash of all code that decides a row or a training's weights, and versions of what does."""
    return {
        "code": hash_of((*CODE, "runners/learn", "runners/cluster")),
        **versions_of((*PACKAGES, *settings.PACKAGES)),
    }


def differing(expected: dict[str, Any]) -> str | None:
    """In what this node differs from who asks, as an error's text; None if it does not."""
    own = sources()
    for name in sorted(own.keys() | expected.keys()):
        if own.get(name) != expected.get(name):
            return (
                f"--ray: node {socket.gethostname()} has {name} {own.get(name)}, this process {expected.get(name)}: what it makes could differ; "
                "install the same on all nodes"
            )
    return None
