"""What is done for the vault beside writing in it: no answer depends on it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from minivault.vault import Vault
from tests.vault.samples import ask, check


def test_without_a_thread_for_it_segments_stay_uncompressed_until_there_is_one(
    make_vault: Callable[..., Vault],
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start = threading.Thread.start

    def start_others(thread: threading.Thread) -> None:
        if thread.name == "vault-upkeep":
            raise RuntimeError("can't start new thread")
        start(thread)

    vault = make_vault(segment_bytes=2500)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_others)
        for _ in range(8):
            ask(vault)
    assert "waits until it is due again" in caplog.text
    assert not list(directory.glob("log-*.gz"))
    for _ in range(4):
        ask(vault)
    vault.close(5)
    assert list(directory.glob("log-*.gz"))
    assert check(directory).exit_code == 0
