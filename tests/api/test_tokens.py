"""Tokens for those who count: what an answer would follow, in the shapes of vLLM and of llama-server."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient

from minivault.config import Settings
from minivault.service.tokens import LocalTokens
from tests.api.records import records
from tests.engine.scripted import BOS
from tests.engine.scripted import ByteTokenizer as Begun
from tests.scripted import CONTROL_TEXT, EOS


def test_a_prompt_is_answered_in_the_shape_of_vllm(client: FlaskClient) -> None:
    reply = client.post("/tokenize", json={"model": "scripted", "prompt": "Hé", "return_token_strs": True}).get_json()
    assert reply == {
        "count": 3,
        "max_model_len": 512,
        "tokens": [72, 195, 169],
        "token_strs": ["H", "\ufffd", "\ufffd"],
    }
    assert client.post("/tokenize", json={"prompt": "x" * 600}).get_json()["count"] == 600


def test_content_is_answered_in_the_shape_of_llama_server(client: FlaskClient) -> None:
    assert client.post("/tokenize", json={"content": "Hi"}).get_json() == {"tokens": [72, 105]}
    assert client.post("/tokenize", json={"content": ""}).get_json() == {"tokens": []}
    reply = client.post("/tokenize", json={"content": "é", "with_pieces": True}).get_json()
    assert reply == {"tokens": [{"id": 195, "piece": [195]}, {"id": 169, "piece": [169]}]}


def test_a_conversation_has_the_tokens_that_its_answer_follows(client: FlaskClient, settings: Settings) -> None:
    chat = {"model": "scripted", "messages": [{"role": "user", "content": "say x"}], "temperature": 0, "n": 2}
    counted = client.post("/tokenize", json=chat).get_json()
    assert client.post("/v1/chat/completions", json=chat).status_code == 200
    read = [record["prompt_tokens"] for record in records(settings)]
    assert read == [counted["tokens"]] * 2  # and counting left no record


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, None),
        ({"prompt": "x", "content": "x"}, None),
        ({"prompt": 5}, "prompt"),
        ({"prompt": "x", "no_such_field": 1}, "no_such_field"),
        ({"content": "x", "parse_special": False}, "parse_special"),
        ({"prompt": "x", "model": "other"}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}], "add_special_tokens": True}, "add_special_tokens"),
        ({"messages": [{"role": "user", "content": "x"}], "add_generation_prompt": False}, "add_generation_prompt"),
    ],
)
def test_what_cannot_be_counted_is_refused_by_name(client: FlaskClient, body: dict[str, Any], field: str) -> None:
    response = client.post("/tokenize", json=body)
    assert response.status_code in (400, 404)
    assert response.get_json()["error"]["field"] == field


def test_tokens_are_text_again_under_both_names(client: FlaskClient) -> None:
    tokens = [*"Hé!".encode(), EOS]
    reply = client.post("/detokenize", json={"tokens": tokens}).get_json()
    assert reply == {"prompt": f"Hé!{CONTROL_TEXT}", "content": f"Hé!{CONTROL_TEXT}"}
    for bad in ([257], [-1], ["x"], [True], "x"):
        response = client.post("/detokenize", json={"tokens": bad})
        assert response.status_code == 400
        assert response.get_json()["error"]["field"].startswith("tokens")


def test_what_belongs_around_a_text_is_added_where_it_is_asked_for() -> None:
    tokens = LocalTokens(Begun())
    assert tokens.of_text("x", add_special=True, parse_special=True) == (BOS, 120)
    assert tokens.of_text("x", add_special=True, parse_special=False) == (BOS, 120)
    assert tokens.of_text("x", add_special=False, parse_special=True) == (120,)


@pytest.mark.parametrize("name", ["scripted", "scripted:latest", "Scripted", quote("scripted:latest", safe="")])
def test_a_model_is_found_by_every_spelling_of_its_name_and_tells_its_context(client: FlaskClient, name: str) -> None:
    model = client.get(f"/v1/models/{name}").get_json()
    assert (model["max_model_len"], model["context_length"]) == (512, 512)


def test_a_model_of_no_such_name_is_not_found(app: Flask) -> None:
    for name in ("org%2Fname", "org/name", "scripted:7b", "%20"):
        assert app.test_client().get(f"/v1/models/{name}").status_code == 404
