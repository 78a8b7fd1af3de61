"""Files of tensors from outside: bounded, checked before anything is built of them, and nothing in them is executed.

Stable-Baselines3's ``.zip`` holds archives that PyTorch wrote, each a zip of its own. Every entry of both is held to a size
that it states before it is read, compression and overlapping entries are refused where the writer uses none, and a tensor
may not stand for more numbers than its storage holds, so a small file stays small in memory.
"""

from __future__ import annotations

import io
import lzma
import math
import os
import pickle
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
NUMBERS = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?", "ComplexFloatStorage": "<c8",
    "ComplexDoubleStorage": "<c16",
}  # fmt: skip
"""What a storage holds, by the name that PyTorch gives it."""
MOST_DIMENSIONS = 32
"""Of a tensor."""
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


def open_tensors(content: bytes, where: str, most: int = LARGEST_MODEL) -> zipfile.ZipFile:
    """An archive that ``torch.save`` wrote, of a bounded size, whose pickles make nothing but tensors and plain values.

    Args:
        content: of the archive.
        where: what it is called in an error.
        most: bytes that its tensors may take in all.

    Raises:
        ModelError: it is damaged, or something else.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
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
    return archive


class _Storage(NamedTuple):
    """Numbers of an archive that tensors are views of."""

    numbers: NDArray[Any]


class _Tensor(NamedTuple):
    """A tensor as its pickle describes it: no array yet, so that no opcode of a pickle can reach into one."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Names(dict[str, Any]):
    """Tensors by name."""


def _named() -> _Names:
    return _Names()


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _rebuilt(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    numbers = [offset, *shape, *strides]
    if not isinstance(storage, _Storage) or len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS:
        raise pickle.UnpicklingError
    if math.prod(max(count, 1) for count in shape if type(count) is int) >= 2**48:
        raise pickle.UnpicklingError
    if not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
        raise pickle.UnpicklingError
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


ALLOWED = (
    b"PROTO", b"FRAME", b"MARK", b"STOP", b"GLOBAL", b"REDUCE", b"BUILD", b"BINPERSID", b"MEMOIZE", b"PUT", b"BINPUT",
    b"LONG_BINPUT", b"GET", b"BINGET", b"LONG_BINGET", b"NONE", b"NEWTRUE", b"NEWFALSE", b"BININT", b"BININT1", b"BININT2",
    b"LONG1", b"BINFLOAT", b"BINUNICODE", b"SHORT_BINUNICODE", b"EMPTY_TUPLE", b"TUPLE", b"TUPLE1", b"TUPLE2", b"TUPLE3",
    b"EMPTY_DICT", b"SETITEM", b"SETITEMS", b"EMPTY_LIST", b"APPEND", b"APPENDS",
)  # fmt: skip
"""Opcodes that ``torch.save`` writes of tensors by name."""


class _Reader(pickle._Unpickler):
    """Reads what ``torch.save`` wrote of tensors and plain values, and makes nothing else.

    Python's own reader in Python, whose memory grows with what is read: that in C makes room for any number that a pickle names.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        getattr(pickle, name.decode())[0]: pickle._Unpickler.dispatch[getattr(pickle, name.decode())[0]]
        for name in ALLOWED
    }

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        super().__init__(io.BytesIO(archive.read(name)), encoding="utf-8")
        self._archive = archive
        self._folder = name.rpartition("/")[0]
        self._storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may name."""
        if (module, name) == ("collections", "OrderedDict"):
            return _named
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in NUMBERS:
            return NUMBERS[name]
        raise pickle.UnpicklingError

    def persistent_load(self, found: Any) -> _Storage:
        """The numbers that a pickle refers to."""
        _, kind, key, _, count = found
        if type(key) is not str or type(kind) is not str or kind not in NUMBERS.values():
            raise pickle.UnpicklingError
        if key not in self._storages:
            content = self._archive.read(f"{self._folder}/data/{key}")
            numbers = np.frombuffer(content, kind)
            if len(numbers) != count:
                raise pickle.UnpicklingError
            self._storages[key] = _Storage(numbers)
        return self._storages[key]

    def _build(self) -> None:
        # What PyTorch notes beside its tensors is left out, and nothing else has a state.
        stack: list[Any] = self.stack  # type: ignore[attr-defined]
        stack.pop()
        if type(stack[-1]) is not _Names:
            raise pickle.UnpicklingError

    def _set_item(self) -> None:
        stack: list[Any] = self.stack  # type: ignore[attr-defined]
        value, key = stack.pop(), stack.pop()
        self._name(stack[-1], key, value)

    def _set_items(self) -> None:
        items: list[Any] = self.pop_mark()  # type: ignore[attr-defined]
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._name(self.stack[-1], key, value)  # type: ignore[attr-defined]

    @staticmethod
    def _name(named: Any, key: Any, value: Any) -> None:
        # A key of another kind could take forever to hash.
        if type(named) not in (_Names, dict) or type(key) is not str:
            raise pickle.UnpicklingError
        named[key] = value

    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items


def load_weights(content: bytes, where: str) -> dict[str, NDArray[Any]]:
    """The weights by name that PyTorch saved, without PyTorch: arrays of the very numbers.

    Args:
        content: an archive that ``torch.save`` wrote.
        where: what it is called in an error.

    Raises:
        ModelError: it is damaged, holds something else, or stands for more than it holds.
    """
    archive = open_tensors(content, where)
    try:
        names = archive.namelist()
        (name,) = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        order = f"{name.rpartition('/')[0]}/byteorder"
        if order in names and archive.read(order) != b"little":
            raise ModelError(f"{where}: expected numbers whose lowest byte comes first")
        found = _Reader(archive, name).load()
    except ModelError:
        raise
    except Exception:  # whatever a damaged pickle makes of the opcodes that are left to it
        raise ModelError(f"{where} is damaged: it cannot be read") from None
    if not isinstance(found, dict) or not all(isinstance(tensor, _Tensor) for tensor in found.values()):
        raise ModelError(f"{where}: expected tensors by name, found {type(found).__name__}")
    # Names may share numbers, of which each gets its own.
    taken = sum(math.prod(tensor.shape) * tensor.storage.numbers.itemsize for tensor in found.values())
    if (
        all(math.prod(tensor.shape) <= len(tensor.storage.numbers) for tensor in found.values())
        and taken > LARGEST_MODEL
    ):
        raise ModelError(f"{where}: its tensors would take {taken:,} bytes, at most {LARGEST_MODEL:,} expected")
    return {key: _array(tensor, where) for key, tensor in found.items()}


def _array(tensor: _Tensor, where: str) -> NDArray[Any]:
    """A tensor as an array of its own."""
    numbers = tensor.storage.numbers
    size = math.prod(tensor.shape)
    if size > len(numbers):
        raise ModelError(f"{where}: a tensor of {size:,} entries stands for more than it holds")
    if not size:
        return np.zeros(tensor.shape, numbers.dtype)
    last = tensor.offset + sum((count - 1) * step for count, step in zip(tensor.shape, tensor.strides, strict=True))
    if last >= len(numbers):
        raise ModelError(f"{where} is damaged: it cannot be read")
    steps = [step * numbers.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, steps).copy()


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
