"""The application around a model in this process, whose replies are held to the published document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from minivault.app import create_app
from minivault.config import Settings
from minivault.interaction import Recorder
from minivault.service import LocalModel, Roster
from minivault.service.backends import Backend
from tests.api.schema_client import SchemaClient


@contextmanager
def serving(settings: Settings, backend: Backend) -> Iterator[Flask]:
    """It serves what `backend` loads."""
    model = LocalModel(settings, backend)
    recorder = Recorder(settings, Roster(model))
    model.wait_loaded(30)
    app = create_app(settings, recorder)
    app.test_client_class = SchemaClient
    yield app
    model.close()
    recorder.close()
