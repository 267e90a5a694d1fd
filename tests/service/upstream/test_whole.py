"""Tokens and embeddings of an engine elsewhere: asked in its own words, and refused in ours where it has none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from minivault.errors import BadRequest, GenerationFailed, Overloaded, Unsupported
from minivault.types import GenerationRequest, Message
from tests.service.upstream.asking_model import served
from tests.service.upstream.engine import Engine, Error, engine

CHAT = GenerationRequest(messages=(Message("user", "Hi"),), system="Be brief.")
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
VLLM = {"id": "m", "owned_by": "vllm"}
LLAMA = {"id": "m", "owned_by": "llamacpp"}


class Says(Error):
    """A whole reply with status 200."""

    def __init__(self, body: Any) -> None:
        super().__init__(200, body)


def told(path: str, body: dict[str, Any]) -> Error:
    """What both kinds of engines say of tokens: one for each letter."""
    if path == "/apply-template":
        return Says({"prompt": "".join(message["content"] for message in body["messages"])})
    if path == "/tokenize":
        text = body.get("content", body.get("prompt")) or "".join(message["content"] for message in body["messages"])
        return Says({"tokens": [ord(letter) for letter in text]})
    if path == "/detokenize":
        text = "".join(map(chr, body["tokens"]))
        return Says({"prompt": text} if "model" in body and body["model"] == "m" else {"content": text})
    return Error(404, {"detail": "Not Found"})


@pytest.mark.parametrize("kind", [VLLM, LLAMA], ids=["vllm", "llama.cpp"])
def test_tokens_are_counted_where_the_engine_tells_them(kind: dict[str, Any]) -> None:
    with engine(told, models=[kind]) as there, served(there.url) as roster:
        model = roster.default
        assert model.count(CHAT) == len("Be brief.Hi")
        assert model.count(GenerationRequest(prompt="Once", raw=True)) == 4
        assert model.count(GenerationRequest(prompt_tokens=(1, 2))) == 2
        assert model.tokens.of_text("abc", add_special=False, parse_special=True) == (97, 98, 99)
        assert model.tokens.text_of([97, 98]) == "ab"
        assert there.asked[0]["messages"] == MESSAGES
        with pytest.raises(Unsupported, match="return_token_strs"):
            model.tokens.pieces_of([97])


def test_an_engine_without_the_way_is_named_in_the_refusal() -> None:
    def nothing(_path: str, _body: Any) -> Error:
        return Error(404, {"detail": "Not Found"})

    with engine(nothing) as there, served(there.url) as roster:
        with pytest.raises(Unsupported, match=r"it has no /tokenize \(404\)"):
            roster.default.count(CHAT)
        with pytest.raises(Unsupported, match=r"it has no /v1/embeddings \(404\)") as refused:
            roster.default.embed(roster.default.prepare_embedding(["text"], truncate=False))
    assert refused.value.field == "input"


def vectors(_path: str, body: dict[str, Any]) -> Error:
    data = [{"index": index, "embedding": [3.0, 4.0 + index]} for index, _ in enumerate(body["input"])]
    return Says({"model": "m", "data": data[::-1], "usage": {"prompt_tokens": 7}})


def test_embeddings_come_in_order_and_of_unit_length_with_what_the_engine_counted() -> None:
    with engine(vectors) as there, served(there.url) as roster:
        task = roster.default.prepare_embedding(["one", [1, 2]], truncate=False)
        found = roster.default.embed(task)
    assert found.vectors[0] == [0.6, 0.8]
    assert len(found.vectors) == 2
    assert found.num_tokens == 7
    assert found.told == {"server": there.url, "engine": "vllm", "model": "m"}
    assert there.asked == [{"model": "m", "input": ["one", [1, 2]], "encoding_format": "float"}]
    assert (task.rendered.split(" ")[0], task.parameters) == ("/v1/embeddings", {"num_inputs": 2})


@pytest.mark.parametrize(
    "data",
    [[], [{"index": 0}], [{"index": 0, "embedding": []}], [{"index": 0, "embedding": ["x"]}], {"index": 0}],
)
def test_what_is_no_vector_is_a_failure(data: Any) -> None:
    with engine(lambda *_: Says({"data": data})) as there, served(there.url) as roster:
        model = roster.default
        with pytest.raises(GenerationFailed):
            model.embed(model.prepare_embedding(["text"], truncate=False))


def test_an_empty_input_is_refused_and_so_are_tokens_where_texts_alone_are_taken() -> None:
    with engine(models=[{"id": "m", "owned_by": "library"}]) as there, served(there.url) as roster:
        with pytest.raises(BadRequest, match="empty"):
            roster.default.prepare_embedding([""], truncate=False)
        with pytest.raises(Unsupported, match="texts alone"):
            roster.default.prepare_embedding([[1]], truncate=False)


def test_another_server_is_asked_where_one_is_full() -> None:
    def ask(*engines: Engine) -> list[list[float]]:
        with served(*(one.url for one in engines)) as roster:
            return roster.default.embed(roster.default.prepare_embedding(["text"], truncate=False)).vectors

    def full(_path: str, _body: Any) -> Iterable[Any] | Error:
        return Error(429, {"error": {"message": "full"}})

    with engine(full) as busy, engine(vectors) as free:
        assert ask(busy, free) == [[0.6, 0.8]]
        with pytest.raises(Overloaded):
            ask(busy)
