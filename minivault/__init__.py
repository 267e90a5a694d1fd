"""MiniVault: a private, offline LLM endpoint that keeps the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "create_app"]

if TYPE_CHECKING:
    from minivault.app import create_app


def __getattr__(name: str) -> Any:
    """Import the application on first use, so that `import minivault.config` stays light."""
    if name == "create_app":
        from minivault.app import create_app

        return create_app
    raise AttributeError(f"module 'minivault' has no attribute {name!r}")
