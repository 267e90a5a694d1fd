"""Printing results: one JSON object, aligned columns, and records of the vault, one a line or one whole.

What a person or a model wrote is never obeyed by the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minivault.cli.show.terminal import note, one_line, write

if TYPE_CHECKING:
    from minivault.vault.reader import Group

_NUM_SHOWN = 60
_TEXTS = ("prompt", "response", "request", "rendered_prompt")


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


def print_records(records: Iterable[Mapping[str, Any]], as_json: bool, *, if_none: str = "") -> None:
    """Records one a line, as they come; where there is none, `if_none` on stderr."""
    is_empty = True
    for record in records:
        is_empty = False
        write((json.dumps(record, separators=(",", ":")) if as_json else _line(record)) + "\n")
    if is_empty and if_none:
        note(if_none)


def _line(record: Mapping[str, Any]) -> str:
    """A record on one line that is safe on a terminal."""
    head = f"{record['seq']}  {str(record['timestamp'])[:19]}Z  {record.get('status') or record['type']}"
    if "redacted" in record:
        return f"{head}  (redacted by record {record['redacted'].get('record')})"
    if record["type"] != "interaction":
        return head
    return f"{head}  {record['id']}  {_cut(record.get('prompt', ''))} -> {_cut(record.get('response', ''))}"


def print_record(record: Mapping[str, Any]) -> None:
    """One record whole: its fields in two columns, then its texts."""
    print_pairs((name, _value(value)) for name, value in record.items() if name not in _TEXTS)
    for name in _TEXTS:
        if record.get(name):
            write(f"\n{name}:\n{record[name]}\n")


def _cut(text: str) -> str:
    shown = one_line(text.replace("\r", " "))
    return shown if len(shown) <= _NUM_SHOWN else shown[: _NUM_SHOWN - 1] + "…"


def _value(value: Any) -> str:
    return one_line(value) if isinstance(value, str) else json.dumps(value)


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
