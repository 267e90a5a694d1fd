"""Replies about files and batches; see `schema.py`."""

from __future__ import annotations

from typing import Literal

from minivault.wire.openai.batches import Endpoint, Purpose, Status
from minivault.wire.schema import Count, Shape


class File(Shape):
    id: str
    object: Literal["file"]
    bytes: Count
    created_at: Count
    expires_at: None
    filename: str
    purpose: Purpose
    status: Literal["processed"]
    status_details: None


class Page(Shape):
    object: Literal["list"]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FilePage(Page):
    data: list[File]


class DeletedFile(Shape):
    id: str
    object: Literal["file"]
    deleted: Literal[True]


class BatchFault(Shape):
    code: str
    message: str
    line: int | None
    param: str | None


class BatchFaults(Shape):
    object: Literal["list"]
    data: list[BatchFault]


class BatchCounts(Shape):
    total: Count
    completed: Count
    failed: Count


class BatchTokensIn(Shape):
    cached_tokens: Count


class BatchTokensOut(Shape):
    reasoning_tokens: Count


class BatchUsage(Shape):
    input_tokens: Count
    input_tokens_details: BatchTokensIn
    output_tokens: Count
    output_tokens_details: BatchTokensOut
    total_tokens: Count


class BatchObject(Shape):
    id: str
    object: Literal["batch"]
    endpoint: Endpoint
    model: str | None
    errors: BatchFaults | None
    input_file_id: str
    completion_window: str
    status: Status
    output_file_id: str | None
    error_file_id: str | None
    created_at: Count
    expires_at: Count
    in_progress_at: Count | None
    finalizing_at: Count | None
    completed_at: Count | None
    failed_at: Count | None
    expired_at: Count | None
    cancelling_at: Count | None
    cancelled_at: Count | None
    request_counts: BatchCounts
    usage: BatchUsage
    metadata: dict[str, str] | None


class BatchPage(Page):
    data: list[BatchObject]
