"""`POST /tokenize` and `POST /detokenize`. Nothing is generated, so nothing is recorded."""

from __future__ import annotations

from flask import Blueprint, Response

from minivault.api.body import read_json_body
from minivault.api.streaming import json_reply, model_wanted
from minivault.wire.native.tokenize import (
    DetokenizeBody,
    TextBody,
    chat_request,
    encode_counted,
    encode_tokens,
)
from minivault.wire.strict_json import loads
from minivault.wire.validation import validated


def add_routes(bp: Blueprint) -> None:
    """Add both to a dialect."""
    bp.post("/tokenize")(tokenize)
    bp.post("/detokenize")(detokenize)


def tokenize() -> Response:
    """The tokens of a text, or of a conversation exactly as an answer would follow it."""
    data = loads(read_json_body())
    if data.get("messages") is not None:
        return _tokenize_chat({key: value for key, value in data.items() if value is not None})
    body = validated(TextBody, data)
    model = model_wanted(body.model)
    tokens = model.tokens.of_text(body.text, add_special=body.has_special, parse_special=body.parse_special)
    pieces = model.tokens.pieces_of(tokens) if body.with_pieces or body.return_token_strs else None
    if body.prompt is None:
        return json_reply(encode_tokens(tokens, pieces))
    return json_reply(encode_counted(tokens, model.info.context, pieces))


def detokenize() -> Response:
    """The text of tokens, under both names in use."""
    body = validated(DetokenizeBody, loads(read_json_body()))
    text = model_wanted(body.model).tokens.text_of(body.tokens)
    return json_reply({"prompt": text, "content": text})


def _tokenize_chat(data: dict[str, object]) -> Response:
    name = data.get("model")
    model = model_wanted(name if isinstance(name, str) else None)
    context = model.info.context
    tokens = model.tokens.of_request(chat_request(data, model.info.name, context))
    pieces = model.tokens.pieces_of(tokens) if data.get("return_token_strs") is True else None
    return json_reply(encode_counted(tokens, context, pieces))
