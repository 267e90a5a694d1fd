"""What is published of the routes that belong to no dialect."""

from __future__ import annotations

from minivault.wire.dialect import Operation
from minivault.wire.framing import NDJSON
from minivault.wire.native.schema import Error, Ready
from minivault.wire.schema import Receipt
from minivault.wire.server import schema
from minivault.wire.server.redaction import RedactionBody

_READ = ("400", "401", "403", "404", "429", "503")
_FILTERS = ("text", "since", "until", "model", "key", "status", "api", "type")
_RECORD = "/vault/records/{id_or_seq}"

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
VAULT = (
    Operation(
        "get",
        "/vault/records",
        "The last records that match; `type=any` for those of every kind",
        lines=(schema.Record,),
        stream_types=(NDJSON.content_type,),
        error=Error,
        errors=_READ,
        query=(*_FILTERS, "limit"),
    ),
    Operation(
        "get",
        _RECORD,
        "One record, by id or seq",
        reply=schema.Record,
        error=Error,
        errors=_READ,
        parameters=("id_or_seq",),
    ),
    Operation(
        "get",
        "/vault/tail",
        "The last records, and new ones as they come",
        lines=(schema.Record, schema.Alive, Error),
        stream_types=(NDJSON.content_type,),
        error=Error,
        errors=_READ,
        query=("limit",),
    ),
    Operation(
        "get",
        "/vault/export",
        "The records that match as a file: `format=jsonl` with the proof that it is an excerpt, or `csv`",
        lines=(schema.Exported,),
        stream_types=(NDJSON.content_type,),
        text_type="text/csv",
        error=Error,
        errors=_READ,
        query=(*_FILTERS, "format"),
    ),
    Operation("get", "/vault/verify", "Verify the whole log now", reply=schema.Report, error=Error, errors=_READ),
    Operation(
        "get",
        "/vault/light",
        "Where the chain stands, and the last verdict on it",
        reply=schema.Light,
        error=Error,
        errors=_READ,
    ),
    Operation(
        "get",
        "/vault/timeline",
        "Records over time; the last day where no times are given",
        reply=schema.Timeline,
        error=Error,
        errors=_READ,
        query=("since", "until"),
    ),
    Operation(
        "get",
        f"{_RECORD}/check",
        "Whether a record stands as it was written",
        reply=schema.Checked,
        error=Error,
        errors=_READ,
        parameters=("id_or_seq",),
    ),
    Operation(
        "post",
        f"{_RECORD}/replay",
        "Run a recorded answer again and compare",
        reply=schema.Replayed,
        error=Error,
        errors=_READ,
        parameters=("id_or_seq",),
    ),
    Operation(
        "get",
        f"{_RECORD}/redaction",
        "What a redaction would erase; nothing is done",
        reply=schema.Preview,
        error=Error,
        errors=_READ,
        parameters=("id_or_seq",),
    ),
    Operation(
        "post",
        f"{_RECORD}/redaction",
        "Erase what a record holds for good",
        request=RedactionBody,
        reply=schema.Redacted,
        error=Error,
        errors=_READ,
        parameters=("id_or_seq",),
    ),
)
