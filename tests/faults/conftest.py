"""One server for all client faults: a single slot, few threads and short patience, so that each fault shows at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.raw import Target
from tests.live import live_server

RECEIVE_TIMEOUT_S = 1.5


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with live_server(
        tmp_path_factory.mktemp("faults"),
        max_running=1,
        max_waiting=8,
        threads=16,
        context=4096,
        receive_timeout_s=RECEIVE_TIMEOUT_S,
        send_timeout_s=RECEIVE_TIMEOUT_S,
        rate_limit="",
    ) as server:
        server.wait_ready()
        yield Target(server)


@pytest.fixture
def target(shared_server: Target) -> Iterator[Target]:
    """The shared server; after each test it must be idle, healthy and still the same process."""
    workers = shared_server.server.workers()
    yield shared_server
    shared_server.wait_idle()
    assert shared_server.answer("say fine") == "fine"
    assert shared_server.server.workers() == workers
