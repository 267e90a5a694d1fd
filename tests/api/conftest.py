from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from minivault.app import create_app
from minivault.config import Settings, load_settings
from minivault.interaction import Recorder
from minivault.service import LocalModel, Roster
from tests.api.schema_client import SchemaClient
from tests.scripted import backend


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    env = {
        "MINIVAULT_HOME": str(tmp_path / "home"),
        "MINIVAULT_LOG_DIR": str(tmp_path / "vault"),
        "MINIVAULT_BACKEND": "tests.scripted:backend",
        "MINIVAULT_MAX_RUNNING": "4",
        "MINIVAULT_MAX_WAITING": "2",
        "MINIVAULT_CONTEXT": "512",
    }
    return load_settings(env, tmp_path / ".env")


@pytest.fixture
def app(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Flask]:
    """Serves `tests.scripted:backend`, or what a test gives as the fixture's parameter."""
    model = LocalModel(settings, getattr(request, "param", backend))
    recorder = Recorder(settings, Roster(model))
    model.wait_loaded(30)
    app = create_app(settings, recorder)
    app.test_client_class = SchemaClient
    yield app
    model.close()
    recorder.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
