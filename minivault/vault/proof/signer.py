"""Who holds the vault's signing key: a file beside the log, or an ssh-agent. A change is a record that both keys sign:
the old one, so that whoever trusts it knows the new one, and the new one from there on.
"""

from __future__ import annotations

from contextlib import suppress

from minivault.errors import BadRequest, VaultError
from minivault.vault.log import Log
from minivault.vault.proof.agent import fingerprint_of, identities
from minivault.vault.proof.checkpoint import write_checkpoint_locked
from minivault.vault.proof.key import SigningKey, agent_key, raw
from minivault.vault.record import Place

FILE = "file"


def change_signer(log: Log, to: str, *, by: str) -> Place:
    """Let the agent's key of that fingerprint sign from here on, or with `file` a new key of the vault's own.

    The old key's secret is gone from the directory then. Raises BadRequest, VaultError (the agent does not sign, or the
    old key does not), OSError; then nothing has changed.
    """
    new = SigningKey.of_new() if to == FILE else _with_agent(to)
    new.sign(b"minivault: may this key sign?")  # before anything depends on it
    with log.locked():
        write_checkpoint_locked(log)
        fields = {"public_key": new.public, "by": by, "reason": f"the key is with {'the vault' if to == FILE else to}"}
        [place] = log.append_locked([log.draft("key", fields)])
        log.sync()
        with suppress(VaultError):  # where the agent has gone just now, it has signed up to here all the same
            write_checkpoint_locked(log)
        new.save(log.directory, log.disk)
        write_checkpoint_locked(log)
    return place


def _with_agent(fingerprint: str) -> SigningKey:
    held = identities()
    for identity in held:
        if identity.fingerprint == fingerprint:
            return agent_key(identity.public)
    shown = ", ".join(f"{one.fingerprint} ({one.comment})" for one in held) or "none"
    raise BadRequest(f"the ssh-agent holds no Ed25519 key {fingerprint!r}; it has {shown}", field="key")


def told(key: SigningKey) -> tuple[str, str]:
    """Where a key is held, `file` or `ssh-agent`, and its fingerprint as `ssh-add -l` shows it."""
    return ("ssh-agent" if key.is_elsewhere else FILE), fingerprint_of(raw(key.public))
