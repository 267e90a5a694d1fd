from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.errors import BadRequest
from minivault.wire.strict_json import MAX_DEPTH, loads

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(scalars | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


@given(st.dictionaries(texts, values))
def test_every_ordinary_object_is_read_as_json_reads_it(value: dict[str, object]) -> None:
    assert loads(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "missing request body"),
        (b"  \n", "missing request body"),
        (b"{", "not JSON"),
        (b"[1]", "array"),
        (b'"x"', "string"),
        (b"1", "number"),
        (b"null", "literal"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"x": {"a": 1, "a": 2}}', "twice"),
        (b"\xef\xbb\xbf{}", "byte-order mark"),
        ('{"a": 1}'.encode("utf-16"), "byte-order mark"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'{"a": ["x", {"b": "\\ud800"}]}', "surrogate"),
        (b"[" * 100_000, "deeper"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "deeper"),
        (b'{"prompt": "x"} extra', "not JSON"),
    ],
)
def test_what_could_be_read_two_ways_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        loads(body)


def test_the_fault_names_its_field() -> None:
    with pytest.raises(BadRequest) as caught:
        loads(b'{"prompt": "\\ud800"}')
    assert caught.value.field == "prompt"


def test_brackets_inside_strings_do_not_count_as_nesting() -> None:
    text = "[{" * 1000 + '\\"'
    assert loads(json.dumps({"prompt": text}).encode()) == {"prompt": text}


def test_the_deepest_allowed_nesting_is_read() -> None:
    body = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    assert loads(body)
    with pytest.raises(BadRequest):
        loads(b'{"a":' + body + b"}")


@given(st.binary(max_size=200))
def test_garbage_never_escapes_as_anything_but_a_bad_request(body: bytes) -> None:
    with contextlib.suppress(BadRequest):
        assert isinstance(loads(body), dict)
