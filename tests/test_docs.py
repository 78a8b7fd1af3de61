"""What the docs say is what the code says, and the README's lines run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import kept, libraries
from runners.docs import PAGES, with_figures

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_made_from_the_code_is_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == PAGES[name](), "run: make docs"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_the_figures_of_a_page_are_those_that_were_measured(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = page.read_text()
    assert with_figures(text) == text, "run: make docs"


def test_every_set_of_figures_stands_in_a_page_and_says_where_it_is_from() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    shown = re.findall(r"<!-- figures: (\w+) -->", pages)
    assert (
        sorted(shown) == sorted(kept.COMMANDS) == sorted(path.stem for path in (ROOT / "docs/figures").glob("*.json"))
    )
    for name in shown:
        figures = json.loads((ROOT / "docs/figures" / f"{name}.json").read_text())
        assert set(figures) - {"versions"} == {"command", "date", "machine", "lines"}  # older ones lack the versions
        assert figures["command"] == " ".join(["python -m", *kept.COMMANDS[name]])
    # Tables of figures are made, never pasted; the other one is a drawing of a book.
    assert pages.count("```text") == len(shown) + 1


def python_blocks() -> list[Any]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [
        pytest.param(block, id=f"{page.name}-{number}", marks=[pytest.mark.libraries] * (page.name == "libraries.md"))
        for page in pages
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    ]


ELSEWHERE = {"ray", "tianshou"}
"""Libraries of docs/libraries.md that want an environment of their own."""
WARNING = {*ELSEWHERE, "torchrl"}
"""Libraries that warn of their own ways."""


@pytest.mark.parametrize("block", python_blocks())
def test_a_code_block_of_the_docs_runs(block: str, tmp_path: Path) -> None:
    used = set(re.findall(r"^(?:from|import) (\w+)", block, re.MULTILINE))
    apart = ELSEWHERE & used
    if apart and not libraries.installed(block):
        pytest.skip(f"{', '.join(apart)} is not installed whole")
    # A file, since the compile cache and EzPickle want one, in a folder far from the project.
    program = tmp_path / "example.py"
    program.write_text(block)
    strict = [] if WARNING & used else ["-W", "error"]
    done = subprocess.run(
        [sys.executable, *strict, str(program)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_library_takes_at_most_thirty_lines() -> None:
    found = libraries.scripts()
    assert len(found) == 8
    for name, script in found.items():
        assert len([line for line in script.splitlines() if line.strip()]) <= 30, name
        # What the benchmark makes longer.
        assert "TURNS = " in script


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs"])
def test_links_to_files_lead_somewhere(page: str) -> None:
    sources = sorted((ROOT / page).glob("*.md")) if (ROOT / page).is_dir() else [ROOT / page]
    for source in sources:
        text = re.sub(r"```.*?```", "", source.read_text(), flags=re.DOTALL)  # code has brackets of its own
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (source.parent / target).exists(), f"{source.name} links to {target}"
