from __future__ import annotations

import pytest

from minivault.errors import BadRequest
from minivault.wire.native.generate import decode


def test_defaults_are_the_documented_ones() -> None:
    request = decode({"prompt": "Hello"})
    params = request.params
    assert (params.max_tokens, params.temperature, params.top_k, params.top_p, params.min_p) == (256, 0.7, 40, 0.95, 0)
    assert (params.repetition_penalty, params.presence_penalty, params.frequency_penalty) == (1, 0, 0)
    assert (params.seed, params.stop, params.logprobs, params.grammar) == (None, (), None, None)
    assert (request.stream, request.raw, request.model) == (False, None, None)


def test_messages_take_the_place_of_the_prompt() -> None:
    request = decode({"messages": [{"role": "user", "content": "Hi"}]})
    assert request.prompt is None
    assert request.messages is not None
    assert request.messages[0].content == "Hi"


def test_one_stop_string_or_several() -> None:
    assert decode({"prompt": "x", "stop": "a"}).params.stop == ("a",)
    assert decode({"prompt": "x", "stop": ["a", "b"]}).params.stop == ("a", "b")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, None),
        ({"prompt": "x", "messages": [{"role": "user", "content": "y"}]}, None),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 1}, "prompt"),
        ({"prompt": None}, None),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"prompt": "x", "max_tokens": 0}, None),
        ({"prompt": "x", "max_tokens": -2}, "max_tokens"),
        ({"prompt": "x", "min_tokens": -1}, "min_tokens"),
        ({"prompt": "x", "stop_token_ids": ["a"]}, "stop_token_ids.0"),
        ({"prompt": "x", "continue_final_message": True}, None),
        ({"messages": [{"role": "user", "content": "x"}], "continue_final_message": True}, None),
        ({"prompt": "x", "max_tokens": True}, "max_tokens"),
        ({"prompt": "x", "max_tokens": 1.5}, "max_tokens"),
        ({"prompt": "x", "max_tokens": "5"}, "max_tokens"),
        ({"prompt": "x", "temperature": -1}, "temperature"),
        ({"prompt": "x", "temperature": 1e308}, "temperature"),
        ({"prompt": "x", "top_p": 1.1}, "top_p"),
        ({"prompt": "x", "top_k": -1}, "top_k"),
        ({"prompt": "x", "seed": -1}, "seed"),
        ({"prompt": "x", "seed": 2**63}, "seed"),
        ({"prompt": "x", "stop": ["a"] * 17}, "stop"),
        ({"prompt": "x", "stop": ["a"] * 1000}, "stop"),
        ({"prompt": "x", "stop": ""}, "stop"),
        ({"prompt": "x", "stop": "a" * 257}, "stop"),
        ({"prompt": "x", "stop": 5}, "stop"),
        ({"prompt": "x", "logprobs": 21}, "logprobs"),
        ({"prompt": "x", "stream": "yes"}, "stream"),
        ({"prompt": "x", "stream": 1}, "stream"),
        ({"prompt": "x", "raw": True, "system": "y"}, None),
        ({"prompt": "x", "format": "xml"}, "format"),
    ],
)
def test_each_fault_is_refused_and_names_its_field(body: dict[str, object], field: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(body)
    assert caught.value.field == field
    assert field is None or field in caught.value.message
