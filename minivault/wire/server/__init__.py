"""What is published of the routes that belong to no dialect."""

from __future__ import annotations

from typing import Any, Literal

from minivault.wire.dialect import Operation
from minivault.wire.framing import NDJSON
from minivault.wire.native.schema import Error, Ready
from minivault.wire.schema import Receipt
from minivault.wire.server import schema
from minivault.wire.server.holding import HoldBody, ReleaseBody
from minivault.wire.server.redaction import RedactionBody
from minivault.wire.server.said import SaidBody
from minivault.wire.server.watermark import DetectBody

_READ = ("400", "401", "403", "404", "429", "503")
_FILTERS = ("text", "since", "until", "model", "key", "status", "api", "type", "user")

SERVER = (
    Operation("get", "/", "A page for browsers, one line of text for clients", text_type="text/plain", error=Error),
    Operation("get", "/ready", "Would a request be served?", reply=Ready, error=Error, errors=("503",)),
    Operation("get", "/health", "Facts about this server, whatever state it is in", reply=schema.Health, error=Error),
    Operation("get", "/status", "The last hour of all workers, and your limits", reply=schema.Status, error=Error),
    Operation(
        "get",
        "/receipts/{id}",
        "The receipt of an answer, again",
        reply=Receipt,
        error=Error,
        errors=("400", "401", "404", "429", "503"),
        parameters=("id",),
    ),
    Operation(
        "get",
        "/receipts/{id}/proof",
        "The proof that its record is in the log (c2sp.org/tlog-proof)",
        text_type="text/plain",
        error=Error,
        errors=("400", "401", "404", "429", "503"),
        parameters=("id",),
    ),
    Operation("get", "/metrics", "Figures for Prometheus", text_type="text/plain", error=Error),
)


def _vault(method: Literal["get", "post"], path: str, summary: str, **more: Any) -> Operation:
    return Operation(method, f"/vault/{path}", summary, error=Error, errors=_READ, **more)


def _record(method: Literal["get", "post"], path: str, summary: str, **more: Any) -> Operation:
    """About one record."""
    return _vault(method, f"records/{{id_or_seq}}{path}", summary, parameters=("id_or_seq",), **more)


VAULT = (
    _vault(
        "get",
        "records",
        "The last records that match; `type=any` for those of every kind",
        lines=(schema.Record,),
        stream_types=(NDJSON.content_type,),
        query=(*_FILTERS, "limit"),
    ),
    _record("get", "", "One record, by id or seq", reply=schema.Record),
    _vault(
        "get",
        "tail",
        "The last records, and new ones as they come",
        lines=(schema.Record, schema.Alive, Error),
        stream_types=(NDJSON.content_type,),
        query=("limit",),
    ),
    _vault(
        "get",
        "export",
        "The records that match as a file: `format=jsonl` with the proof that it is an excerpt, or `csv`",
        lines=(schema.Exported,),
        stream_types=(NDJSON.content_type,),
        text_type="text/csv",
        query=(*_FILTERS, "format"),
    ),
    _vault("get", "verify", "Verify the whole log now", reply=schema.Report),
    _vault("get", "light", "Where the chain stands, and the last verdict on it", reply=schema.Light),
    _vault(
        "get",
        "timeline",
        "Records over time; the last day where no times are given",
        reply=schema.Timeline,
        query=("since", "until"),
    ),
    _record("get", "/check", "Whether a record stands as it was written", reply=schema.Checked),
    _record("post", "/replay", "Run a recorded answer again and compare", reply=schema.Replayed),
    _record("get", "/redaction", "What a redaction would erase; nothing is done", reply=schema.Preview),
    _record("post", "/redaction", "Erase what a record holds for good", request=RedactionBody, reply=schema.Redacted),
    _vault("get", "holds", "The legal holds in force", reply=schema.Holds),
    _vault(
        "post",
        "holds",
        "Keep the records that match from being removed, those to come included",
        request=HoldBody,
        reply=schema.Held,
        query=tuple(name for name in _FILTERS if name != "type"),
    ),
    _vault(
        "post",
        "holds/{name}/release",
        "End a hold",
        request=ReleaseBody,
        reply=schema.Held,
        parameters=("name",),
    ),
    Operation(
        "post",
        "/said",
        "Was a text ever an answer, or a part of one?",
        request=SaidBody,
        reply=schema.Said,
        error=Error,
        errors=_READ,
    ),
    Operation(
        "post",
        "/watermark/detect",
        "Does a text carry this server's mark?",
        request=DetectBody,
        reply=schema.Detected,
        error=Error,
        errors=_READ,
    ),
)
