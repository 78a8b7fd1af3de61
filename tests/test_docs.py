"""What the docs say is what the code says, and the README's lines run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from runners.docs import PAGES

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_made_from_the_code_is_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == PAGES[name](), "run: make docs"


def python_blocks() -> list[tuple[str, str]]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [
        (f"{page.name}-{number}", block)
        for page in pages
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    ]


@pytest.mark.parametrize(("name", "block"), python_blocks(), ids=[name for name, _ in python_blocks()])
def test_a_code_block_of_the_docs_runs(name: str, block: str, tmp_path: Path) -> None:
    # A file, since the compile cache and EzPickle want one, in a folder far from the project.
    program = tmp_path / "example.py"
    program.write_text(block)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs"])
def test_links_to_files_lead_somewhere(page: str) -> None:
    sources = sorted((ROOT / page).glob("*.md")) if (ROOT / page).is_dir() else [ROOT / page]
    for source in sources:
        text = re.sub(r"```.*?```", "", source.read_text(), flags=re.DOTALL)  # code has brackets of its own
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (source.parent / target).exists(), f"{source.name} links to {target}"
