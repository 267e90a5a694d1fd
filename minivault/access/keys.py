"""API keys and the file they live in.

A key is `mv_<id>_<secret>` with a 256-bit random secret. It is shown once; the file keeps its SHA-256 (a fast hash is
right for a random secret of this size: there is nothing to guess). The file is JSON, mode 0600, replaced whole by
rename under a lock, so that a reader sees the old list or the new one and two writers never lose a key.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from minivault.access.roles import ROLES, Role
from minivault.errors import ConfigError, NotFound

TOKEN = re.compile(r"mv_([a-z0-9]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,100}")
_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Key:
    """One key as it is kept. Times are Unix seconds; `rate` and `tokens_per_day` override the server's limits."""

    id: str
    name: str
    role: Role
    sha256: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    rate: str | None = None
    tokens_per_day: int | None = None

    def is_valid_at(self, now: float) -> bool:
        """True unless revoked or expired at `now` (Unix seconds)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class NewKey:
    """What to put on a key that does not exist yet."""

    name: str
    role: Role = "use"
    expires_at: int | None = None
    rate: str | None = None
    tokens_per_day: int | None = None


def digest(secret: str) -> str:
    """SHA-256 of a key's secret part as hex digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


class KeyFile:
    """The list of keys on disk. Every method reads the file anew; `clock` gives Unix seconds."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock

    def read(self) -> dict[str, Key]:
        """All keys by id, revoked ones included; empty when there is no file.

        Raises ConfigError when the file is not a key list or may be written by other users.
        """
        try:
            with self._path.open("rb") as file:
                self._ensure_private(os.fstat(file.fileno()).st_mode)
                return _decode(file.read())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{self._path} cannot be read as a key list: {type(error).__name__}") from None

    def ids_of(self, name_or_id: str) -> tuple[str, ...]:
        """The ids of every key, past ones included, that has this name or id; what no list knows may still be an id."""
        found = (key.id for key in self.read().values() if name_or_id in (key.id, key.name))
        return tuple(found) or (name_or_id,)

    def create(self, *news: NewKey) -> list[tuple[Key, str]]:
        """Add keys, all or none, and return each with its token, which is kept nowhere else.

        Raises ConfigError for a name that a valid key already has, or that cannot be printed.
        """
        with self._edit() as keys:
            created = []
            for new in news:
                self._ensure_free(new.name, keys)
                key, token = _mint(new, int(self._clock()), keys)
                keys[key.id] = key
                created.append((key, token))
        return created

    def revoke(self, name_or_id: str) -> Key:
        """Make one key invalid for good. Raises NotFound when no valid key has this name or id."""
        with self._edit() as keys:
            key = replace(self._find(name_or_id, keys), revoked_at=int(self._clock()))
            keys[key.id] = key
        return key

    def rotate(self, name_or_id: str) -> tuple[Key, str]:
        """Give one key a new secret under the same id; the old secret is invalid at once."""
        with self._edit() as keys:
            secret = secrets.token_urlsafe(32)
            key = replace(self._find(name_or_id, keys), sha256=digest(secret))
            keys[key.id] = key
        return key, f"mv_{key.id}_{secret}"

    def _ensure_private(self, mode: int) -> None:
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigError(f"{self._path} may be written by other users; run: chmod 600 {self._path}")

    def _ensure_free(self, name: str, keys: Mapping[str, Key]) -> None:
        if not _NAME.fullmatch(name) or name != name.strip():
            raise ConfigError(f"{name!r} is not a key name: 1 to 100 printable characters", field="name")
        if any(key.name == name and key.is_valid_at(self._clock()) for key in keys.values()):
            raise ConfigError(f"a key named {name!r} exists; rotate or revoke it first", field="name")

    def _find(self, name_or_id: str, keys: Mapping[str, Key]) -> Key:
        for key in keys.values():
            if key.revoked_at is None and name_or_id in (key.id, key.name):
                return key
        raise NotFound(f"there is no valid key {name_or_id!r}; `minivault keys list` shows them", field="name")

    @contextmanager
    def _edit(self) -> Iterator[dict[str, Key]]:
        """The keys, to change in place; written back when the block ends without an error."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self.read()
            yield keys
            _replace_file(self._path, _encode(keys))
        finally:
            os.close(lock)


def _mint(new: NewKey, now: int, taken: Mapping[str, Key]) -> tuple[Key, str]:
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(12))
    if key_id in taken:
        return _mint(new, now, taken)
    secret = secrets.token_urlsafe(32)
    key = Key(
        id=key_id,
        name=new.name,
        role=new.role,
        sha256=digest(secret),
        created_at=now,
        expires_at=new.expires_at,
        rate=new.rate,
        tokens_per_day=new.tokens_per_day,
    )
    return key, f"mv_{key_id}_{secret}"


def _encode(keys: Mapping[str, Key]) -> bytes:
    return json.dumps({"version": _VERSION, "keys": [asdict(key) for key in keys.values()]}, indent=1).encode() + b"\n"


def _decode(data: bytes) -> dict[str, Key]:
    document = json.loads(data)
    if document["version"] != _VERSION:
        raise ValueError("unknown version")
    keys = (_decode_key(entry) for entry in document["keys"])
    return {key.id: key for key in keys}


def _decode_key(entry: dict[str, Any]) -> Key:
    key = Key(**entry)
    if key.role not in ROLES or not re.fullmatch("[0-9a-f]{64}", key.sha256):
        raise ValueError("not a key")
    if key.rate:
        from minivault.access.rates import parse_limit

        parse_limit(key.rate)
    return key


def _replace_file(path: Path, data: bytes) -> None:
    """Replace `path` as a whole: after a crash it holds the old bytes or the new ones."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
