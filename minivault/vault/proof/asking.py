"""Asks a witness for its cosignature (C2SP tlog-witness). Only a command does this: the server reaches nobody."""

from __future__ import annotations

import httpx

from minivault.errors import ConfigError, Unreachable, VaultError
from minivault.vault.evidence import COSIGNER_KEY, cosigned_at, parse_vkey
from minivault.vault.proof.prove import Prover
from minivault.vault.verify import parse_notes

TIMEOUT_S = 30.0


def cosignature(prover: Prover, url: str, vkey: str) -> str:
    """The signature line of the witness with this key, checked.

    Raises ConfigError for what is no witness's key, Unreachable, VaultError where it refuses or signs something else.
    """
    key = parse_vkey(vkey)
    if key is None or key[1] != COSIGNER_KEY:
        raise ConfigError("that is no key of a witness; `witness serve` prints one", field="witness")
    old = 0
    for _ in range(2):  # a witness says how far it has seen the log
        reply = _post(f"{url}/add-checkpoint", prover.consistency(old))
        if reply.status_code != 409:
            break
        old = _size(reply.text, prover)
    if reply.status_code != 200:
        raise VaultError(f"the witness refuses ({reply.status_code}): {reply.text.strip()[:200]}")
    signed = parse_notes(f"{prover.signed.head.text}\n{reply.text}")
    if len(signed) != 1 or cosigned_at(signed[0], key[0], key[2]) is None:
        raise VaultError("what the witness answers is not signed by its key")
    lines = [line for line in reply.text.splitlines() if line.startswith(f"\N{EM DASH} {key[0]} ")]
    return "".join(f"{line}\n" for line in lines)


def _size(text: str, prover: Prover) -> int:
    size = int(text) if text.strip().isdigit() and len(text) < 20 else -1
    if not 0 <= size <= prover.signed.head.size:
        raise VaultError(
            f"the witness has cosigned {text.strip()[:20]} records and this log has {prover.signed.head.size}: "
            "it was cut, or is another; run `vault verify`"
        )
    return size


def _post(url: str, body: str) -> httpx.Response:
    try:
        return httpx.post(url, content=body.encode(), timeout=TIMEOUT_S, follow_redirects=False)
    except httpx.HTTPError as error:
        raise Unreachable(f"the witness at {url} cannot be asked: {error}") from None
