"""Every published operation: its route, what it takes, gives and refuses with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from minivault.wire import ndjson, sse
from minivault.wire.native import GenerateBody
from minivault.wire.ollama import requests as ollama_requests
from minivault.wire.openai.chat import ChatBody
from minivault.wire.openai.completions import CompletionBody
from minivault.wire.openai.embeddings import EmbeddingBody
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.schema import native, ollama, openai

Model = type[BaseModel]
Method = Literal["get", "post", "delete", "head"]
WORK_ERRORS = ("400", "401", "404", "429", "503")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `lines` are what a stream is made of."""

    method: Method
    path: str
    summary: str
    tag: str
    request: Model | None = None
    reply: Model | None = None
    lines: tuple[Model, ...] = ()
    stream_types: tuple[str, ...] = ()
    error: Model | None = None
    errors: tuple[str, ...] = ("401", "429")
    status: str = "200"
    gives: str = "OK"
    media_type: str = "application/json"
    text_type: str = ""
    parameters: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A unique name made from the route."""
        words = self.path.replace("{", "").replace("}", "").replace("-", "/").replace("_", "/").split("/")
        return self.method + "".join(word.title() for word in words)


def _generate(path: str, summary: str, reply: Model | None) -> Operation:
    lines = (native.Token, native.StreamEnd, native.StreamError)
    streams = (ndjson.CONTENT_TYPE, sse.CONTENT_TYPE)
    return Operation(
        "post", path, summary, "native", GenerateBody, reply, lines, streams, native.Error, WORK_ERRORS
    )  # fmt: skip


def _ollama(path: str, summary: str, request: Model, reply: Model, *, is_stream: bool = False) -> Operation:
    lines = (reply, ollama.Error) if is_stream else ()
    streams = (ndjson.CONTENT_TYPE, sse.CONTENT_TYPE) if is_stream else ()
    return Operation("post", path, summary, "ollama", request, reply, lines, streams, ollama.Error, WORK_ERRORS)


def _ollama_fact(path: str, summary: str, reply: Model) -> Operation:
    return Operation("get", path, summary, "ollama", reply=reply, error=ollama.Error, errors=("401", "429", "503"))


def _openai(path: str, summary: str, request: Model, reply: Model, *lines: Model) -> Operation:
    streams = (sse.CONTENT_TYPE,) if lines else ()
    return Operation("post", path, summary, "openai", request, reply, lines, streams, openai.Error, WORK_ERRORS)


def _openai_fact(path: str, summary: str, reply: Model, *parameters: str) -> Operation:
    return Operation(
        "get", path, summary, "openai", reply=reply, error=openai.Error,
        errors=("401", "404", "429", "503") if parameters else ("401", "429", "503"), parameters=parameters,
    )  # fmt: skip


def _text(path: str, summary: str, tag: str, text_type: str) -> Operation:
    return Operation("get", path, summary, tag, text_type=text_type, error=native.Error)


OPERATIONS: tuple[Operation, ...] = (
    _generate("/generate", "Answer a prompt, whole or piece by piece", native.Generated),
    _generate("/stream-generate", "Answer a prompt piece by piece", None),
    _ollama("/api/generate", "Continue or answer a prompt", ollama_requests.GenerateBody, ollama.Generated,
            is_stream=True),
    _ollama("/api/chat", "Continue a conversation", ollama_requests.ChatBody, ollama.Chatted, is_stream=True),
    _ollama("/api/embed", "Unit vectors for texts", ollama_requests.EmbedBody, ollama.Embedded),
    _ollama("/api/embeddings", "A unit vector for one text (old)", ollama_requests.OldEmbedBody, ollama.OldEmbedded),
    _ollama("/api/show", "What is known of a model", ollama_requests.ShowBody, ollama.Show),
    _ollama_fact("/api/tags", "The models that can be asked for", ollama.Tags),
    _ollama_fact("/api/ps", "The models in memory", ollama.Ps),
    _ollama_fact("/api/version", "The version of Ollama's API that is spoken", ollama.Version),
    _ollama_fact("/api/status", "There is no cloud", ollama.Status),
    _openai("/v1/chat/completions", "Continue a conversation", ChatBody, openai.ChatCompletion,
            openai.ChatCompletionChunk, openai.Error),
    _openai("/v1/completions", "Continue prompts as they are", CompletionBody, openai.TextCompletion,
            openai.TextCompletion, openai.Error),
    _openai("/v1/responses", "Answer an input, without state", ResponseBody, openai.Response, openai.ResponseEvent),
    _openai("/v1/embeddings", "Unit vectors for inputs", EmbeddingBody, openai.Embeddings),
    _openai_fact("/v1/models", "The models that can be asked for", openai.Models),
    _openai_fact("/v1/models/{name}", "One model", openai.Model, "name"),
    _text("/", "A page for browsers, one line of text for clients", "server", "text/plain"),
    Operation("get", "/ready", "Would a request be served?", "server", reply=native.Ready, error=native.Error,
              errors=("503",)),
    _text("/metrics", "Figures for Prometheus", "server", "text/plain"),
)  # fmt: skip
