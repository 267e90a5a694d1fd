"""`vault`: read, check and look after the log of every answer. Reading it is itself recorded in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any

import click

from minivault.cli.options import filter_options, json_lines_option, json_option
from minivault.cli.show.output import group_row, print_json, print_record, print_records, print_table
from minivault.cli.show.terminal import note, write
from minivault.cli.verdict import VerdictCommand
from minivault.config import load_settings
from minivault.errors import ConfigError
from minivault.vault.archive import Archive, current_user
from minivault.vault.reader import Filter
from minivault.vault.verify import MAX_LINE_MB, describe, read_argument
from minivault.vault.verify import as_json as report_as_json
from minivault.vault.verify import verify as verify_path


@contextmanager
def opened() -> Iterator[Archive]:
    settings = load_settings()
    with Archive(settings.log_dir, by=current_user(), segment_bytes=settings.vault_segment_mb << 20) as archive:
        yield archive


@click.group()
def vault() -> None:
    """Read, check and maintain the log of every answer.

    The log is `log.jsonl` in MINIVAULT_LOG_DIR, one line an interaction. Reading it through these commands is recorded
    in it, too; `verify`, `head` and other tools (`tail`, `jq`) leave no trace.
    """


@vault.command()
@click.option("-n", "--lines", "count", type=click.IntRange(min=0), default=10, show_default=True, help="How many.")
@click.option("-f", "--follow", "is_following", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@json_lines_option
def tail(count: int, is_following: bool, as_json: bool) -> None:
    """Show the last records."""
    with opened() as archive:
        head = archive.head()
        records = archive.tail(count, will_follow=is_following)
        print_records(records, as_json, if_none="" if is_following else "No record is shown.")
        if is_following:
            print_records(archive.follow(records[-1]["seq"] if records else head.seq), as_json)


@vault.command()
@click.argument("id_", metavar="ID")
@json_option
def show(id_: str, as_json: bool) -> None:
    """Show one record whole. ID is a reply's X-Request-Id, or a seq."""
    with opened() as archive:
        record = archive.show(id_)
    if as_json:
        print_json(record)
        return
    print_record(record)


@vault.command()
@click.argument("text", default="")
@filter_options
@click.option("-n", "--limit", type=click.IntRange(min=0), default=0, help="Only the last so many; 0 = all.")
@json_lines_option
def search(wanted: Filter, limit: int, as_json: bool) -> None:
    """List the interactions with TEXT in prompt or response, whatever its case."""
    with opened() as archive:
        print_records(archive.search(wanted, limit), as_json, if_none=none_matches(wanted))


@vault.command()
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


@vault.command()
@filter_options
@click.option(
    "--format", "format_", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True, help="How."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A new file; default: stdout.")
def export(wanted: Filter, format_: str, output: Path | None) -> None:
    """Write an excerpt of the log.

    As jsonl it carries its proof: what is around the chosen records without its content, and a signed head.
    `vault verify FILE`, or `verify.py` alone, checks it. As csv it is a table without proof.
    """
    with opened() as archive:
        if format_ == "csv":
            num_written = _write_out((row.encode("utf-8") for row in archive.export_csv(wanted)), output) - 1
        else:
            parts, num_written = archive.export_jsonl(wanted)
            _write_out(parts, output)
    if not num_written:
        note(none_matches(wanted))


@vault.command(cls=VerdictCommand)
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
    "--max-line-mb",
    type=click.IntRange(min=1),
    default=MAX_LINE_MB,
    show_default=True,
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
    max_line_mb: int,
    as_json: bool,
) -> None:
    """Check every hash, seq, digest and signature of the log, or of an exported file at PATH.

    Exit codes of this command: 0 intact; 1 intact, with traces of a crash; 2 changed since it was written (the first
    bad seq is named); 3 something could not be read, or nothing that was kept elsewhere could be compared; 64 wrong
    usage, and nothing was checked.
    """
    report = verify_path(
        path or load_settings().log_dir,
        expect_head=expect_head,
        checkpoint=checkpoint,
        public_key=read_argument(pubkey, "--pubkey") if pubkey else None,
        max_line_mb=max_line_mb,
    )
    write((report_as_json(report) if as_json else describe(report)) + "\n")
    ctx.exit(report.exit_code)


@vault.command()
@json_option
def head(as_json: bool) -> None:
    """Print the last record's seq and hash: note them, and `verify --expect-head` will miss them if they go."""
    with opened() as archive:
        place = archive.head()
    if as_json:
        print_json(asdict(place))
    else:
        write(f"{place.seq} {place.hash}\n")


@vault.command()
def checkpoint() -> None:
    """Sign the head and print the line to keep elsewhere: mail it, commit it, write it on paper."""
    with opened() as archive:
        line = json.dumps(archive.checkpoint(), separators=(",", ":"))
    write(f"{line}\n")
    note("Keep this line where nobody who can write the vault can change it; check with `vault verify --checkpoint`.")


@vault.command()
@click.argument("id_", metavar="ID")
@click.option("--reason", required=True, help="Why; it is recorded, in a record that can be redacted itself.")
@click.option(
    "--part", type=click.Choice(["reasoning"]), help="Only what the model thought, and the tokens, which spell it too."
)
@json_option
def redact(id_: str, reason: str, part: str | None, as_json: bool) -> None:
    """Remove prompt, response and everything else a person or the model wrote from one record, for good."""
    with opened() as archive:
        place = archive.redact(id_, reason, part)
        kept = archive.show(id_)
    if as_json:
        print_json(asdict(place))
    else:
        note(f"Redacted; record {place.seq} says so. Exports and backups made before still hold the content.")
    if kept["v"] == 1:
        note("It was written in format 1, in which `parameters` (stop sequences, schemas) cannot be removed.")


@vault.command()
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


@vault.command()
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
        yield partial(regenerate, recorder.roster.default)


def _kept(is_reconstructed: bool) -> str:
    return "reconstructed" if is_reconstructed else "not reconstructed"


def _write_out(parts: Iterable[bytes], output: Path | None) -> int:
    """Write parts to a new file or to stdout; returns how many. A file that cannot be written whole is removed."""
    if output is None:
        count = _write_parts(parts, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return count
    try:
        file = output.open("xb")
    except FileExistsError:
        raise ConfigError(f"{output} is there already; an export never overwrites", field="output") from None
    with file:
        try:
            output.chmod(0o600)
            return _write_parts(parts, file)
        except BaseException:
            output.unlink()
            raise


def _write_parts(parts: Iterable[bytes], file: IO[bytes]) -> int:
    count = 0
    for part in parts:
        file.write(part)
        count += 1
    return count


def none_matches(wanted: Filter) -> str:
    """An empty result says that it is empty, and what was asked for."""
    asked = {name: value for name, value in wanted.describe().items() if name != "type"}
    return f"No interaction matches {json.dumps(asked)}." if asked else "There is no interaction in the vault."
