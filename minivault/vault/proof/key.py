"""The signing key of a vault: made once, kept private, its public half beside it.

Keys and signatures are text: `ed25519:` and standard base64 of the raw bytes (RFC 8032).
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minivault.errors import VaultError
from minivault.vault.disk import Disk

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET = "vault.key"
PUBLIC = "vault.pub"
_PREFIX = "ed25519:"


def _text(data: bytes) -> str:
    return _PREFIX + base64.b64encode(data).decode("ascii")


def raw(text: str) -> bytes:
    """The bytes of a key or a signature. Raises ValueError."""
    return base64.b64decode(text.removeprefix(_PREFIX), validate=True)


def read_public(directory: Path) -> str:
    """The public key as `vault.pub` has it; empty where there is none."""
    try:
        return (directory / PUBLIC).read_bytes()[:200].decode("ascii", "replace").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key pair."""

    _private: Ed25519PrivateKey

    public: str
    """As `vault.pub` has it."""

    def sign(self, message: bytes) -> str:
        return _text(self._private.sign(message))

    @classmethod
    def of(cls, secret: bytes) -> SigningKey:
        """The key pair of 32 secret bytes. Raises ValueError."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        private = Ed25519PrivateKey.from_private_bytes(secret)
        return cls(private, _text(private.public_key().public_bytes_raw()))

    @classmethod
    def load(cls, directory: Path) -> SigningKey | None:
        """The vault's key; None where there is no file. Raises VaultError for one that is no key, OSError."""
        try:
            fd = os.open(directory / SECRET, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            text = file.read(1024).decode("ascii", "replace").strip()
        try:
            return cls.of(raw(text))
        except ValueError:
            raise VaultError(f"{directory / SECRET} is not a signing key") from None

    @classmethod
    def create(cls, directory: Path, disk: Disk) -> SigningKey:
        """Make the vault's key; the caller holds the vault's lock."""
        secret = os.urandom(32)
        key = cls.of(secret)
        disk.replace(directory / PUBLIC, f"{key.public}\n".encode())
        disk.replace(directory / SECRET, f"{_text(secret)}\n".encode())
        return key
