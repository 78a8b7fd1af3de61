"""An event file says what is wrong where it goes wrong, and TensorBoard reads what is in it."""

from __future__ import annotations

import struct
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.files.event_file import EventFile, masked, scalars, text
from runners.files.whole import RunFolderError

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.summary.writer.record_writer import masked_crc32c


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    for step in range(5):
        file.add(scalars([("a/b", step / 2)]), step)
    file.add(text("said", "# <b>bold</b>\nsecond\u2028third"), 4)
    file.close()
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    assert [(event.step, event.value) for event in board.Scalars("a/b")] == [(n, n / 2) for n in range(5)]
    (said,) = board.Tensors("said")
    lines = said.tensor_proto.string_val[0].decode().split("\n")
    assert lines == ["    # <b>bold</b>", "    second", "    third"]  # a block of code, to its last line


@given(st.binary(max_size=300))
def test_a_checksum_is_tensorboards_own(data: bytes) -> None:
    assert masked(data) == struct.pack("<I", masked_crc32c(data))


def records(file: Path) -> list[bytes]:
    """What a file holds, after its first record, with checksums."""
    content, found = file.read_bytes(), []
    while content:
        size = 16 + int.from_bytes(content[:8], "little")
        found.append(content[:size])
        content = content[size:]
    return found[1:]


def test_numbers_written_in_the_quick_way_are_the_same_bytes(tmp_path: Path) -> None:
    values = [("a/b", 0.5), ("long/" + "name" * 60, -1e30), ("zero", 0.0), ("d", 7)]
    slow, quick = EventFile(tmp_path / "slow"), EventFile(tmp_path / "quick")
    for step in (0, 5, 2**40):
        for given_values in (values, values[:1], []):
            slow.add(scalars(given_values), step, 1.5)
            quick.add_scalars(given_values, step, 1.5)
    slow.close()
    quick.close()
    assert records(slow.path) == records(quick.path)
    assert len(records(quick.path)) == 9


def test_a_run_that_goes_on_voids_what_came_after_and_is_read_after_itself(tmp_path: Path) -> None:
    first = EventFile(tmp_path)
    for step in range(6):
        first.add(scalars([("x", 1.0)]), step)
    first.close()
    second = EventFile(tmp_path, purge_step=3)
    second.add(scalars([("x", 2.0)]), 3)
    second.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.path.name, second.path.name]
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    assert [event.value for event in board.Scalars("x")] == [1.0, 1.0, 1.0, 2.0]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunFolderError, match="cannot be written: Not a directory"):
        EventFile(tmp_path / "file" / "deep")


def test_a_full_disk_is_raised_where_it_happens_once_and_by_no_thread(tmp_path: Path) -> None:
    program = (
        "import resource, signal\nfrom pathlib import Path\nfrom runners.files.event_file import EventFile, scalars\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"file = EventFile(Path({str(tmp_path)!r}))\n"
        "try:\n    for step in range(10_000):\n        file.add(scalars([('x', 1.0)]), step)\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
        "file.abandon()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("RunFolderError ")
    assert "cannot be written: File too large" in done.stdout
    assert done.stderr == ""
