"""Scored prompts over HTTP: what a client reads and what the vault keeps, on a model that expects what it is told."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from minivault.config import Settings
from tests.api.records import records
from tests.api.test_openai import chunks


def complete(client: FlaskClient, prompt: object, **fields: object) -> Any:
    return client.post("/v1/completions", json={"model": "scripted", "prompt": prompt, **fields})


@pytest.mark.parametrize("prompt", ["say Hé", list("say Hé".encode()), [list("say Hé".encode())]])
@pytest.mark.parametrize("max_tokens", [0, 1])
def test_echo_with_logprobs_scores_every_token(
    client: FlaskClient, settings: Settings, prompt: object, max_tokens: int
) -> None:
    """As lm-eval reads it: one entry a token, those of the prompt first, then the generated one, whatever it is."""
    reply = complete(client, prompt, echo=True, logprobs=1, max_tokens=max_tokens, temperature=0).get_json()
    (choice,) = reply["choices"]
    found = choice["logprobs"]
    assert choice["text"] == "say Hé" + "H" * max_tokens
    assert [len(found[name]) for name in ("tokens", "token_logprobs", "top_logprobs")] == [7 + max_tokens] * 3
    assert found["tokens"][:5] == ["s", "a", "y", " ", "H"]
    assert found["text_offset"] == [0, 1, 2, 3, 4, 5, 5, 6][: 7 + max_tokens]
    assert found["token_logprobs"][0] is found["top_logprobs"][0] is None
    pairs = zip(found["top_logprobs"][1:], found["token_logprobs"][1:], strict=True)
    assert all(max(top.values()) >= one for top, one in pairs)
    assert choice["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == max_tokens
    (record,) = records(settings)
    assert record["parameters"]["prompt_logprobs"] == 1
    assert record["scores"].startswith("sha256:")


def test_an_end_that_is_no_text_has_its_entry(client: FlaskClient) -> None:
    """lm-eval drops the last entry as the generated one; without it, it would drop the last token of the prompt."""
    (choice,) = complete(client, "say ", echo=True, logprobs=1, max_tokens=1).get_json()["choices"]
    assert choice["text"] == "say "
    assert choice["logprobs"]["tokens"] == ["s", "a", "y", " ", "<end>"]
    assert choice["finish_reason"] == "stop"


def test_a_batch_and_several_choices(client: FlaskClient, settings: Settings) -> None:
    reply = complete(client, ["say a", "say bc"], echo=True, logprobs=0, max_tokens=0, n=2).get_json()
    assert [len(choice["logprobs"]["tokens"]) for choice in reply["choices"]] == [5, 5, 6, 6]
    assert len({record["scores"] for record in records(settings)}) == 2


def test_streams_begin_with_the_echo_and_its_scores(client: FlaskClient) -> None:
    (whole,) = complete(client, "say ab", echo=True, logprobs=2, prompt_logprobs=1).get_json()["choices"]
    first, *rest = chunks(complete(client, "say ab", echo=True, logprobs=2, prompt_logprobs=1, stream=True))
    (begun,) = first["choices"]
    assert begun["text"] == "say ab"
    assert begun["prompt_logprobs"] == whole["prompt_logprobs"]
    told = [begun["logprobs"], *(chunk["choices"][0]["logprobs"] for chunk in rest)]
    for name, values in whole["logprobs"].items():
        assert [value for part in told if part for value in part[name]] == values
    only, last = chunks(complete(client, "say ab", echo=True, logprobs=2, max_tokens=0, stream=True))
    assert only["choices"][0]["logprobs"]["tokens"] == list("say ab")
    assert last["choices"][0]["finish_reason"] == "length"


def test_vllms_field(client: FlaskClient) -> None:
    asked = {"prompt_logprobs": 2, "max_tokens": 1}
    (choice,) = complete(client, "say a", **asked).get_json()["choices"]
    told = choice["prompt_logprobs"]
    assert (len(told), told[0], choice["logprobs"]) == (5, None, None)
    assert all(len(place) in (2, 3) for place in told[1:])
    messages = [{"role": "user", "content": "say a"}]
    body = {"model": "scripted", "messages": messages, **asked}
    assert client.post("/v1/chat/completions", json=body).get_json()["prompt_logprobs"] == told
    first, *_ = chunks(client.post("/v1/chat/completions", json={**body, "stream": True}))
    assert first["prompt_logprobs"] == told


def test_the_native_field(client: FlaskClient) -> None:
    reply = client.post("/generate", json={"prompt": "say a", "prompt_logprobs": 1, "max_tokens": 0}).get_json()
    assert (reply["response"], reply["finish_reason"], reply["usage"]["completion_tokens"]) == ("", "length", 0)
    assert [entry["token"] for entry in reply["prompt_logprobs"]] == list("say a")
    assert "I am scripted" in client.post("/generate", json={"prompt": "What model are you?"}).get_json()["response"]
    asked = client.post("/generate", json={"prompt": "What model are you?", "prompt_logprobs": 0}).get_json()
    assert len(asked["prompt_logprobs"]) == 19


def test_nobody_who_does_not_ask_gets_scores(client: FlaskClient, settings: Settings) -> None:
    assert "prompt_logprobs" not in complete(client, "say a", logprobs=1, echo=False).get_json()["choices"][0]
    assert complete(client, "say a", echo=True).get_json()["choices"][0]["logprobs"] is None
    assert complete(client, "say a", echo=True, max_tokens=0).get_json()["choices"][0]["text"] == "say a"
    assert not any("scores" in record for record in records(settings))


def test_a_prompt_as_long_as_the_context_can_be_scored(client: FlaskClient) -> None:
    fields = {"echo": True, "logprobs": 0, "max_tokens": 0}
    assert complete(client, "x" * 512, **fields).get_json()["usage"]["prompt_tokens"] == 512
    assert complete(client, "x" * 513, **fields).status_code == 400
    assert complete(client, "x" * 512, **{**fields, "max_tokens": 1}).status_code == 400
