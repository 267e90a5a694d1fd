"""Asks a witness for its cosignature (C2SP tlog-witness). Only a command does this: the server reaches nobody."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx

from minivault.errors import ConfigError, Unreachable, VaultError
from minivault.vault.evidence import COSIGNER_KEY, cosigned_at, parse_vkey
from minivault.vault.proof.note import TreeHead
from minivault.vault.proof.prove import Prover
from minivault.vault.verify import parse_note

TIMEOUT_S = 30.0
TRIES = 20
_SIZE = re.compile(r"(0|[1-9][0-9]{0,17})\n?")
_CUT = "it was cut or rewritten, or is another; run `vault verify`"


def cosignature(
    proving: Callable[[], AbstractContextManager[Prover]], url: str, vkey: str
) -> tuple[TreeHead, list[str]]:
    """The newest tree head and what the witness with this key has signed of it, checked.

    Others may have the same log cosigned meanwhile, so each try is of the head of that moment.
    Raises ConfigError for what is no witness's key, Unreachable, VaultError where it refuses or signs something else.
    """
    key = parse_vkey(vkey)
    if key is None or key[1] != COSIGNER_KEY:
        raise ConfigError("that is no key of a witness; `witness serve` prints one", field="witness")
    old = 0
    for _ in range(TRIES):  # a witness says how far it has seen the log
        with proving() as prover:
            head = prover.signed.head
            if old > head.size:
                raise VaultError(f"the witness has cosigned {old} records and this log has {head.size}: {_CUT}")
            reply = _post(f"{url}/add-checkpoint", prover.consistency(old))
        if reply.status_code != 409:
            return head, _signatures(head, reply, key[0], key[2])
        old = _other_size(reply.text, old)
    raise VaultError("others have this log cosigned all the time; try again")


def _signatures(head: TreeHead, reply: httpx.Response, name: str, key: bytes) -> list[str]:
    if reply.status_code != 200:
        raise VaultError(f"the witness refuses ({reply.status_code}): {reply.text.strip()[:200]}")
    lines = [f"{line}\n" for line in reply.text.split("\n")]
    notes = {line: parse_note(f"{head.text}\n{line}") for line in lines}
    found = [line for line, note in notes.items() if note is not None and cosigned_at(note, name, key) is not None]
    if not found:
        raise VaultError("what the witness answers is not signed by its key")
    return found


def _other_size(text: str, old: int) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise VaultError(f"the witness refuses (409) and says no size: {text.strip()[:200]!r}")
    if int(match[1]) == old:
        raise VaultError(f"the witness has cosigned another tree of {old} records than this log's: {_CUT}")
    return int(match[1])


def _post(url: str, body: str) -> httpx.Response:
    try:
        return httpx.post(url, content=body.encode(), timeout=TIMEOUT_S, follow_redirects=False)
    except httpx.HTTPError as error:
        raise Unreachable(f"the witness at {url} cannot be asked: {error}") from None
