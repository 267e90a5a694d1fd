"""A vault in a fresh directory, things to put in it, and a check that nothing is left running or open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.rewrite import compress_segments
from tests.live import GUARD_S
from tests.vault.samples import Clock, ask


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Every test closes its vaults: no thread and no descriptor outlives it."""
    before, others = open_files(), set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - others:
        if thread.name.startswith("vault-"):
            thread.join(GUARD_S)
            assert not thread.is_alive(), thread.name
    assert open_files() <= before


def open_files() -> int:
    """How many descriptors of regular files this process holds."""
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += fd.readlink().is_file() and "vault" in str(fd.readlink())
    return count


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "vault"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_vault(directory: Path) -> Iterator[Callable[..., Vault]]:
    """Opens vaults that are closed at the end, whatever happened."""
    vaults: list[Vault] = []

    def make(**options: Any) -> Vault:
        options.setdefault("sync", "written")
        vaults.append(Vault.open(options.pop("at", directory), **options))
        return vaults[-1]

    yield make
    for vault in vaults:
        vault.close(5)


@pytest.fixture
def vault(make_vault: Callable[..., Vault]) -> Vault:
    return make_vault()


@pytest.fixture
def ids(make_vault: Callable[..., Vault], directory: Path) -> list[str]:
    """Twelve interactions over several compressed segments, by id."""
    vault = make_vault(segment_bytes=3000)
    found = [ask(vault, f"prompt {number}", f"answer {number}", key=f"k{number % 2}")[0] for number in range(12)]
    vault.close()
    compress_segments(directory)
    assert len(list(directory.glob("log-*.gz"))) >= 3
    return found


@pytest.fixture
def archive(ids: list[str], directory: Path) -> Iterator[Archive]:
    with Archive(directory, by="tester (uid 1)") as archive:
        yield archive
