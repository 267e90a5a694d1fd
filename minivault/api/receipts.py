"""`GET /receipts/ID` and `/receipts/ID/proof`: what proves an answer, for the key that asked and for those who audit.

Nothing of what was said is in it. It is shown only after its record was checked in its place in the chain, and the
reading is recorded.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, g

from minivault.api.streaming import json_reply, recorder
from minivault.config import Settings
from minivault.errors import NotFound, Unavailable
from minivault.vault.archive import Archive
from minivault.vault.index import look_up

bp = Blueprint("receipts", __name__, url_prefix="/receipts")


@bp.get("/<id>")
def receipt(id: str) -> Response:
    """The receipt of one record; without salts where its content has been redacted."""
    found = recorder().vault.receipt(_record(id, "receipt"))
    if found is None:
        raise Unavailable("the vault's signing key cannot be read, so nothing is signed; try again later")
    return json_reply(found)


@bp.get("/<id>/proof")
def proof(id: str) -> Response:
    """The proof that one record is in the log, under the last tree head that covers it (C2SP tlog-proof)."""
    record = _record(id, "proof")
    settings: Settings = current_app.config["MINIVAULT"]
    size = settings.vault_segment_mb << 20
    with (
        Archive(settings.log_dir, by=_reader(), segment_bytes=size) as archive,
        archive.proving(covers=record["seq"], is_patient=False) as prover,
    ):
        text = prover.proof(record)
    return Response(text, content_type="text/plain; charset=utf-8")


def _record(id: str, command: str) -> dict[str, Any]:
    """The record, if the caller may see its receipt; that it is looked at is recorded."""
    vault = recorder().vault
    record = look_up(vault.directory, id)
    if record is None or not _may_see(record):
        raise NotFound(f"the vault holds no record {id} of yours")
    vault.append_event("read", {"by": _reader(), "command": command, "records": 1, "filter": {"id": id}})
    return record


def _reader() -> str:
    return f"key {g.caller.key_id} from {g.caller.client}" if g.caller.key_id else f"no key, from {g.caller.client}"


def _may_see(record: dict[str, Any]) -> bool:
    is_own = (record["type"], record.get("key")) == ("interaction", g.caller.key_id)
    return is_own or (g.caller.key_id is not None and g.caller.role in ("audit", "admin"))
