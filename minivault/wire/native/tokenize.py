"""`POST /tokenize` and `POST /detokenize`, in the two shapes in use, told apart by the field that holds the input:
vLLM's (`prompt`, or `messages` with all that a chat completion takes) and llama-server's (`content`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from minivault.errors import Unsupported
from minivault.types import GenerationRequest
from minivault.wire.logprobs import token_text
from minivault.wire.openai.chat import ChatBody
from minivault.wire.validation import Body, validated

OWN_CHAT_FIELDS = ("add_generation_prompt", "add_special_tokens", "return_token_strs")
MAX_TOKENS = 1 << 20


class TextBody(Body):
    """A text to take apart."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"prompt": "Hello"}, {"content": "Hello", "with_pieces": True}]},
    )

    model: str | None = Field(None, min_length=1, description="the served one when absent")
    prompt: str | None = Field(
        None, description="vLLM's shape; instead of it `messages` and what chat completions take"
    )
    add_special_tokens: bool = Field(True, description="with what belongs around a text, as `/v1/completions` reads it")
    return_token_strs: bool = False
    content: str | None = Field(None, description="llama-server's shape")
    add_special: bool = False
    parse_special: bool = Field(True, description="read what spells a control token as one")
    with_pieces: bool = False

    @model_validator(mode="after")
    def _one_input(self) -> TextBody:
        if (self.prompt is None) == (self.content is None):
            raise ValueError("send exactly one of prompt, messages and content")
        return self

    @property
    def text(self) -> str:
        return (self.content if self.prompt is None else self.prompt) or ""

    @property
    def has_special(self) -> bool:
        """Whether what belongs around a text is wanted."""
        return self.add_special if self.prompt is None else self.add_special_tokens


class DetokenizeBody(Body):
    """The body of `/detokenize`."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"tokens": [72, 105]}]})

    model: str | None = Field(None, min_length=1, description="the served one when absent")
    tokens: list[int] = Field(max_length=MAX_TOKENS)


def chat_request(data: dict[str, Any], model: str, context: int) -> GenerationRequest:
    """A body with `messages` as the request that a chat completion with the same fields is. Raises BadRequest."""
    body = validated(ChatBody, {"model": model} | {key: data[key] for key in data if key not in OWN_CHAT_FIELDS})
    [request, *_] = body.generations(context)
    if data.get("add_special_tokens"):
        message = "add_special_tokens: the chat template writes what belongs around a conversation; leave it out"
        raise Unsupported(message, field="add_special_tokens")
    if data.get("add_generation_prompt", not request.continues) is request.continues:
        message = "add_generation_prompt: a conversation is read as an answer would follow it; leave it out"
        raise Unsupported(message, field="add_generation_prompt")
    return request


def encode_counted(tokens: Sequence[int], context: int, pieces: Sequence[bytes] | None) -> dict[str, Any]:
    """vLLM's reply."""
    spelled = None if pieces is None else [token_text(piece) for piece in pieces]
    return {"count": len(tokens), "max_model_len": context, "tokens": list(tokens), "token_strs": spelled}


def encode_tokens(tokens: Sequence[int], pieces: Sequence[bytes] | None) -> dict[str, Any]:
    """llama-server's reply; a piece that is no text on its own is a list of bytes."""
    if pieces is None:
        return {"tokens": list(tokens)}
    return {"tokens": [{"id": token, "piece": _piece(piece)} for token, piece in zip(tokens, pieces, strict=True)]}


def _piece(piece: bytes) -> str | list[int]:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return list(piece)
