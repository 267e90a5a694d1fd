"""The append-only, tamper-evident record of every interaction. See docs/vault.md for the format and its limits.

Files of the log are opened only in this package: what keeps it is here, what proves it in `proof/`. It knows nothing of
HTTP, models or the command line; `verify.py` imports nothing but the standard library, and `evidence.py` no
more than that file.

For those who read a vault from Python (docs/vault.md): `Archive` shows and searches, `Filter` chooses, `verify_vault`
checks everything.
"""

from typing import TYPE_CHECKING

from minivault.lazy import front_door

if TYPE_CHECKING:
    from minivault.vault.archive import Archive
    from minivault.vault.entry import Closing, Entry, Opening, Status
    from minivault.vault.evidence import verify as verify_vault
    from minivault.vault.reader import Filter
    from minivault.vault.record import Place, new_id
    from minivault.vault.segments import vault_id
    from minivault.vault.vault import Vault, VaultStatus
else:
    __getattr__ = front_door(
        __name__,
        {
            "Archive": "archive",
            "Closing": "entry",
            "Entry": "entry",
            "Filter": "reader",
            "Opening": "entry",
            "Place": "record",
            "Status": "entry",
            "Vault": "vault",
            "VaultStatus": "vault",
            "new_id": "record",
            "vault_id": "segments",
            "verify_vault": "evidence:verify",
        },
    )

__all__ = [
    "Archive",
    "Closing",
    "Entry",
    "Filter",
    "Opening",
    "Place",
    "Status",
    "Vault",
    "VaultStatus",
    "new_id",
    "vault_id",
    "verify_vault",
]
