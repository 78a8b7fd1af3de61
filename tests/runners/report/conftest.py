"""Reports of fewer pages, for tests of what does not depend on which they are."""

from __future__ import annotations

import pytest

from runners import report


@pytest.fixture
def two_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary and the book alone, beside comparison and appendix."""
    monkeypatch.setattr(report, "PAGES", {name: report.PAGES[name] for name in ("summary", "heatmap")})
    monkeypatch.setattr(report, "MADE_BESIDE", ())


@pytest.fixture
def pages_made_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary, the book, and what a second process makes."""
    names = [name for name in report.PAGES if name in ("summary", "heatmap", *report.MADE_BESIDE)]
    monkeypatch.setattr(report, "PAGES", {name: report.PAGES[name] for name in names})
