"""A foreign schema costs a bounded time and memory, in a process that may die of it."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from minivault.errors import BadRequest
from minivault.structured.grammar import MAX_CACHED_BYTES, GrammarCompiler
from minivault.structured.judging import MAX_BYTES
from tests.scripted import EOS
from tests.structured.walking import TOKENIZER, follow

PLAIN = '{"type": "object", "properties": {"a": {"type": "integer"}}}'


def optional(num: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{number}": {"type": "integer"} for number in range(num)}}


def doubling(keyword: str) -> dict[str, Any]:
    """2^60 schemas in sixty lines."""
    parts = {f"a{i}": {keyword: [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(60)}
    return {"$ref": "#/$defs/a0", "$defs": parts | {"a60": {"type": "object", "required": ["a"]}}}


HOSTILE: dict[str, Any] = {
    "nested repetitions": {"type": "string", "pattern": "^((a{100}){100}){100}7$"},
    "long repetition": {"type": "string", "pattern": "^a{300000}7$"},
    "intersections": {"type": "string", "allOf": [{"pattern": f"^(.{{{n}}})*$"} for n in (7, 11, 13, 17, 19, 23)]},
    "intersected multiples": {"allOf": [{"type": "integer", "multipleOf": n} for n in (9973, 9967, 9949, 9941)]},
    "optional properties": optional(1500),
    "a chain of references": {
        "$ref": "#/$defs/a0",
        "$defs": {f"a{i}": {"$ref": f"#/$defs/a{i + 1}"} for i in range(1500)} | {"a1500": {}},
    },
    "oneOf compared in all pairs": {"oneOf": [doubling("anyOf")] * 3, "$defs": doubling("anyOf")["$defs"]},
}


@pytest.fixture
def compiler() -> Iterator[GrammarCompiler]:
    made = GrammarCompiler(TOKENIZER)
    yield made
    made.close()


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_a_costly_schema_is_refused_in_plain_words_and_not_kept(compiler: GrammarCompiler, schema: Any) -> None:
    with pytest.raises(BadRequest, match=r"^text\.format: this JSON schema cannot be used: ") as refused:
        compiler.compile(json.dumps(schema), "text.format")
    assert refused.value.field == "text.format"
    assert not any(word in refused.value.message for word in ("lexer", "Parser", "<", "derive", "\n"))
    assert compiler.cached_bytes == 0


BIG: dict[str, Any] = {
    "doubling allOf": doubling("allOf"),
    "doubling anyOf": doubling("anyOf"),
    "many states": {"type": "string", "pattern": "a.{200}b.{200}c"},
    "states that double": {"type": "string", "pattern": "^(a|b)*a(a|b){200}$"},
    "backtracking": {"type": "string", "pattern": "^(a+)+$"},
    "many values": {"enum": [f"{number}-{number * 7919 % 104729}" for number in range(3000)]},
    "many properties": optional(300),
}


@pytest.mark.parametrize("schema", BIG.values(), ids=BIG)
def test_what_is_not_refused_can_be_followed_to_the_end(compiler: GrammarCompiler, schema: Any) -> None:
    try:
        constraint = compiler.compile(json.dumps(schema))
    except BadRequest:
        return
    text = follow(constraint, random.Random(1), 400)
    assert text is None or constraint.fault(text) is None


def test_what_is_kept_is_bounded_in_bytes(compiler: GrammarCompiler) -> None:
    for number in range(9 * MAX_CACHED_BYTES // MAX_BYTES):
        compiler.compile(json.dumps({"type": "string", "pattern": f"^(a{{{2000 + number}}})7$"}))
        assert compiler.cached_bytes <= MAX_CACHED_BYTES
    assert compiler.cached_bytes > MAX_CACHED_BYTES // 2


def processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "minivault.structured" in " ".join(child.cmdline())]


def test_a_judge_that_was_killed_is_replaced(compiler: GrammarCompiler) -> None:
    before = {process.pid for process in processes()}
    compiler.compile(PLAIN)
    (judge,) = [process for process in processes() if process.pid not in before]
    judge.kill()
    compiler.compile(json.dumps(optional(3)))
    (other,) = [process for process in processes() if process.pid not in before | {judge.pid}]
    compiler.close()
    assert not other.is_running()


def test_many_threads_share_one_judge_while_it_is_killed(compiler: GrammarCompiler) -> None:
    before, failed = {process.pid for process in processes()}, []

    def compile_some(first: int) -> None:
        for number in range(first, first + 5):
            try:
                compiler.compile(json.dumps({"const": number}))
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=compile_some, args=(first,)) for first in range(0, 40, 10)]
    compiler.compile(PLAIN)
    (judge,) = [process for process in processes() if process.pid not in before]
    for thread in threads:
        thread.start()
    os.kill(judge.pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert failed == []


def test_the_judge_is_small(compiler: GrammarCompiler) -> None:
    before = {process.pid for process in processes()}
    compiler.compile(PLAIN)
    (judge,) = [process for process in processes() if process.pid not in before]
    loaded = Path(f"/proc/{judge.pid}/maps").read_text()
    assert "llguidance" in loaded
    assert "torch" not in loaded and "numpy" not in loaded


def test_an_answer_is_checked_by_a_library_of_its_own(compiler: GrammarCompiler) -> None:
    constraint = compiler.compile(PLAIN)
    assert constraint.fault('{"a": 1}') is None
    assert constraint.fault('{"a": 1.5}') == "a: type"
    assert constraint.fault('{"a"') is not None


def test_numbers_are_checked_exactly(compiler: GrammarCompiler) -> None:
    constraint = compiler.compile('{"type": "number", "multipleOf": 0.01, "minimum": 0.07, "maximum": 0.3}')
    assert [constraint.fault(text) is None for text in ("0.07", "0.29", "0.3", "0.075", "0.31")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_the_end_token_is_none_of_the_keys_business(compiler: GrammarCompiler) -> None:
    constraint = compiler.compile(PLAIN)
    for token in b"{}":
        constraint.accept(token)
    constraint.accept(EOS)
