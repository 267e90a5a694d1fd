from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from minivault.config import Settings, load_settings
from tests.api.serving import serving
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
    with serving(settings, getattr(request, "param", backend)) as app:
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
