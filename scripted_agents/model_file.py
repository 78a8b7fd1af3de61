"""Files of tensors from outside: bounded, checked before anything is built of them, and never unpickled.

Stable-Baselines3's ``.zip`` holds archives that PyTorch wrote, each a zip of its own. Every entry of both is held to a size
that it states before it is read, compression and overlapping entries are refused where the writer uses none, and a tensor
may not stand for more numbers than its storage holds, so a small file stays small in memory.
"""

from __future__ import annotations

import io
import lzma
import os
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from market_env.config import ConfigError
from market_env.outside import read_bytes, shown

LARGEST_MODEL = 64 * 2**20
"""Largest model file, and largest archive of tensors in it, bytes."""
LARGEST_DATA = 4 * 2**20
"""Largest part of a model file in JSON, bytes."""

DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, ValueError, NotImplementedError,
          RuntimeError)  # fmt: skip
"""What Python's zip reader raises for a damaged file."""


MADE = re.compile(r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch [A-Z][A-Za-z]*Storage")
"""What a pickle of tensors may make, as its opcodes name it."""
MOST_OPCODES = 2_000_000
"""Most values in a pickle of tensors, and steps that make them."""


class ModelError(ConfigError):
    """A model file that cannot be used: one line with what was expected and what was found."""


def read_archive(path: Path, entries: dict[str, int]) -> dict[str, bytes]:
    """Some entries of a ``.zip`` file.

    Args:
        path: of the file.
        entries: by name the largest size that is read, bytes.

    Raises:
        ModelError: it is no regular file of a bounded size, no such archive, an entry is missing, damaged or too large.
    """
    where = f"model {shown(str(path))[1:-1]}"
    folder = os.path.isdir(path)  # noqa: PTH112 (os.path says no where Path raises, as for a name that is too long)
    if folder or not os.path.exists(path):  # noqa: PTH110
        raise ModelError(
            f"{where}: expected a Stable-Baselines3 .zip file, found {'a folder' if folder else 'nothing'}"
        )
    try:
        content = read_bytes(path, where, LARGEST_MODEL)
    except ConfigError as error:
        raise ModelError(str(error)) from None
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except DAMAGE as error:
        raise ModelError(f"{where}: expected a Stable-Baselines3 .zip file, found a damaged one: {error}") from None
    with archive:
        return {name: _entry(archive, name, most, where) for name, most in entries.items()}


def _entry(archive: zipfile.ZipFile, name: str, most: int, where: str) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        listed = sorted(archive.namelist())[:8]
        raise ModelError(f"{where}: expected an archive of Stable-Baselines3 with {name!r}, found {listed}") from None
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError(f"{where}: {name}: expected it stored or deflated, found another compression")
    if info.file_size > most:
        raise ModelError(f"{where}: {name} would take {info.file_size:,} bytes, at most {most:,} expected")
    try:
        return archive.read(name)
    except DAMAGE as error:
        raise ModelError(f"{where}: {name} is damaged: {error}") from None


def load_tensors(content: bytes, where: str, most: int = LARGEST_MODEL) -> Any:
    """What PyTorch saved: tensors, numbers and texts in dicts and lists, nothing else.

    Args:
        content: an archive that ``torch.save`` wrote.
        where: what it is called in an error.
        most: bytes that its tensors may take in all.

    Raises:
        ModelError: it is damaged, holds something else, or stands for more than it holds.
    """
    try:
        import torch  # takes seconds to import; only a frozen PPO needs it
    except ModuleNotFoundError:
        raise ModelError(f"{where}: reading it needs PyTorch: pip install 'market-env[train]'") from None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
            pickles = [part for part in parts if part.filename.endswith(".pkl")]
            plain = all(part.compress_type == zipfile.ZIP_STORED and part.file_size <= len(content) for part in pickles)
            texts = [archive.read(part) for part in pickles] if plain else []
    except DAMAGE as error:
        raise ModelError(f"{where} is damaged: {error}") from None
    for text in texts:
        _check_pickle(text, where)
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ModelError(f"{where}: expected its tensors stored as they are, found them compressed")
    if sum(part.file_size for part in parts) > min(len(content), most):
        raise ModelError(f"{where}: its tensors would take more than the {min(len(content), most):,} bytes that it may")
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or a forbidden file, with pages of advice
        kind = "holds more than tensors and plain values" if "weights_only" in str(error) else "cannot be read"
        raise ModelError(f"{where} is damaged: it {kind}") from None
    for tensor in _tensors(found):
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise ModelError(f"{where}: expected plain dense tensors, found another kind")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ModelError(f"{where}: a tensor of {tensor.numel():,} entries stands for more than it holds")
    return found


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    left, seen = [value], set()
    while left:
        part = left.pop()
        if isinstance(part, torch.Tensor):
            yield part
        elif isinstance(part, (dict, list, tuple, set)) and id(part) not in seen:  # shared, or in itself
            seen.add(id(part))
            left += part.values() if isinstance(part, dict) else part


def _check_pickle(content: bytes, where: str) -> None:
    """Raise a ModelError where a pickle makes anything but tensors, numbers and texts in dicts and lists."""
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > MOST_OPCODES:
                raise ModelError(f"{where}: expected at most {MOST_OPCODES:,} values, found more")
            # What is made by another name than these, PyTorch would refuse as well, or make larger than the file.
            if opcode.name in {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"} or (
                opcode.name == "GLOBAL" and not MADE.fullmatch(str(argument))
            ):
                raise ModelError(f"{where} is damaged: it holds more than tensors and plain values")
    except (ValueError, EOFError, IndexError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{where} is damaged: it cannot be read") from None
