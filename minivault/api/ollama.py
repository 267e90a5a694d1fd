"""Ollama's dialect: `/api/*`. Bodies are JSON whatever their content type says, and `stream` is true when absent."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from flask import Response, request

from minivault.api.body import read_body
from minivault.api.dialect import DialectBlueprint
from minivault.api.embedding import embed
from minivault.api.streaming import accepted, interactions, json_reply, origin, respond, served_as, start
from minivault.api.tokens import ensure_tokens_exist
from minivault.api.truncation import truncated
from minivault.errors import BadRequest, Forbidden, Unsupported
from minivault.service import ServedModel
from minivault.types import GenerationRequest, Message
from minivault.wire.ollama import DIALECT, models
from minivault.wire.ollama.chat import ChatBody, ChatReply
from minivault.wire.ollama.embed import EmbedBody, OldEmbedBody, encode_embeddings
from minivault.wire.ollama.fields import Addressed, Generating
from minivault.wire.ollama.generate import GenerateBody, GenerateReply
from minivault.wire.strict_json import loads
from minivault.wire.validation import validated

bp = DialectBlueprint(DIALECT, __name__)
log = logging.getLogger("minivault.api.ollama")

COPILOT = "GitHubCopilotChat"
"""This client wants the name it asked for in `general.basename`."""


@bp.post("/generate")
def generate() -> Response:
    """Continue or answer a prompt; an empty one loads the model."""
    raw, data = _read()
    body = validated(GenerateBody, data)
    served = served_as(body.model)
    body.ensure_possible()
    if body.is_load:
        return json_reply(GenerateReply(body.model, time.time_ns).loaded(is_unload=body.is_unload))
    _log_unknown(body)
    wanted = body.generation(served.info.context)
    if body.context:
        wanted = _after_context(wanted, body.context, served)
    choices = start([_fitting(wanted, body, served)], origin("ollama.generate", raw))
    prompt_tokens = None if body.raw else choices[0].interaction.opening.prompt_tokens
    reply = GenerateReply(body.model, time.time_ns, prompt_tokens)
    return respond(choices, reply, accepted() if body.stream else None)


@bp.post("/chat")
def chat() -> Response:
    """Continue a conversation; an empty one loads the model."""
    raw, data = _read()
    body = validated(ChatBody, data)
    served = served_as(body.model)
    body.ensure_possible()
    if not served.tokenizer.has_chat_template:
        raise Unsupported(f'"{body.model}" does not support chat', field="messages")
    if body.tools and not served.tokenizer.has_tool_template:
        raise Unsupported(f'"{body.model}" does not support tools', field="tools")
    reply = ChatReply(body.model, time.time_ns, has_tools=bool(body.tools))
    if body.is_load:
        return json_reply(reply.loaded(is_unload=body.is_unload))
    _log_unknown(body)
    wanted = body.generation(served.info.context)
    choices = start([_fitting(wanted, body, served)], origin("ollama.chat", raw))
    return respond(choices, reply, accepted() if body.stream else None)


@bp.post("/embed")
def embed_texts() -> Response:
    """Unit vectors for one or several texts."""
    began_ns = time.monotonic_ns()
    raw, data = _read()
    body = validated(EmbedBody, data)
    served_as(body.model)
    source = origin("ollama.embed", raw)
    done = embed(body.texts, source, dimensions=body.dimensions or None, truncate=body.truncate)
    total_ns = time.monotonic_ns() - began_ns
    return json_reply(encode_embeddings(body.model, done.vectors, done.num_tokens, total_ns))


@bp.post("/embeddings")
def embed_prompt() -> Response:
    """A unit vector for one text; superseded by `/api/embed`."""
    raw, data = _read()
    body = validated(OldEmbedBody, data)
    served_as(body.model)
    done = embed([body.prompt] if body.prompt else [], origin("ollama.embeddings", raw))
    return json_reply({"embedding": done.vectors[0] if done.vectors else []})


@bp.get("/tags")
def tags() -> Response:
    """The models that can be asked for: the one that is served."""
    served = interactions().service.model
    return json_reply(models.encode_tags(served.info, models.capabilities(served.tokenizer)))


@bp.get("/ps")
def ps() -> Response:
    """The models in memory."""
    served = interactions().service.model
    on_gpu = served.runner.signature.get("device", "cpu").startswith("cuda")
    return json_reply(models.encode_ps(served.info, on_gpu=on_gpu))


@bp.post("/show")
def show() -> Response:
    """What is known of a model."""
    body = validated(models.ShowBody, _read()[1])
    asked = body.model or body.name
    served = served_as(asked)
    is_copilot = request.headers.get("User-Agent", "").startswith(COPILOT)
    capabilities = models.capabilities(served.tokenizer)
    return json_reply(models.encode_show(served.info, capabilities, asked if is_copilot else None))


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


def _read() -> tuple[bytes, dict[str, Any]]:
    raw = read_body()
    if not raw.strip():
        raise BadRequest("missing request body")
    return raw, loads(raw)


def _log_unknown(body: Addressed) -> None:
    if body.options.unknown:
        log.warning("ignored unknown options: %s", ", ".join(body.options.unknown)[:200])


def _fitting(wanted: GenerationRequest, body: Generating, served: ServedModel) -> GenerationRequest:
    """The request as it fits the context, unless the client wants an error instead."""
    if not body.truncate:
        return wanted
    return truncated(wanted, served.tokenizer, served.info.context, body.options.num_keep)


def _after_context(wanted: GenerationRequest, context: list[int], served: ServedModel) -> GenerationRequest:
    """The request continued from an earlier reply's token ids: they go before the new prompt."""
    tokenizer = served.tokenizer
    ensure_tokens_exist(context, tokenizer, "context")
    text = wanted.prompt or ""
    if tokenizer.has_chat_template:
        system = [Message("system", wanted.system)] if wanted.system else []
        text = tokenizer.render([*system, Message("user", text)])
    tokens = (*context, *tokenizer.encode(text, add_special=False))
    return replace(wanted, prompt=None, system=None, prompt_tokens=tokens)
