"""A report on the vault as one HTML file without script or network, for screens and paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from minivault.cli.show.records import what, who
from minivault.cli.show.requirements import REQUIREMENTS
from minivault.cli.show.terminal import one_line
from minivault.moment import rfc3339
from minivault.vault.dossier import Dossier, Signed
from minivault.vault.verify import VERDICTS, Report

MAX_ROWS, MAX_BARS = 50, 92
WIDTH, HEIGHT = 720, 120


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a report says; `audit` is what `vault audit --json` wrote, where it was given."""

    dossier: Dossier
    signed: Signed
    report: Report
    audit: Mapping[str, Any] | None
    names: Mapping[str, str]
    keep_days: float
    vault: str
    made_ns: int
    made_by: str
    version: str


def page(facts: Facts) -> str:
    """The report. Everything that comes from records is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["line"] = lambda value: one_line(str(value))
    template = environment.from_string(files("minivault.cli").joinpath("templates/report.html").read_text("utf-8"))
    dossier = facts.dossier
    return template.render(
        facts=facts,
        dossier=dossier,
        report=facts.report,
        verdict=VERDICTS[facts.report.exit_code],
        made=_second(facts.made_ns),
        since=_second(dossier.since_ns) if dossier.since_ns is not None else "",
        until=_second(dossier.until_ns) if dossier.until_ns is not None else "",
        tables=_tables(facts),
        bars=_bars(dossier.days),
        size=(WIDTH, HEIGHT),
        events=_events(facts),
        engines=sorted(dossier.engines.items(), key=lambda item: -item[1].num_records)[:MAX_ROWS],
        audit=None if facts.audit is None else _audit_rows(facts.audit),
        requirements=_requirements(facts),
    )


def _second(time_ns: int) -> str:
    return rfc3339(time_ns)[:19] + "Z"


def _tables(facts: Facts) -> list[tuple[str, list[tuple[str, int]], int]]:
    """Of each count its name, its largest rows and how many were left out."""
    named: Counter[str] = Counter()
    for key, count in facts.dossier.keys.items():
        named[f"{facts.names[key]} ({key})" if key in facts.names else key or "no key"] += count
    counts = (("Key", named), ("Model", facts.dossier.models), ("Status", facts.dossier.statuses))
    return [(name, found.most_common(MAX_ROWS), max(0, len(found) - MAX_ROWS)) for name, found in counts]


def _bars(days: Mapping[str, Counter[str]]) -> list[dict[str, Any]]:
    """The bars of a picture of interactions over time: a day each, or a month where that would be too many."""
    spans: dict[str, Counter[str]] = {}
    for day in sorted(days):
        spans.setdefault(day if len(days) <= MAX_BARS else day[:7], Counter()).update(days[day])
    shown = list(spans.items())[-MAX_BARS:]
    top = max((sum(counts.values()) for _, counts in shown), default=1)
    step = WIDTH / max(1, len(shown))
    bars = []
    for index, (span, counts) in enumerate(shown):
        total = sum(counts.values())
        bad = total - counts["completed"]
        whole, part = (round(HEIGHT * count / top, 1) for count in (total, bad))
        place = {"x": round(index * step, 1), "width": round(max(1.0, step * 0.8), 1)}
        bars.append({"span": span, "total": total, "bad": bad, "height": whole, "bad_height": part, **place})
    return bars


def _events(facts: Facts) -> list[tuple[str, int, list[tuple[int, str, str, str]]]]:
    """Of each kind its name, how many there were, and the last of them: seq, time, who and what."""
    titles = {
        "gap": "Gaps in service",
        "recovered": "Traces of crashes",
        "redaction": "Redactions",
        "prune": "Prunes",
        "hold": "Legal holds set and released",
        "admin": "Acts of administrators",
        "key": "Changes of the signing key",
    }
    told = [
        (title, facts.dossier.kinds[kind], facts.dossier.events[kind][-MAX_ROWS:]) for kind, title in titles.items()
    ]
    told.append(("Exports and reports", len(facts.dossier.exports), facts.dossier.exports[-MAX_ROWS:]))
    return [
        (title, count, [(r["seq"], str(r["timestamp"])[:19] + "Z", who(r, facts.names), what(r)) for r in records])
        for title, count, records in told
    ]


def _audit_rows(audit: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What an audit found, as far as that is one value or a few."""
    rows = []
    for name, value in audit.items():
        if isinstance(value, Mapping) and all(not isinstance(one, (list, dict)) for one in value.values()):
            rows.append((name, ", ".join(f"{key}: {one}" for key, one in value.items())))
        elif isinstance(value, list):
            rows.append((name, f"{len(value)} entries, in the file"))
        elif not isinstance(value, Mapping):
            rows.append((name, str(value)))
    return [(one_line(name), one_line(text)[:500]) for name, text in rows]


def _requirements(facts: Facts) -> list[tuple[str, ...]]:
    dossier = facts.dossier
    first = f"seq {dossier.first['seq']} of {dossier.first['timestamp'][:10]}" if dossier.first else "none"
    values = {
        "keep_days": f"{facts.keep_days:g}" if facts.keep_days else "0 (none is set)",
        "first": first,
        "syncs": ", ".join(sorted({sync for _, sync in dossier.starts})) or "no start in this period",
    }
    return [(one.where, one.asks, one.answered.format(**values), one.missing) for one in REQUIREMENTS]
