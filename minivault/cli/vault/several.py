"""`merge-verify`: the vaults of several machines, checked together and read in one order."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minivault.cli.options import examples, filter_options, json_option
from minivault.cli.show.output import group_row, print_json, print_table
from minivault.cli.show.terminal import note, one_line, write
from minivault.cli.vault.group import none_matches
from minivault.cli.verdict import NothingChecked, VerdictCommand

if TYPE_CHECKING:
    from minivault.vault.merged import Checked
    from minivault.vault.reader import Filter

SEVERITY = (0, 1, 3, 2)
"""Exit codes from the best to the worst."""
HEAD = ("DAY", "MODEL", "KEY", "REQUESTS", "PROMPT TOKENS", "TOKENS", "MEDIAN MS", "IN THE LOG", "STATUS")


@click.command(
    "merge-verify",
    cls=VerdictCommand,
    epilog=examples("vault merge-verify front1/vault front2/vault", "vault merge-verify --records --since 7d a b"),
)
@click.argument("directories", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@filter_options
@click.option("--records", "what", flag_value="records", help="Print all records in one order, a JSON line each.")
@click.option("--stats", "what", flag_value="stats", help="Count requests and tokens of all together.")
@json_option
@click.pass_context
def merge_verify(
    ctx: click.Context, *, directories: tuple[Path, ...], wanted: Filter, what: str | None, as_json: bool
) -> None:
    """Check the vaults of several machines together, and read them in one order.

    Each vault in a DIRECTORY is verified as `vault verify` does; the same vault twice is an error. Records are ordered
    by time, and those of one vault as its log has them; the machine's MINIVAULT_NODE is told with each. What could not
    be verified is not read.

    Exit codes of this command: the worst of all: 0 intact; 1 traces of a crash; 3 something could not be read; 2
    changed since it was written, or given twice; 64 wrong usage, and nothing was checked.
    """
    from minivault.vault.merged import check_all
    from minivault.vault.verify import Misused

    try:
        checked = check_all(directories)
    except Misused as error:
        raise NothingChecked(one_line(str(error))) from None
    worst = max((one.exit_code for one in checked), key=SEVERITY.index)
    if what is None:
        _tell(checked, as_json=as_json)
    elif worst in (0, 1):
        _read(directories, wanted, what, as_json=as_json)
    else:
        _tell(checked, as_json=False)
    ctx.exit(worst)


def _tell(checked: list[Checked], *, as_json: bool) -> None:
    from minivault.vault.verify import VERDICTS, describe

    if as_json:
        found = [{"directory": str(one.directory), "exit_code": one.exit_code, **asdict(one.report)} for one in checked]
        print_json({"vaults": found, "records": sum(one.report.num_records for one in checked)})
        return
    for one in checked:
        write(f"{one.directory}\n")
        write("".join(f"  {line}\n" for line in describe(one.report).splitlines()))
        if one.twin is not None:
            write(f"  the same vault as {one.twin}: give each vault once\n")
    worst = max((one.exit_code for one in checked), key=SEVERITY.index)
    total = sum(one.report.num_records for one in checked)
    write(f"{len(checked)} vaults, {total} records: {VERDICTS[worst]}\n")


def _read(directories: tuple[Path, ...], wanted: Filter, what: str, *, as_json: bool) -> None:
    from minivault.vault.merged import merged
    from minivault.vault.readable import current_user
    from minivault.vault.reader import stats

    placed = merged(directories, wanted, by=current_user())
    if what == "records":
        lines = [json.dumps({"vault": one.vault, "node": one.node, "record": one.record}) + "\n" for one in placed]
        write("".join(lines))
        if not lines:
            note(none_matches(wanted))
        return
    groups = stats(one.record for one in placed)
    if as_json:
        rows = [{k: v for k, v in asdict(group).items() if k != "latencies_ms"} for group in groups]
        print_json({"groups": rows})
    else:
        print_table(HEAD, [*map(group_row, groups)], if_none=none_matches(wanted))
