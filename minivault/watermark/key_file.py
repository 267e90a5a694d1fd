"""The file that a mark's key is in: 32 bytes as hex, as base64 or raw, which nobody else may read."""

from __future__ import annotations

import base64
import binascii
import errno
import os
import re
import stat
from pathlib import Path

from minivault.errors import ConfigError
from minivault.watermark.mark import KEY_BYTES, Mark

_MAX_BYTES = 1024
_HEX = re.compile(rb"[0-9A-Fa-f]{64}")


def read_mark(path: Path, field: str) -> Mark:
    """The mark whose key is in a file. Raises ConfigError, which names `field` and what to do, for a file that cannot
    be read, that other users may read or change, or that holds no key."""
    try:
        mode, data = _read(path)
    except OSError as error:
        raise ConfigError(f"{field}={str(path)!r} cannot be read: {error.strerror or error}", field=field) from None
    if mode & (stat.S_IWGRP | stat.S_IRWXO):
        raise ConfigError(f"{field}: other users may read or change {path}; run: chmod 600 {path}", field=field)
    secret = _secret(data)
    if secret is None:
        message = (
            f"{field}: {path} holds no key: 32 bytes are wanted, as hex, base64 or raw; "
            "`minivault keys watermark FILE` makes one"
        )
        raise ConfigError(message, field=field)
    return Mark(secret)


def create_key(path: Path) -> Mark:
    """A new key in a new file. Raises OSError, FileExistsError where there is one."""
    mark = Mark(os.urandom(KEY_BYTES))
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(mark.secret.hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return mark


def _read(path: Path) -> tuple[int, bytes]:
    """A file's mode and the beginning of what is in it. A pipe is not waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return mode, os.read(fd, _MAX_BYTES)
    finally:
        os.close(fd)


def _secret(data: bytes) -> bytes | None:
    """The key that a file's bytes are, None where they are none."""
    if len(data) == KEY_BYTES:
        return data
    text = data.strip()
    if _HEX.fullmatch(text):
        return bytes.fromhex(text.decode("ascii"))
    try:
        secret = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return secret if len(secret) == KEY_BYTES else None
