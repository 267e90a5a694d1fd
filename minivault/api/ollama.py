"""Ollama's dialect: `/api/*`. Bodies are JSON whatever their content type says, and `stream` is true when absent."""

from __future__ import annotations

import time

from flask import Response, request

from minivault.api.body import decoded, read_body
from minivault.api.dialect import DialectBlueprint
from minivault.api.embedding import embed
from minivault.api.measuring import rerank
from minivault.api.streaming import accepted, fields_called, json_reply, model_listed, origin, recorder, respond, start
from minivault.errors import BadRequest, Forbidden, Unsupported
from minivault.service import Model
from minivault.wire.ollama import DIALECT, models
from minivault.wire.ollama.chat import ChatBody, ChatReply
from minivault.wire.ollama.embed import EmbedBody, OldEmbedBody, encode_embeddings
from minivault.wire.ollama.fields import Addressed
from minivault.wire.ollama.generate import GenerateBody, GenerateReply
from minivault.wire.ollama.lines import Lines

bp = DialectBlueprint(DIALECT, __name__)

COPILOT = "GitHubCopilotChat"
"""This client wants the name it asked for in `general.basename`."""


@bp.post("/generate")
def generate() -> Response:
    """Continue or answer a prompt; an empty one loads the model."""
    raw = _read()
    body = decoded(GenerateBody, raw)
    model = model_listed(body.model)
    body.ensure_possible()
    body.ensure_thinks(model.info)
    if body.is_load:
        return _load(model, body, GenerateReply(body.model, time.time_ns))
    _keep(model, body)
    choices = start(model, [body.generation(model.info.context)], origin("ollama.generate", raw))
    prompt_tokens = None if body.raw else choices[0].interaction.task.tokens or None
    reply = GenerateReply(body.model, time.time_ns, prompt_tokens)
    return respond(choices, reply, accepted() if body.stream else None)


@bp.post("/chat")
def chat() -> Response:
    """Continue a conversation; an empty one loads the model."""
    raw = _read()
    body = decoded(ChatBody, raw)
    model = model_listed(body.model)
    body.ensure_possible()
    body.ensure_thinks(model.info)
    if not model.info.has_chat:
        raise Unsupported(f'"{body.model}" does not support chat', field="messages")
    if body.tools and body.tool_choice != "none" and not model.info.has_tools:
        raise Unsupported(f'"{body.model}" does not support tools', field="tools")
    reply = ChatReply(body.model, time.time_ns, body.callable_tools, model.info.call_format)
    if body.is_load:
        return _load(model, body, reply)
    _keep(model, body)
    with fields_called(format=body.format_field):
        choices = start(model, [body.generation(model.info.context)], origin("ollama.chat", raw))
    return respond(choices, reply, accepted() if body.stream else None)


@bp.post("/embed")
def embed_texts() -> Response:
    """Unit vectors for one or several texts."""
    began_ns = time.monotonic_ns()
    raw = _read()
    body = decoded(EmbedBody, raw)
    model, source = model_listed(body.model), origin("ollama.embed", raw)
    _keep(model, body)
    done = embed(model, body.texts, source, dimensions=body.dimensions or None, truncate=body.truncate)
    total_ns = time.monotonic_ns() - began_ns
    return json_reply(encode_embeddings(body.model, done.vectors, done.num_tokens, total_ns), done.receipts)


@bp.post("/embeddings")
def embed_prompt() -> Response:
    """A unit vector for one text; superseded by `/api/embed`."""
    raw = _read()
    body = decoded(OldEmbedBody, raw)
    model = model_listed(body.model)
    _keep(model, body)
    done = embed(model, [body.prompt] if body.prompt else [], origin("ollama.embeddings", raw))
    return json_reply({"embedding": done.vectors[0] if done.vectors else []}, done.receipts)


@bp.post("/rerank")
def rerank_documents() -> Response:
    """Documents by how relevant they are to a query."""
    raw = _read()
    return rerank(origin("ollama.rerank", raw), raw)


@bp.get("/tags")
def tags() -> Response:
    """The models that can be asked for."""
    return json_reply(models.encode_tags(recorder().roster.infos()))


@bp.get("/ps")
def ps() -> Response:
    """The models in memory."""
    listed = ((model, model.status()) for model in recorder().roster)
    there = [(model.info, status.goes_in_s) for model, status in listed if status.state in ("ready", "draining")]
    return json_reply(models.encode_ps(there, time.time_ns()))


@bp.post("/show")
def show() -> Response:
    """What is known of a model."""
    body = decoded(models.ShowBody, _read())
    asked = body.model or body.name
    model = model_listed(asked)
    is_copilot = request.headers.get("User-Agent", "").startswith(COPILOT)
    return json_reply(models.encode_show(model.info, asked if is_copilot else None))


@bp.get("/version")
def version() -> Response:
    """The version of Ollama's API that is spoken here."""
    return json_reply(models.encode_version())


@bp.get("/status")
def status() -> Response:
    """There is no cloud here."""
    return json_reply(models.encode_status())


@bp.post("/pull")
@bp.post("/push")
@bp.post("/create")
@bp.post("/copy")
@bp.delete("/delete")
@bp.route("/blobs/<path:digest>", methods=["POST", "HEAD"])
def manage(digest: str = "") -> Response:  # noqa: ARG001 - the route names it
    """Refused: models are managed where the server runs."""
    raise Forbidden(models.NOT_MANAGED_HERE)


def _keep(model: Model, body: Addressed) -> None:
    """Have the model ready to be asked, and kept for as long as the request says."""
    seconds = body.keep_s
    model.ensure_loaded()
    model.keep(seconds)


def _load(model: Model, body: Addressed, reply: Lines) -> Response:
    """Nothing is asked but that the model is loaded, or that it goes."""
    if body.is_unload:
        model.keep(0)
        model.unload()
    else:
        _keep(model, body)
    return json_reply(reply.loaded(is_unload=body.is_unload))


def _read() -> bytes:
    raw = read_body()
    if not raw.strip():
        raise BadRequest("missing request body")
    return raw
