"""What tests of witnesses share: asking one, by calls and over the wire."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minivault.cli.witness import serving
from minivault.vault.archive import Archive
from minivault.vault.proof.asking import cosignature
from minivault.vault.proof.witness import Witness

NOW = 1_795_000_000


def witness_of(archive: Archive, directory: Path, name: str) -> Witness:
    with archive.proving() as prover:
        return Witness(directory, name, [prover.verifier_key], lambda: NOW)


def request(archive: Archive, old: int) -> bytes:
    with archive.proving() as prover:
        return prover.consistency(old).encode()


def size_of(archive: Archive) -> int:
    with archive.proving() as prover:
        return prover.signed.head.size


@contextmanager
def listening(witness: Witness) -> Iterator[str]:
    with serving(witness, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def cosign(archive: Archive, url: str, vkey: str) -> None:
    archive.add_cosignatures(*cosignature(archive.proving, url, vkey))
