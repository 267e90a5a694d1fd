"""OpenAI's dialect: `/v1/*`. Streaming is decided by the body alone; `Accept` says nothing here."""

from __future__ import annotations

from flask import Response

from minivault.api import batches, files
from minivault.api.body import decoded, read_json_body
from minivault.api.choices import Watched
from minivault.api.dialect import DialectBlueprint, current_dialect
from minivault.api.embedding import embed
from minivault.api.measuring import decide, rerank
from minivault.api.responses import API, add_routes, whole_conversation
from minivault.api.sdk import sdk_origin as _origin
from minivault.api.streaming import fields_called, json_reply, model_called, model_listed, recorder, respond, start
from minivault.errors import Unsupported
from minivault.service import Model
from minivault.wire.anthropic import DIALECT as ANTHROPIC
from minivault.wire.anthropic import models as anthropic
from minivault.wire.framing import NAMED_SSE, SSE
from minivault.wire.openai import DIALECT
from minivault.wire.openai.chat import ChatBody, ChatReply
from minivault.wire.openai.completions import CompletionBody, CompletionReply
from minivault.wire.openai.decisions import DecisionsBody, encode_decisions
from minivault.wire.openai.embeddings import EmbeddingBody, encode_embeddings
from minivault.wire.openai.envelope import Envelope, created_s, encode_model, encode_models
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.openai.response_reply import ResponseReply
from minivault.wire.openai.systemone import SystemOneBody, encode_systemone

bp = DialectBlueprint(DIALECT, __name__)
files.add_routes(bp)
batches.add_routes(bp)


@bp.post("/chat/completions")
def chat_completions() -> Response:
    """Continue a conversation, once or several times."""
    raw = read_json_body()
    body = decoded(ChatBody, raw)
    model = model_called(body.model)
    body.ensure_possible()
    _ensure_tools(model, has_tools=body.has_tools)
    with fields_called(format=body.format_field):
        choices = start(model, body.generations(model.info.context), _origin("openai.chat.completions", raw))
    reply = ChatReply(_envelope(choices[0], body.model), body, model.info.call_format)
    return respond(choices, reply, SSE if body.stream else None)


@bp.post("/completions")
def completions() -> Response:
    """Continue one or several prompts as they are."""
    raw = read_json_body()
    body = decoded(CompletionBody, raw)
    model = model_called(body.model)
    body.ensure_possible()
    with fields_called(format=body.format_field):
        choices = start(model, body.generations(model.info.context), _origin("openai.completions", raw))
    echoes = [choice.task.text if body.echo else "" for choice in choices]
    envelope = _envelope(choices[0], body.model)
    reply = CompletionReply(envelope, echoes, has_usage=body.has_usage_chunk, scores=body.scores)
    return respond(choices, reply, SSE if body.stream else None)


@bp.post("/responses")
def responses() -> Response:
    """Answer an input, and what led to it."""
    raw = read_json_body()
    body = decoded(ResponseBody, raw)
    model = model_called(body.model)
    body.ensure_possible()
    _ensure_tools(model, has_tools=body.has_tools)
    wanted = body.generation(model.info.context, whole_conversation(body))
    with fields_called(format=body.format_field, messages="input"):
        choices = start(model, [wanted], _origin(API, raw))
    reply = ResponseReply(_envelope(choices[0], body.model), body, model.info.call_format)
    return respond(choices, reply, NAMED_SSE if body.stream else None)


@bp.post("/responses/input_tokens")
def response_input_tokens() -> Response:
    """How many tokens a response would be made from, tools and all. Nothing is generated and nothing recorded."""
    body = decoded(ResponseBody, read_json_body())
    model = model_called(body.model)
    body.ensure_possible()
    _ensure_tools(model, has_tools=body.has_tools)
    wanted = body.generation(model.info.context, whole_conversation(body))
    return json_reply({"object": "response.input_tokens", "input_tokens": model.count(wanted)})


add_routes(bp)


@bp.post("/embeddings")
def embeddings() -> Response:
    """Unit vectors for one or several inputs."""
    raw = read_json_body()
    body = decoded(EmbeddingBody, raw)
    model = model_called(body.model)
    done = embed(model, body.inputs, _origin("openai.embeddings", raw), dimensions=body.dimensions, truncate=False)
    return json_reply(encode_embeddings(body, done.vectors, done.num_tokens), done.receipts)


@bp.post("/decisions")
def decisions() -> Response:
    """Answer typed questions about an input with probabilities."""
    raw = read_json_body()
    body = decoded(DecisionsBody, raw)
    model, source = model_called(body.model), _origin("openai.decisions", raw)
    found = decide(model, body.state(), body.asked(), body.permutations, source, "input")
    return json_reply(encode_decisions(body, found), [one.receipt for one in found])


@bp.post("/systemone")
def systemone() -> Response:
    """The same in the shape of System One."""
    raw = read_json_body()
    body = decoded(SystemOneBody, raw)
    model, source = model_called(body.model), _origin("openai.systemone", raw)
    found = decide(model, body.request(), body.asked(), body.permutations, source, "state")
    return json_reply(encode_systemone(body, found), [one.receipt for one in found])


@bp.post("/rerank")
def rerank_documents() -> Response:
    """Documents by how relevant they are to a query."""
    raw = read_json_body()
    return rerank(_origin("openai.rerank", raw), raw)


@bp.get("/models")
def models() -> Response:
    """The models that can be asked for."""
    infos = recorder().roster.infos()
    return json_reply(anthropic.encode_models(infos) if _is_anthropics() else encode_models(infos))


@bp.get("/models/<path:name>")
def model(name: str) -> Response:
    """One model."""
    info = model_listed(name).info
    return json_reply(anthropic.encode_model(name, info) if _is_anthropics() else encode_model(name, info))


def _is_anthropics() -> bool:
    """The same paths are asked for by clients of both."""
    return current_dialect() is ANTHROPIC


def _ensure_tools(model: Model, *, has_tools: bool) -> None:
    if has_tools and not model.info.has_tools:
        message = f"{model.info.name} does not support tools: it has no chat template"
        raise Unsupported(message, field="tools")


def _envelope(watched: Watched, model_name: str) -> Envelope:
    interaction = watched.interaction
    return Envelope(interaction.id, model_name, interaction.fingerprint, created_s(interaction.id))
