"""`tail`, `show`, `search` and `stats`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from minivault.cli.options import examples, filter_options, json_lines_option, json_option
from minivault.cli.show.output import group_row, print_json, print_table
from minivault.cli.show.records import print_record, print_records
from minivault.cli.show.terminal import note
from minivault.cli.vault.group import key_names, none_matches, opened

if TYPE_CHECKING:
    from minivault.vault.reader import Filter


@click.command(epilog=examples("vault tail -n 20", "vault tail --follow"))
@click.option("-n", "--lines", "count", type=click.IntRange(min=0), default=10, show_default=True, help="How many.")
@click.option("-f", "--follow", "is_following", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option("--reads", "has_reads", is_flag=True, help="Also who read the vault, this command included.")
@json_lines_option
def tail(count: int, is_following: bool, has_reads: bool, as_json: bool) -> None:
    """Show the last records.

    A line is a record: its number, when, the end of its id, who, through which interface, and what happened.
    """
    hidden = () if has_reads else ("read",)
    with opened() as archive:
        head = archive.head()
        records = archive.tail(count, will_follow=is_following, hidden=hidden)
        print_records(records, as_json, names=key_names(), if_none="" if is_following else "No record is shown.")
        if is_following:
            later = archive.follow(records[-1]["seq"] if records else head.seq)
            shown = (record for record in later if record["type"] not in hidden)
            print_records(shown, as_json, names=key_names(), has_header=not records)


@click.command(epilog=examples("vault show last", "vault show 8225c266"))
@click.argument("id_", metavar="ID")
@json_option
def show(id_: str, as_json: bool) -> None:
    """Show one record whole.

    ID is a reply's X-Request-Id, its first or last few characters, a seq, or `last`.
    """
    with opened() as archive:
        record = archive.show(id_)
    if as_json:
        print_json(record)
        return
    print_record(record, key_names())


@click.command(epilog=examples("vault search banana --since 7d", "vault search --key alice --status failed -n 20"))
@click.argument("text", default="")
@filter_options
@click.option("-n", "--limit", type=click.IntRange(min=0), default=0, help="Only the last so many; 0 = all.")
@json_lines_option
def search(wanted: Filter, limit: int, as_json: bool) -> None:
    """List the interactions with TEXT in what was asked, thought or answered, whatever its case."""
    with opened() as archive:
        found = archive.search(wanted, limit)
    print_records(found, as_json, names=key_names(), if_none=none_matches(wanted))


@click.command(epilog=examples("vault stats --since 30d", "vault stats --key alice --json"))
@filter_options
@json_option
def stats(wanted: Filter, as_json: bool) -> None:
    """Count requests, tokens, latency and what the records take in the log, per day, model and key."""
    with opened() as archive:
        groups = archive.stats(wanted)
    if as_json and not groups:
        note(none_matches(wanted))
    if as_json:
        rows = [{k: v for k, v in asdict(group).items() if k != "latencies_ms"} for group in groups]
        medians = [{"median_ms": round(group.median_ms, 3)} for group in groups]
        print_json({"groups": [{**row, **more} for row, more in zip(rows, medians, strict=True)]})
        return
    head = ("DAY", "MODEL", "KEY", "REQUESTS", "PROMPT TOKENS", "TOKENS", "MEDIAN MS", "IN THE LOG", "STATUS")
    print_table(head, [*map(group_row, groups)], if_none=none_matches(wanted))
