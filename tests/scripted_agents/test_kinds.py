"""A kind of agents is declared once: its own file and one registry, and every part of the product knows it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from market_env.config import SEATS, ConfigError, MarketConfig, roster
from scripted_agents import registry
from scripted_agents.registry import KINDS

ROOT = Path(__file__).parents[2]


def test_the_default_market_is_made_of_the_registered_kinds() -> None:
    counts = {"ppo": 1, "noise": 20, "maker": 4, "momentum": 1}
    assert registry.roster(counts) == roster() == MarketConfig().agents
    assert set(SEATS) <= set(KINDS)
    for name, kind in KINDS.items():
        assert kind.name == kind.seat.kind == name
        assert kind.seat.id == f"{name}_0"
        assert isinstance(kind.policy(kind.seat), kind.policies[0])
    with pytest.raises(ConfigError, match="number of maker agents: must be 0 or more, got -2"):
        registry.roster({"noise": 1, "maker": -2})


def test_no_two_kinds_have_one_colour_or_one_word() -> None:
    assert len({kind.colour for kind in KINDS.values()}) == len({kind.people for kind in KINDS.values()}) == len(KINDS)


EXAMPLE = re.search(
    r"```python\n(# scripted_agents/contrarian\.py.*?)```", (ROOT / "docs/your-agent.md").read_text(), re.S
)


@pytest.mark.long
def test_a_new_kind_is_its_own_file_and_a_line_of_the_registry(tmp_path: Path) -> None:
    for name in ("market_env", "scripted_agents", "runners", "models"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert EXAMPLE
    (tmp_path / "scripted_agents" / "contrarian.py").write_text(EXAMPLE[1])
    listed = tmp_path / "scripted_agents" / "registry.py"
    text = listed.read_text()
    changed = text.replace("informed, splitter)", "informed, splitter, contrarian)")
    changed = changed.replace(
        "from scripted_agents import frozen_ppo,", "from scripted_agents import contrarian, frozen_ppo,"
    )
    assert sum(a != b for a, b in zip(text.splitlines(), changed.splitlines(), strict=True)) == 2
    listed.write_text(changed)

    def run(*arguments: str) -> str:
        # Without site's paths of an editable installation the copy in the current folder is what is imported.
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "Number of contrarians." in run("runners.simulate", "--help")
    flags = ["--contrarian", "3", "--timesteps", "200", "--run-dir", "run"]
    assert re.search(r"contrarian +3 ", run("runners.simulate", *flags))
    assert (tmp_path / "run" / "report.pdf").is_file()
    assert "nothing differs" in run("runners.replay", "run")
    again = run("runners.simulate", "--config", "run/config.json", "--run-dir", "again", "--no-report")
    assert "contrarian" in again
    assert (tmp_path / "again" / "trades.parquet").read_bytes() == (tmp_path / "run" / "trades.parquet").read_bytes()
