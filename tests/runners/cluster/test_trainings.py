"""Trainings on Ray: the weights of this process, also where a worker and a node are killed on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cluster import Nodes, checkpoints_in, wait_for
from market_env.config import ConfigError
from runners.cluster.trainings import train_leg
from runners.learn.many import Leg
from runners.learn.settings import RESULT, Training
from scripted_agents.standards import STANDARDS

pytestmark = [pytest.mark.long, pytest.mark.libraries]
COMMAND = (
    "--task", "sell", "--seeds", "1..3", "--total-timesteps", "6144", "--markets", "8", "--n-steps", "32", "--batch-size", "64",
    "--validate-every", "2048", "--checkpoint-every", "512",
)  # fmt: skip


def weights(root: Path) -> dict[str, str]:
    """By training."""
    return {path.parent.name: json.loads(path.read_text())["weights"] for path in sorted(root.glob(f"*/{RESULT}"))}


def test_trainings_end_with_the_same_weights_whatever_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "runners.train", *COMMAND, "--run-dir"]
    with Nodes() as nodes:
        process = subprocess.Popen(
            [*words, str(tmp_path / "ray"), "--ray", nodes.address], env=nodes.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        wait_for(1, checkpoints_in, tmp_path / "ray", process)
        nodes.kill_a_worker()
        nodes.kill("node")
        said = process.communicate()[1]
        assert process.returncode == 0, said
    assert "lost with a worker or node and run again" in said
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*words, str(tmp_path / "plain")], check=True, env=environment, stdout=subprocess.DEVNULL)
    assert len(weights(tmp_path / "plain")) == 3
    assert weights(tmp_path / "ray") == weights(tmp_path / "plain")
    assert not list((tmp_path / "ray").glob(".seen-*"))


def test_a_node_that_sees_no_folder_refuses(tmp_path: Path) -> None:
    leg = Leg(Training(), tmp_path / "seed-5")
    with pytest.raises(ConfigError, match=r"does not see .*: expected a folder that all nodes share"):
        train_leg((STANDARDS, tmp_path / "mark"), leg)
    assert not leg.folder.exists()
