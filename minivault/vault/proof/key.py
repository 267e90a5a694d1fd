"""The signing key of a vault: made once, kept private, its public half beside it, or held by an ssh-agent.

Keys and signatures are text: `ed25519:` and standard base64 of the raw bytes (RFC 8032).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minivault.errors import VaultError
from minivault.vault.disk import Disk, open_plain
from minivault.vault.proof.agent import AgentSigner, fingerprint_of

SECRET = "vault.key"
PUBLIC = "vault.pub"
_PREFIX, AGENT = "ed25519:", "ssh-agent:"


def _text(data: bytes) -> str:
    return _PREFIX + base64.b64encode(data).decode("ascii")


def raw(text: str) -> bytes:
    """The bytes of a key or a signature. Raises ValueError."""
    return base64.b64decode(text.removeprefix(_PREFIX), validate=True)


def read_public(directory: Path) -> str:
    """The public key: the half of the secret one, or as `vault.pub` has it where an agent holds that; empty where there
    is none. A `vault.pub` that was damaged is no other key."""
    try:
        key = SigningKey.load(directory)
    except VaultError:
        key = None
    return _written(directory) if key is None else key.public


def _written(directory: Path) -> str:
    try:
        return (directory / PUBLIC).read_bytes()[:200].decode("ascii", "replace").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """An Ed25519 key pair, of which the secret half may be with an ssh-agent."""

    _sign: Callable[[bytes], bytes]

    public: str
    """As `vault.pub` has it."""
    _secret: str
    """As `vault.key` has it: the secret itself, or who holds it."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether an agent holds it."""
        return self._secret.startswith(AGENT)

    def sign(self, message: bytes) -> str:
        """Raises VaultError where an agent holds the key and does not sign."""
        return _text(self._sign(message))

    @classmethod
    def of(cls, secret: bytes) -> SigningKey:
        """The key pair of 32 secret bytes. Raises ValueError."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        private = Ed25519PrivateKey.from_private_bytes(secret)
        return cls(private.sign, _text(private.public_key().public_bytes_raw()), _text(secret))

    @classmethod
    def of_new(cls) -> SigningKey:
        """A new key pair."""
        return cls.of(os.urandom(32))

    @classmethod
    def load(cls, directory: Path) -> SigningKey | None:
        """The vault's key; None where there is no file. Raises VaultError for one that is no key."""
        try:
            with os.fdopen(open_plain(directory / SECRET), "rb") as file:
                text = file.read(1024).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise VaultError(f"{directory / SECRET} cannot be read: {error.strerror}") from None
        try:
            if not text.startswith(AGENT):
                return cls.of(raw(text))
            public = raw(_written(directory))
        except ValueError:
            raise VaultError(f"{directory / SECRET} is not a signing key") from None
        if AGENT + fingerprint_of(public) != text:
            raise VaultError(f"{directory / PUBLIC} is not the key that signs, which is {text[:100]}")
        return agent_key(public)

    @classmethod
    def create(cls, directory: Path, disk: Disk) -> SigningKey:
        """Make the vault's key; the caller holds the vault's lock."""
        key = cls.of_new()
        key.save(directory, disk)
        return key

    def save(self, directory: Path, disk: Disk) -> None:
        """Make it the vault's key; the caller holds the vault's lock."""
        disk.replace(directory / PUBLIC, f"{self.public}\n".encode())
        disk.replace(directory / SECRET, f"{self._secret}\n".encode())


def agent_key(public: bytes) -> SigningKey:
    """The key pair whose secret half is with the ssh-agent."""
    return SigningKey(AgentSigner(public), _text(public), AGENT + fingerprint_of(public))
