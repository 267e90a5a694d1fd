from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.errors import BadRequest, Unsupported
from minivault.types import Message
from minivault.wire.names import is_same_model, tagged
from minivault.wire.ollama.chat import ChatBody
from minivault.wire.ollama.fields import keep_alive_s
from minivault.wire.ollama.generate import GenerateBody
from minivault.wire.ollama.models import parameter_size
from minivault.wire.validation import validated

CONTEXT = 1000


def params(**options: Any) -> Any:
    return validated(GenerateBody, {"model": "m", "prompt": "x", "options": options}).generation(CONTEXT).params


def test_defaults_are_ollamas() -> None:
    chosen = params()
    assert (chosen.temperature, chosen.top_k, chosen.top_p, chosen.min_p) == (0.8, 40, 0.9, 0)
    assert (chosen.repetition_penalty, chosen.seed, chosen.stop, chosen.logprobs) == (1, None, (), None)
    assert chosen.max_tokens == CONTEXT


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"num_predict": -1}, "max_tokens", CONTEXT),
        ({"num_predict": -2}, "max_tokens", CONTEXT),
        ({"num_predict": 0}, "max_tokens", CONTEXT),
        ({"num_predict": 7}, "max_tokens", 7),
        ({"num_predict": 99999}, "max_tokens", CONTEXT),
        ({"seed": -1}, "seed", None),
        ({"seed": 0}, "seed", 0),
        ({"seed": -2}, "seed", 2**63 - 2),
        ({"top_k": 0}, "top_k", 0),
        ({"top_k": 40.0}, "top_k", 40),
        ({"temperature": 0}, "temperature", 0.0),
        ({"stop": ["a", ""]}, "stop", ("a",)),
        ({"repeat_penalty": 1.3, "repeat_last_n": 0}, "repetition_penalty", 1.0),
        ({"repeat_penalty": 1.3, "repeat_last_n": -1}, "repetition_penalty", 1.3),
        ({"presence_penalty": 1, "repeat_last_n": 0}, "presence_penalty", 0.0),
    ],
)
def test_options_mean_what_they_mean_to_ollama(options: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(params(**options), field) == value


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.text() | st.booleans() | st.none())
def test_any_number_is_an_integer_or_a_named_error(value: Any) -> None:
    try:
        validated(GenerateBody, {"model": "m", "prompt": "x", "options": {"num_ctx": value}})
    except BadRequest as error:
        assert error.message == 'option "num_ctx" must be of type integer'


def test_formats_become_grammars() -> None:
    def grammar(value: Any) -> str | None:
        return validated(ChatBody, {"model": "m", "format": value}).generation(CONTEXT).params.grammar

    assert grammar(None) is None
    assert grammar("") is None
    assert grammar("json") == "json"
    assert grammar({"type": "object", "b": 1, "a": 2}) == '{"type": "object", "b": 1, "a": 2}'


def test_messages_keep_what_templates_read() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    messages = [
        {"role": "USER", "content": "hi"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "5", "tool_name": "f"},
    ]
    decoded = validated(ChatBody, {"model": "m", "messages": messages}).generation(CONTEXT).messages
    assert decoded == (
        Message("user", "hi"),
        Message("assistant", "", {"tool_calls": [{"type": "function", **call}]}),
        Message("tool", "5", {"name": "f"}),
    )


@pytest.mark.parametrize("name", ["thinking", "reasoning_content", "reasoning"])
def test_an_earlier_thought_reaches_the_template_under_every_name_in_use(name: str) -> None:
    body = validated(ChatBody, {"model": "m", "messages": [{"role": "assistant", "content": "Hi.", name: "Hm."}]})
    (decoded,) = body.generation(CONTEXT).messages or ()
    assert decoded == Message("assistant", "Hi.", {"reasoning_content": "Hm.", "thinking": "Hm."})
    assert body.noted == ()


def test_an_unknown_role_is_named() -> None:
    with pytest.raises(BadRequest, match="wizard") as refused:
        validated(ChatBody, {"model": "m", "messages": [{"role": "wizard", "content": ""}]})
    assert refused.value.field == "messages.0.role"


def test_images_are_refused_in_messages_too() -> None:
    with pytest.raises(Unsupported, match='"m" does not support vision'):
        validated(ChatBody, {"model": "m", "messages": [{"role": "user", "content": "x", "images": ["aGk="]}]})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("5m", 300), ("1h30m", 5400), ("300ms", 0.3), ("1.5s", 1.5), ("-1s", -1), ("0", 0), ("+2s", 2), (5, 5), (-1, -1),
     (0.5, 0.5)],
)  # fmt: skip
def test_durations_are_gos(value: Any, seconds: float) -> None:
    assert keep_alive_s(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "5", "m", "5 m", "5x", "1h-3m", True, None, [], {}])
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(BadRequest, match="keep_alive"):
        keep_alive_s(value)


@pytest.mark.parametrize(
    ("asked", "served", "is_same"),
    [("m", "m", True), ("m:latest", "m", True), ("M", "m:latest", True), ("m:1b", "m", False), ("m", "m:1b", False),
     ("org/m", "org/m:latest", True), ("host:80/m", "host:80/m:latest", True), ("n", "m", False)],
)  # fmt: skip
def test_latest_is_implied_and_case_does_not_matter(asked: str, served: str, is_same: bool) -> None:
    assert is_same_model(asked, served) is is_same


def test_a_host_s_port_is_no_tag() -> None:
    assert tagged("host:80/m") == "host:80/m:latest"


@pytest.mark.parametrize(
    ("number", "text"), [(134_515_008, "135M"), (7_600_000_000, "7.6B"), (70_000_000_000, "70B"), (900, "900")]
)
def test_parameter_sizes_are_short(number: int, text: str) -> None:
    assert parameter_size(number) == text
