"""`replay`: run recorded answers again and say whether they come out the same, token by token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minivault.cli.judging import exit_code, fields, limits_in, limits_option, opinions, outcomes, print_opinion
from minivault.cli.options import current_settings, examples, filter_options, json_option
from minivault.cli.show.output import print_json
from minivault.cli.show.terminal import note, write
from minivault.cli.vault.group import opened

if TYPE_CHECKING:
    from minivault.config import Settings
    from minivault.replay import Verdict
    from minivault.replay.tolerant import Opinion
    from minivault.vault.reader import Filter

DIFFERENT = 1
NOTHING_COMPARED = 3


@click.command(epilog=examples("replay last", "replay --all --since 1d", "replay --tolerant last"))
@click.argument("id_", metavar="[ID]", required=False)
@click.option("--all", "is_all", is_flag=True, help="Every interaction that the filters let through.")
@click.option("--tolerant", is_flag=True, help="Judge the recorded tokens in one pass, whatever engine computes here.")
@limits_option
@filter_options
@json_option
@click.pass_context
def replay(
    ctx: click.Context,
    id_: str | None,
    *,
    is_all: bool,
    tolerant: bool,
    limits_file: Path | None,
    wanted: Filter,
    as_json: bool,
) -> None:
    """Run recorded answers again, with their recorded prompt tokens, parameters and seed, and compare.

    ID is a reply's X-Request-Id, its first or last few characters, a seq, or `last`. Each record is run by the model
    that it names, if that is on this machine. A record made under another fingerprint (another model, or another
    engine), a redacted one or a built-in answer is not comparable, and the verdict says so.

    With --tolerant nothing is generated: each recorded token is compared with the one that its seed draws here after
    those before it. `identical`: all are those; `consistent`: as near as other arithmetic leaves them; `inconsistent`:
    another seed, another model or other tokens; `too few tokens` to tell.

    Exit codes of this command: 0 everything that can be compared is identical, or consistent; 1 something differs; 3
    nothing could be compared.
    """
    if (id_ is None) == (not is_all):
        raise click.UsageError("Name one ID, or --all for every interaction.")
    if limits_file is not None and not tolerant:
        raise click.UsageError("--limits goes with --tolerant.")
    limits = limits_in(limits_file)
    if id_ is not None and wanted.describe().keys() != {"type"}:
        raise click.UsageError("An ID is one record: --since, --until, --model, --key and --status go with --all.")
    with opened() as archive:
        records = archive.search(wanted) if id_ is None else [archive.show(id_)]
    interactions = [record for record in records if record["type"] == "interaction"]
    if id_ is not None and not interactions:
        raise click.UsageError(f"Record {records[0]['seq']} is no interaction but a {records[0]['type']!r}.")
    if tolerant:
        found = opinions(current_settings(), interactions, limits) if interactions else []
        _report_opinions(found, as_json=as_json)
        ctx.exit(exit_code(found))
    verdicts = list(_judge(current_settings(), interactions)) if interactions else []
    _report(verdicts, as_json=as_json)
    ctx.exit(_exit_code(verdicts))


def _judge(settings: Settings, records: Sequence[dict[str, Any]]) -> Iterator[Verdict]:
    note("loading the engine.")
    from minivault.replay import parts_by_fingerprint
    from minivault.replay import replay as run
    from minivault.replay.machine import Machine
    from minivault.vault.reader import read_records

    machine = Machine(settings, lambda name: note(f"loading {name} into this process."))
    all_parts = cache(lambda: parts_by_fingerprint(read_records(settings.log_dir)))

    def verdicts() -> Iterator[Verdict]:
        """Each record by the model of its name, or else by the first, whose verdict says what differs."""
        for named, mine in machine.by_model(records):
            model = named or machine.roster.default
            model.ensure_loaded()
            is_here = all(record.get("fingerprint") == model.info.fingerprint for record in mine)
            parts = {} if is_here else all_parts()
            yield from run(model, mine, settings.max_running, parts)

    try:
        yield from sorted(_with_progress(verdicts(), len(records)), key=lambda verdict: verdict.seq)
    finally:
        machine.close()


def _report_opinions(found: Sequence[Opinion], *, as_json: bool) -> None:
    if as_json:
        print_json({"opinions": [fields(opinion) for opinion in found], "counts": outcomes(found)})
        return
    for opinion in found:
        print_opinion(opinion)
    told = [f"{count} {outcome}" for outcome, count in outcomes(found).items() if count]
    note(", ".join(told) + "." if told else "No interaction matches.")


def _with_progress(verdicts: Iterable[Verdict], total: int) -> Iterator[Verdict]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("replaying", total=total)
        for verdict in verdicts:
            progress.advance(task)
            yield verdict


def _report(verdicts: Sequence[Verdict], *, as_json: bool) -> None:
    if not verdicts:
        note("No interaction matches.")
    counts = dict.fromkeys(("identical", "different", "not comparable"), 0)
    for verdict in verdicts:
        counts[verdict.outcome] += 1
    if as_json:
        print_json({"verdicts": [asdict(verdict) for verdict in verdicts], "counts": counts})
        return
    for verdict in verdicts:
        write(f"{verdict.seq}  {verdict.id}  {_sentence(verdict)}\n")
    note(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) + ".")


def _sentence(verdict: Verdict) -> str:
    if verdict.outcome == "identical":
        scores = ", and the scores of the prompt" if verdict.has_scores else ""
        trust = f": {verdict.reason}" if verdict.reason else ""
        return f"identical ({verdict.num_tokens} {verdict.unit}s{scores}){trust}"
    if verdict.outcome == "not comparable":
        return f"not comparable: {verdict.reason}"
    if verdict.position is None:
        return f"different: {verdict.reason}"
    return f"different: {verdict.unit} {verdict.position} was {verdict.recorded}, now {verdict.replayed}"


def _exit_code(verdicts: Sequence[Verdict]) -> int:
    outcomes = {verdict.outcome for verdict in verdicts}
    if "different" in outcomes:
        return DIFFERENT
    return 0 if "identical" in outcomes else NOTHING_COMPARED
