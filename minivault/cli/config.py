"""`config`: every setting with its value, where that came from and what it means."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

import click

from minivault.cli.options import examples, json_option
from minivault.cli.show.output import print_json
from minivault.cli.show.terminal import write
from minivault.config import RULES, Given, explain_settings, shown, variable

MIN_MEANING_WIDTH = 30


class Row(NamedTuple):
    """One setting as it is shown."""

    key: str
    value: str
    source: str
    meaning: str


@click.command(epilog=examples("config", "config --json"))
@json_option
def config(as_json: bool) -> None:
    """Show every setting, its value and where it came from.

    Settings come from MINIVAULT_* environment variables, then from `.env` in the working directory, then from the
    defaults. Keys and passwords are never shown.
    """
    settings = explain_settings()
    if as_json:
        print_json({variable(name): _as_object(name, given) for name, given in settings.items()})
        return
    rows = [
        Row(variable(name), shown(name, given.value) or "(empty)", given.source, _meaning(name))
        for name, given in settings.items()
    ]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in layout(rows, width):
        write(f"{line}\n")


def layout(rows: Sequence[Row], width: int | None) -> Iterator[str]:
    """The rows as aligned columns; the meaning wraps within `width` columns, or goes below where it has no room."""
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    indent = sum(widths) + 6
    is_below = width is not None and width - indent < MIN_MEANING_WIDTH
    for row in rows:
        first = "  ".join(f"{cell:<{size}}" for cell, size in zip(row[:3], widths, strict=True))
        if width is None:
            yield f"{first}  {row.meaning}"
        elif is_below:
            yield first.rstrip()
            yield from wrap(row.meaning, width, initial_indent="    ", subsequent_indent="    ")
        else:
            yield from wrap(row.meaning, width, initial_indent=f"{first}  ", subsequent_indent=" " * indent)


def _as_object(name: str, given: Given) -> dict[str, Any]:
    text = shown(name, given.value)
    plain = isinstance(given.value, (bool, int, float)) and text == str(given.value)
    return {"value": given.value if plain else text, "source": given.source, "meaning": _meaning(name)}


def _meaning(name: str) -> str:
    return RULES[name].meaning.replace("`", "")
