"""`said`: was a text ever an answer, or a part of one?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minivault.cli.options import examples, json_option, read_dash
from minivault.cli.show.output import print_json
from minivault.cli.show.progress import counting
from minivault.cli.show.terminal import one_line, write
from minivault.cli.vault.group import key_names, opened
from minivault.cli.verdict import NothingChecked, VerdictCommand
from minivault.errors import BadRequest

if TYPE_CHECKING:
    from minivault.vault.said import Match, Reach, Said

EXIT_CODES = {"found": 0, "nearly": 1, "not found": 2}
_STYLES = {"found": "green", "nearly": "yellow", "not found": "red"}


@click.command(
    cls=VerdictCommand,
    epilog=examples('vault said "The capital of France is Paris."', "vault said --file quote.txt"),
)
@click.argument("text", required=False)
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read the text from here.")
@json_option
@click.pass_context
def said(ctx: click.Context, *, text: str | None, file: Path | None, as_json: bool) -> None:
    """Find out whether TEXT is an answer of this server, or a part of one.

    Answers, thoughts and calls of tools with their arguments are looked through; case, punctuation and spaces do not
    matter. TEXT may come from stdin. Fewer than 8 words are found only where they are all that was said: `vault
    search` looks for less.

    \b
    Exit codes of this command:
      0    found
      1    nearly: most of it agrees
      2    not found
      64   there is no text to look for; nothing was looked at
    """
    given = _given(text, file)
    with opened() as archive, counting("read for the index", archive.head().seq) as progress:
        try:
            found = archive.said(given, progress)
        except BadRequest as error:
            raise NothingChecked(error.message) from None
    if as_json:
        print_json(found.told())
    else:
        _print(found)
    ctx.exit(EXIT_CODES[found.verdict])


def _given(text: str | None, file: Path | None) -> str:
    if text is not None and file is not None:
        raise click.UsageError("give TEXT or --file, not both")
    if file is not None:
        try:
            return file.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise click.UsageError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    if text is None and sys.stdin.isatty():
        raise click.UsageError("There is no text: give one, --file, or pipe it in.")
    return read_dash("-" if text is None else text)


def _print(found: Said) -> None:
    write(f"{found.verdict}\n", style=_STYLES[found.verdict])
    names = key_names()
    for match in found.matches:
        write(f"\n{_place(match, names)}\n")
        if found.verdict == "nearly":
            write(f"  {match.num_agreeing} of its words agree ({match.share:.0%}):\n")
        write("".join(f"  | {one_line(line)}\n" for line in match.text.splitlines()))
        for given, recorded in match.differences:
            write(f"  given:    {one_line(given) or '(nothing)'}\n  recorded: {one_line(recorded) or '(nothing)'}\n")
    if found.num_more > 0:
        write(f"\nUp to {found.num_more} more records may say it; these are the first.\n")
    write(f"\n{_scope(found.reach)}\n")
    if not found.is_part_sought:
        write("Fewer than 8 words are found only where they are all that was said; `vault search` looks for less.\n")


def _place(match: Match, names: dict[str, str]) -> str:
    where = "all of it" if match.is_whole else f"words {match.first_word} to {match.last_word} of {match.num_words}"
    asker = f", asked by {names.get(match.key, match.key)}" if match.key else ""
    return one_line(
        f"record {match.seq} of {match.timestamp[:19]}Z, {match.model}{asker}, {match.field}: {where} ({match.id})"
    )


def _scope(reach: Reach) -> str:
    """What was looked through, and so what `not found` means."""
    if not reach.num_answers and not reach.num_gone:
        return "The vault holds no answer."
    gone = f" {reach.num_gone} of the answers were redacted: nobody can say of those." if reach.num_gone else ""
    before = f" Records before seq {reach.first_seq} were pruned." if reach.first_seq > 1 else ""
    return f"Looked through {reach.num_answers} answers since {reach.since[:19]}Z.{gone}{before}"
