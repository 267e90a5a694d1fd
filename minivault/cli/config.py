"""`config`: every setting with its value, where that came from and what it means."""

from __future__ import annotations

import re
from typing import Any

import click

from minivault.cli.options import json_option
from minivault.cli.output import print_json
from minivault.cli.terminal import write
from minivault.config import Origin, Settings, explain_settings, variable

HIDDEN = "(hidden)"


@click.command()
@json_option
def config(as_json: bool) -> None:
    """Show every setting, its value and where it came from.

    Settings come from MINIVAULT_* environment variables, then from `.env` in the working directory, then from the
    defaults. Keys and passwords are never shown.
    """
    origins = explain_settings()
    if as_json:
        print_json({variable(name): _as_object(name, origin) for name, origin in origins.items()})
        return
    rows = [(variable(name), _shown(name, origin) or "(empty)", origin.source) for name, origin in origins.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for (key, value, source), name in zip(rows, origins, strict=True):
        place = click.style(source, bold=source != "default", dim=source == "default")
        click.echo(f"{key:<{widths[0]}}  ", nl=False)
        write(f"{value:<{widths[1]}}")
        click.echo(f"  {place}{' ' * (11 - len(source))}  {click.style(_meaning(name), dim=True)}")


def _as_object(name: str, origin: Origin) -> dict[str, Any]:
    shown = _shown(name, origin)
    plain = isinstance(origin.value, (bool, int, float)) and shown == str(origin.value)
    return {"value": origin.value if plain else shown, "source": origin.source, "meaning": _meaning(name)}


def _shown(name: str, origin: Origin) -> str:
    if not Settings.model_fields[name].repr:
        return HIDDEN if origin.value else ""
    return re.sub(r"(?<=//)[^/@\s]*@", f"{HIDDEN}@", str(origin.value))


def _meaning(name: str) -> str:
    return (Settings.model_fields[name].description or "").replace("`", "")
