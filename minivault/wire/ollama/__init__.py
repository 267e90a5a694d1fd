"""Ollama's dialect (`/api/*`): what its clients send and expect, field by field.

Requests are read leniently, as Ollama does: unknown fields and options are ignored, `null` means not given, `stream`
is true when absent. Replies leave out what is empty instead of sending `null`.
"""

from minivault.wire.dialect import WORK_ERRORS, Dialect, Model, Operation
from minivault.wire.framing import NDJSON, SSE
from minivault.wire.ollama import schema
from minivault.wire.ollama.chat import ChatBody
from minivault.wire.ollama.embed import EmbedBody, OldEmbedBody
from minivault.wire.ollama.generate import GenerateBody
from minivault.wire.ollama.lines import encode_error
from minivault.wire.ollama.models import ShowBody
from minivault.wire.rerank import RerankBody, Reranked


def _work(path: str, summary: str, request: Model, reply: Model, *, is_stream: bool = False) -> Operation:
    lines = (reply, schema.Error) if is_stream else ()
    streams = (NDJSON.content_type, SSE.content_type) if is_stream else ()
    return Operation("post", path, summary, request, reply, lines, streams, schema.Error, WORK_ERRORS)


def _fact(path: str, summary: str, reply: Model) -> Operation:
    return Operation("get", path, summary, reply=reply, error=schema.Error, errors=("401", "429", "503"))


DIALECT = Dialect(
    name="ollama",
    about="What Ollama's clients speak.",
    encode_error=encode_error,
    prefix="/api",
    operations=(
        _work("/api/generate", "Continue or answer a prompt", GenerateBody, schema.Generated, is_stream=True),
        _work("/api/chat", "Continue a conversation", ChatBody, schema.Chatted, is_stream=True),
        _work("/api/embed", "Unit vectors for texts", EmbedBody, schema.Embedded),
        _work("/api/embeddings", "A unit vector for one text (old)", OldEmbedBody, schema.OldEmbedded),
        _work("/api/rerank", "Documents by relevance", RerankBody, Reranked),
        _work("/api/show", "What is known of a model", ShowBody, schema.Show),
        _fact("/api/tags", "The models that can be asked for", schema.Tags),
        _fact("/api/ps", "The models in memory", schema.Ps),
        _fact("/api/version", "The version of Ollama's API that is spoken", schema.Version),
        _fact("/api/status", "There is no cloud", schema.Status),
    ),
)
