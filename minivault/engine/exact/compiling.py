"""How functions are compiled, and where what was compiled is kept.

Numba's own cache looks at the file of a function alone; ours is valid for one state of every file of this package,
and of the function's own. A folder that is missing, read-only or spoilt costs the time to compile, and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.codegen import CPUCodeLibrary, JITCPUCodegen

log = logging.getLogger("minivault.engine")

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS: Any = {"error_model": "numpy", "no_cfunc_wrapper": True}
"""Never fastmath: a sum has the order in which it is written. A division by zero is IEEE's, not an exception."""
OF_WHOLE: Any = OPTIONS | {"_nrt": False}
"""No references to arrays are counted: threads would fight for the counts. So what is compiled may make no array, nor
set a slice of one to another's (`ops.copy`)."""
OF_PART: Any = OF_WHOLE | {"no_cpython_wrapper": True}
"""Only compiled code calls it."""


def compiled(function: Function) -> Function:
    """Compiled at its first call, and then free of the interpreter's lock."""
    made: Function = numba.njit(nogil=True, **OPTIONS)(function)
    return made


def whole(function: Function) -> Function:
    """`compiled`, of parts alone: its caller holds every array that is given to it."""
    made: Function = numba.njit(nogil=True, **OF_WHOLE)(function)
    return made


def part(function: Function) -> Function:
    """Compiled where compiled code calls it."""
    made: Function = numba.njit(nogil=True, **OF_PART)(function)
    return made


def inlined(function: Function) -> Function:
    """Compiled into whatever calls it, so that loops around it become vectors."""
    made: Function = numba.njit(nogil=True, forceinline=True, **OF_PART)(function)
    return made


@cache
def _sources(package: Path) -> str:
    files = sorted({*Path(__file__).parent.glob("*.py"), *package.glob("*.py")})
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class _Locator:
    """What numba asks of a cache's place."""

    def __init__(self, folder: Path, file: Path) -> None:
        self._folder = folder
        self._stamp = _sources(file.parent)
        self._py_file = str(file)  # named where numba warns that it can't keep a function

    def get_cache_path(self) -> str:
        return str(self._folder)

    def ensure_cache_path(self) -> None:
        """Called before something is kept: what other versions left goes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for file in self._folder.glob("work-*.nb?"):
            if self.get_disambiguator() not in file.name:
                file.unlink(missing_ok=True)

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        return self._stamp[:12]


class _Kept(CompileResultCacheImpl):
    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Locator(folder, Path(function.__code__.co_filename))
        self._filename_base = self.get_filename_base(function.__qualname__, "")  # type: ignore[no-untyped-call]


class _Cache(FunctionCache):
    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._impl_class: Any = lambda given: _Kept(given, folder)
        super().__init__(function)  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def _guard_against_spurious_io_errors(self) -> Any:
        """Whatever goes wrong with the files, the code is compiled instead."""
        try:
            yield
        except Warning:
            raise
        except Exception as error:
            log.warning("compiled kernels: %s: they are compiled at every start until that is mended", error)


@contextlib.contextmanager
def at_once(function: Any) -> Iterator[None]:
    """While `function` is compiled, optimise its module and make machine code of that alone.

    Numba would do it for every function below it too, again and again though all end up in this one: most of the time.
    These can then not be called from Python."""
    name = function.py_func.__qualname__
    modules = [(CPUCodeLibrary, attribute) for attribute in ("_optimize_final_module", "_finalize_final_module")]
    places: list[tuple[Any, str]] = [*modules, (JITCPUCodegen, "set_env")]
    before: list[Any] = [getattr(owner, attribute) for owner, attribute in places]
    optimize, finalize, set_env = before

    def optimize_whole(self: Any) -> None:
        if self.name == name:
            optimize(self)

    def finalize_whole(self: Any) -> None:
        if self.name == name:
            finalize(self)
        else:
            self._finalize_dynamic_globals()
            self._finalized = True

    def set_env_whole(self: Any, env_name: str, env: Any) -> None:
        if self._engine.is_symbol_defined(env_name):
            set_env(self, env_name, env)

    for (owner, attribute), value in zip(places, (optimize_whole, finalize_whole, set_env_whole), strict=True):
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for (owner, attribute), value in zip(places, before, strict=True):
            setattr(owner, attribute, value)


def keep_in(folder: Path, function: Any) -> None:
    """Keep the machine code of a compiled function in `folder`, and take it from there."""
    function._cache = _Cache(function.py_func, folder)
