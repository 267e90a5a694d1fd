"""`archive`: an encrypted copy of the vault for somebody elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from minivault.cli.options import examples
from minivault.cli.show.terminal import note
from minivault.cli.vault.group import opened


@click.command(epilog=examples("vault archive --encrypt-to age1qx… /mnt/auditor"))
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@click.option("--encrypt-to", "keys", required=True, multiple=True, help="A public key of age (`age1…`), or several.")
def archive(target: Path, keys: tuple[str, ...]) -> None:
    """Copy the vault to the directory TARGET, each file encrypted to the holders of these keys.

    What is there already is brought up to date: sealed segments that are new or were redacted, and all that grows.
    `age -d -i KEY FILE.age > FILE` opens a file; all of them together verify. The vault itself is not encrypted.
    """
    with opened() as vault:
        count = vault.archive(target, list(keys))
    note(f"{count} files written to {target}.")
