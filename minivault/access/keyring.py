"""Who holds a valid key, as the server sees it: the key file, read again whenever it changes.

Each check costs one `stat`, so a revocation counts from the next request on, in every worker, without a restart. It
fails closed: a damaged file admits nobody, and a file that vanishes under a running server does not open it.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from minivault.access.keys import TOKEN, Key, KeyFile, digest
from minivault.errors import ConfigError, Unavailable

_Stamp = tuple[int, int, int]
_NO_FILE: _Stamp = (0, 0, 0)
_DUMMY = "0" * 64


class Keyring:
    """Checks tokens against the key file at `path`; safe to use from any thread."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._file = KeyFile(path)
        self._clock = clock
        self._lock = threading.Lock()
        self._stamp: _Stamp | None = None
        self._keys: Mapping[str, Key] = {}
        self._has_had_keys = False

    @property
    def is_locked(self) -> bool:
        """True when a key is needed: the file holds a key, even a revoked one, or did so earlier in this process."""
        self._refresh()
        return self._has_had_keys

    @property
    def has_valid_key(self) -> bool:
        """True when at least one key would be accepted now."""
        now = self._clock()
        return any(key.is_valid_at(now) for key in self._refresh().values())

    def find(self, token: str) -> Key | None:
        """The valid key that `token` is, or None. Takes as long for an unknown id as for a wrong secret."""
        keys = self._refresh()
        match = TOKEN.fullmatch(token)
        key_id, secret = match.groups() if match else ("", token)
        key = keys.get(key_id)
        is_equal = hmac.compare_digest(digest(secret), key.sha256 if key else _DUMMY)
        return key if key is not None and is_equal and key.is_valid_at(self._clock()) else None

    def named(self, key_id: str) -> Key | None:
        """The valid key of this id, for whoever has shown its secret before; None where it is valid no more."""
        key = self._refresh().get(key_id)
        return key if key is not None and key.is_valid_at(self._clock()) else None

    def _refresh(self) -> Mapping[str, Key]:
        stamp = self._current_stamp()
        if stamp != self._stamp:
            with self._lock:
                self._load(stamp)
        return self._keys

    def _load(self, stamp: _Stamp) -> None:
        try:
            self._keys = self._file.read()
        except ConfigError as error:
            self._keys, self._stamp, self._has_had_keys = {}, None, True
            raise Unavailable(f"no key can be checked: {error.message}") from None
        self._stamp = stamp
        self._has_had_keys = self._has_had_keys or bool(self._keys)

    def _current_stamp(self) -> _Stamp:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return _NO_FILE
        except OSError as error:
            raise Unavailable(f"no key can be checked: {type(error).__name__}") from None
        return status.st_ino, status.st_mtime_ns, status.st_size
