"""A refusal is told in our words and names the field; it never repeats the body and never speaks of a library."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core.core_schema import ErrorType

from minivault.errors import BadRequest
from minivault.faults import OTHERWISE, REASONS, reason, shown
from minivault.wire import native, ollama, openai
from minivault.wire.native.generate import WORDING
from minivault.wire.validation import CLIENTS, VERBATIM, validated

REQUESTS = {
    operation.request: WORDING if dialect is native.DIALECT else CLIENTS
    for dialect in (native.DIALECT, ollama.DIALECT, openai.DIALECT)
    for operation in dialect.operations
    if operation.request is not None
}
FOREIGN = re.compile(
    r"(?i)pydantic|input should|should be|value error|valid (string|integer|number|boolean|list|dictionary|tuple)|"
    r"validation|discriminator|instance of|\btag\b|literal|\bdict|\bkeyword|<|>|\b(?-i:None|True|False)\b"
)
MARK = "XyzzyMark"


def fields_of(schema: dict[str, Any]) -> set[str]:
    inner = [value for value in schema.values() if isinstance(value, dict)]
    inner += [item for value in schema.values() if isinstance(value, list) for item in value if isinstance(item, dict)]
    return set(schema.get("properties", {})).union(*map(fields_of, inner))


FIELDS = {model: sorted(fields_of(model.model_json_schema())) for model in REQUESTS}
scalars = st.sampled_from([None, True, 0, -1, 2**70, 1e308, 0.5, "", "user", "text", "function", "x" * 300, MARK])


def bodies(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(FIELDS[model])
    values = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=8
    )
    return st.dictionaries(names, values, max_size=5)


@pytest.mark.parametrize("model", REQUESTS, ids=lambda model: f"{model.__module__.split('.')[-2]}.{model.__name__}")
def test_no_refusal_of_any_request_speaks_of_a_library_or_repeats_the_body(model: type[BaseModel]) -> None:
    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(bodies(model))
    def check(body: dict[str, Any]) -> None:
        try:
            validated(model, body, REQUESTS[model])
        except BadRequest as refusal:
            assert not FOREIGN.search(refusal.message), refusal.message
            assert OTHERWISE not in refusal.message, "a fault that has no words yet"
            told = refusal.message.replace("\\", "")
            assert len(body) < 2 or json.dumps(body)[1:-1] not in told
            assert not re.search(r"[{\[].*[}\]]", told), told

    check()


@pytest.mark.parametrize("kind", get_args(ErrorType))
def test_every_kind_of_fault_has_words_of_ours_even_without_its_numbers(kind: str) -> None:
    told = reason({"type": kind, "msg": f"Input should be {MARK}", "loc": (), "input": None})
    assert told == OTHERWISE or told == REASONS[kind]
    assert not FOREIGN.search(told) and MARK not in told


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (int, "x", "must be an integer"),
        (float, "x", "must be a number"),
        (bool, "x", "must be true or false"),
        (str, 1, "must be a string"),
        (list[str], 1, "must be an array"),
        (dict[str, Any], 1, "must be an object"),
    ],
)
def test_what_a_value_must_be_is_said_plainly(kind: Any, value: object, told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    assert reason(dict(caught.value.errors()[0])) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [(5, "5"), (True, "true"), (None, "null"), ("x", '"x"'), ({"prompt": 1}, ""), ([1], ""), ("x" * 59, "")],
)
def test_a_value_is_shown_where_it_is_short_and_plain(value: object, told: str) -> None:
    assert shown(value) == told


def test_words_that_a_model_chose_itself_are_told_as_they_are() -> None:
    with pytest.raises(BadRequest, match=r"^send exactly one of `prompt` and `messages`$"):
        validated(next(iter(REQUESTS)), {}, WORDING)
    assert VERBATIM not in REASONS
