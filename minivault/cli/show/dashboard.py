"""What `top` shows: reports of a server, one after another, as a screen, as lines or as numbers."""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from minivault.cli.show.records import what, where, who

_BARS = "▁▂▃▄▅▆▇█"
_HISTORY = 60
_STATES = {"ok": "green", "loading": "yellow", "draining": "yellow"}


class Dashboard:
    """`health` is what `GET /health` says, `names` are those of keys; `records` may grow while it is shown."""

    def __init__(self, address: str, health: Mapping[str, Any], names: Mapping[str, str] | None = None) -> None:
        self.records: deque[dict[str, Any]] = deque(maxlen=200)
        self._address = address
        self._names = names or {}
        self._health = health
        self._at_s = time.monotonic()
        self._speeds: deque[float] = deque(maxlen=_HISTORY)
        self._per_minute = 0.0
        self._lost = ""

    def add(self, health: Mapping[str, Any], at_s: float) -> None:
        """The next report, seen at `at_s` on the monotonic clock. Counters that fell are a server that began anew."""
        elapsed = max(at_s - self._at_s, 1e-3)
        self._speeds.append(max(0, health["tokens"] - self._health["tokens"]) / elapsed)
        self._per_minute = max(0, health["requests"] - self._health["requests"]) / elapsed * 60
        self._health, self._at_s, self._lost = health, at_s, ""

    def lose(self, message: str) -> None:
        """The server did not answer; what was known of it stays."""
        self._lost = message
        self._speeds.append(0.0)

    def numbers(self) -> dict[str, Any]:
        """What is shown, for programs."""
        speed = self._speeds[-1] if self._speeds else 0.0
        rates = {"tokens_per_s": round(speed, 1), "requests_per_minute": round(self._per_minute, 1)}
        return {"server": self._address, **rates, **self._health}

    def plain(self) -> str:
        """The same as lines, for a pipe."""
        out = io.StringIO()
        Console(file=out, width=100, no_color=True, force_terminal=False).print(self._facts())
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"

    def render(self) -> Group:
        """One screen."""
        state = self._lost or str(self._health["status"])
        title = Text.assemble(
            ("MiniVault ", "bold"), f"{self._address}  ", (state, "red" if self._lost else _STATES.get(state, "red"))
        )
        return Group(title, Panel(self._facts(), border_style="dim"), self._last())

    def _facts(self) -> Table:
        health, numbers = self._health, self.numbers()
        table = Table.grid(padding=(0, 2))
        cache, vault = health.get("cache") or {}, health.get("vault") or {}
        rows = [
            ("model", f"{health['model']}, context {health.get('context') or '-'}"),
            ("load", f"{health['running']} running, {health['waiting']} waiting"),
            ("speed", f"{numbers['tokens_per_s']:.1f} tokens/s  {self._sparkline()}"),
            (
                "requests",
                f"{health['requests']} so far, {numbers['requests_per_minute']:.0f} a minute, "
                f"{health['average_response_ms']:.0f} ms each",
            ),
            ("cache", _cache(cache)),
            ("vault", _vault(vault)),
            ("up", f"{_duration(health['uptime_s'])}, version {health['version']}"),
        ]
        for name, value in rows:
            table.add_row(
                Text(name, style="cyan"), Text(value, style="red" if name == "vault" and "error" in vault else "")
            )
        return table

    def _sparkline(self) -> str:
        most = max(self._speeds, default=0.0) or 1.0
        return "".join(_BARS[round(speed / most * (len(_BARS) - 1))] for speed in self._speeds)

    def _last(self) -> Table:
        table = Table(box=None, expand=True, header_style="bold", padding=(0, 2, 0, 0))
        for name in ("SEQ", "TIME", "WHO", "WHERE"):
            table.add_column(name, no_wrap=True)
        table.add_column("WHAT", no_wrap=True, ratio=1, overflow="ellipsis")
        for record in list(self.records)[-12:]:
            cells = (
                str(record["seq"]),
                str(record["timestamp"])[11:19],
                who(record, self._names),
                where(record),
                what(record),
            )
            table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells))
        return table


def _cache(cache: Mapping[str, Any]) -> str:
    if not cache.get("tokens"):
        return "-"
    used = cache.get("used_tokens", 0)
    return f"{used} of {cache['tokens']} tokens used, {cache.get('reusable_tokens', 0)} of them to reuse"


def _vault(vault: Mapping[str, Any]) -> str:
    if "error" in vault:
        return str(vault["error"])
    free_gb = (vault.get("bytes_free") or 0) / 1e9
    return f"seq {vault.get('seq')}, head {str(vault.get('head'))[:19]}…, {free_gb:.1f} GB free"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
