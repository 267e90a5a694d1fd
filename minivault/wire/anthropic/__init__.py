"""Anthropic's dialect (`/v1/messages`): what its SDKs and coding agents send and expect.

Requests are read leniently: members that are not known bind nobody and are noted. Content that this server cannot read
is refused by name. JSON null counts as not given.
"""

from minivault.wire.anthropic import schema
from minivault.wire.anthropic.body import CountBody, MessagesBody
from minivault.wire.anthropic.errors import STATUSES, encode_error
from minivault.wire.dialect import WORK_ERRORS, Dialect, Operation
from minivault.wire.framing import NAMED_SSE

DIALECT = Dialect(
    name="anthropic",
    about="What Anthropic's clients speak.",
    encode_error=encode_error,
    prefix="/v1/messages",
    marker="Anthropic-Version",
    statuses=STATUSES,
    key_headers=("X-Api-Key", "Authorization"),
    operations=(
        Operation("post", "/v1/messages", "Continue a conversation", MessagesBody, schema.Message, schema.EVENTS,
                  (NAMED_SSE.content_type,), schema.Error, (*WORK_ERRORS, "529")),
        Operation("post", "/v1/messages/count_tokens", "How many tokens a conversation has", CountBody,
                  schema.TokenCount, error=schema.Error, errors=WORK_ERRORS),
        Operation("get", "/v1/models", "The models that can be asked for", reply=schema.Models, error=schema.Error,
                  errors=("401", "429", "503")),
        Operation("get", "/v1/models/{name}", "One model", reply=schema.Model, error=schema.Error,
                  errors=("401", "404", "429", "503"), parameters=("name",)),
    ),
)  # fmt: skip
