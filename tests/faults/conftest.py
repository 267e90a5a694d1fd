"""One server for all client faults: a single slot, few threads and short patience, so that each fault shows at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from minivault.app import create_app
from minivault.config import load_settings
from minivault.interaction import Recorder
from minivault.service import LocalModel, Roster
from tests.api.schema_client import SchemaClient
from tests.faults.raw import Target
from tests.live import NEVER_S, live_server
from tests.scripted import backend

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


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    directory = tmp_path_factory.mktemp("fuzz")
    env = {
        "MINIVAULT_HOME": str(directory / "home"),
        "MINIVAULT_LOG_DIR": str(directory / "vault"),
        "MINIVAULT_BACKEND": "tests.scripted:backend",
        "MINIVAULT_CONTEXT": "128",
        "MINIVAULT_RATE_LIMIT": "",
        "MINIVAULT_VAULT_SYNC": "async",
    }
    chosen = load_settings(env, directory / ".env")
    model = LocalModel(chosen, backend)
    recorder = Recorder(chosen, Roster(model))
    model.wait_loaded(30)
    app = create_app(chosen, recorder)
    app.test_client_class = SchemaClient
    yield app.test_client()
    model.close()
    recorder.close()
