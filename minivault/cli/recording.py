"""What administrators do on the command line, recorded in the vault once it is done."""

from __future__ import annotations

from typing import Any

from minivault.cli.show.terminal import note
from minivault.cli.vault.group import opened
from minivault.errors import MiniVaultError


def record_act(command: str, **details: Any) -> None:
    """Record what was done. It stays done where the vault cannot note it, since a lost key is revoked on a full disk,
    too; then stderr says so."""
    try:
        with opened() as archive:
            archive.note_act(command, details)
    except (MiniVaultError, OSError) as error:
        note(f"It is done, and no record was made of it: {getattr(error, 'message', error)}.")
