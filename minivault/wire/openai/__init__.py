"""OpenAI's dialect (`/v1/*`): what its SDKs send and expect, field by field.

Requests are read strictly: a field or value this server does not offer is refused by name, never ignored. JSON null
counts as not given.
"""

from minivault.wire.dialect import WORK_ERRORS, Dialect, Model, Operation
from minivault.wire.framing import SSE
from minivault.wire.openai import batch_schema, decision_schema, schema
from minivault.wire.openai.batches import BatchBody, UploadForm
from minivault.wire.openai.chat import ChatBody
from minivault.wire.openai.completions import CompletionBody
from minivault.wire.openai.decisions import DecisionsBody
from minivault.wire.openai.embeddings import EmbeddingBody
from minivault.wire.openai.envelope import encode_error
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.openai.systemone import SystemOneBody
from minivault.wire.rerank import RerankBody, Reranked

ITEM_ERRORS = ("401", "404", "429", "503")


def _work(path: str, summary: str, request: Model, reply: Model, *lines: Model) -> Operation:
    streams = (SSE.content_type,) if lines else ()
    return Operation("post", path, summary, request, reply, lines, streams, schema.Error, WORK_ERRORS)


def _fact(path: str, summary: str, reply: Model, *parameters: str, query: tuple[str, ...] = ()) -> Operation:
    errors = (*(["400"] if query else []), *(ITEM_ERRORS if parameters else ("401", "429", "503")))
    return Operation(
        "get", path, summary, reply=reply, error=schema.Error, errors=errors, parameters=parameters, query=query
    )


DIALECT = Dialect(
    name="openai",
    about="What OpenAI's clients speak.",
    encode_error=encode_error,
    prefix="/v1",
    key_headers=("Authorization", "X-Api-Key"),
    operations=(
        _work("/v1/chat/completions", "Continue a conversation", ChatBody,
              schema.ChatCompletion, schema.ChatCompletionChunk, schema.Error),
        _work("/v1/completions", "Continue prompts as they are", CompletionBody,
              schema.TextCompletion, schema.TextCompletion, schema.Error),
        _work("/v1/responses", "Answer an input, and what led to it", ResponseBody,
              schema.Response, schema.ResponseEvent),
        _work("/v1/responses/input_tokens", "How many tokens a response would be made from", ResponseBody,
              schema.ResponseInputTokens),
        _fact("/v1/responses/{name}/input_items", "What a response was made from", schema.InputItems, "name",
              query=("order", "after", "limit")),
        _fact("/v1/responses/{name}", "A response that was given before", schema.Response, "name",
              query=("stream",)),
        Operation("delete", "/v1/responses/{name}", "Take a response back: it is not served any more",
                  reply=schema.ResponseDeleted, error=schema.Error, errors=ITEM_ERRORS, parameters=("name",)),
        Operation("post", "/v1/responses/{name}/cancel", "Refused: nothing is answered in the background",
                  error=schema.Error, errors=("400", *ITEM_ERRORS), parameters=("name",)),
        _work("/v1/embeddings", "Unit vectors for inputs", EmbeddingBody, schema.Embeddings),
        _work("/v1/decisions", "Answer typed questions with probabilities", DecisionsBody, decision_schema.Decision),
        _work("/v1/systemone", "The same in another shape", SystemOneBody, decision_schema.SystemOne),
        _work("/v1/rerank", "Documents by relevance", RerankBody, Reranked),
        _fact("/v1/models", "The models that can be asked for", schema.Models),
        _fact("/v1/models/{name}", "One model", schema.Model, "name"),
        Operation("post", "/v1/files", "Upload a file of requests", UploadForm, batch_schema.File,
                  error=schema.Error, errors=("400", "401", "429", "503"), request_type="multipart/form-data"),
        Operation("get", "/v1/files", "The caller's files", reply=batch_schema.FilePage,
                  error=schema.Error, errors=("400", "401", "429")),
        _fact("/v1/files/{file_id}", "One file", batch_schema.File, "file_id"),
        Operation("get", "/v1/files/{file_id}/content", "One file's bytes", error=schema.Error,
                  errors=("401", "404", "429"), text_type="application/octet-stream", parameters=("file_id",)),
        Operation("delete", "/v1/files/{file_id}", "Remove a file", reply=batch_schema.DeletedFile,
                  error=schema.Error, errors=("401", "404", "429", "503"), parameters=("file_id",)),
        Operation("post", "/v1/batches", "Answer a file of requests while nobody else waits", BatchBody,
                  batch_schema.BatchObject, error=schema.Error, errors=WORK_ERRORS),
        Operation("get", "/v1/batches", "The caller's batches", reply=batch_schema.BatchPage,
                  error=schema.Error, errors=("400", "401", "429")),
        _fact("/v1/batches/{batch_id}", "One batch", batch_schema.BatchObject, "batch_id"),
        Operation("post", "/v1/batches/{batch_id}/cancel", "End a batch", reply=batch_schema.BatchObject,
                  error=schema.Error, errors=WORK_ERRORS, parameters=("batch_id",)),
    ),
)  # fmt: skip
