"""`/v1/files` and `/v1/batches`: what is asked, what is told, and the lines of the files themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import ConfigDict, Field

from minivault.wire.fields import OPENAI_BATCHES, OPENAI_FILES, Foreign
from minivault.wire.openai.fields import Strict

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
ENDPOINTS: tuple[Endpoint, ...] = get_args(Endpoint)
Purpose = Literal["batch", "batch_output"]
Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
ENDED = frozenset[Status]({"failed", "completed", "expired", "cancelled"})
TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
"""The states whose beginning is told."""


class BatchBody(Strict):
    """The body of `POST /v1/batches`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"input_file_id": "file-…", "endpoint": "/v1/chat/completions", "completion_window": "24h"},
            ]
        }
    )

    foreign: ClassVar[Foreign] = OPENAI_BATCHES

    input_file_id: str
    endpoint: Endpoint
    completion_window: str = Field(pattern=r"^[1-9][0-9]{0,2}h$", description="hours: what is not done then expires")
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = Field(
        None, max_length=16
    )

    @property
    def window_s(self) -> int:
        return int(self.completion_window[:-1]) * 3600


class UploadForm(Strict):
    """The fields of `POST /v1/files` beside the file itself, which is called `file`."""

    foreign: ClassVar[Foreign] = OPENAI_FILES

    purpose: Literal["batch"] = Field(description="the file itself is the form's field `file`")


@dataclass(frozen=True, slots=True)
class FileObject:
    """A file's facts. `created_at` is in seconds since 1970."""

    id: str
    filename: str
    purpose: Purpose
    bytes: int
    created_at: int


@dataclass(frozen=True, slots=True)
class LineFault:
    """Why a file is no batch: `line` counts from 1, None where it is no one line's fault."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many requests there are, have been answered, and have failed; and the tokens of those answered."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch's facts; times in seconds since 1970, `times` by the state that began then."""

    id: str
    endpoint: Endpoint
    input_file_id: str
    completion_window: str
    created_at: int
    expires_at: int
    metadata: Mapping[str, str] | None = None
    status: Status = "validating"
    model: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    faults: tuple[LineFault, ...] = ()
    counts: Counts = field(default_factory=Counts)
    times: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


def encode_file(file: FileObject) -> dict[str, Any]:
    """A file as clients know it."""
    return {"object": "file", **asdict(file), "status": "processed", "expires_at": None, "status_details": None}


def encode_batch(batch: Batch) -> dict[str, Any]:
    """A batch as clients know it: its files are there once it has ended."""
    counts = batch.counts
    faults = [asdict(fault) for fault in batch.faults]
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": {"object": "list", "data": faults} if faults else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file_id if batch.has_ended else None,
        "error_file_id": batch.error_file_id if batch.has_ended else None,
        "created_at": batch.created_at,
        "expires_at": batch.expires_at,
        **{f"{name}_at": batch.times.get(name) for name in TIMES},
        "request_counts": {"total": counts.total, "completed": counts.completed, "failed": counts.failed},
        "usage": {
            "input_tokens": counts.input_tokens,
            "input_tokens_details": {"cached_tokens": counts.cached_tokens},
            "output_tokens": counts.output_tokens,
            "output_tokens_details": {"reasoning_tokens": counts.reasoning_tokens},
            "total_tokens": counts.input_tokens + counts.output_tokens,
        },
        "metadata": None if batch.metadata is None else dict(batch.metadata),
    }


def encode_page(objects: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A part of a list; the id of its last object asks for the next."""
    ends = {"first_id": objects[0]["id"], "last_id": objects[-1]["id"]} if objects else {}
    return {"object": "list", "data": list(objects), "first_id": None, "last_id": None, **ends, "has_more": has_more}


def encode_deleted(file_id: str) -> dict[str, Any]:
    return {"id": file_id, "object": "file", "deleted": True}


def encode_answered(batch_id: str, line: int, custom_id: str, response: dict[str, Any]) -> dict[str, Any]:
    """A line of an output or error file. `response` is {"status_code", "request_id", "body"}."""
    return {"id": _request_id(batch_id, line), "custom_id": custom_id, "response": response, "error": None}


def encode_unanswered(batch_id: str, line: int, custom_id: str, code: str, message: str) -> dict[str, Any]:
    """A line of an error file for a request that was never made."""
    error = {"code": code, "message": message}
    return {"id": _request_id(batch_id, line), "custom_id": custom_id, "response": None, "error": error}


def _request_id(batch_id: str, line: int) -> str:
    return f"batch_req_{batch_id.removeprefix('batch_')}_{line}"


def count_usage(counts: Counts, body: Mapping[str, Any], **changes: int) -> Counts:
    """The counts with the tokens that a reply tells, whichever of the dialect's names it has for them."""
    usage = body.get("usage") or {}
    details_in = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    details_out = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    return Counts(
        total=counts.total,
        completed=counts.completed + changes.get("completed", 0),
        failed=counts.failed + changes.get("failed", 0),
        input_tokens=counts.input_tokens + (usage.get("prompt_tokens") or usage.get("input_tokens") or 0),
        cached_tokens=counts.cached_tokens + (details_in.get("cached_tokens") or 0),
        output_tokens=counts.output_tokens + (usage.get("completion_tokens") or usage.get("output_tokens") or 0),
        reasoning_tokens=counts.reasoning_tokens + (details_out.get("reasoning_tokens") or 0),
    )
