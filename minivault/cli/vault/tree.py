"""`prove`, `consistency`, `timestamp`, `cosign`: proofs over the tree of all records, for tools that are not ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from minivault.cli.client.address import parse_address
from minivault.cli.exits import FAILED
from minivault.cli.options import FileToWrite, examples, text_of
from minivault.cli.show.output import print_table
from minivault.cli.show.terminal import note
from minivault.cli.vault.group import opened
from minivault.cli.vault.writing import write_out
from minivault.errors import BadRequest

if TYPE_CHECKING:
    from minivault.vault.proof.timestamp import Bound

FILE = click.Path(dir_okay=False, path_type=Path)
HERE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog=examples("vault prove last -o answer.tlog-proof", "vault verify answer.tlog-proof --pubkey FILE"))
@click.argument("id_", metavar="ID")
@click.option("-o", "--output", type=FileToWrite(is_new=True), help="A new file; default: stdout.")
def prove(id_: str, output: Path | None) -> None:
    """Write the proof that one record is in the log (c2sp.org/tlog-proof).

    It stands alone and holds nothing that a person or the model wrote; `vault verify FILE --pubkey vault.pub` reads it.
    """
    with opened() as archive:
        write_out([archive.prove(id_).encode()], output)


@click.command(epilog=examples("vault consistency 1000", "vault consistency 1000 2000"))
@click.argument("old", type=click.IntRange(min=0), metavar="A")
@click.argument("size", type=click.IntRange(min=1), metavar="[B]", required=False)
def consistency(old: int, size: int | None) -> None:
    """Prove that the log of B records begins with that of A records.

    B is the size of a signed tree head; without it the newest, signed now. What is printed is what a witness takes.
    """
    with opened() as archive, archive.proving(size) as prover:
        if old > prover.signed.head.size:
            raise BadRequest(f"A is {old}, and the tree has {prover.signed.head.size} records", field="A")
        write_out([prover.consistency(old).encode()], None)


@click.command(epilog=examples("vault timestamp --query head.tsq", "vault timestamp --add head.tsr"))
@click.option("--query", type=FILE, help="Sign a tree head and write a query for it.")
@click.option("--note", "note_", type=FILE, help="With --query: write also what the query is of.")
@click.option("--add", "response", type=HERE, help="Keep an authority's response.")
@click.option("--ca", type=HERE, help="Check all that are kept, with these root certificates (PEM).")
def timestamp(*, query: Path | None, note_: Path | None, response: Path | None, ca: Path | None) -> None:
    """Have a timestamp authority (RFC 3161) say when it saw this log.

    --query writes what to send to it, --add keeps what it answers, --ca says what is proven to whoever believes these
    certificates. Ends with exit code 1 where one of the kept does not hold. Needs the extra `timestamp`.
    """
    from minivault.vault.proof import timestamp as timestamps
    from minivault.vault.proof.heads import signed_heads

    if sum(option is not None for option in (query, response, ca)) != 1:
        raise click.UsageError("give one of --query, --add and --ca")
    with opened() as archive:
        if query is not None:
            with archive.proving() as prover:
                write_out([timestamps.query(prover.signed)], query)
                if note_ is not None:
                    write_out([prover.signed.note.encode()], note_)
        elif response is not None:
            kept = archive.add_timestamp(response.read_bytes())
            note(f"Kept: it is of all records up to seq {kept.head.last_seq}.")
        elif ca is not None:
            _print_bounds(list(timestamps.bounds(signed_heads(archive.directory), ca.read_bytes())))


@click.command(epilog=examples("vault cosign http://127.0.0.1:8100 --witness w1.vkey"))
@click.argument("url", metavar="URL")
@click.option("--witness", "key", type=HERE, required=True, help="A file with the witness's key (vkey).")
def cosign(url: str, key: Path) -> None:
    """Have a witness cosign the tree head of now, with the proof that it extends what the witness saw before.

    URL is the witness's address (c2sp.org/tlog-witness). Its signature is kept with the head.
    """
    from minivault.vault.proof.asking import cosignature

    vkey, address = text_of(key, "--witness").strip(), parse_address(url)
    with opened() as archive:
        head, lines = cosignature(archive.proving, address.base_url, vkey)
        archive.add_cosignatures(head, lines)
        note(f"Cosigned: all records up to seq {head.last_seq}.")


def _print_bounds(bounds: list[Bound]) -> None:
    times = [bound.time.isoformat() if bound.time else "-" for bound in bounds]
    rows = [(str(bound.seq), time, bound.fault or "proven") for bound, time in zip(bounds, times, strict=True)]
    print_table(("UP TO SEQ", "EXISTED AT", "TOKEN"), rows, if_none="No timestamp is kept.")
    if any(bound.fault for bound in bounds):
        raise click.exceptions.Exit(FAILED)
