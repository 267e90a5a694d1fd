"""Printing results: one JSON object, or aligned columns."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minivault.cli.show.terminal import note, one_line, write

if TYPE_CHECKING:
    from minivault.vault.reader import Group


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object in ASCII on stdout: indented for a person, one line for a program."""
    write(json.dumps(value, indent=2 if sys.stdout.isatty() else None) + "\n")


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values in two columns on stdout."""
    rows = list(pairs)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        write(f"{name:<{width}}  {value}\n")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, if_none: str) -> None:
    """Rows as aligned columns under their names; where there is none, `if_none` on stderr."""
    if not rows:
        note(if_none)
        return
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for row in lines:
        write("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e3:.1f} kB" if num_bytes < 1e6 else f"{num_bytes / 1e6:.1f} MB"


def group_row(group: Group) -> tuple[str, ...]:
    """A line of `vault stats`."""
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(group.statuses.items()))
    numbers = (
        str(group.requests),
        str(group.prompt_tokens),
        str(group.completion_tokens),
        f"{group.median_ms:.0f}",
        _size(group.num_bytes),
    )
    return group.day, one_line(group.model), one_line(group.key), *numbers, one_line(statuses)
