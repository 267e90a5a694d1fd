"""One live server for all clients; real client libraries talk to it over loopback, unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live import LiveServer, live_server

MODEL = "scripted"
BODIES = Path(__file__).parent / "bodies"
"""What clients sent in earnest: a file a client and version, in it requests with their paths, long texts shortened."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request of a client's; `label` names the client."""

    label: str
    path: str
    body: dict[str, Any]


def recorded() -> list[Recorded]:
    """All of them, in order."""
    files = sorted(BODIES.glob("*.json"))
    return [Recorded(f"{file.stem}-{i}", **one) for file in files for i, one in enumerate(json.loads(file.read_text()))]


@pytest.fixture(autouse=True)
def no_settings_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients read these themselves; a developer's own must not reach the tests."""
    for name in ("OLLAMA_HOST", "OLLAMA_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY",
                 "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("clients"), rate_limit="", context=1024, vault_sync="written") as running:
        running.wait_ready()
        yield running


def records(server: LiveServer) -> list[dict[str, Any]]:
    """What the vault holds, oldest first."""
    log = Path(server.vault) / "log.jsonl"
    return [json.loads(line) for line in log.read_text("ascii").splitlines()]


def answers(server: LiveServer) -> list[dict[str, Any]]:
    """The recorded interactions."""
    return [record for record in records(server) if record["type"] == "interaction"]
