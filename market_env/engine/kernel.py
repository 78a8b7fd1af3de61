"""The one way to compile a function of the market: ``@kernel``, and ``@policy_kernel`` for policies.

Promise: compiled code is kept on disk and is never stale. Numba's own cache looks only at the file that
holds a function; a kernel that inlined another file's kernel would stay old when that file changes. Here
the cache folder is named by a hash of every source file a kernel can reach (its own folder and the folders
of all kernels that it can call, however many calls away) and of numba's version, and no other library's cache is moved.

Cost: the first call in a fresh cache compiles (seconds); later processes load machine code in a fraction of
a second. The cache lies in ``$MARKET_ENV_CACHE`` if set, else in the user's cache folder.

No ``fastmath`` anywhere: the same seed gives the same bits.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import platformdirs
from numba import types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache, _Cache, _CacheLocator
from numba.core.ccallback import CFunc
from numba.core.dispatcher import Dispatcher

ENGINE_FOLDER = Path(__file__).resolve().parent

POLICY_SIGNATURE = types.void(
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.uint64),
    types.CPointer(types.int64),
)
"""C signature of every compiled policy: (observation, parameters, stream, action), four pointers."""


def cache_root() -> Path:
    """Folder that holds all compiled kernels."""
    chosen = os.environ.get("MARKET_ENV_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("market_env")) / "kernels"


@functools.cache
def _folder_digest(folder: Path) -> bytes:
    digest = hashlib.sha256()
    for source in sorted(folder.glob("*.py")):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    return digest.digest()


def _source_folders(function: Callable[..., Any]) -> set[Path]:
    """Folders of every kernel that ``function`` can reach: by name or through a module, however many calls away."""
    folders = {ENGINE_FOLDER, ENGINE_FOLDER.parent}
    seen: set[int] = set()
    waiting = [function]
    while waiting:
        reached = waiting.pop()
        folders.add(Path(inspect.getfile(reached)).resolve().parent)
        if id(reached.__globals__) in seen:
            continue
        seen.add(id(reached.__globals__))
        for value in list(reached.__globals__.values()):
            is_module = isinstance(value, ModuleType) and value.__name__.split(".")[0] not in {"numba", "numpy"}
            for inner in list(vars(value).values()) if is_module else [value]:
                if isinstance(inner, Dispatcher):
                    waiting.append(inner.py_func)
    return folders


def source_hash(function: Callable[..., Any]) -> str:
    """Hash of every source that ``function`` can have inlined, and of numba's version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for folder in sorted(_source_folders(function)):
        digest.update(_folder_digest(folder))
    return digest.hexdigest()[:16]


class _SourceHashLocator(_CacheLocator):
    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._py_file = file
        self._hash = source_hash(function)
        # Module names repeat across packages; the line number alone would let them share a file.
        self._tag = hashlib.sha256(f"{function.__module__}:{function.__code__.co_firstlineno}".encode()).hexdigest()[:8]

    def get_cache_path(self) -> str:
        return str(cache_root() / self._hash)

    def get_source_stamp(self) -> str:
        return self._hash

    def get_disambiguator(self) -> str:
        return self._tag

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _SourceHashLocator | None:
        if not Path(py_file).exists():
            return None
        locator = cls(py_func, py_file)
        try:
            locator.ensure_cache_path()
        except OSError:
            return None
        return locator


class _KernelCacheImpl(CompileResultCacheImpl):
    # A function typed at a prompt or a read-only home falls back to numba's own places.
    _locator_classes = [_SourceHashLocator, *CompileResultCacheImpl._locator_classes]  # noqa: RUF012


class _KernelCache(FunctionCache):
    _impl_class = _KernelCacheImpl


def _cache_of(function: Callable[..., Any]) -> _Cache:
    try:
        return _KernelCache(function)
    except RuntimeError:  # no source file to go by (a prompt, standard input), or no place to write
        return NullCache()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` to machine code on first call and keep the result on disk."""
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = _cache_of(function)
    return dispatcher


class PolicyFunction:
    """A compiled policy: a C function of :data:`POLICY_SIGNATURE`, compiled or loaded when first asked for."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self._function = function

    @functools.cached_property
    def compiled(self) -> Any:
        """Numba's compiled C function."""
        compiled: Any = CFunc(
            self._function, (POLICY_SIGNATURE.args, POLICY_SIGNATURE.return_type), locals={}, options={"nogil": True}
        )
        compiled._cache = _cache_of(self._function)
        compiled.compile()
        return compiled

    @functools.cached_property
    def address(self) -> int:
        """Where its machine code lies in this process."""
        return int(self.compiled.address)


def policy_kernel(function: Callable[..., Any]) -> PolicyFunction:
    """Compile a policy ``f(observation, parameters, stream, action)``.

    The four arguments are pointers: read ``observation[i]`` (float32) and ``parameters[i]`` (float64), hand
    ``stream`` to the draws of :mod:`market_env.engine.streams`, write ``action[i]`` (int64), which begins as
    zeros. Numba cannot check an index into a pointer: one out of range reads or writes foreign memory.
    """
    return PolicyFunction(function)


def compiled_marker(entry: Any, name: str) -> Path:
    """A file beside ``entry``'s machine code that says, if it exists, that ``name`` has been compiled."""
    return Path(entry._cache.cache_path or cache_root()) / f"{name}.compiled"
