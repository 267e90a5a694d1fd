"""`receipt`: what a client kept of an answer, against the vault that gave it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from minivault.cli.client.address import parse_address
from minivault.cli.options import examples, json_option
from minivault.cli.show.terminal import write
from minivault.cli.verdict import VerdictCommand
from minivault.config import load_settings


@click.group(epilog=examples("receipt verify replies.jsonl --vault logs"))
def receipt() -> None:
    """Check the receipts that came with answers.

    Every reply carries one: the member `receipt` of its last object, and the header MiniVault-Receipt of a whole reply.
    """


@receipt.command(
    cls=VerdictCommand, epilog=examples("receipt verify reply.json", "receipt verify replies.jsonl --vault logs")
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--vault",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The vault's directory: are the records there, unchanged, and is nothing below them cut?",
)
@click.option("--url", help="A server: does it still vouch for them? MINIVAULT_API_KEY holds the key that asked.")
@click.option(
    "--pubkey",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The only key to trust: a copy of vault.pub kept elsewhere.",
)
@json_option
@click.pass_context
def verify(
    ctx: click.Context, *, file: Path, vault: Path | None, url: str | None, pubkey: Path | None, as_json: bool
) -> None:
    """Check every receipt in FILE: alone, or in whole or streamed replies as they came.

    By themselves: is each signed, and do two of one place agree? Exit codes are those of `vault verify`.
    """
    from minivault.vault.evidence import ask_server
    from minivault.vault.verify import as_json as report_as_json
    from minivault.vault.verify import describe, read_argument, verify_receipts

    if vault is not None and url:
        raise click.UsageError("give --vault or --url, not both")
    report = verify_receipts(
        file,
        vault=vault,
        public_key=read_argument(pubkey, "--pubkey") if pubkey else None,
        ask=partial(ask_server, parse_address(url).base_url, load_settings().api_key) if url else None,
    )
    write((report_as_json(report) if as_json else describe(report)) + "\n")
    ctx.exit(report.exit_code)
