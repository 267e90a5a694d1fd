"""A witness that knows the vault's key, called or over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from minivault.vault.archive import Archive
from minivault.vault.proof.witness import Witness
from tests.vault.proof.witnessing import listening, witness_of


@pytest.fixture
def witness(archive: Archive, tmp_path: Path) -> Witness:
    return witness_of(archive, tmp_path / "w1", "example.org/w1")


@pytest.fixture
def url(witness: Witness) -> Iterator[str]:
    with listening(witness) as url:
        yield url
