"""Reads what a test's server put into its vault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minivault.config import Settings


def records(settings: Settings, kind: str = "interaction") -> list[dict[str, Any]]:
    """Every record of one kind, oldest first."""
    lines = (Path(settings.log_dir) / "log.jsonl").read_text("ascii").splitlines()
    return [record for record in map(json.loads, lines) if record["type"] == kind]
