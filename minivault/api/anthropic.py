"""Anthropic's dialect: `/v1/messages`. Its clients' way to the models is `/v1/models`, which OpenAI's share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Response

from minivault.api.body import decoded, read_json_body
from minivault.api.dialect import DialectBlueprint
from minivault.api.sdk import sdk_origin
from minivault.api.streaming import fields_called, json_reply, model_called, respond, start
from minivault.errors import ContextExceeded, Unsupported
from minivault.service import Model
from minivault.types import GenerationRequest
from minivault.wire.anthropic import DIALECT
from minivault.wire.anthropic.body import CountBody, MessagesBody
from minivault.wire.anthropic.reply import MessageReply
from minivault.wire.framing import NAMED_SSE

bp = DialectBlueprint(DIALECT, __name__)


@bp.post("")
def messages() -> Response:
    """Continue a conversation."""
    raw = read_json_body()
    body = decoded(MessagesBody, raw)
    model = _model_for(body)
    request = body.generation(model.info.context)
    with _in_their_words(body, model, request):
        choices = start(model, [request], sdk_origin("anthropic.messages", raw))
    interaction = choices[0].interaction
    reply = MessageReply(interaction.id, interaction.model, body, model.info.call_format)
    return respond(choices, reply, NAMED_SSE if body.stream else None)


@bp.post("/count_tokens")
def count_tokens() -> Response:
    """How many tokens a conversation has, tools and all. Nothing is generated and nothing recorded."""
    body = decoded(CountBody, read_json_body())
    model = _model_for(body)
    return json_reply({"input_tokens": model.count(body.prompting())})


def _model_for(body: CountBody) -> Model:
    model = model_called(body.model)
    if not model.info.has_chat:
        raise Unsupported(f"{model.info.name} has no chat template and takes no conversations", field="messages")
    if body.told and not model.info.has_tools:
        message = f"{model.info.name} does not support tools: its chat template has no place for them"
        raise Unsupported(message, field="tools")
    return model


@contextmanager
def _in_their_words(body: CountBody, model: Model, request: GenerationRequest) -> Iterator[None]:
    """A schema that cannot be used is refused under the name its field has here. Of a prompt that is too long agents
    read the numbers, and shorten it."""
    try:
        with fields_called(format=body.format_field):
            yield
    except ContextExceeded as error:
        numbers = f"{model.count(request)} tokens > {model.info.context - 1} maximum"
        raise ContextExceeded(f"prompt is too long: {numbers}: {error.message}", field="messages") from None
