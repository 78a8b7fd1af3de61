"""The one way to compile a function of the market: ``@kernel``, and ``@policy_kernel`` for policies.

Promise: compiled code is kept on disk and is never stale. Numba's own cache looks only at the file that
holds a function; a kernel that inlined another file's kernel would stay old when that file changes. Here
each kernel's machine code is filed under a hash of what numba compiles into it: the bytecode of every kernel that it
reaches, however many calls away, the constants that they name, and numba's version. A comment, a docstring or a
function that no kernel calls recompiles nothing, and no other library's cache is moved.

Cost: the first call in a fresh cache compiles (seconds); later processes load machine code in a fraction of
a second. The cache lies in ``$MARKET_ENV_CACHE`` if set, else in the user's cache folder. One that cannot be written
is read, and what it lacks is compiled anew in each process, which is said once.

No ``fastmath`` anywhere: the same seed gives the same bits. No kernel allocates, so reference counting, which cost
a third of a turn, is switched off: work space is handed in, and one that allocates does not compile.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, overload

import numba
import numpy as np
import platformdirs
from numba import types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _Cache, _CacheLocator
from numba.core.ccallback import CFunc
from numba.core.dispatcher import Dispatcher
from numba.core.extending import _Intrinsic

POLICY_SIGNATURE = types.void(
    types.CPointer(types.float32),
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    types.CPointer(types.uint64),
    types.CPointer(types.int64),
)
"""C signature of every compiled policy: (observation, parameters, memory, stream, action), five pointers."""


def cache_root() -> Path | None:
    """Folder that holds all compiled kernels; None if this user has no place for one."""
    chosen = os.environ.get("MARKET_ENV_CACHE")
    root = Path(chosen) if chosen else Path(platformdirs.user_cache_dir("market_env")) / "kernels"
    # A user without a home has a relative one, which would put a folder wherever the process was started.
    return root.absolute() if chosen else root if root.is_absolute() else None


def _code_parts(code: CodeType, doc: str | None) -> Iterator[str]:
    """What the meaning of a function's bytecode depends on; where it stands and what it says of itself are no part."""
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_argcount, code.co_flags))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_parts(constant, None)
        elif isinstance(constant, frozenset):
            yield repr(sorted(constant, key=repr))
        elif constant is None or constant != doc:
            yield repr(constant)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    yield from code.co_freevars
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


_NAMES = "records by content"
"""How machine code is named; what was kept under other names is not loaded."""


def code_hash(function: Callable[..., Any]) -> str:
    """Hash of all that is compiled into ``function``: bytecode, by name or through modules, constants, versions."""
    parts: set[str] = {numba.__version__, np.__version__, sys.version, _NAMES}
    seen: set[int] = set()

    def reach(reached: Callable[..., Any], options: Any) -> None:
        if id(reached) in seen:
            return
        seen.add(id(reached))
        code = reached.__code__
        found = [reached.__module__, reached.__qualname__, repr(options), repr(reached.__defaults__)]
        parts.add("\n".join((*found, *_code_parts(code, reached.__doc__))))
        cells = dict(zip(code.co_freevars, reached.__closure__ or (), strict=True))
        names = set(_names(code))
        for name in sorted(names):
            if name in cells:
                follow(name, cells[name].cell_contents, names)
            elif name in reached.__globals__:
                follow(name, reached.__globals__[name], names)

    def follow(path: str, value: Any, names: set[str]) -> None:
        if isinstance(value, Dispatcher):
            reach(value.py_func, value.targetoptions)
        elif isinstance(value, _Intrinsic):
            reach(value._defn, None)
        elif isinstance(value, ModuleType):
            # An attribute's name is among the names that the code uses; so is a submodule's.
            if value.__name__.split(".")[0] not in {"numba", "numpy"} and path.count(".") < 8:
                for name in sorted(names):
                    if name in vars(value):
                        follow(f"{path}.{name}", vars(value)[name], names)
        elif isinstance(value, np.ndarray):
            parts.add(f"{path}={value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}")
        elif isinstance(value, type) and hasattr(value, "_fields"):
            parts.add(f"{path}={value._fields}")
        elif isinstance(value, (bool, int, float, complex, str, bytes, tuple, np.generic)):
            parts.add(f"{path}={value!r}")

    reach(function, getattr(function, "_kernel_options", None))
    digest = hashlib.sha256()
    for part in sorted(parts):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:20]


class _CodeLocator(_CacheLocator):
    """Files machine code under the hash of what is compiled; it neither needs nor looks at a source file."""

    def __init__(self, function: Callable[..., Any], root: Path) -> None:
        self._root = root
        self._hash = code_hash(function)

    def get_cache_path(self) -> str:
        return str(self._root)

    def get_source_stamp(self) -> str:
        return self._hash

    def get_disambiguator(self) -> str:
        return self._hash

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _CodeLocator | None:
        root = cache_root()
        return None if root is None else cls(py_func, root)


class _KernelCacheImpl(CompileResultCacheImpl):
    _locator_classes = [_CodeLocator]  # noqa: RUF012 (numba's own attribute)


class _KernelCache(FunctionCache):
    _impl_class = _KernelCacheImpl
    called = ""
    """From where it is called: by Python, or by other kernels."""

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # Numba's own knows a NamedTuple by its fields' types; which of them has which name is compiled in as well.
        named = (numba.types.NamedTuple, numba.types.NamedUniTuple)
        names = [kind.fields for kind in getattr(sig, "args", sig) if isinstance(kind, named)]
        return (*super()._index_key(sig, codegen), repr(names), self.called)


@functools.cache
def _warn_unkept(reason: str) -> None:
    """Say once that machine code cannot be kept."""
    warnings.warn(
        f"compiled kernels cannot be kept and are compiled anew in each process: {reason}; "
        "set MARKET_ENV_CACHE to a folder that can be written",
        RuntimeWarning,
        stacklevel=2,
    )


class _LazyCache(_Cache):
    """The cache of a kernel, set up when it is first compiled: by then all that it calls is defined."""

    def __init__(self, function: Callable[..., Any], called: str = "") -> None:
        self._function = function
        self._called = called

    @functools.cached_property
    def _cache(self) -> _Cache | None:
        if cache_root() is None:
            return None
        cache = _KernelCache(self._function)
        cache.called = self._called
        return cache

    @property
    def cache_path(self) -> Any:
        """Folder of the machine code; None if it is kept nowhere."""
        return self._cache and self._cache.cache_path

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Machine code for a signature, None if there is none."""
        found = None
        if self._cache:
            # A file that cannot be read, or was cut off, is none.
            with contextlib.suppress(OSError):
                try:
                    found = self._cache.load_overload(sig, target_context)
                except (EOFError, pickle.UnpicklingError):
                    self._cache.flush()
        if found is None:
            for announce in _on_compiling:
                announce()
        return found

    def holds(self, sig: Any, target_context: Any) -> bool:
        """Whether there is machine code for a signature, or no place for any."""
        cache: Any = self._cache
        if cache is None:
            return True
        try:
            return cache._index_key(sig, target_context.codegen()) in cache._cache_file._load_index()
        except (OSError, EOFError, pickle.UnpicklingError):
            return False

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep machine code, where there is a place for it."""
        if self._cache is None:
            _warn_unkept("this user has no home folder")
            return
        try:
            self._cache.save_overload(sig, data)
        except OSError as error:
            _warn_unkept(f"{self._cache.cache_path}: {error.strerror}")

    def enable(self) -> None:
        """Use the cache."""

    def disable(self) -> None:
        """Do not use the cache."""
        self._cache = None

    def flush(self) -> None:
        """Forget all machine code of this kernel."""
        if self._cache:
            self._cache.flush()


_on_compiling: list[Callable[[], None]] = []
"""Told whenever something is not on disk and is about to be compiled."""


@contextlib.contextmanager
def announced(what: str) -> Iterator[None]:
    """Say on standard error that ``what`` is compiled, as soon as something within must be, and how long it took."""
    begun = time.perf_counter()
    said: list[bool] = []

    def announce() -> None:
        if not said:
            said.append(True)
            print(f"compiling {what} (once on this machine) ...", file=sys.stderr, flush=True)

    _on_compiling.append(announce)
    try:
        yield
    finally:
        _on_compiling.remove(announce)
        if said:
            print(f"compiled in {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function``, which must not allocate, to machine code on first call and keep the result on disk."""
    return _compiled(function, parallel=False)


def inline_kernel(function: Callable[..., Any]) -> Any:
    """The same for a kernel that becomes a part of each that calls it, whatever LLVM thinks of it.

    That is for a small one that is called everywhere, and for one that a turn calls in one place: to hand over arrays, seven words
    each, can cost more than what it does. Where more call it, all take longer to compile.
    """
    return _compiled(function, parallel=False, inline=True)


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """The same for a kernel whose ``numba.prange`` runs on several cores (``numba.set_num_threads`` says how many)."""
    return _compiled(function, parallel=True)


def entry(compiled: Any, *arguments: Any) -> Callable[..., Any]:
    """What a call of a kernel with arguments of these types ends in, without looking at their types anew.

    It takes arguments of the very same types and dtype objects, for which its caller answers, and is as good as the kernel
    lives long. Compiles the kernel if need be; nothing of it runs.
    """
    signature = tuple(numba.typeof(argument) for argument in arguments)
    compiled.compile(signature)
    found: Callable[..., Any] = compiled.overloads[signature].entry_point
    return found


def kept(compiled: Any, *arguments: Any) -> bool:
    """Whether a kernel's machine code for arguments of these types lies on disk, or can be kept nowhere."""
    signature = tuple(numba.typeof(argument) for argument in arguments)
    return bool(compiled._cache.holds(signature, compiled.targetctx))


def _compiled(function: Callable[..., Any], *, parallel: bool, inline: bool = False) -> Any:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "parallel": parallel, "_nrt": False}
    options["forceinline"] = inline
    function._kernel_options = options  # type: ignore[attr-defined]  # part of what is compiled
    dispatcher: Any = numba.njit(**options)(function)
    dispatcher._cache = _LazyCache(function)
    # As other kernels call it: compiled without what only Python needs to call it, which is half of the work.
    without: dict[str, Any] = {**options, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    inner: Any = numba.njit(**without)(function)
    inner._cache = _LazyCache(function, "inner")
    dispatcher.get_call_template = functools.partial(_one_signature, inner)
    dispatcher.get_overload = inner.get_overload
    inner._compiling_counter = dispatcher._compiling_counter  # by it a kernel that calls itself is known
    return dispatcher


def _one_signature(inner: Any, args: Any, kws: Any) -> Any:
    """How one kernel calls another: integers as int64, whatever fields or constants they come from.

    Numba's own rule compiles a kernel anew for each mix of int32 and int64. Arithmetic is the same, since it widens first.
    """
    _, folded = inner._compiler.fold_argument_types(args, kws)
    return inner.get_call_template(tuple(map(_widened, folded)), {})


def _widened(kind: Any) -> Any:
    kind = types.unliteral(kind)
    return types.int64 if kind in (types.int8, types.int16, types.int32) else kind


def _record_name(kind: Any) -> tuple[str, tuple[str]]:
    return type(kind).__name__, (hashlib.sha256(kind.name.encode()).hexdigest()[:16],)


# Machine code is linked by names that hold the types of its arguments. Numba names a record by a number that it counts in each
# process, so kept code for two kinds of records can bear one name, and a process that loads both runs one's code on the other.
# Named by what they are made of, no two are alike.
setattr(numba.types.Record, "mangling_args", property(_record_name))  # noqa: B010  (numba's stubs declare a method)

_one_at_a_time = threading.RLock()
"""Held while a policy is compiled: two threads that did it at once would each have machine code, and the one that is kept last
frees what the other's address points to."""


class PolicyFunction:
    """A compiled policy: a C function of :data:`POLICY_SIGNATURE`, compiled or loaded when first asked for, by any thread."""

    def __init__(self, function: Callable[..., Any], reads: tuple[str, ...] | None = None) -> None:
        self.reads = reads
        """Names of the features that it reads; None: it may read any."""
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self._function = function
        self._compiled: Any = None
        self._address = 0

    @property
    def compiled(self) -> Any:
        """Numba's compiled C function."""
        with _one_at_a_time:
            if self._compiled is None:
                options = {"nogil": True}
                self._function._kernel_options = {"policy": options}  # type: ignore[attr-defined]
                compiled: Any = CFunc(
                    self._function, (POLICY_SIGNATURE.args, POLICY_SIGNATURE.return_type), locals={}, options=options
                )
                compiled._cache = _LazyCache(self._function)
                compiled.compile()
                self._compiled = compiled
            return self._compiled

    def __reduce__(self) -> str:
        # Pickled by its name, as a function is: an address means nothing in another process.
        return self.__qualname__

    @property
    def address(self) -> int:
        """Where its machine code lies in this process."""
        if not self._address:
            self._address = int(self.compiled.address)
        return self._address


@overload
def policy_kernel(function: Callable[..., Any], /) -> PolicyFunction: ...
@overload
def policy_kernel(*, reads: Iterable[str]) -> Callable[[Callable[..., Any]], PolicyFunction]: ...
def policy_kernel(
    function: Callable[..., Any] | None = None, /, *, reads: Iterable[str] | None = None
) -> PolicyFunction | Callable[[Callable[..., Any]], PolicyFunction]:
    """Compile a policy ``f(observation, parameters, memory, stream, action)``.

    The five arguments are pointers: read ``observation[i]`` (float32) and ``parameters[i]`` (float64), read and write
    ``memory[i]`` (float64; :data:`market_env.engine.state.MEMORY` of them, zero at the start of an episode and kept from
    turn to turn), hand ``stream`` to the draws of :mod:`market_env.engine.streams`, write ``action[i]`` (int64), which
    begins as zeros. Numba cannot check an index into a pointer: one out of range reads or writes foreign memory.

    Args:
        function: the policy.
        reads: names of the features that it reads. Many markets at once then make it those and no others, whose entries
            hold anything: a decision of a policy that reads two of fifty costs half. By default any.
    """
    if function is not None:
        return PolicyFunction(function)
    return functools.partial(PolicyFunction, reads=None if reads is None else tuple(reads))
