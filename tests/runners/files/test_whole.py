"""A file is whole or absent, whoever else writes it, and what went wrong first is what is said."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from runners.files.whole import RunFolderError, whole_file, write_json


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")

    def write(target: Path, text: str) -> None:
        with whole_file(target) as partial:
            partial.write_text(text)
            if text == "half of the n":
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(path, "half of the n")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["figures.json"]
    with pytest.raises(RunFolderError, match="cannot be written"):
        write(tmp_path / "none" / "x.json", "x")
    write(path, "new")
    assert path.read_text() == "new"


def test_two_writers_at_once_do_not_meet_and_the_last_wins_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    with whole_file(path) as first:
        first.write_text("first")
        with whole_file(path) as second:
            assert second != first
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.pdf"]


def test_many_threads_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    threads = [threading.Thread(target=write_json, args=(path, list(range(number, 2_000)))) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text().endswith("1999\n]\n")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_that_vanished_is_one_error_without_others_before_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "x.json"

    def write() -> None:
        with whole_file(path) as partial:
            partial.write_text("x")
            os.rename(folder, tmp_path / "moved")  # noqa: PTH104

    with pytest.raises(RunFolderError, match="cannot be written: No such file") as caught:
        write()
    assert caught.value.__suppress_context__
