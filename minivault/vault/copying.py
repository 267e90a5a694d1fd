"""Copies of a vault for somebody elsewhere, each file encrypted to that one's key (age, X25519): `age -d` opens them.

The vault itself stays readable to the server, which searches, replays and redacts it. What is copied is what
`verify` needs: the log as it is at one moment, what was signed up to then, and the public key. Needs the extra `age`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from minivault.errors import BadRequest, ConfigError
from minivault.vault.disk import FILE_MODE, open_plain
from minivault.vault.head import CHECKPOINTS
from minivault.vault.log import Log
from minivault.vault.proof.heads import HEADS
from minivault.vault.proof.key import PUBLIC
from minivault.vault.proof.tree import TREE
from minivault.vault.rewrite import maintenance
from minivault.vault.segments import ACTIVE, sealed_segments

SUFFIX = ".age"
OF = "vault.id"
"""The file that says in the clear which vault a directory has a copy of, so that none takes the place of another."""
_UNFINISHED = ".tmp"
GROWING = (ACTIVE, CHECKPOINTS, HEADS, TREE, PUBLIC)


def copy_encrypted(log: Log, target: Path, recipients: list[str]) -> Iterator[str]:
    """Bring the directory `target` up to date, naming each file that was written.

    A sealed segment that is there and was not rewritten since (a redaction) is left; one that was pruned is removed.

    Raises BadRequest for a key that is none or a directory that holds anything else, ConfigError without the extra,
    OSError.
    """
    age, keys = _recipients(recipients)
    target.mkdir(mode=0o700, exist_ok=True)
    with maintenance(log.directory, log.disk):
        _claim(target, log.vault_id())
        with log.locked(), ExitStack() as opened:  # of what grows, all files as they are at one moment
            files = [(name, _opened(log.directory / name, opened)) for name in GROWING]
            growing = [(name, file.read()) for name, file in files if file is not None]
        here = {segment.path.name: segment.path for segment in sealed_segments(log.directory)}
        for copy in target.glob(f"log-*{SUFFIX}"):
            if copy.name.removesuffix(SUFFIX) not in here:
                copy.unlink()
        for name, path in here.items():
            time_ns = path.stat().st_mtime_ns
            if _time_ns(target / f"{name}{SUFFIX}") != time_ns:
                with os.fdopen(open_plain(path), "rb") as file:
                    _encrypt(age, keys, file, target / f"{name}{SUFFIX}", time_ns)
                yield name
    for name, data in growing:
        _encrypt(age, keys, io.BytesIO(data), target / f"{name}{SUFFIX}")
        yield name


def _claim(target: Path, vault: str) -> None:
    """See that a directory is empty or has a copy of this vault, and remove what a crash left of an earlier one."""
    mark = target / OF
    found = mark.read_text("ascii", "replace").strip() if mark.exists() else ""
    if not found:
        if any(path != mark for path in target.iterdir()):
            raise BadRequest(f"{target} holds other files than a copy; give a new directory", field="target")
        mark.write_text(f"{vault}\n", "ascii")
    elif found != vault:
        raise BadRequest(f"{target} holds a copy of another vault, {found[:40]}; give a new directory", field="target")
    for left in target.glob(f"*{SUFFIX}{_UNFINISHED}"):
        left.unlink()


def _recipients(texts: list[str]) -> tuple[Any, list[Any]]:
    try:
        import pyrage
    except ImportError:
        raise ConfigError("encryption needs an extra: pip install 'minivault[age]'", field="encrypt_to") from None
    try:
        return pyrage, [pyrage.x25519.Recipient.from_str(text.strip()) for text in texts]
    except pyrage.RecipientError:
        raise BadRequest("--encrypt-to is a public key of age, `age1…`; `age-keygen` makes one", field="to") from None


def _opened(path: Path, opened: ExitStack) -> IO[bytes] | None:
    try:
        return opened.enter_context(os.fdopen(open_plain(path), "rb"))
    except FileNotFoundError:
        return None


def _encrypt(age: Any, keys: list[Any], source: IO[bytes], target: Path, time_ns: int | None = None) -> None:
    """Put the encrypted file in its place, whole; `time_ns` is when its source was last written."""
    temporary = target.with_name(target.name + _UNFINISHED)
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
        age.encrypt_io(source, file, keys)
        file.flush()
        os.fsync(file.fileno())
    if time_ns is not None:
        os.utime(temporary, ns=(time_ns, time_ns))
    temporary.replace(target)


def _time_ns(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
