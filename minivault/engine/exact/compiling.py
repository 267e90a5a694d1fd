"""How functions are compiled, and where what was compiled is kept.

Numba's own cache looks at the file of a function alone; ours is valid for one state of every file of this package,
and of the function's own. A folder that is missing, read-only or spoilt costs the time to compile, and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS: dict[str, Any] = {"error_model": "numpy"}
"""Never fastmath: a sum has the order in which it is written. A division by zero is IEEE's, not an exception."""


def compiled(function: Function) -> Function:
    """Compiled at its first call, and then free of the interpreter's lock."""
    made: Function = numba.njit(nogil=True, **OPTIONS)(function)
    return made


@cache
def _sources(package: Path) -> str:
    files = sorted({*Path(__file__).parent.glob("*.py"), *package.glob("*.py")})
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class _Locator:
    """What numba asks of a cache's place."""

    def __init__(self, folder: Path, package: Path) -> None:
        self._folder = folder
        self._stamp = _sources(package)

    def get_cache_path(self) -> str:
        return str(self._folder)

    def ensure_cache_path(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        return self._stamp[:12]


class _Kept(CompileResultCacheImpl):  # type: ignore[misc]
    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Locator(folder, Path(function.__code__.co_filename).parent)
        self._filename_base = self.get_filename_base(function.__qualname__, "")


class _Cache(FunctionCache):  # type: ignore[misc]
    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._impl_class = lambda given: _Kept(given, folder)
        super().__init__(function)

    @contextlib.contextmanager
    def _guard_against_spurious_io_errors(self) -> Any:
        """Whatever goes wrong with the files, the code is compiled instead."""
        with contextlib.suppress(Exception):
            yield


def keep_in(folder: Path, function: Any) -> None:
    """Keep the machine code of a compiled function in `folder`, and take it from there."""
    function._cache = _Cache(function.py_func, folder)


def was_compiled(function: Any) -> bool:
    """Whether its last signature had to be compiled (rather than loaded)."""
    return bool(function.stats.cache_misses) or not function.stats.cache_hits
