"""Front doors of packages whose files cost much to import: a name is imported when somebody takes it.

So a command that reads the vault pays for no verifier, and one that judges answers speaks before it loads an engine.
It knows nothing of any package.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def front_door(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package (PEP 562); `homes` says of each name in which module it is, and as what there
    (`module` or `module:name`)."""

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        module, _, called = homes[name].partition(":")
        return getattr(importlib.import_module(f"{package}.{module}"), called or name)

    return __getattr__
