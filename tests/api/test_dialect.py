"""What makes a dialect: the value it is described by, a blueprint that carries it, and its name in the factory."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

import minivault.app
from minivault.access.keys import KeyFile, NewKey
from minivault.api.dialect import DialectBlueprint
from minivault.config import Settings
from minivault.errors import Forbidden
from minivault.interaction import Recorder
from minivault.wire.dialect import Dialect, Operation, shown


def encode_error(error: Exception, request_id: str) -> dict[str, Any]:
    return {"oops": shown(error).message, "id": request_id}


TOY = Dialect(
    name="toy",
    about="A toy.",
    encode_error=encode_error,
    operations=(Operation("get", "/toy/ball", "Roll"),),
    prefix="/toy",
    key_headers=("X-Toy-Key", "Authorization"),
)


@pytest.fixture
def app(app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """The server with one dialect more."""
    bp = DialectBlueprint(TOY, __name__)
    bp.get("/ball")(lambda: {"rolls": True})
    bp.get("/car")(_refuse)
    monkeypatch.setattr(minivault.app, "DIALECTS", (*minivault.app.DIALECTS, bp))
    recorder: Recorder = app.extensions["minivault"]
    return minivault.app.create_app(settings, recorder)


def _refuse() -> None:
    raise Forbidden("no driving")


def test_its_errors_are_in_its_words_with_and_without_a_route(app: Flask) -> None:
    client = app.test_client()
    refused = client.get("/toy/car")
    assert refused.get_json() == {"oops": "no driving", "id": refused.headers["X-Request-Id"]}
    assert client.get("/toy/nothing").get_json()["oops"] == "there is no /toy/nothing here"
    assert client.delete("/toy/ball").get_json()["oops"] == "/toy/ball does not take DELETE"
    assert "error" in client.get("/toys").get_json()


def test_its_routes_are_for_users_and_read_the_key_where_it_says(app: Flask, settings: Settings) -> None:
    keys = {role: KeyFile(settings.keys_file).create(NewKey(role, role=role))[0][1] for role in ("use", "audit")}
    client = app.test_client()
    statuses = {role: client.get("/toy/ball", headers={"X-Toy-Key": key}).status_code for role, key in keys.items()}
    assert statuses == {"use": 200, "audit": 403}
    assert client.get("/toy/ball", headers={"Authorization": f"Bearer {keys['use']}"}).status_code == 200
    assert client.get("/toy/ball").status_code == 401
    for path in ("/toy/nothing", "/health", "/api/tags", "/v1/models"):
        assert client.get(path, headers={"X-Toy-Key": keys["use"]}).status_code == 401, "no other route reads it there"


def test_it_is_published_under_its_name(app: Flask) -> None:
    document = app.test_client().get("/openapi.json").get_json()
    assert document["paths"]["/toy/ball"]["get"]["tags"] == ["toy"]
    assert {"name": "toy", "description": "A toy."} in document["tags"]
