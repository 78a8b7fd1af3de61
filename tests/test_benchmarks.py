"""What the benchmarks measure against does the same work: books in C make of a stream what the engine's makes of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.book import minimal_c, streams


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("owners", [False, True])
def test_a_book_in_c_trades_as_the_engines_does(owners: bool, tmp_path: Path) -> None:
    for stream in streams():
        columns = [np.ascontiguousarray(column) for column in stream.rows.T]
        run = minimal_c(tmp_path, columns, stream.open_orders, owners=owners)
        assert run is not None
        assert run() == run() == stream.expected
