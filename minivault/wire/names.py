"""Model names as Ollama's clients write them: `[host/][namespace/]name[:tag]`, where `:latest` may be left out.

Editors list models through `/api/tags` and then ask for that very name on `/v1/*`: every dialect compares names here.
"""

from __future__ import annotations

DEFAULT_TAG = "latest"


def tagged(name: str) -> str:
    """`name` with its tag, `:latest` where it has none."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:{DEFAULT_TAG}"


def is_same_model(asked: str, served: str) -> bool:
    """True when both names mean one model: the default tag is implied and case does not matter."""
    return tagged(asked).lower() == tagged(served).lower()
