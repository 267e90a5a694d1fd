"""NDJSON: one object and one newline a line, never a blank line."""

from __future__ import annotations

import json
from typing import Any

CONTENT_TYPE = "application/x-ndjson"


def encode(value: dict[str, Any]) -> bytes:
    """One line. ASCII only, so that no character inside can be taken for a line break."""
    return json.dumps(value, separators=(", ", ": ")).encode("ascii") + b"\n"
