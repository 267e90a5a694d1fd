from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from minivault.config import Settings, load_settings
from tests.api.serving import serving
from tests.talk.backend import backend


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    env = {
        "MINIVAULT_HOME": str(tmp_path / "home"),
        "MINIVAULT_LOG_DIR": str(tmp_path / "vault"),
        "MINIVAULT_CONTEXT": "512",
    }
    return load_settings(env, tmp_path / ".env")


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    with serving(settings, backend) as app:
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
