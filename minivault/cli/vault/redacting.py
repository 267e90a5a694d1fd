"""`redact`: takes content out of one record, or out of all of a key or a person, for good, after showing what goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from minivault.cli.options import examples, filter_options, json_option, reason_option
from minivault.cli.show.output import print_json
from minivault.cli.show.progress import counting
from minivault.cli.show.records import what, where, who
from minivault.cli.show.terminal import note, one_line
from minivault.cli.vault.group import key_names, none_matches, opened
from minivault.errors import Retained

if TYPE_CHECKING:
    from minivault.vault.archive import Archive
    from minivault.vault.reader import Filter
    from minivault.vault.record import Place
    from minivault.vault.removal import Erasure

_NUM_SHOWN = 70
_NUM_GROUPS = 10


@click.command(
    epilog=examples(
        'vault redact 8225c266 --reason "asked for by the person"', 'vault redact --user bob --reason "asked to forget"'
    )
)
@click.argument("id_", metavar="ID", required=False)
@filter_options
@reason_option
@click.option(
    "--part", type=click.Choice(["reasoning"]), help="Only what the model thought, and the tokens, which spell it too."
)
@click.option("-y", "--yes", "is_sure", is_flag=True, help="Do not ask.")
@json_option
def redact(*, id_: str | None, wanted: Filter, reason: str, part: str | None, is_sure: bool, as_json: bool) -> None:
    """Remove prompt, response and everything else a person or the model wrote, for good.

    Of one record, ID: a reply's X-Request-Id, its first or last few characters, a seq, or `last`. Or of all
    interactions that match --key, --user, --model, --since, --until and --status. It first shows what will go, and
    asks. What MINIVAULT_VAULT_KEEP_DAYS or a hold keeps stays. Where it is interrupted, run it again.
    """
    is_filtered = len(wanted.describe()) > 1
    if is_filtered == (id_ is not None):
        raise click.UsageError("Give either an ID, or options that choose records: --key, --user, --since and so on.")
    with opened() as archive:
        if id_ is not None:
            places = [_redact_one(archive, id_, reason, part, is_sure)]
        else:
            places = _redact_many(archive, wanted, reason, part, is_sure)
    if as_json:
        print_json(asdict(places[0]) if id_ is not None else {"redactions": [asdict(place) for place in places]})
    elif places:
        span = (
            f"record {places[0].seq} says" if len(places) == 1 else f"records {places[0].seq} to {places[-1].seq} say"
        )
        note(f"Redacted; {span} so. Exports and backups made before still hold the content.")


def _redact_one(archive: Archive, id_: str, reason: str, part: str | None, is_sure: bool) -> Place:
    record = archive.show(id_)
    archive.kept().ensure_may_go(record)
    if not is_sure:
        _ask_whether(record, part)
    if record["v"] == 1:
        note("It was written in format 1, in which `parameters` (stop sequences, schemas) cannot be removed.")
    return archive.redact(str(record["id"]), reason, part)


def _ask_whether(record: Mapping[str, Any], part: str | None) -> None:
    """Show what a redaction removes, and go on only if that is wanted."""
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
    _confirm("Remove it?")


def _redact_many(archive: Archive, wanted: Filter, reason: str, part: str | None, is_sure: bool) -> list[Place]:
    erasure = archive.removable(wanted, part)
    _tell(erasure, wanted, part)
    if not erasure.targets:
        if erasure.kept:
            raise Retained("all that matches and could be redacted has to stay; nothing was removed")
        return []
    if not is_sure:
        _confirm(f"Remove the content of {_records(len(erasure.targets))}?")
    with counting("redacted", len(erasure.targets)) as progress:
        return archive.redact_all(erasure.targets, reason, part, progress)


def _tell(erasure: Erasure, wanted: Filter, part: str | None) -> None:
    """What would go, and what stays and why."""
    if targets := erasure.targets:
        whole = "the thoughts" if part else "everything that a person or the model wrote"
        first, last = (f"seq {one['seq']} ({one['timestamp'][:10]})" for one in (targets[0], targets[-1]))
        note(f"From {_records(len(targets))}, {first} to {last}, this will go: {whole}.")
        names = key_names()
        for (key, model), count in erasure.by.most_common(_NUM_GROUPS):
            note(f"  {count:>7}  key {one_line(names.get(key, key))}, {one_line(model)}")
        if len(erasure.by) > _NUM_GROUPS:
            note(f"  … and {len(erasure.by) - _NUM_GROUPS} more keys and models")
    for cause, count in erasure.kept.items():
        note(f"{_records(count)} {'stays' if count == 1 else 'stay'}: {one_line(cause)}.")
    if erasure.num_without:
        note(f"{_records(erasure.num_without)} hold nothing to redact, or no longer.")
    if not (targets or erasure.kept or erasure.num_without):
        note(none_matches(wanted))


def _records(count: int) -> str:
    return f"{count} record" if count == 1 else f"{count} records"


def _confirm(question: str) -> None:
    """Go on only if that is wanted. Raises UsageError."""
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort:
        raise click.UsageError("Nothing was removed. Answer y, or give --yes where nobody can answer.") from None
