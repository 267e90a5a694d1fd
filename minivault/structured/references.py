"""References: what a `$ref` means, for those that stay within their schema."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from minivault.structured.keywords import KEYWORDS
from minivault.structured.refusal import SchemaRefused

Schema = Any
"""A parsed schema: an object or a boolean."""


class References:
    """The places of one schema, by pointer and by anchor."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._anchors = dict(_anchors(root))

    def target(self, reference: str) -> Schema:
        """The schema that `reference` names. Raises SchemaRefused for one that is elsewhere or nowhere."""
        if not reference.startswith("#"):
            raise SchemaRefused(f"the reference {reference[:80]!r} leads elsewhere; put what it means under $defs")
        place = unquote(reference[1:])
        try:
            found = self._at(place) if not place or place.startswith("/") else self._anchors[place]
        except (KeyError, IndexError, ValueError, TypeError):
            found = None
        if not isinstance(found, dict | bool):
            raise SchemaRefused(f"the reference {reference[:80]!r} names no schema")
        return found

    def resolved(self, schema: Schema) -> Schema:
        """What a schema that is nothing but a reference stands for, at most a few steps away."""
        for _ in range(8):
            if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
                break
            if any(KEYWORDS[key].fate != "ignored" for key in schema.keys() & KEYWORDS.keys() - {"$ref"}):
                break
            schema = self.target(schema["$ref"])
        return schema

    def _at(self, pointer: str) -> Any:
        found = self._root
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            found = found[int(key)] if isinstance(found, list) else found[key]
        return found


def _anchors(node: Any) -> list[tuple[str, Schema]]:
    if isinstance(node, list):
        return [found for item in node for found in _anchors(item)]
    if not isinstance(node, dict):
        return []
    own = [(node["$anchor"], node)] if isinstance(node.get("$anchor"), str) else []
    return own + [found for item in node.values() for found in _anchors(item)]
