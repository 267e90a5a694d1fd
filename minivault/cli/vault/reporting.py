"""`report`: the dossier on a vault for those who ask what it proves."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minivault import __version__
from minivault.cli.options import FileToWrite, When, ensure_in_order, examples
from minivault.cli.show.progress import counting
from minivault.cli.show.terminal import note
from minivault.cli.vault.group import key_names, opened
from minivault.cli.vault.writing import write_out
from minivault.config import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from minivault.vault.verify import Report

MAX_AUDIT_BYTES = 64 << 20


@click.command(epilog=examples("vault report --from 2026-11-01 --to 2026-12-01 -o november.html"))
@click.option("--from", "since", type=When(), help="Not before: 2026-11-21, 2026-11-21T20:15:03Z, or 12h, 7d ago.")
@click.option("--to", "until", type=When(), help="Before this moment.")
@click.option("-o", "--output", type=FileToWrite(is_new=True), help="A new file; default: stdout.")
@click.option(
    "--audit", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="What `vault audit --json` wrote."
)
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Checkpoints kept elsewhere; the log must agree with them.",
)
@click.option("--pubkey", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The only key to trust.")
def report(
    *,
    since: int | None,
    until: int | None,
    output: Path | None,
    audit: Path | None,
    checkpoint: Path | None,
    pubkey: Path | None,
) -> None:
    """Write a report as one HTML file: what the vault shows and what not, and what was done in a period.

    It verifies the whole log, counts the interactions of the period, names its gaps, redactions, prunes, holds and acts
    of administrators, and sets what is there beside what the EU AI Act, ISO/IEC 42001, 21 CFR 11 and SEC 17a-4 ask. It
    holds no prompt and no answer.
    """
    from minivault.cli.show.dossier_page import Facts, page
    from minivault.vault.dossier import signed

    ensure_in_order("--from", since, "--to", until)
    settings = load_settings()
    audited = None if audit is None else _read_audit(audit)
    with opened() as archive, counting("verified", archive.head().seq) as progress:
        progress.stage("counting")
        dossier = archive.dossier(since, until)
        progress.stage("verifying")
        verified = _verified(settings.log_dir, checkpoint, pubkey, progress)
        facts = Facts(
            dossier,
            signed(settings.log_dir),
            verified,
            audited,
            key_names(),
            settings.vault_keep_days,
            archive.vault_id,
            time.time_ns(),
            archive.by,
            __version__,
        )
    write_out([page(facts).encode("utf-8")], output)
    if verified.exit_code:
        note("The log does not verify, and the report says so.")


def _verified(directory: Path, checkpoint: Path | None, pubkey: Path | None, watch: Callable[[int], None]) -> Report:
    """What the verifier says. Raises UsageError."""
    from minivault.vault.evidence import verify
    from minivault.vault.verify import Misused, read_argument

    try:
        public_key = read_argument(pubkey, "--pubkey") if pubkey else None
        return verify(directory, checkpoint=checkpoint, public_key=public_key, watch=watch)
    except Misused as error:
        raise click.UsageError(str(error)) from None


def _read_audit(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises UsageError."""
    if path.stat().st_size > MAX_AUDIT_BYTES:
        raise click.UsageError(f"--audit {path}: larger than {MAX_AUDIT_BYTES >> 20} MiB.")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise click.UsageError(f"--audit {path}: it is no JSON object; give what `vault audit --json` wrote.")
    return found
