"""Somebody else's clock: a timestamp authority (RFC 3161) says when it saw a tree head.

The head covers every record before it, so one token bounds the time of all of them: they existed when it was made. The
query and the response travel as files, since the server itself reaches nobody. Needs the extra `timestamp`.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from minivault.errors import ConfigError, VaultError
from minivault.vault.proof.heads import SignedHead


def query(signed: SignedHead) -> bytes:
    """A request (TimeStampReq) for the SHA-256 of a head's note, as the vault signed it."""
    client = _client()
    builder = client.TimestampRequestBuilder().data(signed.note.encode()).nonce(nonce=False)
    request: bytes = builder.hash_algorithm(client.HashAlgorithm.SHA256).build().as_bytes()
    return request


def head_of(response: bytes, heads: Iterable[SignedHead]) -> SignedHead:
    """The head that a response (TimeStampResp) is about. Raises VaultError."""
    granted = _decoded(response)
    if granted.status not in (0, 1):
        raise VaultError(f"the timestamp authority refused: {', '.join(granted.status_string) or granted.status}")
    imprint = granted.tst_info.message_imprint.message
    found = next((one for one in heads if hashlib.sha256(one.note.encode()).digest() == imprint), None)
    if found is None:
        raise VaultError("the timestamp is of nothing that this vault has signed; make the query with --query")
    return found


@dataclass(frozen=True, slots=True)
class Bound:
    """All records up to `seq` existed at `time`, or what is wrong with the token that says so, maybe no time."""

    seq: int
    time: datetime.datetime | None
    fault: str = ""


def bounds(heads: Iterable[SignedHead], authorities: bytes) -> Iterator[Bound]:
    """What each token proves to whoever believes the authorities, certificates in PEM. Raises ConfigError."""
    client = _client()
    from cryptography import x509

    try:
        roots = x509.load_pem_x509_certificates(authorities)
    except ValueError:
        raise ConfigError("the file holds no certificates in PEM", field="ca") from None
    for signed in heads:
        for text in signed.timestamps:
            time, fault = None, ""
            try:
                response = _decoded(base64.b64decode(text))
                time = response.tst_info.gen_time
                verifier = client.VerifierBuilder(roots=list(roots)).build()
                verifier.verify_message(response, signed.note.encode())
            except (client.VerificationError, ValueError, VaultError) as error:
                fault = str(error)
            yield Bound(signed.head.last_seq, time, fault)


def _decoded(response: bytes) -> Any:
    """The response, with its token where it was granted. Raises VaultError."""
    client = _client()
    try:
        found = client.decode_timestamp_response(response)
        _ = found.status in (0, 1) and (found.tst_info.message_imprint.message, found.tst_info.gen_time)
        return found
    except ValueError:
        raise VaultError("that is no response of a timestamp authority (TimeStampResp in DER)") from None


def _client() -> Any:
    try:
        import rfc3161_client
    except ImportError:
        raise ConfigError("timestamps need an extra: pip install 'minivault[timestamp]'", field="timestamp") from None
    return rfc3161_client
