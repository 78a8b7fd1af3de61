"""The one way to compile a function of the market: ``@kernel``, and ``@policy_kernel`` for policies.

Promise: compiled code is kept on disk and is never stale. Numba's own cache looks only at the file that
holds a function; a kernel that inlined another file's kernel would stay old when that file changes. Here
the cache folder is named by a hash of every source file a kernel can reach (its own folder and the folders
of all kernels that it can call, however many calls away), of the constants that they name, and of numba's version, and no other library's cache is moved.

Cost: the first call in a fresh cache compiles (seconds); later processes load machine code in a fraction of
a second. The cache lies in ``$MARKET_ENV_CACHE`` if set, else in the user's cache folder.

No ``fastmath`` anywhere: the same seed gives the same bits. No kernel allocates, so reference counting, which cost
a third of a turn, is switched off: work space is handed in, and one that allocates does not compile.
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
import numpy as np
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
def _file_digest(source: Path, modified: int, size: int) -> bytes:
    return hashlib.sha256(source.name.encode() + source.read_bytes()).digest()


def _folder_digest(folder: Path) -> bytes:
    digest = hashlib.sha256()
    for source in sorted(folder.glob("*.py")):
        status = source.stat()
        digest.update(_file_digest(source, status.st_mtime_ns, status.st_size))
    return digest.digest()


def source_hash(function: Callable[..., Any]) -> str:
    """Hash of all that can be compiled into ``function``, and of numba's version.

    That is the sources beside every kernel that it reaches, by name or through modules, however many calls away,
    and the values of the constants that they name, which numba freezes.
    """
    folders = {ENGINE_FOLDER, ENGINE_FOLDER.parent}
    constants: set[str] = set()
    seen: set[int] = set()

    def reach(reached: Callable[..., Any]) -> None:
        if id(reached) in seen:
            return
        seen.add(id(reached))
        folders.add(Path(inspect.getfile(reached)).resolve().parent)
        names = reached.__code__.co_names
        for name in names:
            if name in reached.__globals__:
                follow(name, reached.__globals__[name], names)

    def follow(path: str, value: Any, names: tuple[str, ...]) -> None:
        if isinstance(value, Dispatcher):
            reach(value.py_func)
        elif isinstance(value, ModuleType):
            # An attribute's name is among the names that the code uses; so is a submodule's.
            if value.__name__.split(".")[0] not in {"numba", "numpy"} and path.count(".") < 8:
                for name in names:
                    if name in vars(value):
                        follow(f"{path}.{name}", vars(value)[name], names)
        elif isinstance(value, np.ndarray):
            constants.add(f"{path}={value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}")
        elif isinstance(value, (bool, int, float, complex, str, bytes, tuple, np.generic)):
            constants.add(f"{path}={value!r}")

    reach(function)
    digest = hashlib.sha256(numba.__version__.encode())
    for folder in sorted(folders):
        digest.update(_folder_digest(folder))
    for constant in sorted(constants):
        digest.update(constant.encode())
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


class _LazyCache(_Cache):
    """The cache of a kernel, set up when it is first compiled: by then all that it calls is defined."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    @functools.cached_property
    def _cache(self) -> _Cache:
        try:
            return _KernelCache(self._function)
        except (OSError, RuntimeError):  # no source file to go by (a prompt, standard input), or no place to write
            return NullCache()

    @property
    def cache_path(self) -> Any:
        """Folder of the machine code; None if it is kept nowhere."""
        return self._cache.cache_path

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Machine code for a signature, None if there is none."""
        return self._cache.load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep machine code."""
        self._cache.save_overload(sig, data)

    def enable(self) -> None:
        """Use the cache."""
        self._cache.enable()

    def disable(self) -> None:
        """Do not use the cache."""
        self._cache.disable()

    def flush(self) -> None:
        """Forget all machine code of this kernel."""
        self._cache.flush()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function``, which must not allocate, to machine code on first call and keep the result on disk."""
    return _compiled(function, parallel=False)


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """The same for a kernel whose ``numba.prange`` runs on several cores (``numba.set_num_threads`` says how many)."""
    return _compiled(function, parallel=True)


def _compiled(function: Callable[..., Any], *, parallel: bool) -> Any:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "parallel": parallel, "_nrt": False}
    dispatcher: Any = numba.njit(**options)(function)
    dispatcher._cache = _LazyCache(function)
    return dispatcher


class PolicyFunction:
    """A compiled policy: a C function of :data:`POLICY_SIGNATURE`, compiled or loaded when first asked for."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self._function = function

    @functools.cached_property
    def compiled(self) -> Any:
        """Numba's compiled C function."""
        compiled: Any = CFunc(
            self._function, (POLICY_SIGNATURE.args, POLICY_SIGNATURE.return_type), locals={}, options={"nogil": True}
        )
        compiled._cache = _LazyCache(self._function)
        compiled.compile()
        return compiled

    def __reduce__(self) -> str:
        # Pickled by its name, as a function is: an address means nothing in another process.
        return self.__qualname__

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
