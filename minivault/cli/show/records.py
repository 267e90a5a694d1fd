"""Records of the vault for a person: one a line in columns that fit the terminal, or one whole.

Every kind of record says who did what, and where. What a person or a model wrote is never obeyed by the terminal.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from minivault.cli.show.output import print_pairs
from minivault.cli.show.terminal import note, one_line, write

Fields = Mapping[str, Any]
Names = Mapping[str, str]
"""Names of access keys by id."""

_NUM_SHOWN = 60
_SHORT = 8
_TEXTS = ("prompt", "reasoning", "response", "request", "rendered_prompt")
_STYLES = {"failed": "red", "cancelled": "yellow", "interrupted": "yellow", "auth_failed": "red", "gap": "red"}
_COLUMNS = (("SEQ", 7, 0), ("TIME (UTC)", 19, 0), ("ID", _SHORT, 60), ("WHO", 14, 80), ("WHERE", 18, 100))
"""Name, width, and in how wide a terminal there is room for it."""


def print_records(
    records: Iterable[Fields], as_json: bool, *, names: Names | None = None, has_header: bool = True, if_none: str = ""
) -> None:
    """Records one a line, as they come, under a header; where there is none, `if_none` on stderr."""
    is_first = True
    names = names or {}
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for record in records:
        if is_first and has_header and not as_json:
            write(f"{_row([*(name for name, _, _ in _COLUMNS), 'WHAT'], width)}\n", style="bold")
        is_first = False
        if as_json:
            write(json.dumps(record, separators=(",", ":")) + "\n")
        else:
            write(f"{_row(_cells(record, names), width)}\n", style=_style(record))
    if is_first and if_none:
        note(if_none)


def print_record(record: Fields, names: Names) -> None:
    """One record whole: who, where and what; then its fields in two columns; then its texts."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    told = [("who", who(record, names)), ("where", where(record)), ("what", what(record))]
    fields = [(name, _value(value)) for name, value in record.items() if name not in _TEXTS]
    label = max(len(name) for name, _ in fields)
    room = None if width is None else max(20, width - label - 3)
    print_pairs((name, _cut(value, room)) for name, value in [*told, *fields] if value)
    for name in _TEXTS:
        if record.get(name):
            write(f"\n{name}:\n{record[name]}\n")


def who(record: Fields, names: Names) -> str:
    """Whose doing it was: a key by its name, else an address, a user of this machine, or the server's process."""
    if key := record.get("key"):
        return one_line(names.get(key, str(key)))
    someone = record.get("client") or record.get("by")
    return one_line(str(someone)) if someone else f"process {record['pid']}" if "pid" in record else "-"


def where(record: Fields) -> str:
    """Through which interface, or in which file."""
    return one_line(str(record.get("api") or record.get("command") or record.get("segment") or "-"))


def what(record: Fields) -> str:
    """What happened, as one line."""
    if "redacted" in record:
        return f"(redacted by record {record['redacted'].get('record')})"
    if "withheld" in record:
        return f"({record['type']}, withheld)"
    tell = _SENTENCES.get(record["type"])
    if tell is None:
        return str(record["type"])
    try:
        return one_line(tell(record))
    except (KeyError, TypeError, IndexError):  # of a later version, or of one that we do not know
        return str(record["type"])


def short_id(record: Fields) -> str:
    """The end of its id: the beginning is the time, and alike in all that were asked together."""
    return str(record["id"])[-_SHORT:]


def _cells(record: Fields, names: Names) -> list[str]:
    when = str(record["timestamp"])[:19].replace("T", " ")
    return [str(record["seq"]), when, short_id(record), who(record, names), where(record), what(record)]


def _style(record: Fields) -> str:
    kind = record.get("status") if record["type"] == "interaction" else record["type"]
    return _STYLES.get(str(kind), "")


def _row(cells: list[str], width: int | None) -> str:
    shown, used = [], 0
    for cell, (_, size, room) in zip(cells, _COLUMNS, strict=False):
        if width is None or width >= room:
            shown.append(_fit(cell, size))
            used += size + 2
    last = cells[-1] if width is None else _fit(cells[-1], max(10, width - used)).rstrip()
    return "  ".join([*shown, last])


def _interaction(record: Fields) -> str:
    status = record["status"] if record.get("status") != "completed" else record.get("finish_reason")
    marked = "" if status in ("stop", None) else f"[{status}] "
    return f"{marked}{_shown(record.get('prompt', ''))} -> {_shown(record.get('response', ''))}"


def _read(record: Fields) -> str:
    asked = {name: value for name, value in (record.get("filter") or {}).items() if name not in ("type", "follow")}
    of = " of " + ", ".join(f"{name} {value}" for name, value in asked.items()) if asked else ""
    count = record.get("records")
    return f"reads the vault: {record['command']}{of}" + ("" if count is None else f" ({count} records)")


_HOLD = {"add": "sets the", "release": "lifts the"}
_SENTENCES: dict[str, Callable[[Fields], str]] = {
    "interaction": _interaction,
    "read": _read,
    "genesis": lambda r: f"vault {r['vault']} begins",
    "start": lambda r: f"opens the vault, version {r.get('version')}, {r.get('sync')}",
    "stop": lambda _: "closes the vault",
    "model": lambda r: f"serves {r['model']}, {str(r['fingerprint'])[:16]}…",
    "segment": lambda r: f"a new file, after {r['previous']} with {r['lines']} lines",
    "recovered": lambda r: f"{r['torn_bytes']} bytes left from a crash are no record",
    "gap": lambda r: f"could not be written since {str(r['since'])[:19]}Z: {r['refused']} requests refused",
    "withdrawal": lambda r: f"takes back record {r['target_seq']}",
    "redaction": lambda r: f"removed {_removed(r)} record {r['target_seq']}: {r.get('reason', '(reason redacted)')}",
    "prune": lambda r: f"removed {len(r['segments'])} files, older than {r['keep_days']} days",
    "admin": lambda r: f"{r['command']}: {_acted(r['details'])}",
    "hold": lambda r: (
        f"{_HOLD.get(r['command'], r['command'])} hold {r.get('name', '(redacted)')}: {r.get('reason', '')}"
    ),
    "key": lambda _: "another key signs from here on",
    "auth_failed": lambda r: f"no valid key: {r.get('reason', '?')}",
}


def _acted(details: Fields) -> str:
    """Whom or what an administrator's act was about."""
    if "keys" in details:
        return ", ".join(f"{key['name']} ({key['id']}, {key['role']})" for key in details["keys"])
    if "name" in details:
        return str(details["name"])
    if "scheme" in details:
        return f"{details['scheme']}:{details['key']}"
    return ", ".join(f"{name} {was['from']!r} -> {was['to']!r}" for name, was in details.items())


def _removed(record: Fields) -> str:
    return "the thoughts of" if record.get("part") else "the content of"


def _shown(text: str) -> str:
    return _cut(one_line(text.replace("\r", " ")), _NUM_SHOWN)


def _cut(text: str, room: int | None) -> str:
    return text if room is None or len(text) <= room else text[: room - 1] + "…"


def _fit(text: str, size: int) -> str:
    """The text in exactly `size` cells of a terminal, where wide characters take two."""
    from rich.cells import cell_len, set_cell_size

    return set_cell_size(text, size - 1) + "…" if cell_len(text) > size else set_cell_size(text, size)


def _value(value: Any) -> str:
    return one_line(value) if isinstance(value, str) else json.dumps(value)
