"""`hold`: records that nothing may remove until it is lifted."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from minivault.cli.options import examples, filter_options, json_option, reason_option
from minivault.cli.show.output import print_json, print_table
from minivault.cli.show.terminal import note, one_line
from minivault.cli.vault.group import opened
from minivault.moment import rfc3339

if TYPE_CHECKING:
    from minivault.vault.keeping import Hold
    from minivault.vault.reader import Filter


@click.group(epilog=examples("vault hold add case-12 --key alice --reason litigation", "vault hold release case-12"))
def hold() -> None:
    """Keep records from being removed, whatever their age, until the hold is released.

    A hold is a record of the vault. `redact` and `prune` refuse what it covers, on every machine that uses the vault.
    """


@hold.command(epilog=examples("vault hold add case-12 --user bob --since 2026-01-01 --reason litigation"))
@click.argument("name")
@click.option("--text", help="With this anywhere in what was asked, read, thought or answered, whatever its case.")
@filter_options
@click.option("--all", "is_all", is_flag=True, help="Everything that the vault holds and will hold.")
@reason_option
@json_option
def add(name: str, wanted: Filter, is_all: bool, reason: str, as_json: bool) -> None:
    """Set the hold NAME on all records that match, those to come included."""
    from dataclasses import replace

    wanted = replace(wanted, type=None)
    if is_all == bool(wanted.describe()):
        raise click.UsageError("Say what to hold, by --text, --key, --user, --model, --since and so on, or --all.")
    with opened() as archive:
        place = archive.hold(name, wanted, reason)
        count = archive.num_held(name)
    if as_json:
        print_json({**asdict(place), "records": count})
    else:
        note(f"Held; record {place.seq} says so. It covers {count or 'none'} of the records that there are.")


@hold.command("list", epilog=examples("vault hold list"))
@json_option
def list_holds(as_json: bool) -> None:
    """Show the holds in force."""
    with opened() as archive:
        found = archive.kept().holds
    if as_json:
        print_json({"holds": [_as_object(one) for one in found]})
        return
    rows = [(one.name, one.at[:10], str(one.seq), one_line(one.by), covers(one), one_line(one.reason)) for one in found]
    print_table(("NAME", "SINCE", "RECORD", "BY", "COVERS", "REASON"), rows, if_none="No hold is in force.")


@hold.command(epilog=examples("vault hold release case-12 --reason closed"))
@click.argument("name")
@reason_option
@json_option
def release(name: str, reason: str, as_json: bool) -> None:
    """Lift the hold NAME; what it covered may be removed again, above the retention floor."""
    with opened() as archive:
        place = archive.release(name, reason)
    if as_json:
        print_json(asdict(place))
    else:
        note(f"Released; record {place.seq} says so.")


def covers(one: Hold) -> str:
    """What a hold covers, for a person."""
    told = one.wanted.describe()
    for name in ("since_ns", "until_ns"):
        if name in told:
            told[name.removesuffix("_ns")] = rfc3339(told.pop(name))[:19] + "Z"
    shown = ((name, ", ".join(value) if isinstance(value, tuple) else value) for name, value in told.items())
    return one_line("; ".join(f"{name} {value}" for name, value in shown)) or "everything"


def _as_object(one: Hold) -> dict[str, Any]:
    return {**asdict(one), "wanted": one.wanted.describe()}
