"""A chart of benchmark runs, drawn with matplotlib (the extra `plots`): speed and waiting over how many clients."""

from __future__ import annotations

import html
import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minivault.errors import ConfigError

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>MiniVault benchmark</title>
<style>body {{ font-family: sans-serif; margin: 2rem auto; max-width: 60rem }} svg {{ width: 100%; height: auto }}
td, th {{ padding: .2rem .8rem; text-align: right }} td:first-child, th:first-child {{ text-align: left }}</style>
<h1>MiniVault benchmark</h1>
{chart}
<table>{rows}</table>
</html>
"""
_COLUMNS = (
    "server",
    "model",
    "clients",
    "tokens/s",
    "first token ms (p50)",
    "first token ms (p95)",
    "latency ms (p50)",
)


def ensure_can_plot() -> None:
    """Raise ConfigError before anything is measured that could not be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib: `pip install 'minivault[plots]'`", field="plot")


def write_chart(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the runs into `path`, in the format that its ending names. Raises OSError."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    speed, waiting = figure.subplots(1, 2)
    for name in dict.fromkeys(run["name"] for run in runs):
        own = [run for run in runs if run["name"] == name]
        clients = [run["concurrency"] for run in own]
        label = f"{name}: {own[0]['model']}"
        speed.plot(clients, [run["tokens_per_s"] for run in own], marker="o", label=label)
        for rank, style in (("p50", "-"), ("p95", "--")):
            heard = [(run["concurrency"], run["first_token_ms"][rank]) for run in own if run["first_token_ms"]]
            waiting.plot(
                *zip(*heard, strict=True), marker="o", linestyle=style, label=f"{name}, {rank}"
            ) if heard else None
    for axes, title, unit in ((speed, "Speed", "tokens/s, all clients"), (waiting, "Waiting", "first token, ms")):
        axes.set(title=title, xlabel="clients at once", ylabel=unit)
        axes.set_xticks(sorted({run["concurrency"] for run in runs}))
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    if path.suffix == ".html":
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
        path.write_text(_page(drawn.getvalue(), runs), encoding="utf-8")
    else:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _page(chart: str, runs: Sequence[dict[str, Any]]) -> str:
    rows = "".join(f"<tr>{_cells('td', _row(run))}</tr>" for run in runs)
    return _PAGE.format(chart=chart[chart.index("<svg") :], rows=f"<tr>{_cells('th', _COLUMNS)}</tr>{rows}")


def _cells(kind: str, cells: Sequence[str]) -> str:
    return "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells)


def _row(run: dict[str, Any]) -> list[str]:
    first, latency = run["first_token_ms"] or {}, run["latency_ms"] or {}
    ranks = [first.get("p50"), first.get("p95"), latency.get("p50")]
    numbers = [f"{run['tokens_per_s']:.1f}", *("-" if rank is None else f"{rank:.0f}" for rank in ranks)]
    return [run["server"], run["model"], str(run["concurrency"]), *numbers]
