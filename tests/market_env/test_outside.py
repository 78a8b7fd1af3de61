"""What comes from outside is read only where it is a regular file of a bounded size, and shown only in part."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from market_env.outside import ConfigError, load_json, read_bytes, read_json, read_lines, shown


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/random"])
def test_a_device_is_refused_before_it_is_read(device: str) -> None:
    with pytest.raises(ConfigError, match="thing: expected a regular file, found a device or a pipe"):
        read_bytes(Path(device), "thing", 10)


def test_a_pipe_without_a_writer_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="device or a pipe"):
        read_bytes(tmp_path / "pipe", "thing", 10)


def test_size_folders_and_names(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(11))
    assert len(read_bytes(tmp_path / "file", "thing", 11)) == 11
    for path, message in (
        (tmp_path / "file", "expected at most 10 bytes, found 11"),
        (tmp_path, "expected a file, found a folder"),
        (tmp_path / "none", "cannot be read: No such file"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        (Path("a\0b"), "cannot be read: embedded null byte"),
    ):
        with pytest.raises(ConfigError, match=f"thing: {message}"):
            read_bytes(path, "thing", 10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "thing: not JSON"),
        (b"\xff\xfe", "thing: not JSON: not UTF-8 text"),
        (b'{"a": "\\ud800"}', "thing: not JSON: a text in it holds half of a surrogate pair"),
        (b"[" * 200_000, "thing: not JSON"),
        (b"[1]", "thing: expected a JSON object, got list"),
    ],
)
def test_text_that_is_no_json_object_is_one_error_that_names_the_file(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_json(tmp_path / "file", "thing")


def test_an_integer_of_thousands_of_digits_is_no_number_and_short_to_show() -> None:
    assert load_json(b'{"seed": ' + b"1" * 5_000 + b"}", "thing") == {"seed": "11111111111111111111... (5,000 digits)"}


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert load_json(b'\xef\xbb\xbf{"a": 1}', "thing") == {"a": 1}


def test_what_was_given_is_shown_in_part() -> None:
    assert shown("abc") == "'abc'"
    for value in ("x" * 10**6, list(range(10**6)), {n: n for n in range(10**5)}, 10**4_000, [["x" * 500] * 50] * 50):
        assert len(shown(value)) <= 300


def test_lines_are_read_up_to_the_last_one_that_has_ended(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"one\n\nthree\nhalf")
    assert list(read_lines(file, "x", 6)) == [("x, line 1", b"one\n"), ("x, line 2", b"\n"), ("x, line 3", b"three\n")]
    with pytest.raises(ConfigError, match="x, line 3: expected at most 5 bytes, found more"):
        list(read_lines(file, "x", 5))
    with pytest.raises(ConfigError, match="x: expected a regular file, found a device or a pipe"):
        list(read_lines(Path("/dev/zero"), "x", 5))
    with pytest.raises(ConfigError, match="x: cannot be read: No such file"):
        list(read_lines(tmp_path / "none", "x", 5))
    with pytest.raises(ConfigError, match="x: cannot be read: Is a directory"):
        list(read_lines(tmp_path, "x", 5))
