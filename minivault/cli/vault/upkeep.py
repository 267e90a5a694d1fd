"""`prune` and `recover`: what changes the vault's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from minivault.cli.options import examples, json_option
from minivault.cli.show.output import print_json, print_table
from minivault.cli.show.terminal import note
from minivault.cli.vault.group import opened
from minivault.config import load_settings


@click.command(epilog=examples("vault prune --keep-days 365"))
@click.option("--keep-days", type=click.FloatRange(min=0), required=True, help="Keep what is younger.")
@json_option
def prune(keep_days: float, as_json: bool) -> None:
    """Remove sealed segments in which every record is older than so many days.

    Refused below MINIVAULT_VAULT_KEEP_DAYS. It goes from the oldest on and ends before a segment with a record that is
    under a hold (`vault hold list`).
    """
    with opened() as archive:
        pruned = archive.prune(keep_days)
    if as_json:
        print_json(
            {"seq": pruned.seq, "records": pruned.num_records, "segments": list(pruned.segments), "held": pruned.held}
        )
    else:
        note(f"Removed {len(pruned.segments)} segments with {pruned.num_records} records.")
    if pruned.held:
        note(f"It ended there: {pruned.held}.")


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
