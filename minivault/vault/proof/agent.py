"""Signing by an ssh-agent, which holds the secret in another process, account or device (draft-ietf-sshm-ssh-agent).

Of the protocol two requests are spoken: which keys there are, and a signature by one. An Ed25519 signature comes out as
RFC 8032 has it, so whoever verifies need not know where it was made.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from minivault.config import agent_socket
from minivault.errors import VaultError

TIMEOUT_S = 2.0
REST_S = 5.0
"""How long an agent that failed is not asked again: replies do not wait for it one after the other."""
MAX_ANSWER = 1 << 20
_KIND = b"ssh-ed25519"
_REQUEST_IDENTITIES, _IDENTITIES, _SIGN_REQUEST, _SIGNED = 11, 12, 13, 14


@dataclass(frozen=True, slots=True)
class Identity:
    """A key that an agent holds: 32 raw bytes, and what its owner calls it."""

    public: bytes
    comment: str

    @property
    def fingerprint(self) -> str:
        """As `ssh-add -l` shows it."""
        return fingerprint_of(self.public)


def fingerprint_of(public: bytes) -> str:
    """`SHA256:` and base64 without padding, of an Ed25519 key."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(_blob(public)).digest()).decode("ascii").rstrip("=")


def identities() -> list[Identity]:
    """The Ed25519 keys of the agent at SSH_AUTH_SOCK. Raises VaultError."""
    with _connected() as ask:
        answer = _Fields(ask(bytes([_REQUEST_IDENTITIES]), _IDENTITIES))
        count = answer.number()
        found = [(answer.text(), answer.text()) for _ in range(count)]
    return [
        Identity(blob[-32:], comment.decode("utf-8", "replace")) for blob, comment in found if blob == _blob(blob[-32:])
    ]


class AgentSigner:
    """Signs with one key of the agent. Any thread may use it."""

    def __init__(self, public: bytes, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._public = public
        self._clock = clock
        self._resting_until_s = 0.0
        self._fault = ""

    def __call__(self, message: bytes) -> bytes:
        """64 bytes of signature, checked. Raises VaultError, at once where the agent has just failed."""
        if self._clock() < self._resting_until_s:
            raise VaultError(self._fault)
        try:
            return self._sign(message)
        except VaultError as error:
            self._fault, self._resting_until_s = error.message, self._clock() + REST_S
            raise

    def _sign(self, message: bytes) -> bytes:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        request = bytes([_SIGN_REQUEST]) + _string(_blob(self._public)) + _string(message) + struct.pack(">I", 0)
        with _connected() as ask:
            signature = _Fields(_Fields(ask(request, _SIGNED)).text())
        kind, raw = signature.text(), signature.text()
        try:
            Ed25519PublicKey.from_public_bytes(self._public).verify(raw, message)
        except (InvalidSignature, ValueError):
            raise VaultError(f"the ssh-agent gave a {kind.decode('ascii', 'replace')} signature that is none") from None
        return raw


@contextmanager
def _connected() -> Iterator[Callable[[bytes, int], bytes]]:
    """Asks the agent: a request and the kind of answer it has → what that answer holds. Raises VaultError."""
    path = agent_socket()
    if not path:
        raise VaultError("the vault's key is with an ssh-agent, and SSH_AUTH_SOCK names none")

    def ask(request: bytes, kind: int) -> bytes:
        connection.sendall(_string(request))
        size = struct.unpack(">I", _read(connection, 4))[0]
        if not 1 <= size <= MAX_ANSWER:
            raise OSError("it does not speak the protocol")
        answer = _read(connection, size)
        if answer[0] != kind:
            raise OSError("it refused; `ssh-add -l` shows whether it holds the key and is unlocked")
        return answer[1:]

    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(path)
            yield ask
    except (OSError, struct.error) as error:
        raise VaultError(f"the ssh-agent at {path} does not sign: {error}") from None


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise OSError("it hung up")
        data += part
    return data


class _Fields:
    """The fields of an answer, one after the other. Raises struct.error where there are fewer."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def number(self) -> int:
        number: int = struct.unpack_from(">I", self._data)[0]
        self._data = self._data[4:]
        return number

    def text(self) -> bytes:
        size = self.number()
        if size > len(self._data):
            raise struct.error("it is shorter than it says")
        text, self._data = self._data[:size], self._data[size:]
        return text


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _blob(public: bytes) -> bytes:
    """A public key as SSH has it."""
    return _string(_KIND) + _string(public)
