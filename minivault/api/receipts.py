"""`GET /receipts/ID`: the receipt of an answer again, for the key that asked and for those who audit.

Nothing of what was said is in it. It is shown only after its record was checked in its place in the chain, and the
reading is recorded.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g

from minivault.api.streaming import json_reply, recorder
from minivault.errors import NotFound, Unavailable
from minivault.vault.index import look_up

bp = Blueprint("receipts", __name__, url_prefix="/receipts")


@bp.get("/<id>")
def receipt(id: str) -> Response:
    """The receipt of one record; without salts where its content has been redacted."""
    vault = recorder().vault
    record = look_up(vault.directory, id)
    if record is None or not _may_see(record):
        raise NotFound(f"the vault holds no record {id} of yours")
    found = vault.receipt(record)
    if found is None:
        raise Unavailable("the vault's signing key cannot be read, so nothing is signed; try again later")
    by = f"key {g.caller.key_id} from {g.caller.client}" if g.caller.key_id else f"no key, from {g.caller.client}"
    vault.append_event("read", {"by": by, "command": "receipt", "records": 1, "filter": {"id": id}})
    return json_reply(found)


def _may_see(record: dict[str, Any]) -> bool:
    is_own = (record["type"], record.get("key")) == ("interaction", g.caller.key_id)
    return is_own or (g.caller.key_id is not None and g.caller.role in ("audit", "admin"))
