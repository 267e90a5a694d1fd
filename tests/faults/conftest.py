"""One server for all client faults: a single slot, few threads and short patience, so that each fault shows at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.raw import Target
from tests.live import NEVER_S, live_server

RECEIVE_TIMEOUT_S = 1.5


@contextmanager
def single_slot(directory: Path, patience_s: float) -> Iterator[Target]:
    with live_server(
        directory,
        max_running=1,
        max_waiting=8,
        threads=16,
        context=4096,
        receive_timeout_s=patience_s,
        send_timeout_s=patience_s,
        rate_limit="",
    ) as server:
        server.wait_ready()
        yield Target(server)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with single_slot(tmp_path_factory.mktemp("faults"), RECEIVE_TIMEOUT_S) as target:
        yield target


@pytest.fixture(scope="session")
def shared_patient_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with single_slot(tmp_path_factory.mktemp("patient"), NEVER_S) as target:
        yield target


@pytest.fixture
def target(shared_server: Target) -> Iterator[Target]:
    """The shared server; after each test it must be idle, healthy and still the same process."""
    with unharmed(shared_server):
        yield shared_server


@pytest.fixture
def patient(shared_patient_server: Target) -> Iterator[Target]:
    """The same, but it never gives up a client: who is served is served beside those who stall, not after them."""
    with unharmed(shared_patient_server):
        yield shared_patient_server


@contextmanager
def unharmed(target: Target) -> Iterator[None]:
    workers = target.server.workers()
    yield
    target.wait_idle()
    assert target.answer("say fine") == "fine"
    assert target.server.workers() == workers
