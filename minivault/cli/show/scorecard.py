"""A conformance scorecard for a person: as a table, and as a picture drawn with matplotlib (the extra `plots`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from minivault.cli.client.conforming import CHECKS, SAMPLING
from minivault.cli.show.output import print_table
from minivault.cli.show.terminal import one_line, write

_COLOURS = {"same": "#2e7d32", "differs": "#c62828", "failed": "#ef6c00", "not supported": "#9e9e9e"}
_OTHER = "#e0e0e0"
_TOLD = {
    "same": "the same request gave the same answer, in all that was checked",
    "differs": "the same request gave different answers",
}


def print_card(card: Mapping[str, Any]) -> None:
    """The checks on stdout, and what they come to."""
    write(f"{one_line(card['url'])}, model {one_line(card['model'])}\n")
    rows = [(CHECKS[one["check"]], one["mode"], _cell(one), one_line(one["note"])) for one in card["checks"]]
    print_table(("CHECK", "DRAWN", "RESULT", ""), rows, if_none="")
    write(f"{_TOLD.get(card['verdict'], 'nothing could be checked')}\n")


def draw(card: Mapping[str, Any], path: Path) -> None:
    """The checks as a grid of coloured fields, a column a mode. Raises OSError."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    found = {(one["check"], one["mode"]): one for one in card["checks"]}
    checks, modes = [check for check in CHECKS if any(key[0] == check for key in found)], list(SAMPLING)
    figure = Figure(figsize=(6.4, 0.8 + 0.36 * len(checks)), layout="constrained")
    axes = figure.subplots()
    for row, check in enumerate(checks):
        for column, mode in enumerate(modes):
            if (one := found.get((check, mode))) is not None:
                colour = _COLOURS.get(one["outcome"], _OTHER)
                axes.add_patch(Rectangle((column + 0.02, row + 0.06), 0.96, 0.88, color=colour))
                white = "white" if one["outcome"] in _COLOURS else "black"
                axes.text(column + 0.5, row + 0.5, _cell(one), ha="center", va="center", color=white, fontsize=9)
    axes.set(xlim=(0, len(modes)), ylim=(len(checks), 0))
    figure.suptitle(fill(f"{card['model']} at {card['url']}", 80), x=0.01, ha="left", fontsize=10)
    axes.set_xticks([column + 0.5 for column in range(len(modes))], modes)
    axes.set_yticks([row + 0.5 for row in range(len(checks))], [CHECKS[check] for check in checks])
    axes.tick_params(length=0, labelsize=9, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": ""}):
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _cell(one: Mapping[str, Any]) -> str:
    counted = f" {one['num_held']}/{one['num_compared']}" if one["num_compared"] else ""
    return f"{one['outcome']}{counted}"
