"""Several models in one server: listed, chosen by `model` in every dialect, loaded on demand, kept as it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from minivault.app import create_app
from minivault.config import Settings
from minivault.interaction import Recorder
from minivault.replay import replay
from minivault.wire.ollama.models import FOR_EVER
from tests.api.records import records
from tests.api.schema_client import SchemaClient
from tests.several import roster

MESSAGES = [{"role": "user", "content": "say x"}]
CALLS: dict[str, dict[str, Any]] = {
    "/generate": {"prompt": "say x"},
    "/stream-generate": {"prompt": "say x"},
    "/api/chat": {"messages": MESSAGES},
    "/api/generate": {"prompt": "say x"},
    "/api/embed": {"input": "x"},
    "/api/embeddings": {"prompt": "x"},
    "/v1/completions": {"prompt": "say x"},
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/responses": {"input": "say x"},
    "/v1/embeddings": {"input": "x"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 9},
}


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """Serves `one`, which is loaded, and `two`, of which only one fits into memory."""
    models = roster(settings, "one", "two")
    recorder = Recorder(settings, models)
    models.default.wait_loaded(90)
    app = create_app(settings, recorder)
    app.test_client_class = SchemaClient
    yield app
    models.close()
    recorder.close()


def states(client: FlaskClient) -> dict[str, str]:
    return {model["name"]: model["state"] for model in client.get("/health").get_json()["models"]}


@pytest.mark.parametrize("path", CALLS)
def test_every_dialect_finds_a_model_by_its_name_and_loads_it(app: Flask, settings: Settings, path: str) -> None:
    client = app.test_client()
    assert states(client) == {"one": "ready", "two": "unloaded"}
    reply = client.post(path, json={"model": "two", **CALLS[path]}, buffered=True)
    assert reply.status_code == 200, reply.text
    assert states(client) == {"one": "resting", "two": "ready"}
    (record,) = records(settings)
    assert (record["model"], record["fingerprint"]) == ("two", "mv2:two")


def test_lists_name_all_models_whether_they_are_loaded_or_not(app: Flask) -> None:
    client = app.test_client()
    assert [model["id"] for model in client.get("/v1/models").get_json()["data"]] == ["one", "two"]
    assert [model["name"] for model in client.get("/api/tags").get_json()["models"]] == ["one:latest", "two:latest"]
    assert [model["name"] for model in client.get("/api/ps").get_json()["models"]] == ["one:latest"]
    assert client.post("/api/show", json={"model": "two"}).status_code == 200
    assert client.get("/v1/models/two").status_code == 200
    assert states(client) == {"one": "ready", "two": "unloaded"}, "looking loads nothing"


def test_who_names_no_model_gets_the_first(app: Flask, settings: Settings) -> None:
    client = app.test_client()
    client.post("/generate", json={"prompt": "say x", "model": "two"})
    assert client.get("/ready").status_code == 200, "a request would be served, since it waits for its model"
    assert client.get("/health").get_json()["status"] == "ok"
    client.post("/generate", json={"prompt": "say x"})
    assert [record["model"] for record in records(settings)] == ["two", "one"]


def test_an_unknown_name_is_refused_with_all_that_there_are(app: Flask) -> None:
    reply = app.test_client().post("/generate", json={"prompt": "x", "model": "three"})
    assert reply.status_code == 404
    assert "this server runs 'one', 'two'" in reply.get_json()["error"]["message"]


def test_ollama_loads_and_unloads_on_request(app: Flask) -> None:
    client = app.test_client()
    loaded = client.post("/api/generate", json={"model": "two", "stream": False}).get_json()
    assert (loaded["done"], loaded["done_reason"]) == (True, "load")
    assert states(client) == {"one": "resting", "two": "ready"}
    gone = client.post("/api/chat", json={"model": "two", "messages": [], "keep_alive": 0, "stream": False}).get_json()
    assert gone["done_reason"] == "unload"
    assert states(client) == {"one": "resting", "two": "resting"}
    client.post("/api/generate", json={"model": "one", "keep_alive": 0, "stream": False})
    assert states(client)["one"] == "resting", "to unload one does not load it"
    assert client.get("/api/ps").get_json() == {"models": []}


def test_ollama_keeps_a_model_as_long_as_it_is_asked(app: Flask) -> None:
    client = app.test_client()

    def expires(**asked: object) -> str:
        client.post("/api/generate", json={"model": "one", "prompt": "say x", "stream": False, **asked})
        (model,) = client.get("/api/ps").get_json()["models"]
        return str(model["expires_at"])

    assert expires() == FOR_EVER
    assert expires(keep_alive=-1) == FOR_EVER
    assert expires(keep_alive="-1m") == FOR_EVER
    assert expires(keep_alive="48h") > expires(keep_alive="1h")
    assert expires(keep_alive=1e300) == FOR_EVER
    refused = client.post("/api/generate", json={"model": "one", "prompt": "x", "keep_alive": "soon"})
    assert refused.status_code == 400
    assert "keep_alive" in refused.get_json()["error"]


def test_each_record_is_replayed_with_the_model_that_made_it(app: Flask, settings: Settings) -> None:
    client = app.test_client()
    for name in ("one", "two", "one"):
        client.post("/generate", json={"prompt": f"say {name}", "model": name})
    models = app.extensions["minivault"].roster
    for record in records(settings):
        (verdict,) = replay(models.of_record(record), [record], 1)
        assert (verdict.outcome, verdict.num_tokens) == ("identical", 4)
