"""`vault`: read, check and look after the log of every answer. Reading it is itself recorded in it.

Each file here adds its commands to the group: those that read, those that prove, those that change.
"""

from __future__ import annotations

from minivault.cli.vault.archiving import archive
from minivault.cli.vault.audit import audit
from minivault.cli.vault.group import vault
from minivault.cli.vault.holding import hold
from minivault.cli.vault.proving import checkpoint, export, head, verify
from minivault.cli.vault.reading import search, show, stats, tail
from minivault.cli.vault.redacting import redact
from minivault.cli.vault.reporting import report
from minivault.cli.vault.said import said
from minivault.cli.vault.several import merge_verify
from minivault.cli.vault.signing import signer
from minivault.cli.vault.tree import consistency, cosign, prove, timestamp
from minivault.cli.vault.upkeep import prune, recover

for _command in (
    *(tail, show, search, said, stats, audit),
    *(export, verify, merge_verify, head, checkpoint, prove, consistency, timestamp, cosign, signer),
    *(archive, report, redact, prune, hold, recover),
):
    vault.add_command(_command)

__all__ = ["vault"]
