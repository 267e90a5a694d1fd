"""Model names as Ollama's clients write them: `[host/][namespace/]name[:tag]`, where `:latest` may be left out.

Editors list models through `/api/tags` and then ask for that very name on `/v1/*`: every dialect compares names here.
"""

from __future__ import annotations

from minivault.spelling import DEFAULT_TAG, split_tag, without_host


def tagged(name: str) -> str:
    """`name` with its tag, `:latest` where it has none."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:{DEFAULT_TAG}"


def is_same_model(asked: str, served: str) -> bool:
    """True when both names mean one model: the default tag and the hub's host are implied, case does not matter, and a
    tag may be the end of a name (`smollm2:135m`)."""
    asked, served = without_host(asked).lower(), without_host(served).lower()
    name, tag = split_tag(asked)
    return tagged(asked) == tagged(served) or bool(tag and f"{name}-{tag}" == served)
