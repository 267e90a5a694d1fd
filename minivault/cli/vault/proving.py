"""`verify`, `head`, `checkpoint` and `export`: what lets others check the vault."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minivault.cli.options import FileToWrite, examples, filter_options, json_option
from minivault.cli.show.output import print_json
from minivault.cli.show.progress import counting
from minivault.cli.show.terminal import note, write
from minivault.cli.vault.group import none_matches, opened
from minivault.cli.vault.writing import new_file, write_out
from minivault.cli.verdict import VerdictCommand
from minivault.config import load_settings

if TYPE_CHECKING:
    from minivault.vault.reader import Filter

FORMATS = ("jsonl", "csv", "sqlite", "parquet")
STYLES = {0: "green", 1: "yellow", 2: "red", 3: "yellow"}


@click.command(epilog=examples("vault export --since 7d -o week.jsonl", "vault export --format sqlite -o vault.db"))
@filter_options
@click.option("--format", "format_", type=click.Choice(FORMATS), default="jsonl", show_default=True, help="How.")
@click.option("-o", "--output", type=FileToWrite(is_new=True), help="A new file; default: stdout.")
def export(wanted: Filter, format_: str, output: Path | None) -> None:
    """Write an excerpt of the log.

    As jsonl it carries its proof: of each record the path to a signed head of the tree over all records.
    `vault verify FILE`, or `evidence.py`, checks it. As csv, sqlite or parquet (extra `parquet`) it is
    a table without proof, for those who count.
    """
    is_file = format_ in ("sqlite", "parquet")
    if is_file and output is None:
        raise click.UsageError(f"--format {format_} is a file: name it with -o.")
    with opened() as archive, counting("exported", archive.head().seq) as progress:
        if is_file and output is not None:
            with new_file(output):
                num_written = archive.export_table(wanted, format_, output, progress)
        elif format_ == "csv":
            num_written = write_out((row.encode("utf-8") for row in archive.export_csv(wanted)), output, progress) - 1
        else:
            parts, num_written = archive.export_jsonl(wanted, progress)
            progress.stage("writing")
            write_out(parts, output, progress)
    if not num_written:
        note(none_matches(wanted))


@click.command(cls=VerdictCommand, epilog=examples("vault verify", "vault verify week.jsonl --pubkey vault.pub"))
@click.argument("path", type=click.Path(exists=True, path_type=Path), required=False)
@click.option("--expect-head", metavar="HASH", help="A head noted earlier; it must be in the log.")
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Checkpoints kept elsewhere; the log must agree with them.",
)
@click.option(
    "--pubkey",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The only key to trust: a copy of vault.pub kept elsewhere.",
)
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Whose cosignatures to ask for (c2sp.org/tlog-policy).",
)
@click.option(
    "--max-line-mb",
    type=click.IntRange(min=1),
    show_default="64",
    help="Longest line to read whole; it takes some ten times as much memory.",
)
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    *,
    path: Path | None,
    expect_head: str | None,
    checkpoint: Path | None,
    pubkey: Path | None,
    policy: Path | None,
    max_line_mb: int | None,
    as_json: bool,
) -> None:
    """Check every hash, seq, digest and signature of the log, or of an exported file at PATH.

    Exit codes of this command: 0 intact; 1 intact, with traces of a crash; 2 changed since it was written (the first
    bad seq is named); 3 something could not be read, or nothing that was kept elsewhere could be compared; 64 wrong
    usage, and nothing was checked.
    """
    from minivault.vault.evidence import verify as verify_path
    from minivault.vault.verify import MAX_LINE_MB, describe, read_argument
    from minivault.vault.verify import as_json as report_as_json

    directory = path or load_settings().log_dir
    with counting("verified", _num_records(directory)) as progress:
        report = verify_path(
            directory,
            expect_head=expect_head,
            checkpoint=checkpoint,
            public_key=read_argument(pubkey, "--pubkey") if pubkey else None,
            policy=policy,
            max_line_mb=max_line_mb or MAX_LINE_MB,
            watch=progress,
        )
    if as_json:
        write(report_as_json(report) + "\n")
    else:
        *lines, verdict = describe(report).splitlines(keepends=True)
        write("".join(lines))
        write(f"{verdict}\n", style=STYLES[report.exit_code])
    ctx.exit(report.exit_code)


@click.command(epilog=examples("vault head", "vault head --tree >> elsewhere/heads", "vault head --vkey"))
@click.option("--tree", "is_tree", is_flag=True, help="Sign the head of the tree over all records and print that note.")
@click.option("--vkey", "is_key", is_flag=True, help="Print the key that signs it, as C2SP's tools take it.")
@json_option
def head(is_tree: bool, is_key: bool, as_json: bool) -> None:
    """Print the last record's seq and hash: note them, and `verify --expect-head` will miss them if they go.

    With --tree it is a checkpoint that other people's tools read (c2sp.org/tlog-checkpoint), with all cosignatures;
    `verify --checkpoint` reads it, too.
    """
    if is_tree or is_key:
        with opened() as archive, archive.proving() as prover:
            write_out([(prover.signed.cosigned if is_tree else f"{prover.verifier_key}\n").encode()], None)
        return
    with opened() as archive:
        place = archive.head()
    if as_json:
        print_json(asdict(place))
    else:
        write(f"{place.seq} {place.hash}\n")


@click.command(epilog=examples("vault checkpoint >> elsewhere/checkpoints.jsonl"))
def checkpoint() -> None:
    """Sign the head and print the line to keep elsewhere: mail it, commit it, write it on paper."""
    with opened() as archive:
        line = json.dumps(archive.checkpoint(), separators=(",", ":"))
    write(f"{line}\n")
    note("Keep this line where nobody who can write the vault can change it; check with `vault verify --checkpoint`.")


def _num_records(path: Path) -> int:
    """How many there may be, for a bar; 0 where that is not told at once."""
    from minivault.errors import MiniVaultError
    from minivault.vault.reader import last_records

    if not path.is_dir() or not sys.stderr.isatty():
        return 0
    try:
        last = last_records(path, 1)
    except (MiniVaultError, OSError, EOFError):
        return 0
    return int(last[-1]["seq"]) if last else 0
