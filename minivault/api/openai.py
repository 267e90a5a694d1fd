"""OpenAI's dialect: `/v1/*`. Streaming is decided by the body alone; `Accept` says nothing here."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from flask import Response, request

from minivault.api import batches, files
from minivault.api.body import read_json_body
from minivault.api.dialect import DialectBlueprint
from minivault.api.embedding import embed
from minivault.api.streaming import Watched, json_reply, model_called, origin, recorder, respond, start
from minivault.errors import BadRequest, Unsupported
from minivault.interaction import Origin
from minivault.service import Model
from minivault.wire.framing import NAMED_SSE, SSE
from minivault.wire.openai import DIALECT
from minivault.wire.openai.chat import ChatBody, ChatReply
from minivault.wire.openai.completions import CompletionBody, CompletionReply
from minivault.wire.openai.embeddings import EmbeddingBody, encode_embeddings
from minivault.wire.openai.envelope import Envelope, encode_model, encode_models
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.openai.response_reply import ResponseReply
from minivault.wire.strict_json import loads
from minivault.wire.validation import validated

bp = DialectBlueprint(DIALECT, __name__)
files.add_routes(bp)
batches.add_routes(bp)

RETRY = re.compile("[1-9][0-9]{0,3}")
"""The number of a retry, as the SDKs write it."""


@bp.post("/chat/completions")
def chat_completions() -> Response:
    """Continue a conversation, once or several times."""
    raw = read_json_body()
    body = validated(ChatBody, loads(raw))
    model = model_called(body.model)
    body.ensure_possible()
    _ensure_tools(model, has_tools=body.has_tools)
    with _format_called(body.format_field):
        choices = start(model, body.generations(model.info.context), _origin("openai.chat.completions", raw))
    reply = ChatReply(_envelope(choices[0], body.model), body)
    return respond(choices, reply, SSE if body.stream else None)


@bp.post("/completions")
def completions() -> Response:
    """Continue one or several prompts as they are."""
    raw = read_json_body()
    body = validated(CompletionBody, loads(raw))
    model = model_called(body.model)
    body.ensure_possible()
    choices = start(model, body.generations(model.info.context), _origin("openai.completions", raw))
    echoes = [choice.interaction.task.text if body.echo else "" for choice in choices]
    reply = CompletionReply(_envelope(choices[0], body.model), echoes, has_usage=body.has_usage_chunk)
    return respond(choices, reply, SSE if body.stream else None)


@bp.post("/responses")
def responses() -> Response:
    """Answer an input, without state."""
    raw = read_json_body()
    body = validated(ResponseBody, loads(raw))
    model = model_called(body.model)
    _ensure_tools(model, has_tools=body.has_tools)
    with _format_called(body.format_field):
        choices = start(model, [body.generation(model.info.context)], _origin("openai.responses", raw))
    reply = ResponseReply(_envelope(choices[0], body.model), body)
    return respond(choices, reply, NAMED_SSE if body.stream else None)


@bp.post("/embeddings")
def embeddings() -> Response:
    """Unit vectors for one or several inputs."""
    raw = read_json_body()
    body = validated(EmbeddingBody, loads(raw))
    model = model_called(body.model)
    done = embed(model, body.inputs, _origin("openai.embeddings", raw), dimensions=body.dimensions, truncate=False)
    return json_reply(encode_embeddings(body, done.vectors, done.num_tokens))


@bp.get("/models")
def models() -> Response:
    """The models that can be asked for."""
    return json_reply(encode_models([model.info for model in recorder().roster]))


@bp.get("/models/<path:name>")
def model(name: str) -> Response:
    """One model."""
    return json_reply(encode_model(name, model_called(name).info))


def _ensure_tools(model: Model, *, has_tools: bool) -> None:
    if has_tools and not model.info.has_tools:
        message = f"{model.info.name} does not support tools: its chat template has no place for them"
        raise Unsupported(message, field="tools")


@contextmanager
def _format_called(name: str) -> Iterator[None]:
    """A schema that cannot be used is refused under the name its field has here."""
    try:
        yield
    except BadRequest as error:
        if error.field != "format":
            raise
        raise BadRequest(error.message.replace("format", name, 1), field=name) from None


def _origin(api: str, raw: bytes) -> Origin:
    """Who asks. A retry says so in the record: it would otherwise look like a second question."""
    source = origin(api, raw)
    retry = request.headers.get("x-stainless-retry-count", "0")
    if not RETRY.fullmatch(retry):
        return source
    return replace(source, user_agent=f"{source.user_agent} retry/{retry}")


def _envelope(watched: Watched, model_name: str) -> Envelope:
    interaction = watched.interaction
    return Envelope(interaction.id, model_name, interaction.fingerprint, int(time.time()))
