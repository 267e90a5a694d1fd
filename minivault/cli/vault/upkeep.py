"""`redact`, `prune` and `recover`: what changes the vault."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from minivault.cli.options import examples, json_option
from minivault.cli.show.output import print_json, print_table
from minivault.cli.show.records import what, where, who
from minivault.cli.show.terminal import note, one_line
from minivault.cli.vault.group import key_names, opened
from minivault.config import load_settings

_NUM_SHOWN = 70


@click.command(epilog=examples('vault redact 8225c266 --reason "asked for by the person"'))
@click.argument("id_", metavar="ID")
@click.option("--reason", required=True, help="Why; it is recorded, in a record that can be redacted itself.")
@click.option(
    "--part", type=click.Choice(["reasoning"]), help="Only what the model thought, and the tokens, which spell it too."
)
@click.option("-y", "--yes", "is_sure", is_flag=True, help="Do not show what goes, and do not ask.")
@json_option
def redact(id_: str, reason: str, part: str | None, is_sure: bool, as_json: bool) -> None:
    """Remove prompt, response and everything else a person or the model wrote from one record, for good.

    It first shows what will go, and asks. ID is a reply's X-Request-Id, its first or last few characters, a seq, or
    `last`.
    """
    with opened() as archive:
        record = archive.show(id_)
        if not is_sure:
            _ask_whether(record, part)
        place = archive.redact(str(record["id"]), reason, part)
    if as_json:
        print_json(asdict(place))
    else:
        note(f"Redacted; record {place.seq} says so. Exports and backups made before still hold the content.")
    if record["v"] == 1:
        note("It was written in format 1, in which `parameters` (stop sequences, schemas) cannot be removed.")


def _ask_whether(record: Mapping[str, Any], part: str | None) -> None:
    """Show what a redaction removes, and go on only if that is wanted. Raises click.Abort, UsageError."""
    from minivault.vault.record import content_of, part_of

    going = part_of(record) if part else {**content_of(record), **part_of(record)}
    if not going:
        return  # the vault says why there is nothing to remove
    note(f"Record {record['seq']} of {str(record['timestamp'])[:19]}Z, {record['type']} {record['id']}")
    note(f"by {who(record, key_names())}, {where(record)}: {what(record)}")
    note("This will go, and nobody can bring it back:")
    for name, value in going.items():
        text = value if isinstance(value, str) else json.dumps(value)
        shown = one_line(text)
        note(f"  {name:<18} {shown if len(shown) <= _NUM_SHOWN else shown[: _NUM_SHOWN - 1] + '…'}")
    try:
        click.confirm("Remove it?", abort=True, err=True)
    except click.Abort:
        raise click.UsageError("Nothing was removed. Answer y, or give --yes where nobody can answer.") from None


@click.command(epilog=examples("vault prune --keep-days 365"))
@click.option("--keep-days", type=click.FloatRange(min=0), required=True, help="Keep what is younger.")
@json_option
def prune(keep_days: float, as_json: bool) -> None:
    """Remove sealed segments in which every record is older than so many days."""
    with opened() as archive:
        pruned = archive.prune(keep_days)
    if as_json:
        print_json({"seq": pruned.seq, "records": pruned.num_records, "segments": list(pruned.segments)})
    else:
        note(f"Removed {len(pruned.segments)} segments with {pruned.num_records} records.")


@click.command(epilog=examples("vault recover --regenerate"))
@click.option("--regenerate", is_flag=True, help="Load the model and re-derive what had been sent.")
@json_option
def recover(regenerate: bool, as_json: bool) -> None:
    """Record what killed processes left open; a server does the same when it starts."""
    with opened() as archive, _regenerator(regenerate) as derive:
        recovered, num_redactions = archive.recover(derive)
    if as_json:
        print_json({"recovered": [asdict(one) for one in recovered], "redactions_completed": num_redactions})
        return
    rows = [(str(r.seq), r.id, str(r.num_tokens), _kept(r.reconstructed)) for r in recovered]
    print_table(("SEQ", "ID", "TOKENS SENT", "ANSWER"), rows, if_none="Nothing was left open.")
    note(f"{len(recovered)} interrupted interactions recorded; {num_redactions} redactions completed.")


@contextmanager
def _regenerator(is_wanted: bool) -> Iterator[Callable[[Mapping[str, Any], int, int], Any] | None]:
    if not is_wanted:
        yield None
        return
    from minivault.interaction import open_local
    from minivault.replay import regenerate

    with open_local(load_settings()) as recorder:
        roster = recorder.roster
        roster.default.ensure_loaded()
        yield lambda opening, *sent: regenerate(roster.of_record(opening), opening, *sent)


def _kept(is_reconstructed: bool) -> str:
    return "reconstructed" if is_reconstructed else "not reconstructed"
