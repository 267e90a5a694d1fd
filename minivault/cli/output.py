"""Printing results: one JSON object, or aligned columns."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from minivault.cli.terminal import write


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object in ASCII on stdout: indented for a person, one line for a program."""
    write(json.dumps(value, indent=2 if sys.stdout.isatty() else None) + "\n")


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values in two columns on stdout."""
    rows = list(pairs)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        write(f"{name:<{width}}  {value}\n")
