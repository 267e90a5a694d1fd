"""What `replay --tolerant` and `vault audit` share: records are judged by the models of this machine, and shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minivault.cli.show.progress import counting
from minivault.cli.show.terminal import note, one_line, write

if TYPE_CHECKING:
    from minivault.config import Settings
    from minivault.replay.limits import Limits
    from minivault.replay.tolerant import Opinion

INCONSISTENT = 1
NOTHING_JUDGED = 3
limits_option = click.option(
    "--limits",
    "limits_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Limits that `minivault calibrate --out` has measured; default: those that came with MiniVault.",
)


def limits_in(path: Path | None) -> Limits:
    """Those of a file, or the usual ones. Raises ConfigError."""
    from minivault.replay.limits import Limits, read_limits

    return Limits() if path is None else read_limits(path)


def opinions(settings: Settings, records: Sequence[Mapping[str, Any]], limits: Limits) -> list[Opinion]:
    """An opinion of each interaction, by seq; models are loaded one after the other."""
    with counting("judged", len(records)) as progress:
        found: list[Opinion] = []
        for opinion in _judged(settings, records, limits):
            found.append(opinion)
            progress(len(found))
    return sorted(found, key=lambda opinion: opinion.seq)


def _judged(settings: Settings, records: Sequence[Mapping[str, Any]], limits: Limits) -> Iterator[Opinion]:
    note("loading the engine.")
    from minivault.replay import parts_by_fingerprint
    from minivault.replay.machine import Machine
    from minivault.replay.tolerant import judge, not_comparable
    from minivault.vault.reader import read_records

    parts = parts_by_fingerprint(read_records(settings.log_dir))
    machine = Machine(settings, lambda name: note(f"loading {name} into this process."))
    try:
        for model, mine in machine.by_model(records):
            if model is not None:
                yield from judge(model, mine, settings.max_running, parts, limits)
                continue
            for record in mine:
                yield not_comparable(record, f"its model {record.get('model')!r} is not on this machine")
    finally:
        machine.close()


def outcomes(found: Sequence[Opinion]) -> dict[str, int]:
    """How many there are of each."""
    from minivault.replay.tolerant import FINDINGS

    counts = Counter(opinion.outcome for opinion in found)
    return {finding: counts[finding] for finding in FINDINGS}


def fields(opinion: Opinion) -> dict[str, Any]:
    """An opinion as JSON."""
    rate = opinion.match_rate
    return {**asdict(opinion), "match_rate": None if rate is None else round(rate, 6)}


def print_opinion(opinion: Opinion) -> None:
    """A line on stdout."""
    write(f"{opinion.seq}  {opinion.id}  {_sentence(opinion)}\n")


def _sentence(opinion: Opinion) -> str:
    reason = f": {one_line(opinion.reason)}" if opinion.reason else ""
    if opinion.outcome == "not comparable" or not opinion.num_tokens:
        return f"{opinion.outcome}{reason}"
    counted = f"{opinion.num_matching} of {opinion.num_tokens} tokens match"
    if opinion.outcome == "identical":
        return f"identical ({opinion.num_tokens} tokens, {opinion.kind})"
    if opinion.mean is None:
        return f"{opinion.outcome} ({counted}, {opinion.kind}){reason}"
    at = "" if opinion.position is None else f", worst {opinion.worst:.3f} at token {opinion.position}"
    return f"{opinion.outcome} ({counted}, {opinion.kind}; mean distance {opinion.mean:.4f}{at}){reason}"


def exit_code(found: Sequence[Opinion]) -> int:
    """0 all that was judged agrees, 1 something does not, 3 nothing was judged."""
    from minivault.replay.tolerant import JUDGED

    outcomes = {opinion.outcome for opinion in found}
    if "inconsistent" in outcomes:
        return INCONSISTENT
    return 0 if outcomes & JUDGED else NOTHING_JUDGED
